"""Answers without a row, after an older copy was restored or a kill: recorded, and not paid for again."""

from __future__ import annotations

import shutil
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.errors import JournalDiffers, StoppedBySignal
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import PAGE, edit_answer
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import postgres_when_whole
from tests.support.rebuilt_archive import rebuild
from tests.support.standin import actions
from tests.support.table_dumps import StopAt, asked, dump, execute

NATGEO, SALWA = "787132", "75885841119"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


def set_aside(harness: ArchiveHarness) -> Path:
    """Make a copy of the database with the command for it, of the journal, and of ``archive.json``."""
    to = harness.root.parent / "older.db"
    shutil.copytree(harness.root / "journal", harness.root.parent / "older-journal")
    shutil.copy(harness.root / "archive.json", harness.root.parent / "older.json")
    with Archive(harness.config) as archive:
        archive.backup_database(to)
    return to


def put_back(harness: ArchiveHarness, copy: Path) -> None:
    """Restore the older copy of all: with the present journal, ``db rebuild`` would bring back all rows."""
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(harness.root.parent / "older-journal", harness.root / "journal")
    for beside in ("archive.db-wal", "archive.db-shm"):
        (harness.root / beside).unlink(missing_ok=True)
    shutil.copy(copy, harness.root / "archive.db")
    shutil.copy(harness.root.parent / "older.json", harness.root / "archive.json")


def pages_asked(harness: ArchiveHarness) -> int:
    return sum(path == PAGE for path in asked(harness))


def shown(harness: ArchiveHarness) -> dict[str, tuple[str, list[str]]]:
    """Return what the stand-in shows: titles and items by highlight."""
    return {
        h.pk: (h.title, [item.pk for item in h.items])
        for account in harness.upstream.world.accounts
        for h in account.tray_highlights()
    }


def kept(harness: ArchiveHarness) -> dict[str, tuple[str, list[str]]]:
    """Return what the archive has of that, with every file, and with the watermark of each highlight."""
    assert harness.one("select count(*) from highlights where gone_at is null and completed_at is null") == 0
    lacking = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"
    assert harness.one(lacking) == 0
    members = (
        "select item_pk from highlight_items where highlight_pk = ? and gone_at is null order by position"
    )
    return {
        str(pk): (str(title), [str(item) for (item,) in harness.rows(members, pk)])
        for pk, title in harness.rows("select pk, title from highlights where gone_at is null")
    }


def counting_more(tree: Json) -> None:
    """A page whose number differs from that of the tray."""
    assert isinstance(tree, dict)
    tree.update(media_count=98)


def test_what_was_paid_for_since_an_older_copy_serves_the_next_run(harness: ArchiveHarness) -> None:
    """After two lost nights a replay makes archive and ledger whole; the next night pays for trays only."""
    harness.upstream.faults.add(edit_answer(counting_more), path=PAGE, count=None)
    units = harness.night("natgeo").units
    copy = set_aside(harness)
    world = harness.upstream.world
    harness.sleep(days=1)
    world.add_item(BOTW, "video")
    world.add_highlight(SALWA, "New")
    units += harness.night("natgeo", "salwaaa_ki").units
    harness.sleep(hours=1)
    world.add_item(BOTW)
    world.retitle(GIFT, "Gifts")
    world.remove_highlight(LIMITLESS)
    units += harness.night("natgeo", "salwaaa_ki").units
    calls = (
        "select path, subject, status, units, substr(finished_at, 1, 10) from api_calls where units > 0"
        " order by 5, 1, 2, run_id"
    )
    paid = harness.rows(calls)
    put_back(harness, copy)
    harness.sleep(hours=1)
    done = harness.reread()
    assert done.recovery.answers == len(paid) - 4
    assert harness.rows(calls) == paid
    assert harness.one("select sum(units) from api_calls") == units
    assert harness.rows("select command, outcome, units from runs where id > 1 order by id") == [
        ("reread", "ok", 0),
        ("recovered", "recovered", 6),
        ("recovered", "recovered", 3),
    ]
    summary = harness.night("natgeo", "salwaaa_ki")
    assert (summary.exit_code, summary.units, pages_asked(harness)) == (0, 2, 0)
    assert kept(harness) == shown(harness)
    assert harness.night("natgeo", "salwaaa_ki").units == 2
    before = dump(harness)
    assert harness.reread().recovery.answers == 0
    assert dump(harness) == before


def test_what_was_paid_for_serves_the_next_run_if_archive_json_was_not_put_back(
    harness: ArchiveHarness,
) -> None:
    """It counts the missing lines: a run and a reread are refused until ``db rebuild`` has recorded the
    answers. Then the next night pays for the tray only.
    """
    harness.night("natgeo")
    copy = set_aside(harness)
    harness.sleep(days=1)
    harness.upstream.world.add_item(BOTW, "video")
    harness.night("natgeo")
    calls = "select path, subject, status, units from api_calls where units > 0 order by started_at, path"
    paid, newer = harness.rows(calls), (harness.root / "archive.json").read_bytes()
    put_back(harness, copy)
    (harness.root / "archive.json").write_bytes(newer)
    harness.sleep(hours=1)
    for refused in (lambda: harness.night("natgeo"), harness.reread):
        with pytest.raises(JournalDiffers, match="journal and the database lack the last"):
            refused()
    assert rebuild(harness).recovery.answers == 2
    assert harness.rows(calls) == paid
    assert harness.reread().recovery.answers == 0
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units, pages_asked(harness)) == (0, 1, 0)
    assert kept(harness) == shown_of_natgeo(harness)
    assert not harness.verify().is_damaged


@pytest.mark.whole
def test_a_night_between_the_copy_and_the_rereading_stays_the_newest(harness: ArchiveHarness) -> None:
    """A run whose id the copy gives again: its page is used, though later answers have higher ids."""
    harness.night("natgeo")
    copy = set_aside(harness)
    world = harness.upstream.world
    harness.sleep(days=1)
    world.add_item(BOTW)
    harness.night("natgeo")
    put_back(harness, copy)
    harness.sleep(days=1)
    last = world.add_item(BOTW, "video")
    fault = harness.upstream.faults.add(actions.respond(500), listener="cdn", item=last.pk, count=None)
    harness.night("natgeo")
    assert harness.one("select completed_at from highlights where pk = ?", BOTW) is None
    done = harness.reread()
    assert done.recovery.answers == 2
    runs = harness.rows("select id, command, units from runs order by id")
    assert runs == [(1, "run", 5), (2, "run", 2), (3, "reread", 0), (4, "recovered", 2)]
    harness.upstream.faults.remove(fault)
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units, pages_asked(harness)) == (0, 1, 0)
    assert kept(harness) == {pk: told for pk, told in shown(harness).items() if pk in kept(harness)}


def without_numbers(tree: Json) -> None:
    """A page that states none of its numbers."""
    assert isinstance(tree, dict)
    tree.update(latest_reel_media=None, media_count=None)


def test_a_page_without_its_tray_serves_only_what_it_tells_of_itself(harness: ArchiveHarness) -> None:
    """Without trays a page counts under its own numbers; never a stale one, or one that states none."""
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    harness.night("natgeo")
    copy = set_aside(harness)
    world = harness.upstream.world
    harness.sleep(days=1)
    for pk in (GIFT, BOTW, LIMITLESS):
        world.add_item(pk)
    harness.upstream.faults.add(edit_answer(without_numbers), path=PAGE, highlight=LIMITLESS)
    harness.night("natgeo")
    put_back(harness, copy)
    harness.sleep(hours=1)
    world.add_item(GIFT)
    assert harness.reread().recovery.answers == 3
    summary = harness.night("natgeo")
    paid = {asked.subject.highlight for asked in harness.upstream.requests.api_calls(PAGE)}
    assert (summary.exit_code, summary.units, paid) == (0, 3, {GIFT, LIMITLESS})
    assert kept(harness) == shown_of_natgeo(harness)


@pytest.mark.whole
def test_a_stale_page_serves_nobody(harness: ArchiveHarness) -> None:
    """A highlight that changed after the lost days is paid for again, the other one is not."""
    harness.night("natgeo")
    copy = set_aside(harness)
    harness.sleep(days=1)
    for pk in (GIFT, BOTW):
        harness.upstream.world.add_item(pk)
    harness.night("natgeo")
    put_back(harness, copy)
    harness.sleep(hours=1)
    harness.upstream.world.add_item(GIFT)
    harness.reread()
    assert harness.night("natgeo").units == 2
    assert kept(harness) == shown_of_natgeo(harness)


def shown_of_natgeo(harness: ArchiveHarness) -> dict[str, tuple[str, list[str]]]:
    return {pk: told for pk, told in shown(harness).items() if pk in (GIFT, BOTW, LIMITLESS)}


@pytest.mark.whole
def test_a_sweep_that_was_paid_for_since_the_copy_is_not_paid_again(harness: ArchiveHarness) -> None:
    """A page that the sweep paid for is used, and the next sweep is due when it would have been."""
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "3"
    harness.night("natgeo")
    copy = set_aside(harness)
    world = harness.upstream.world
    swapped = world.highlight(BOTW).items[0]
    world.remove_item(BOTW, swapped.pk)
    new = world.add_item(BOTW, taken_at=swapped.taken_at)
    nights = []
    for _ in range(3):
        harness.sleep(days=1)
        nights.append(harness.night("natgeo").units)
    assert sum(nights) == 3 + 3
    put_back(harness, copy)
    assert harness.reread().recovery.answers == 3 + 3
    assert harness.night("natgeo").units == 1
    came = harness.one("select max(finished_at) from api_calls where subject = ?", BOTW)
    assert harness.one("select fetched_at from highlights where pk = ?", BOTW) == came
    assert (
        harness.one("select count(*) from highlight_items where item_pk = ? and gone_at is null", new.pk) == 1
    )
    again = []
    for _ in range(3):
        harness.sleep(days=1)
        again.append(harness.night("natgeo").units)
    assert again == nights


def test_an_answer_whose_row_a_kill_kept_out_is_settled(harness: ArchiveHarness) -> None:
    """A call that has a row but was not settled is settled; no second row is made."""
    harness.night("natgeo")
    (call,) = harness.rows("select id, status, units from api_calls where subject = ?", BOTW)
    calls = harness.one("select count(*) from api_calls")
    execute(
        harness,
        f"delete from answers where api_call_id = {call[0]}",
        f"update api_calls set status = null, finished_at = null, units = 7 where id = {call[0]}",
        "update runs set outcome = null, finished_at = null, exit_code = null, units = 0",
    )
    done = harness.reread()
    assert (done.recovery.answers, done.recovery.units) == (1, 0)
    assert harness.rows("select id, status, units from api_calls where subject = ?", BOTW) == [call]
    assert harness.one("select count(*) from api_calls") == calls
    assert harness.rows("select outcome, units from runs where id = 1") == [("killed", 5)]
    facts = harness.rows(
        "select a.latest_reel_media, a.media_count from answers a where api_call_id = ?", call[0]
    )
    assert facts == harness.rows("select latest_reel_media, media_count from highlights where pk = ?", BOTW)


@postgres_when_whole
def test_recording_again_may_be_stopped_anywhere_and_is_done_once(
    either: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after each answer, it still gives each run one row, and no settled call a second one."""
    harness = either
    harness.night("natgeo")
    harness.sleep(days=1)
    harness.upstream.world.add_item(BOTW)
    harness.night("natgeo")
    calls = (
        "select path, subject, status, units, started_at < finished_at from api_calls where units > 0"
        " order by 1, 2, id"
    )
    kept_in = (
        'select sha256, segment, "offset", length, latest_reel_media, media_count from answers'
        ' order by segment, "offset"'
    )
    whole, answers = harness.rows(calls), harness.rows(kept_in)
    paid_in_2 = "select id from api_calls where run_id = 2"
    execute(
        harness,
        "delete from changes",
        "delete from answers",  # the calls of the first run stay: its trays were about to be dropped
        f"delete from api_calls where id in ({paid_in_2})",
        "update files set run_id = 1",
        "delete from runs where id = 2",
    )
    monkeypatch.setattr(import_module("archiver.reread"), "_BATCH", 1)
    recorded = []
    for step in (10, 14, 1000):  # in the middle of the first run, and of the second
        with suppress(StoppedBySignal):
            harness.reread(StopAt(step))
        recorded.append(harness.one("select count(*) from answers"))
    assert recorded == [2, 5, 6]
    assert harness.rows(calls) == whole
    assert harness.rows(kept_in) == answers
    runs = harness.rows("select command, units from runs where command <> 'reread' order by id")
    assert runs == [("run", 5), ("recovered", 2)]
