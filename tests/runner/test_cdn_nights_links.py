"""What a run makes of links that are past their time, lead astray, or bring what it holds already."""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.sandbox import StandIn, actions
from archiver.sandbox.things import Item
from archiver.sandbox.wire import Request
from tests.support.cdn_account import ACCOUNT, Ward, check_store, hasty, offering

EXPIRED = actions.respond(403, "URL signature expired")
ASTRAY = (
    "https://cdninstagram.com.evil.com/x.jpg?oh=SIGNED",
    "https://evilfbcdn.net/x.jpg?oh=SIGNED",
    "https://a.fbcdn.nеt/x.jpg?oh=SIGNED",  # a Cyrillic letter
)
UNSAFE = (
    "https://a.fbcdn.net./x.jpg?oh=SIGNED",
    "https://a.fbcdn.net@evil.com/x.jpg?oh=SIGNED",
    "https://a.fbcdn.net:22/x.jpg?oh=SIGNED",
    "http://a.fbcdn.net/x.jpg?oh=SIGNED",
    "file:///etc/passwd",
)
ARCHIVE = frozenset({"archive.db", "archive.json", "blobs", "answers", "tmp", "lock", "log", "quarantine"})
BREAKING = (
    "http://127.0.0.1/x\r\nX-Evil: 1",
    "http://127.0.0.1/a b.jpg",
    "http://127.0.0.1/\x1b[2J.jpg",
    "http://127.0.0.1\\@evil.com/x.jpg",
    "http://127.0.0.1/" + "x" * 9000,
    f"http://{'h' * 9000}/x.jpg",
)
ENDLESS = "http://127.0.0.1/" + "x" * 65_536


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    """One highlight of four items, two of them videos."""
    with StandIn() as upstream, hasty():
        yield Ward(tmp_path / "archive", upstream)


def items(ward: Ward) -> list[Item]:
    """The items of the ward's one highlight."""
    return list(ward.upstream.world.account(ACCOUNT).highlights[-1].items)


def test_fault_c1_links_that_stay_expired_are_renewed_once(ward: Ward) -> None:
    """One unit a highlight and night, then a failure for each file; the CDN is not asked at all."""
    ward.upstream.settings.image_life = ward.upstream.settings.video_life = -5
    assert ward.night() == 3
    assert ward.upstream.units == 2 + 1 + 1
    assert ward.upstream.requests.cdn_requests() == []
    assert ward.failures() == ward.offered()
    assert ward.house.rows("select distinct reason from failures") == [("expired",)]


def test_fault_c1_a_link_that_the_cdn_calls_expired_is_renewed_and_brings_the_file(ward: Ward) -> None:
    """By our clock it still lives: one unit more, and code 0."""
    ward.upstream.faults.add(EXPIRED, listener="cdn", item=items(ward)[0].pk)
    assert ward.night() == 0
    assert ward.upstream.units == 2 + 1 + 1
    assert ward.kept() == ward.offered()


def test_fault_c1_without_units_an_expired_link_waits_for_the_next_run(ward: Ward) -> None:
    """The budget is spent: code 5, a failure, and no call beyond it; the next run renews the link and keeps the file."""
    ward.upstream.faults.add(EXPIRED, listener="cdn", item=items(ward)[0].pk)
    ward.house.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "3"
    assert ward.night() == 5
    assert ward.upstream.units == 3
    assert ward.failures() == {(items(ward)[0].pk, "thumbnail")}
    assert ward.night() == 0
    assert ward.kept() == ward.offered()


def test_fault_c5_a_cdn_that_asks_for_hours_is_left_alone_until_the_next_run(ward: Ward) -> None:
    """One request hears it, no other file asks; every file is a failure, the API is asked as ever, and the next night makes it good."""
    ward.house.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "1"
    ward.upstream.faults.add(actions.respond(503, b"", {"retry-after": "7200"}), listener="cdn")
    assert ward.night() == 3
    assert (len(ward.upstream.requests.cdn_requests()), ward.upstream.units) == (1, 3)
    assert ward.failures() == ward.offered()
    assert ward.night() == 0
    assert ward.upstream.units == 1
    assert ward.kept() == ward.offered()


@pytest.mark.parametrize(
    ("links", "reason", "code"), [(UNSAFE, "refused", 0), (ASTRAY, "host_not_allowed", 3)]
)
def test_fault_c20_a_link_that_leads_astray_is_not_asked(
    ward: Ward, links: tuple[str, ...], reason: str, code: int
) -> None:
    """An unsafe link is a gap, one to a host that is not listed a failure of every run; the rest is stored, the query is not."""
    more = {ward.item(url).pk: url for url in links}
    ward.upstream.faults.add(offering(more), path="/v1/highlight/by/url", count=None)
    assert [ward.night(), ward.night()] == [code, code]
    assert ward.kept() == ward.offered() - {(pk, "thumbnail") for pk in more}
    assert ward.house.rows("select distinct reason, next_try_at from failures") == [(reason, None)]
    assert {pk for pk, _ in ward.failures()} == set(more)
    assert ward.house.one("select count(*) from failures where detail like '%SIGNED%'") == 0


def test_fault_c30_a_link_that_would_break_the_request_is_refused_before_it(ward: Ward) -> None:
    """Line breaks, a space, ESC, a backslash, 9,000 characters: a gap, code 0. One of 64 kB counts as not offered."""
    more = {ward.item(url).pk: url for url in (*BREAKING, ENDLESS)}
    ward.upstream.faults.add(offering(more), path="/v1/highlight/by/url", count=None)
    assert ward.night() == 0
    assert ward.kept() == ward.offered() - {(pk, "thumbnail") for pk in more}
    assert ward.failures() == {ward.owner(url) for url in BREAKING}
    assert ward.house.rows("select distinct reason, next_try_at from failures") == [("refused", None)]
    assert int(str(ward.house.one("select max(length(detail)) from failures"))) < 600
    assert not any(asked.subject.item in more for asked in ward.upstream.requests.cdn_requests())


def test_fault_c26_other_bytes_for_a_held_file_are_a_new_file_beside_the_old(ward: Ward) -> None:
    """Its blob is lost and upstream has re-encoded it since: both are Files, and only the lost bytes are gone."""
    ward.item("picture")
    ward.night()
    (old,) = ward.house.rows("select sha256 from files where item_pk = ?", ward.item("picture").pk)
    path = ward.house.root / "blobs" / str(old[0])[:2] / str(old[0])
    before = ward.blobs()
    path.unlink()
    ward.upstream.world.change_bytes(ward.highlights[0], ward.item("picture").pk, "thumbnail")
    assert ward.night() == 0
    new = hashlib.sha256(ward.body("picture")).hexdigest()
    assert ward.blobs() == before | {new}
    assert check_store(ward.house.root) == before - {str(old[0])} | {new}
    assert ward.house.rows("select sha256 from blobs where lost_at is not null") == [old]


def test_fault_c26_a_held_file_is_never_asked_for_again(ward: Ward) -> None:
    """Upstream serves other bytes under the old name: with ``--full`` the page is paid for, and the file stays what it is."""
    ward.item("picture")
    ward.night()
    before = ward.blobs()
    ward.upstream.world.change_bytes(ward.highlights[0], ward.item("picture").pk, "thumbnail")
    assert ward.house.night(ACCOUNT, full=True).exit_code == 0
    assert ward.upstream.requests.cdn_requests() == []
    assert check_store(ward.house.root) == ward.blobs() == before


def test_fault_c27_two_workers_with_the_same_bytes_make_one_blob(ward: Ward) -> None:
    """Two items of equal bytes are served at the same moment: one blob, two Files, no error."""
    one, two = ward.item("one"), ward.item("two")
    assert one.thumbnail is not None
    two.thumbnail = replace(one.thumbnail, path="/v/another_n.jpg")
    together = threading.Barrier(2)

    def meet(_: Request) -> None:
        together.wait(5)

    for item in (one, two):
        ward.upstream.faults.add(listener="cdn", item=item.pk, role="thumbnail", before=meet)
    assert ward.night() == 0
    assert ward.held("one") == ward.held("two") == [ward.body("one")]
    assert ward.kept() == ward.offered()
    assert len(ward.blobs()) == len(ward.offered()) - 1
    assert check_store(ward.house.root) == ward.blobs()


def test_fault_c28_no_header_names_a_file(ward: Ward) -> None:
    """``Content-Disposition`` climbs out and ``Content-Type`` has 9,000 bytes: the blobs are where they belong, and nothing else is anywhere."""
    climbing = {"content-disposition": 'attachment; filename="../../../x.jpg"', "content-type": "x/" * 4500}
    ward.upstream.faults.add(actions.headers(climbing), listener="cdn", count=None)
    assert ward.night() == 0
    assert ward.kept() == ward.offered()
    assert check_store(ward.house.root) == ward.blobs()
    assert {path.name for path in ward.house.root.parent.iterdir()} == {"archive"}
    assert {path.name for path in ward.house.root.iterdir()} <= ARCHIVE
    assert {str(mime) for (mime,) in ward.house.rows("select mime from blobs")} == {"image/jpeg", "video/mp4"}


def test_fault_c29_a_cookie_is_neither_kept_nor_sent(ward: Ward) -> None:
    """Every answer of the CDN sets one; no request carries any, nor the key, a referrer or a name."""
    cookie = {"set-cookie": "id=TRACKED; Path=/; Max-Age=999999"}
    ward.upstream.faults.add(actions.headers(cookie), listener="cdn", count=None)
    for _ in range(2):
        assert ward.night() == 0
        sent = {name for asked in ward.upstream.requests.cdn_requests() for name in asked.headers}
        assert sent <= {"host", "user-agent", "accept", "accept-encoding"}
        assert not any("cookie" in asked.headers for asked in ward.upstream.requests)
        ward.upstream.world.add_item(ward.upstream.world.account(ACCOUNT).highlights[0].pk)
    assert ward.upstream.requests.leaks(ward.upstream.key) == []


@pytest.mark.parametrize(("side", "told"), [(40_000, (40_000, 40_000)), (2**32 - 1, (None, None))])
def test_fault_x16_an_image_bomb_is_kept_as_the_bytes_it_is(
    tmp_path: Path, nowhere: str | Path, side: int, told: tuple[int | None, int | None]
) -> None:
    """Its header states up to 4,294,967,295 pixels a side: nothing is unpacked, and what no picture has is not recorded."""
    with StandIn() as upstream, hasty():
        ward = Ward(tmp_path / "archive", upstream, nowhere if isinstance(nowhere, str) else None)
        bomb = png(side)
        ward.meets("bomb", actions.other_bytes(bomb))
        assert ward.night() == 0
        assert ward.held("bomb") == [bomb]
        assert ward.house.rows("select width, height from blobs where mime = 'image/png'") == [told]


def png(side: int) -> bytes:
    """A PNG that states so many pixels a side, and whose data unpack to 5 MB of zeros."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(5_000_000))), (b"IEND", b""))
    chunks = (struct.pack(">I", len(p)) + n + p + struct.pack(">I", zlib.crc32(n + p)) for n, p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
