"""Nights with a faulty CDN, file by file: what it did wrong once is made good the same night, what it did
wrong all night is a failure with its reason and made good the next night, and its neighbours are kept.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from unittest.mock import ANY

import pytest

from archiver.sandbox import media_files
from archiver.sandbox.http_server import HttpRequest, LoggedRequest
from tests.support.cdn_account import (
    SIZE,
    CdnAccount,
    Owned,
    check_store,
    cut_body,
    redirect_to_itself,
    short_waits,
)
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyExchange, FaultyStandIn

MP4 = media_files.base("video1.mp4")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>' * 20
SCRIPT = b"#!/bin/sh\nrm -rf /\n" * 20
HALF = SIZE // 2
REST = f"bytes={HALF}-"

FAILING = [
    pytest.param(actions.respond(403, "no"), "forbidden", 2, id="test_fault_c2_a_403_that_is_no_expiry"),
    pytest.param(actions.respond(404), "not_found", 1, id="test_fault_c3_a_404_is_asked_for_once"),
    pytest.param(actions.respond(410), "not_found", 1, id="test_fault_c3_a_410_is_asked_for_once"),
    pytest.param(actions.respond(429), "http_status", 3, id="test_fault_c5_429_all_night"),
    pytest.param(actions.respond(500), "http_status", 3, id="test_fault_c5_500_all_night"),
    pytest.param(
        actions.respond(503, b"", {"retry-after": "0"}), "http_status", 3, id="test_fault_c5_503_all_night"
    ),
    pytest.param(actions.truncated(1000), "truncated", 3, id="test_fault_c6_a_short_picture"),
    pytest.param(actions.truncated(1000), "truncated", 3, id="test_fault_c6_a_short_video"),
    pytest.param(actions.wrong_length(9), "truncated", 3, id="test_fault_c6_a_length_that_is_too_large"),
    pytest.param(actions.wrong_length(-9), "truncated", 3, id="test_fault_c7_a_picture_longer_than_it_says"),
    pytest.param(actions.wrong_length(-9), "truncated", 3, id="test_fault_c7_a_video_longer_than_it_says"),
    pytest.param(cut_body, "truncated", 3, id="test_fault_c8_a_picture_that_ends_where_it_lies_to_end"),
    pytest.param(cut_body, "truncated", 3, id="test_fault_c8_a_video_that_ends_where_it_lies_to_end"),
    pytest.param(actions.unsized(5000), "truncated", 3, id="test_fault_c9_a_cut_picture_without_a_length"),
    pytest.param(actions.unsized(5000), "truncated", 3, id="test_fault_c9_a_cut_video_without_a_length"),
    pytest.param(actions.chunked(1000, cut=3), "truncated", 3, id="test_fault_c10_chunks_without_the_last"),
    pytest.param(actions.reset(), "network", None, id="test_fault_c12_a_reset_at_once"),
    pytest.param(actions.reset(5000), "network", 3, id="test_fault_c12_a_reset_in_the_middle"),
    pytest.param(actions.gzipped(), "not_media", 1, id="test_fault_c13_gzip_that_nobody_asked_for"),
    pytest.param(actions.gzipped(100), "not_media", 1, id="test_fault_c13_gzip_that_is_cut"),
    pytest.param(
        actions.headers({"content-encoding": "gzip"}), "not_media", 1, id="test_fault_c13_gzip_by_its_name"
    ),
    pytest.param(
        actions.gzipped(expands_to=50_000_000), "not_media", 1, id="test_fault_c13_a_video_that_is_a_bomb"
    ),
    pytest.param(actions.html(), "not_media", 1, id="test_fault_c14_a_web_page"),
    pytest.param(
        actions.other_bytes(actions.HTML * 20), "not_media", 1, id="test_fault_c14_a_web_page_as_a_jpeg"
    ),
    pytest.param(actions.other_bytes(b""), "not_media", 1, id="test_fault_c15_an_empty_body"),
    pytest.param(actions.respond(204), "http_status", 1, id="test_fault_c15_a_204"),
    pytest.param(
        actions.other_bytes(actions.jpeg()[:80]), "not_media", 1, id="test_fault_c15_the_first_80_bytes"
    ),
    pytest.param(
        actions.other_bytes(actions.jpeg()), "wrong_kind", 1, id="test_fault_c16_a_video_that_is_a_picture"
    ),
    pytest.param(actions.other_bytes(MP4), "wrong_kind", 1, id="test_fault_c16_a_picture_that_is_a_film"),
    pytest.param(actions.other_bytes(SVG), "not_media", 1, id="test_fault_c16_a_drawing"),
    pytest.param(actions.other_bytes(actions.ELF), "not_media", 1, id="test_fault_c16_a_program"),
    pytest.param(actions.other_bytes(SCRIPT), "not_media", 1, id="test_fault_c16_a_script"),
    pytest.param(
        actions.redirect("https://inside.fbcdn.net/x?oh=SIGNED"),
        "network",
        1,
        id="test_fault_c17_to_a_cdn_name_that_means_10_0_0_1",
    ),
    pytest.param(
        actions.redirect("https://metadata.fbcdn.net/x?oh=SIGNED"),
        "network",
        1,
        id="test_fault_c17_to_a_cdn_name_that_means_the_metadata",
    ),
    pytest.param(actions.redirect("file:///etc/passwd"), "redirect", 1, id="test_fault_c18_to_a_file"),
    pytest.param(actions.redirect("ftp://a.fbcdn.net/x"), "redirect", 1, id="test_fault_c18_to_ftp"),
    pytest.param(actions.redirect("data:image/png;base64,AA"), "redirect", 1, id="test_fault_c18_to_data"),
    pytest.param(actions.redirect("http://a.fbcdn.net/x"), "redirect", 1, id="test_fault_c18_to_http"),
    pytest.param(actions.redirect(None), "redirect", 1, id="test_fault_c19_to_nowhere"),
    pytest.param(redirect_to_itself, "redirect", 6, id="test_fault_c19_in_a_circle"),
    pytest.param(
        actions.redirect("https://fbcdn.net.evil.com/x"), "redirect", 1, id="test_fault_c20_to_a_look_alike"
    ),
    pytest.param(actions.endless(), "endless", 1, id="test_fault_c22_a_picture_without_end"),
    pytest.param(actions.endless(), "endless", 1, id="test_fault_c22_a_video_without_end"),
    pytest.param(actions.endless(10**12), "too_large", 1, id="test_fault_c22_endless_by_its_word"),
    pytest.param(actions.wrong_range(), "http_status", 3, id="test_fault_c23_a_part_that_nobody_asked_for"),
    pytest.param(
        actions.wrong_range(7), "http_status", 3, id="test_fault_c23_a_part_that_is_said_to_begin_later"
    ),
    pytest.param(actions.headers({"content-digest": "adler32=1"}), "digest", 3, id="a_checksum_denies_it"),
]
"""What the CDN does with a file at every request, the reason of the failure, and how often it is asked (None:
a kept connection that is reset at once is replaced, which is no attempt).
"""

INWARD = (
    "http://127.0.0.2:{port}/",
    "http://10.0.0.1:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://2130706434:{port}/",
    "http://0x7f000002:{port}/",
    "http://0177.0.0.2:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[64:ff9b::7f00:2]:{port}/",
    "http://[2002:7f00:2::]:{port}/",
    "https://10.0.0.1:{port}/",
    "https://127.0.0.2:{port}/",
)
"""Where redirects lead: loopback, private, link-local and translated addresses, however written."""

WHOLE = "the whole file with 200, whatever was asked for"
CHANGES = "the true answer, after the file has become another one"


def parts(exchange: FaultyExchange) -> None:
    """The asked part as ``multipart/byteranges``, which wraps it in lines of its own."""
    true = exchange.reply()
    said = true.headers["content-range"].encode()
    body = (
        b"--B\r\ncontent-type: image/jpeg\r\ncontent-range: " + said + b"\r\n\r\n" + true.body + b"\r\n--B--"
    )
    headers = {"content-type": "multipart/byteranges; boundary=B", "etag": true.headers["etag"]}
    exchange.deliver(replace(true, body=body, headers=headers))


def half_with_etag(etag: str) -> Action:
    """Half of the body under its length and an ETag that proves nothing."""

    def act(exchange: FaultyExchange) -> None:
        exchange.connection.send(exchange.begin({"etag": etag})[:HALF])
        exchange.connection.close()

    return act


HALF_BODY = actions.truncated(HALF)
BUSY = actions.respond(503, b"", {"retry-after": "0"})
PASSING = [
    pytest.param((HALF_BODY, actions.respond(416)), [None, REST, None], id="test_fault_c4_416_is_no_end"),
    pytest.param((BUSY, actions.respond(429)), [None, None, None], id="test_fault_c5_it_was_busy"),
    pytest.param((HALF_BODY,), [None, REST], id="test_fault_c6_a_short_body_is_completed"),
    pytest.param((actions.unsized(),), [None], id="test_fault_c9_a_whole_body_without_a_length_is_kept"),
    pytest.param((actions.chunked(1000, cut=30),), [None, REST], id="test_fault_c10_chunks_are_completed"),
    pytest.param((actions.reset(0),), [None, ANY], id="test_fault_c12_a_reset_at_the_first_byte"),
    pytest.param(
        (actions.reset(HALF), actions.reset(HALF // 2)),
        [None, ANY, ANY],
        id="test_fault_c12_a_video_is_reset",
    ),
    pytest.param((actions.reset(SIZE - 1),), [None, ANY], id="test_fault_c12_a_reset_at_the_last_byte"),
    pytest.param((redirect_to_itself,), [None, None], id="test_fault_c19_a_relative_redirect_is_followed"),
    pytest.param(
        (HALF_BODY, actions.wrong_range(HALF - 1)), [None, REST, None], id="test_fault_c23_another_start"
    ),
    pytest.param(
        (HALF_BODY, actions.wrong_range(HALF, SIZE + 1)),
        [None, REST, None],
        id="test_fault_c23_another_whole",
    ),
    pytest.param((HALF_BODY, parts), [None, REST, None], id="test_fault_c23_a_multipart_is_thrown_away"),
    pytest.param((HALF_BODY, WHOLE), [None, REST], id="test_fault_c24_200_to_a_range_begins_again"),
    pytest.param((HALF_BODY, CHANGES), [None, REST], id="test_fault_c25_another_etag_is_never_spliced"),
    pytest.param((half_with_etag('W/"1"'), CHANGES), [None, None], id="test_fault_c25_after_a_weak_etag"),
    pytest.param((half_with_etag(""), CHANGES), [None, None], id="test_fault_c25_without_an_etag"),
]
"""What the CDN does with a file, once each, and the range that each request asks for. How much of a body
arrives before a reset is a matter of luck.
"""


def play(served: CdnAccount, name: str, script: tuple[Action | str, ...]) -> None:
    """Let the file of that name meet these actions."""
    for action in script:
        if action == CHANGES:
            then_changes(served, name)
        elif isinstance(action, str):
            served.meets(name, actions.respond(200, served.body(name)))
        else:
            served.meets(name, action)


def then_changes(served: CdnAccount, name: str) -> None:
    """The file of that name becomes another one just before its second request is answered."""
    item, highlight = served.item(name).pk, served.highlights[-1]

    def change(_: HttpRequest) -> None:
        served.upstream.world.change_bytes(highlight, item, "thumbnail")

    served.upstream.faults.add(listener="cdn", item=item, role="thumbnail", before=change)


class Inside:
    """A service of the inner network, on 127.0.0.2; ``visitors`` counts who connected to it."""

    def __init__(self) -> None:
        self.visitors = 0
        self._listener = socket.create_server(("127.0.0.2", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:
                return
            self.visitors += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@dataclass(frozen=True)
class Met:
    """What became of a file in the first night: the reason of its failure, the requests, and its bytes."""

    reason: str | None
    asked: list[LoggedRequest]
    held: list[bytes]


@dataclass(frozen=True)
class Night:
    """Its code and units, the files that the CDN was asked for, and then: those that are kept, those that
    have failed, the blobs in the store, those that the catalog names, and the titles of the highlights that
    are complete.
    """

    code: int
    units: int
    fetched: list[Owned]
    kept: set[Owned]
    failures: set[Owned]
    stored: set[str]
    named: set[str]
    complete: set[object]


@dataclass
class Nights:
    """An archive, what the files met in its first night, and its nights."""

    served: CdnAccount
    inside: Inside
    bad: set[Owned]
    files: dict[str, Met] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    all: list[Night] = field(default_factory=list)

    def pass_one(self) -> None:
        """Live through one more night."""
        served = self.served
        code, upstream = served.night(), served.upstream
        fetched = [(asked.subject.item, asked.subject.role) for asked in upstream.requests.cdn_requests()]
        complete = "select title from highlights where completed_at is not null"
        self.all.append(
            Night(
                code,
                upstream.units,
                fetched,
                served.kept(),
                served.failures(),
                check_store(served.harness.root),
                served.blobs(),
                {title for (title,) in served.harness.rows(complete)},
            )
        )


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """Three nights: on the first one every file meets its fault, on the others the CDN is well."""
    with FaultyStandIn() as upstream, short_waits():
        inside = Inside()
        served = CdnAccount(tmp_path_factory.mktemp("ward") / "archive", upstream)
        for row in FAILING:
            served.meets(str(row.id), cast(Action, row.values[0]), count=None)
        for where in INWARD:
            served.meets(where, actions.redirect(where.format(port=inside.port)), count=None)
        nights = Nights(served, inside, {served.owner(name) for name in served.items})
        for row in PASSING:
            play(served, str(row.id), cast(tuple[Action | str, ...], row.values[0]))
        nights.pass_one()
        inside.close()
        nights.files = {
            name: Met(served.failed(name), served.asked(name), served.held(name)) for name in served.items
        }
        nights.details = tuple(str(text) for (text,) in served.harness.rows("select detail from failures"))
        upstream.faults.clear()
        served.harness.sleep(days=1)
        nights.pass_one()
        nights.pass_one()
        yield nights


def test_only_the_bad_files_are_missing(nights: Nights) -> None:
    """Code 3, each has one failure, and the highlights without one are complete. It costs two units for the
    account and one for each highlight.
    """
    night, served = nights.all[0], nights.served
    assert (night.code, night.failures) == (3, nights.bad)
    assert night.kept == served.offered() - nights.bad
    assert night.stored == night.named
    bad = {pk for pk, _ in nights.bad}
    account = served.upstream.world.accounts[0]
    whole = {each.title for each in account.highlights if bad.isdisjoint(item.pk for item in each.items)}
    assert "Well" in night.complete == whole
    assert night.units == 2 + 1 + len(served.highlights)
    assert served.harness.one("select outcome from runs order by id limit 1") == "partial"


def test_the_next_night_makes_all_of_it_good_and_the_third_is_quiet(nights: Nights) -> None:
    """Code 0 for just what was missing, and a unit for the tray: pages are kept and their links live. Every
    file is there once, under its true name.
    """
    served = nights.served
    for night, fetched in zip(nights.all[1:], (nights.bad, set[Owned]()), strict=True):
        assert (night.code, night.units, sorted(night.fetched)) == (0, 1, sorted(fetched))
        assert (night.kept, night.failures) == (served.offered(), set())
        assert night.stored == night.named
    assert [served.held(name) for name in served.items] == [[served.body(name)] for name in served.items]
    assert served.harness.one("select count(*) from highlights where completed_at is null") == 0


@pytest.mark.parametrize(("action", "reason", "requests"), FAILING)
def test_a_file_that_fails_all_night(
    nights: Nights, action: Action, reason: str, requests: int | None, request: pytest.FixtureRequest
) -> None:
    """It has this reason after so many requests, and no bytes."""
    met = nights.files[request.node.callspec.id]
    assert (met.reason, met.held) == (reason, [])
    assert requests in (None, len(met.asked))


@pytest.mark.parametrize(("script", "ranges"), PASSING)
def test_a_file_that_fails_at_first(
    nights: Nights, script: object, ranges: list[str | None], request: pytest.FixtureRequest
) -> None:
    """The same night has its true bytes, once, and no failure; a rest is asked for under a strong ETag."""
    name = request.node.callspec.id
    met = nights.files[name]
    assert [asked.headers.get("range") for asked in met.asked] == ranges
    assert (met.reason, met.held) == (None, [nights.served.body(name)])
    for asked in met.asked:
        assert asked.headers.get("if-range", "").startswith('"') == ("range" in asked.headers)


def test_fault_c17_no_redirect_leads_inward(nights: Nights) -> None:
    """Not followed, and nobody came there."""
    met = [nights.files[where] for where in INWARD]
    assert {(each.reason, len(each.asked), len(each.held)) for each in met} == {("redirect", 1, 0)}
    assert nights.inside.visitors == 0


def test_fault_c22_a_file_over_the_limit_is_a_gap_without_a_date(nights: Nights) -> None:
    """By its own word it is over ``max_file_size``: its body is not read."""
    due = "select count(*), max(next_try_at) from failures where reason = 'too_large'"
    assert nights.served.harness.rows(due) == [(1, None)]


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254"])
def test_fault_c17_a_cdn_name_that_means_an_inner_address_is_told(nights: Nights, address: str) -> None:
    """It was no mere lack of a connection."""
    told = f"its name resolves to {address}, which is not on the public internet"
    assert [told in detail for detail in nights.details].count(True) == 1


SLOW: dict[str, Action] = {
    "drip": actions.drip(100, 0.02),
    "stall": actions.stall(5000),
    "silence": actions.stall(None),
    "head drips": actions.slow_head(0.01),
}


def test_fault_c11_a_cdn_that_stalls_or_drips_is_left(tmp_path: Path, whole: bool) -> None:
    """Silence before the answer or in the body, a body or a head that comes byte by byte: failures, and the
    run does not hang; the next night makes them good. ``--whole``: all of them, else a drip.
    """
    slow = SLOW if whole else {"drip": SLOW["drip"]}
    with FaultyStandIn() as upstream:
        served = CdnAccount(tmp_path / "archive", upstream)
        for name, action in slow.items():
            served.meets(name, action, count=None)
        with short_waits(0.5):
            assert served.night() == 3
        assert served.failures() == {served.owner(name) for name in slow} == served.offered() - served.kept()
        assert {served.failed(name) for name in slow if name in ("stall", "drip")} == {"too_slow"}
        assert check_store(served.harness.root) == served.blobs()
        upstream.faults.clear()
        served.harness.sleep(days=1)
        with short_waits():
            assert served.night() == 0
        assert [served.held(name) for name in slow] == [[served.body(name)] for name in slow]
        assert (served.kept(), served.failures()) == (served.offered(), set())
