"""Nights on which something is wrong: each harms only itself, costs what it must, and hides nothing; and
targets that overlap.
"""

from __future__ import annotations

import time

import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_archive
from archiver.errors import DiskFull, Reason
from archiver.hiker import wire
from archiver.hiker.wire import shapes
from archiver.model.api_calls import Answer
from archiver.model.target import parse_target
from archiver.runner import highlight
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import Object, edit_page, edit_tray, first_entry
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions

NATGEO = "787132"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


UNREADABLE = edit_page(lambda _, items: first_entry(items).update(pk=3.79e18))
"""The true page, but its first item has a pk that lost its last digits."""

SHOP = "shop:17854360229135492"
WITH_PRODUCTS = edit_tray(lambda entries: entries.append({**first_entry(entries), "pk": SHOP, "id": SHOP}))
"""The true tray, and a highlight of products in it."""


def crowd(_: Object, items: list[Json]) -> None:
    """The first item mentions five accounts more than rows are made for."""
    users = range(shapes.ENTRIES_MAX + 5)
    mentioned: list[Json] = [{"user": {"pk": str(n), "username": f"u{n}"}} for n in users]
    first_entry(items)["mentions"] = mentioned


def test_what_is_new_on_a_renewing_page_is_downloaded_before_the_watermark(harness: ArchiveHarness) -> None:
    """An item that appears between the first page and its renewal has its files, or the highlight is not
    complete.
    """
    harness.upstream.settings.video_life = harness.upstream.settings.image_life = -5

    def meanwhile(_: object) -> None:
        harness.upstream.settings.video_life = harness.upstream.settings.image_life = 86_400.0
        harness.upstream.world.add_item(BOTW)

    harness.upstream.faults.add(path="/v1/highlight/by/url", nth=2, before=meanwhile)
    assert harness.night(parse_target(f"highlight:{BOTW}")).exit_code == 0
    assert harness.one("select count(*) from highlights where completed_at is not null") == 1
    naked = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"
    assert harness.one(naked) == 0


def test_fault_a22_an_unreadable_item_holds_back_nothing_else(harness: ArchiveHarness) -> None:
    """A new item a night arrives beside one that cannot be read: each is held the night that it came, and the
    nights end with 3.
    """
    world = harness.upstream.world
    harness.upstream.faults.add(UNREADABLE, path="/v1/highlight/by/url", highlight=GIFT, count=None)
    harness.night("natgeo")
    for _ in range(2):
        harness.sleep(days=1)
        item = world.add_item(GIFT)
        assert harness.night("natgeo").exit_code == 3
        assert harness.one("select count(*) from files where item_pk = ?", item.pk) == 1


def test_a_highlight_target_that_is_not_whole_is_looked_at_again(harness: ArchiveHarness) -> None:
    """One of its files answers 404 for ever; the next day's look is paid for and finds the new item."""
    target = parse_target(f"highlight:{BOTW}")
    old = harness.upstream.world.highlight(BOTW).items[0]
    harness.upstream.faults.add(actions.respond(404), listener="cdn", item=old.pk, count=None)
    harness.night(target)
    harness.sleep(days=1)
    item = harness.upstream.world.add_item(BOTW)
    assert harness.night(target, insist=True).units == 1
    assert harness.one("select count(*) from files where item_pk = ?", item.pk) == 1


@pytest.mark.whole
def test_a_vanished_blob_of_a_highlight_target_is_fetched_again(harness: ArchiveHarness) -> None:
    """Without a tray, too, a run notices that the bytes are gone."""
    target = parse_target(f"highlight:{BOTW}")
    harness.night(target)
    sha256 = str(harness.one("select sha256 from files where item_pk is not null limit 1"))
    path = harness.root / "blobs" / sha256[:2] / sha256
    path.unlink()
    assert harness.night(target, insist=True).exit_code == 0
    assert path.exists()


def test_fault_h38_a_disk_below_its_reserve_stops_the_run_before_anything_is_paid(
    harness: ArchiveHarness,
) -> None:
    """Code 8, and the upstream billed nothing; a new archive is not even begun."""
    harness.environ["ARCHIVER_ARCHIVE_RESERVE"] = "900 TB"
    with pytest.raises(DiskFull):
        harness.night("natgeo")
    assert not harness.root.exists()
    create_archive(harness.config)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units) == (8, 0)
    assert harness.upstream.units == 0


def test_a_highlight_that_changed_hands_is_followed(harness: ArchiveHarness) -> None:
    """A stored highlight appears in another account's tray: no bug, it has a new owner and a change that says
    so.
    """
    harness.night("natgeo", "salwaaa_ki")
    world = harness.upstream.world
    moved = next(h for h in world.account("natgeo").highlights if h.pk == BOTW)
    world.account("natgeo").highlights.remove(moved)
    world.account("salwaaa_ki").highlights.insert(0, moved)
    moved.user_pk = world.account("salwaaa_ki").pk
    summary = harness.night("salwaaa_ki")
    assert summary.exit_code == 0
    assert harness.one("select user_pk from highlights where pk = ?", BOTW) == moved.user_pk
    assert ("user_pk",) in harness.rows("select field from changes where subject_pk = ?", BOTW)


@pytest.mark.whole
def test_a_private_name_that_was_never_seen_is_left_alone(harness: ArchiveHarness) -> None:
    """With privacy checks it answers 403 from the first night: not asked every night for ever."""
    harness.environ["ARCHIVER_API_PRIVACY_CHECK"] = "true"
    harness.upstream.world.set_private("natgeo")
    units = []
    for _ in range(8):
        units.append(harness.night("natgeo").units)
        harness.sleep(days=1)
    assert sum(units[1:]) <= 4
    assert 0 in units


def test_fault_a40_a_tray_of_unreadable_entries_is_one_failure(harness: ArchiveHarness) -> None:
    """20,001 empty lists: one row and one line that counts them, in bounded time; a good tray resolves it."""
    harness.night("natgeo")
    tray = actions.respond(200, b"[" + b"[]," * 20_000 + b"[]]", {"content-type": "application/json"})
    harness.upstream.faults.add(tray, path="/v1/user/highlights")
    begun = time.monotonic()
    summary = harness.night("natgeo")
    assert time.monotonic() - begun < 5
    (failure,) = summary.failures
    assert (summary.exit_code, failure.subject, failure.subject_pk) == (3, "user", NATGEO)
    assert failure.detail == "20,001 entries cannot be read; the first: it is not an object"
    open_failures = "select count(*) from failures where resolved_at is null"
    assert harness.one(open_failures) == 1
    assert harness.night("natgeo").exit_code == 0
    assert harness.one(open_failures) == 0


def test_fault_a41_a_list_that_is_too_long_for_rows_is_a_gap(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Its first 10,000 entries have rows; a gap says so, reported once; the highlight is complete and not
    paid for again.

    ``--whole``: with so many; else the limit is 100.
    """
    assert shapes.ENTRIES_MAX == 10_000
    most = 10_000 if whole else 100
    for module in (shapes, highlight):  # what makes the rows, and what says how many there are
        monkeypatch.setattr(module, "ENTRIES_MAX", most)
    harness.upstream.faults.add(edit_page(crowd), path="/v1/highlight/by/url", highlight=GIFT, count=None)
    summary = harness.night("natgeo")
    assert harness.one("select max(position) from mentions") == most - 1
    (failure,) = summary.failures
    assert (summary.exit_code, failure.reason) == (0, Reason.TOO_MANY)
    assert (
        failure.detail == f"{most:,} of {most + 5:,} mentions have rows; the stored answer holds all of them"
    )
    assert harness.one("select completed_at from highlights where pk = ?", GIFT) is not None
    (gap,) = harness.gaps()
    assert (gap.reason, gap.username, gap.highlight_pk) == (Reason.TOO_MANY, "natgeo", GIFT)
    summary = harness.night("natgeo")
    assert (summary.units, summary.failures) == (1, ())
    assert harness.night("natgeo", full=True).failures == ()


def test_fault_a39_a_highlight_of_products_is_a_gap(harness: ArchiveHarness) -> None:
    """Reported once and listed among the gaps; every night ends with 0, and what is absent from such a tray
    is gone."""
    fault = harness.upstream.faults.add(WITH_PRODUCTS, path="/v1/user/highlights", count=None)
    harness.upstream.faults.add(WITH_PRODUCTS, path="/v1/user/highlights/by/username", count=None)
    summary = harness.night("natgeo")
    (failure,) = summary.failures
    assert (summary.exit_code, failure.reason) == (0, Reason.UNSUPPORTED)
    assert f"{SHOP}, which holds products" in failure.detail
    harness.upstream.world.remove_highlight(GIFT)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units, summary.failures) == (0, 1, ())
    (gap,) = harness.gaps()
    assert (gap.reason, gap.username) == (Reason.UNSUPPORTED, "natgeo")
    harness.upstream.faults.remove(fault)
    assert harness.night("natgeo").exit_code == 0
    assert list(harness.gaps()) == []


def test_an_account_and_one_of_its_highlights_pay_for_its_page_once(harness: ArchiveHarness) -> None:
    """Even if the answer takes a while: the second to need the page waits for it."""
    harness.upstream.faults.add(
        path="/v1/highlight/by/url", highlight=BOTW, count=None, before=lambda _: time.sleep(0.3)
    )
    summary = harness.night(parse_target(f"highlight:{BOTW}"), "natgeo")
    assert summary.exit_code == 0
    pages = "select count(*) from api_calls where path = '/v1/highlight/by/url' and subject = ?"
    assert harness.one(pages, BOTW) == 1


def test_one_answer_is_parsed_at_a_time(harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was paid for now or is stored: its values take ten times the memory of its bytes."""
    read, held = wire.read_document, []

    def observe(answer: Answer) -> wire.Document:
        held.append(wire.PARSE_LOCK.locked())
        return read(answer)

    monkeypatch.setattr(wire, "read_document", observe)
    harness.night("natgeo", parse_target(f"highlight:{BOTW}"))
    stored = 1
    assert held == [True] * (len(harness.upstream.requests.api_calls()) + stored)


def test_a_highlight_that_was_never_fetched_is_not_kept_waiting_by_a_budget(harness: ArchiveHarness) -> None:
    """It comes before accounts that were listed, although it is a single highlight."""
    harness.night("salwaaa_ki")
    harness.sleep(days=1)
    targets = [parse_target("salwaaa_ki"), parse_target(f"highlight:{BOTW}")]
    with Archive(harness.config) as archive:
        summary = archive.run(targets, max_units=1, clock=lambda: harness.now)
    assert summary.exit_code == 5
    assert harness.one("select count(*) from highlights where pk = ? and completed_at is not null", BOTW) == 1
