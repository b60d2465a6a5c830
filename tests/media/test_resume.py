"""Files that break off: continued on proof of the same bytes, else begun again.

No splice of different ones.
"""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.media.downloader import ResumePoint, total_if_continued
from tests.support.media_samples import jpeg
from tests.support.memory_objects import MemoryStore
from tests.support.scripted_cdn import (
    AfterReply,
    MemoryWriter,
    Reply,
    Waits,
    downloader,
    head,
    ok,
    picture,
    scripted_cdn,
    status,
)

BODY = jpeg(300_000)
OTHER = jpeg(300_000, seed=2)
LENGTH = len(BODY)
HALF = LENGTH // 2
STRONG: dict[str, str | int] = {"etag": '"v1"', "accept_ranges": "bytes"}


def broken(at: int, then: AfterReply = AfterReply.RESET, /, **headers: str | int) -> Reply:
    """BODY with its length, broken off after ``at`` bytes; the pause lets them arrive before a RST."""
    return Reply((head(content_length=LENGTH, **headers) + BODY[:at],), then, gap=0.02)


def part(start: int, body: bytes = BODY, *, said: str | None = None, **headers: str | int) -> Reply:
    """206 with the rest of ``body``; ``said`` is another Content-Range."""
    content_range = said or f"bytes {start}-{len(body) - 1}/{len(body)}"
    return status("206 Partial Content", body[start:], content_range=content_range, **headers)


def fetched(*replies: Reply, body: bytes = BODY) -> tuple[list[str | None], MemoryWriter]:
    """The Range header of each request, once these replies have led to exactly ``body``."""
    sink = MemoryWriter()
    with scripted_cdn(*replies) as server, downloader() as cdn_downloader:
        cdn_downloader.download(picture(server.link()), sink, Waits())
        assert sink.bytes == body
        assert len(server.requests) == len(replies)
        ranges = [server.header(n, "range") for n in range(len(replies))]
        conditions = [server.header(n, "if-range") for n in range(len(replies))]
        assert conditions == [None if asked is None else '"v1"' for asked in ranges]
        return ranges, sink


@pytest.mark.parametrize("at", [0, HALF, LENGTH - 1])
def test_fault_c12_a_reset_begins_again(at: int) -> None:
    """Without a strong ETag nothing proves that the rest is of the same file."""
    assert fetched(broken(at), ok(BODY))[0] == [None, None]


def test_fault_c12_a_reset_is_resumed_on_a_strong_etag() -> None:
    """Only the rest is asked for, on condition of the same ETag, and nothing is written twice."""
    ranges, sink = fetched(broken(HALF, **STRONG), part(HALF, etag='"v1"'))
    assert ranges == [None, f"bytes={HALF}-"]
    assert sink.restarts == 0


def test_two_breaks_are_resumed_one_after_the_other() -> None:
    """Each attempt continues from what is held by then."""
    middle = Reply(
        (
            head(
                "206 Partial Content",
                content_length=LENGTH - HALF,
                content_range=f"bytes {HALF}-{LENGTH - 1}/{LENGTH}",
            )
            + BODY[HALF : HALF + 999],
        ),
        AfterReply.CLOSE,
    )
    assert fetched(broken(HALF, **STRONG), middle, part(HALF + 999))[0][2] == f"bytes={HALF + 999}-"


def test_a_break_within_the_first_bytes_is_resumed() -> None:
    """Bytes that were too few to be recognised are not lost and not doubled."""
    assert fetched(broken(10, **STRONG), part(10))[0] == [None, "bytes=10-"]


def test_fault_c4_416_is_never_complete() -> None:
    """A range that the CDN cannot satisfy starts the file again from 0."""
    ranges, sink = fetched(
        broken(HALF, **STRONG), status("416 Range", content_range=f"bytes */{HALF}"), ok(BODY)
    )
    assert ranges == [None, f"bytes={HALF}-", None]
    assert sink.restarts == 1


@pytest.mark.parametrize(
    "said",
    [
        f"bytes {HALF - 1}-{LENGTH - 1}/{LENGTH}",
        f"bytes {HALF}-{LENGTH - 1}/{LENGTH + 1}",
        f"bytes {HALF}-{LENGTH - 2}/{LENGTH}",
        f"bytes {HALF}-{LENGTH - 1}/*",
        f"items {HALF}-{LENGTH - 1}/{LENGTH}",
        "",
    ],
)
def test_fault_c23_a_part_that_does_not_continue_is_thrown_away(said: str) -> None:
    """Wrong start, wrong total, no range at all: nothing of it is used, the file starts from 0."""
    assert fetched(broken(HALF, **STRONG), part(HALF, said=said or "none"), ok(BODY))[0][2] is None


def test_fault_c23_a_part_that_nobody_asked_for_is_thrown_away() -> None:
    """206 to a plain GET is not the file."""
    assert fetched(part(0), ok(BODY))[0] == [None, None]


def test_fault_c24_200_to_a_range_starts_over() -> None:
    """The whole file in answer to a range replaces what was held, and is never appended."""
    ranges, sink = fetched(broken(HALF, **STRONG), ok(OTHER), body=OTHER)
    assert ranges[1] is not None
    assert sink.restarts == 1


@pytest.mark.parametrize(
    "headers", [{"etag": 'W/"v1"', "accept_ranges": "bytes"}, {"etag": '"v1"'}, {"accept_ranges": "bytes"}]
)
def test_fault_c25_without_a_strong_etag_and_ranges_nothing_is_spliced(headers: dict[str, str | int]) -> None:
    """A weak ETag, none, or no word of ranges: from 0."""
    assert fetched(broken(HALF, **headers), ok(OTHER), body=OTHER)[0] == [None, None]


def test_fault_c25_another_etag_on_the_rest_is_another_file() -> None:
    """A 206 of another version is thrown away."""
    assert (
        fetched(broken(HALF, **STRONG), part(HALF, OTHER, etag='"v2"'), ok(OTHER), body=OTHER)[0][2] is None
    )


def test_the_rest_must_come_whole() -> None:
    """A part that ends before the total it names is not the end of the file, however whole it looks."""
    whole = BODY + b"an odd tail"
    first = Reply((head(content_length=len(whole), **STRONG) + whole[:HALF],), AfterReply.CLOSE)
    said = f"bytes {HALF}-{len(whole) - 1}/{len(whole)}"
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (LENGTH - HALF, BODY[HALF:])
    short = Reply((head("206 Part", transfer_encoding="chunked", content_range=said) + chunk,))
    assert fetched(first, short, ok(whole), body=whole)[0][2] is None


def test_bytes_that_were_denied_are_not_continued() -> None:
    """After a wrong checksum the file begins again, though its ETag is strong."""
    wrong = ok(OTHER, content_digest=f"adler32={zlib.adler32(BODY)}", **STRONG)
    assert fetched(wrong, ok(BODY))[0] == [None, None]


@pytest.mark.parametrize(
    ("said", "total"),
    [
        ("bytes 40-99/100", 100),
        ("bytes 40-99/100 ", 100),
        ("bytes 39-99/100", None),
        ("bytes 41-99/100", None),
        ("bytes 40-98/100", None),
        ("bytes 40-98/99", None),
        ("bytes 40-99/*", None),
        ("bytes */100", None),
        ("40-99/100", None),
    ],
)
def test_what_continues_forty_bytes_of_a_hundred(said: str, total: int | None) -> None:
    """Only the rest of the same whole does."""
    assert total_if_continued(ResumePoint(40, 100, '"v1"'), {"content-range": said}) == total


def test_a_part_whose_length_and_range_differ_continues_nothing() -> None:
    """Content-Length must be that of the range; without a total known before, the range's own is taken."""
    headers = {"content-range": "bytes 40-99/100"}
    assert total_if_continued(ResumePoint(40, None, '"v1"'), headers | {"content-length": "60"}) == 100
    assert total_if_continued(ResumePoint(40, None, '"v1"'), headers | {"content-length": "61"}) is None


@settings(max_examples=200)
@given(st.text(max_size=40), st.integers(1, 1000), st.none() | st.integers(1, 1000))
def test_no_content_range_makes_it_raise(said: str, start: int, total: int | None) -> None:
    """Any text continues nothing, unless it is exactly the rest."""
    found = total_if_continued(ResumePoint(start, total, '"v1"'), {"content-range": said})
    assert found is None or said == f"bytes {start}-{found - 1}/{found}"


def test_a_draft_of_a_blob_is_a_sink() -> None:
    """Bytes, a restart in between, and the digest of the store agree in one pass."""
    store = MemoryStore()
    store.prepare()
    with (
        scripted_cdn(broken(HALF), ok(BODY)) as server,
        downloader() as cdn_downloader,
        store.draft() as draft,
    ):
        cdn_downloader.download(picture(server.link()), draft, Waits())
        digest, size = store.put(draft)
    with store.open(digest) as held:
        assert (size, held.read()) == (LENGTH, BODY)
