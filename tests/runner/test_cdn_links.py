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

from archiver.sandbox.http_server import HttpRequest
from archiver.sandbox.world_objects import SandboxItem
from tests.support.cdn_account import ACCOUNT, CdnAccount, check_store, offering, short_waits
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, requests_with

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
ARCHIVE = frozenset(
    {"archive.db", "archive.json", "blobs", "answers", "journal", "tmp", "lock", "log", "quarantine"}
)
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
def served(tmp_path: Path) -> Iterator[CdnAccount]:
    """One highlight of four items, two of them videos."""
    with FaultyStandIn() as upstream, short_waits():
        yield CdnAccount(tmp_path / "archive", upstream)


def items(served: CdnAccount) -> list[SandboxItem]:
    """The items of the account's one highlight."""
    return list(served.upstream.world.account(ACCOUNT).highlights[-1].items)


def test_fault_c1_links_that_stay_expired_are_renewed_once(served: CdnAccount) -> None:
    """One unit a highlight and night, then a failure for each file; the CDN is not asked at all."""
    served.upstream.settings.image_life = served.upstream.settings.video_life = -5
    assert served.night() == 3
    assert served.upstream.units == 2 + 1 + 1
    assert served.upstream.requests.cdn_requests() == []
    assert served.failures() == served.offered()
    assert served.harness.rows("select distinct reason from failures") == [("expired",)]


def test_fault_c1_a_link_that_the_cdn_calls_expired_is_renewed_and_brings_the_file(
    served: CdnAccount,
) -> None:
    """By our clock it still lives: one unit more, and code 0."""
    served.upstream.faults.add(EXPIRED, listener="cdn", item=items(served)[0].pk)
    assert served.night() == 0
    assert served.upstream.units == 2 + 1 + 1
    assert served.kept() == served.offered()


def test_fault_c1_without_units_an_expired_link_waits_for_the_next_run(served: CdnAccount) -> None:
    """The budget is spent: code 5, a failure, and no call beyond it; the next run renews the link and keeps
    the file.
    """
    served.upstream.faults.add(EXPIRED, listener="cdn", item=items(served)[0].pk)
    served.harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "3"
    assert served.night() == 5
    assert served.upstream.units == 3
    assert served.failures() == {(items(served)[0].pk, "thumbnail")}
    assert served.night() == 0
    assert served.kept() == served.offered()


def test_fault_c5_a_cdn_that_asks_for_hours_is_left_alone_until_the_next_run(served: CdnAccount) -> None:
    """One request hears it, no other file asks; every file is a failure, the API is asked as ever, and the
    next night makes it good.
    """
    served.harness.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "1"
    served.upstream.faults.add(actions.respond(503, b"", {"retry-after": "7200"}), listener="cdn")
    assert served.night() == 3
    assert (len(served.upstream.requests.cdn_requests()), served.upstream.units) == (1, 3)
    assert served.failures() == served.offered()
    assert served.night() == 0
    assert served.upstream.units == 1
    assert served.kept() == served.offered()


@pytest.mark.parametrize(
    ("links", "reason", "code"), [(UNSAFE, "refused", 0), (ASTRAY, "host_not_allowed", 3)]
)
def test_fault_c20_a_link_that_leads_astray_is_not_asked(
    served: CdnAccount, links: tuple[str, ...], reason: str, code: int
) -> None:
    """An unsafe link is a gap, one to a host that is not listed a failure of every run; the rest is stored,
    the query is not.
    """
    more = {served.item(url).pk: url for url in links}
    served.upstream.faults.add(offering(more), path="/v1/highlight/by/url", count=None)
    assert [served.night(), served.night()] == [code, code]
    assert served.kept() == served.offered() - {(pk, "thumbnail") for pk in more}
    assert served.harness.rows("select distinct reason, next_try_at from failures") == [(reason, None)]
    assert {pk for pk, _ in served.failures()} == set(more)
    assert served.harness.one("select count(*) from failures where detail like '%SIGNED%'") == 0


def test_fault_c30_a_link_that_would_break_the_request_is_refused_before_it(served: CdnAccount) -> None:
    """Line breaks, a space, ESC, a backslash, 9,000 characters: a gap, code 0.

    One of 64 kB counts as not offered.
    """
    more = {served.item(url).pk: url for url in (*BREAKING, ENDLESS)}
    served.upstream.faults.add(offering(more), path="/v1/highlight/by/url", count=None)
    assert served.night() == 0
    assert served.kept() == served.offered() - {(pk, "thumbnail") for pk in more}
    assert served.failures() == {served.owner(url) for url in BREAKING}
    assert served.harness.rows("select distinct reason, next_try_at from failures") == [("refused", None)]
    assert int(str(served.harness.one("select max(length(detail)) from failures"))) < 600
    assert not any(asked.subject.item in more for asked in served.upstream.requests.cdn_requests())


def test_fault_c26_other_bytes_for_a_held_file_are_a_new_file_beside_the_old(served: CdnAccount) -> None:
    """Its blob is lost and upstream has re-encoded it since: both are Files, and only the lost bytes are
    gone.
    """
    served.item("picture")
    served.night()
    (old,) = served.harness.rows("select sha256 from files where item_pk = ?", served.item("picture").pk)
    path = served.harness.root / "blobs" / str(old[0])[:2] / str(old[0])
    before = served.blobs()
    path.unlink()
    served.harness.sleep_until_turn(path.name)
    served.upstream.world.change_bytes(served.highlights[0], served.item("picture").pk, "thumbnail")
    assert served.night() == 0
    new = hashlib.sha256(served.body("picture")).hexdigest()
    assert served.blobs() == before | {new}
    assert check_store(served.harness.root) == before - {str(old[0])} | {new}
    assert served.harness.rows("select sha256 from blobs where lost_at is not null") == [old]


def test_fault_c26_a_held_file_is_never_asked_for_again(served: CdnAccount) -> None:
    """Upstream serves other bytes under the old name: with ``--full`` the page is paid for, and the file
    stays what it is.
    """
    served.item("picture")
    served.night()
    before = served.blobs()
    served.upstream.world.change_bytes(served.highlights[0], served.item("picture").pk, "thumbnail")
    assert served.harness.night(ACCOUNT, full=True).exit_code == 0
    assert served.upstream.requests.cdn_requests() == []
    assert check_store(served.harness.root) == served.blobs() == before


def test_fault_c27_two_workers_with_the_same_bytes_make_one_blob(served: CdnAccount) -> None:
    """Two items of equal bytes are served at the same moment: one blob, two Files, no error."""
    one, two = served.item("one"), served.item("two")
    assert one.thumbnail is not None
    two.thumbnail = replace(one.thumbnail, path="/v/another_n.jpg")
    together = threading.Barrier(2)

    def meet(_: HttpRequest) -> None:
        together.wait(5)

    for item in (one, two):
        served.upstream.faults.add(listener="cdn", item=item.pk, role="thumbnail", before=meet)
    assert served.night() == 0
    assert served.held("one") == served.held("two") == [served.body("one")]
    assert served.kept() == served.offered()
    assert len(served.blobs()) == len(served.offered()) - 1
    assert check_store(served.harness.root) == served.blobs()


def test_fault_c28_no_header_names_a_file(served: CdnAccount) -> None:
    """``Content-Disposition`` climbs out and ``Content-Type`` has 9,000 bytes: the blobs are where they
    belong, and nothing else is anywhere.
    """
    climbing = {"content-disposition": 'attachment; filename="../../../x.jpg"', "content-type": "x/" * 4500}
    served.upstream.faults.add(actions.headers(climbing), listener="cdn", count=None)
    assert served.night() == 0
    assert served.kept() == served.offered()
    assert check_store(served.harness.root) == served.blobs()
    assert {path.name for path in served.harness.root.parent.iterdir()} == {"archive"}
    assert {path.name for path in served.harness.root.iterdir()} <= ARCHIVE
    assert {str(mime) for (mime,) in served.harness.rows("select mime from blobs")} == {
        "image/jpeg",
        "video/mp4",
    }


def test_fault_c29_a_cookie_is_neither_kept_nor_sent(served: CdnAccount) -> None:
    """Every answer of the CDN sets one; no request carries any, nor the key, a referrer or a name."""
    cookie = {"set-cookie": "id=TRACKED; Path=/; Max-Age=999999"}
    served.upstream.faults.add(actions.headers(cookie), listener="cdn", count=None)
    for _ in range(2):
        assert served.night() == 0
        sent = {name for asked in served.upstream.requests.cdn_requests() for name in asked.headers}
        assert sent <= {"host", "user-agent", "accept", "accept-encoding"}
        assert not any("cookie" in asked.headers for asked in served.upstream.requests)
        served.upstream.world.add_item(served.upstream.world.account(ACCOUNT).highlights[0].pk)
    assert requests_with(served.upstream.requests, served.upstream.key) == []


@pytest.mark.parametrize(
    ("nowhere", "side", "told"),
    [
        pytest.param("sqlite", 40_000, (40_000, 40_000), marks=pytest.mark.whole),
        pytest.param("sqlite", 2**32 - 1, (None, None), marks=pytest.mark.whole),
        pytest.param("postgresql", 40_000, (40_000, 40_000), marks=pytest.mark.whole),
        ("postgresql", 2**32 - 1, (None, None)),  # more than its integers hold
    ],
    indirect=["nowhere"],
)
def test_fault_x16_an_image_bomb_is_kept_as_the_bytes_it_is(
    tmp_path: Path, nowhere: str | Path, side: int, told: tuple[int | None, int | None]
) -> None:
    """Its header states up to 4,294,967,295 pixels a side: nothing is unpacked, and what no picture has is
    not recorded.
    """
    with FaultyStandIn() as upstream, short_waits():
        served = CdnAccount(tmp_path / "archive", upstream, nowhere if isinstance(nowhere, str) else None)
        bomb = png(side)
        served.meets("bomb", actions.other_bytes(bomb))
        assert served.night() == 0
        assert served.held("bomb") == [bomb]
        assert served.harness.rows("select width, height from blobs where mime = 'image/png'") == [told]


def png(side: int) -> bytes:
    """A PNG that states so many pixels a side, and whose data unpack to 5 MB of zeros."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(5_000_000))), (b"IEND", b""))
    chunks = (struct.pack(">I", len(p)) + n + p + struct.pack(">I", zlib.crc32(n + p)) for n, p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
