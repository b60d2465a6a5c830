"""What the CDN did wrong once, or a few times, file by file: the same night ends well, and every file is the
right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from archiver.sandbox.http_server import HttpRequest
from tests.support.cdn_account import SIZE, CdnAccount, check_store, redirect_to_itself, short_waits
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyExchange, FaultyStandIn

HALF = SIZE // 2
REST = f"bytes={HALF}-"


def parts(exchange: FaultyExchange) -> None:
    """The asked part as ``multipart/byteranges``, which wraps it in lines of its own."""
    true = exchange.reply()
    said = true.headers["content-range"].encode()
    body = (
        b"--B\r\ncontent-type: image/jpeg\r\ncontent-range: " + said + b"\r\n\r\n" + true.body + b"\r\n--B--"
    )
    headers = {"content-type": "multipart/byteranges; boundary=B", "etag": true.headers["etag"]}
    exchange.deliver(replace(true, body=body, headers=headers))


def script(served: CdnAccount) -> None:
    """What each file meets before the CDN serves it well."""
    half = actions.truncated(HALF)
    served.meets("416", half, actions.respond(416))
    served.meets("503", actions.respond(503, b"", {"retry-after": "0"}), actions.respond(429))
    served.meets("short", half)
    served.meets("no length", actions.unsized())
    served.meets("chunks", actions.chunked(1000, cut=30))
    served.meets("reset at 0", actions.reset(0))
    served.meets("video reset in the middle", actions.reset(HALF), actions.reset(HALF // 2))
    served.meets("reset at the last byte", actions.reset(SIZE - 1))
    served.meets("one hop", redirect_to_itself)
    served.meets("wrong start", half, actions.wrong_range(HALF - 1))
    served.meets("wrong total", half, actions.wrong_range(HALF, SIZE + 1))
    served.meets("multipart", half, parts)
    served.meets("200 to a range", half, actions.respond(200, served.body("200 to a range")))
    for name, etag in (("weak etag", 'W/"1"'), ("no etag", "")):
        served.meets(name, half_with_etag(etag))
        then_changes(served, name)
    served.meets("other etag", half)
    then_changes(served, "other etag")


def then_changes(served: CdnAccount, name: str) -> None:
    """The file of that name becomes another one just before its second request is answered."""
    item, highlight = served.item(name).pk, served.highlights[-1]

    def change(_: HttpRequest) -> None:
        served.upstream.world.change_bytes(highlight, item, "thumbnail")

    served.upstream.faults.add(listener="cdn", item=item, role="thumbnail", before=change)


def half_with_etag(etag: str) -> Action:
    """Half of the body under its length and an ETag that proves nothing."""

    def act(exchange: FaultyExchange) -> None:
        exchange.connection.send(exchange.begin({"etag": etag})[:HALF])
        exchange.connection.close()

    return act


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CdnAccount]:
    """After one night on which every file met what ``script`` says."""
    with FaultyStandIn() as upstream, short_waits():
        served = CdnAccount(tmp_path_factory.mktemp("passing") / "archive", upstream)
        script(served)
        assert served.night() == 0
        yield served


def ranges(served: CdnAccount, name: str) -> list[str | None]:
    """What was asked of this file in each request; the one File that came of them is the true one."""
    assert served.held(name) == [served.body(name)]
    assert served.failed(name) is None
    return [asked.headers.get("range") for asked in served.asked(name)]


def test_no_trace_of_the_faults_is_left(served: CdnAccount) -> None:
    """No failure, no blob that no row names, nothing in ``tmp``, no file recorded twice."""
    assert served.harness.one("select count(*) from failures") == 0
    assert served.kept() == served.offered()
    assert check_store(served.harness.root) == served.blobs()
    assert served.harness.one("select count(*) from highlights where completed_at is null") == 0


def test_fault_c4_416_is_never_the_end(served: CdnAccount) -> None:
    """The rest of a file cannot be had: it is begun again from its first byte."""
    assert ranges(served, "416") == [None, REST, None]


def test_fault_c5_a_cdn_that_was_busy_is_asked_again(served: CdnAccount) -> None:
    """503 with a Retry-After, then 429 without one, then the file."""
    assert ranges(served, "503") == [None, None, None]


def test_fault_c6_a_short_body_is_completed(served: CdnAccount) -> None:
    """Only what was lacking is asked for, under the ETag of what is held."""
    assert ranges(served, "short") == [None, REST]
    first, second = served.asked("short")
    assert "if-range" not in first.headers
    assert second.headers["if-range"].startswith('"')


def test_fault_c9_a_whole_body_without_a_length_is_kept(served: CdnAccount) -> None:
    """Its structure says that it has ended."""
    assert ranges(served, "no length") == [None]


def test_fault_c10_chunks_that_broke_off_are_completed(served: CdnAccount) -> None:
    """Half of the body came in chunks, and not the last one."""
    assert ranges(served, "chunks") == [None, REST]


@pytest.mark.parametrize("name", ["reset at 0", "video reset in the middle", "reset at the last byte"])
def test_fault_c12_a_reset_costs_a_try_and_no_byte(served: CdnAccount, name: str) -> None:
    """At the first, a middle and the last byte: the bytes are right in the end, and there is one row of
    them.
    """
    assert len(ranges(served, name)) == 2 + (name == "video reset in the middle")


def test_fault_c19_a_relative_redirect_is_followed(served: CdnAccount) -> None:
    """To a place below an allowed host."""
    assert ranges(served, "one hop") == [None, None]


@pytest.mark.parametrize("name", ["wrong start", "wrong total", "multipart"])
def test_fault_c23_a_part_that_does_not_continue_is_thrown_away(served: CdnAccount, name: str) -> None:
    """From another start, of another whole, or wrapped as multipart/byteranges: the file begins again."""
    assert ranges(served, name) == [None, REST, None]


def test_fault_c24_200_to_a_range_begins_again(served: CdnAccount) -> None:
    """The whole replaces the half that was held, and is not appended to it."""
    assert ranges(served, "200 to a range") == [None, REST]


@pytest.mark.parametrize(
    ("name", "asked"), [("other etag", REST), ("weak etag", None), ("no etag", None)], ids=lambda v: str(v)
)
def test_fault_c25_two_versions_are_never_spliced(served: CdnAccount, name: str, asked: str | None) -> None:
    """The file changed after its first half: what is kept is the new one whole; without a strong ETag no rest
    is asked for.
    """
    assert ranges(served, name) == [None, asked]
