"""Replay of all stored answers: what each says by its endpoint; what the database lacks is added, what it has
stays, without a call.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver import reread
from archiver.errors import JournalDiffers, StoppedBySignal
from archiver.hiker import endpoints, wire
from archiver.hiker.wire import Document, parse_highlight_page
from archiver.model.api_calls import Answer, Call
from archiver.model.identity import Pk, utcnow
from archiver.model.upstream import HighlightPage, Item, Mention, Tray
from archiver.model.values import replace
from tests.support.api_faults import PAGE, edit_answer
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import postgres_when_whole
from tests.support.rebuilt_archive import lose_file
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.table_dumps import SEEN, StopAt, asked, counts, dump, execute

pytestmark = pytest.mark.world(items=9)

NATGEO, ME = "787132", "18085475671830440"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"
ITEMS = 9  # in each highlight: there are entries of every kind among these
ENTRIES = ("mentions", "links", "hashtags", "locations", "stickers", "reshares", "sponsors")
VIDEOS = "select pk from items where media_type = 2 and pk not in (select item_pk from mentions)"
BUT_WHEN_SEEN = {"usernames": SEEN, "items": SEEN | {"answer_id"}, "highlight_items": SEEN}
"""An item of two highlights names the answer recorded first, which may not have come first."""


def two_nights(harness: ArchiveHarness) -> ArchiveHarness:
    """Archive both accounts, edit one in every way, and archive them again a day later."""
    harness.night("natgeo", "salwaaa_ki")
    world = harness.upstream.world
    world.add_item(BOTW, "video")
    photo = next(item for item in world.highlight(GIFT).items if item.video is None)
    world.remove_item(GIFT, photo.pk)  # nothing tells that it is gone but its row: that one must stay
    world.retitle(LIMITLESS, "Without limits")
    world.rename("natgeo", "natgeo2")
    world.add_highlight(NATGEO, "New")
    world.add_item(ME)
    world.lose_page(ME)  # 404, billed and kept: it tells nothing
    harness.sleep(days=1)
    harness.night(NATGEO, "salwaaa_ki")
    return harness


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveHarness]:
    """An archive of two nights."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=ITEMS)
        yield two_nights(ArchiveHarness(tmp_path_factory.mktemp("template") / "archive", upstream))


@pytest.fixture
def old(template: ArchiveHarness, tmp_path: Path) -> ArchiveHarness:
    """A copy of it. Its world is shared by all tests and must not be changed."""
    shutil.copytree(template.root, tmp_path / "archive")
    return ArchiveHarness(tmp_path / "archive", template.upstream, later=template.later)


@pytest.fixture
def either(request: pytest.FixtureRequest, tmp_path: Path, nowhere: str | Path) -> Iterator[ArchiveHarness]:
    """An archive of two nights on either database."""
    if isinstance(nowhere, Path):
        yield request.getfixturevalue("old")
        return
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=ITEMS)
        yield two_nights(ArchiveHarness(tmp_path / "archive", upstream, nowhere))


def forget(harness: ArchiveHarness) -> None:
    """Remove rows that nothing refers to, and values, from every table that is filled from answers."""
    execute(
        harness,
        *(f"delete from {table}" for table in (*ENTRIES[1:], "usernames")),
        "delete from mentions where position = 0",
        f"delete from highlight_items where highlight_pk = '{LIMITLESS}'",
        f"delete from files where item_pk in ({VIDEOS})",
        f"delete from highlight_items where item_pk in ({VIDEOS})",
        f"delete from items where pk in ({VIDEOS})",
        "update users set full_name = null, is_verified = null, avatar_name = ''",
        f"update highlights set title = null, created_at = null, cover_name = '' where pk <> '{GIFT}'",
        "update items set code = '', taken_at = null, media_type = null, answer_id = null",
        "update items set product_type = null where pk = (select min(pk) from items)",
    )


@postgres_when_whole
def test_what_was_taken_away_comes_back_and_all_else_stays(either: ArchiveHarness) -> None:
    """A whole archive does not change; one without rows and values is complete again, files aside."""
    harness = either
    whole, values = dump(harness), dump(harness, BUT_WHEN_SEEN)
    first = harness.reread()
    assert (dump(harness), counts(first.row_counts), first.replay.unclear_count) == (whole, {}, 0)
    forget(harness)
    files = dump(harness)["files"]
    assert files != whole["files"]
    for left in ("reread-0a.db", "reread-0a.db-wal", "reread-0a.db-shm"):  # by one that was killed
        (harness.root / "tmp" / left).write_bytes(b"x")
    second = harness.reread()
    assert dump(harness, BUT_WHEN_SEEN) == {**values, "files": files}
    assert counts(second.row_counts).keys() >= {*ENTRIES, "users", "usernames", "highlights", "items"}
    assert second.row_counts["highlight_items"][0] > 0
    nameless = (
        "select count(*) from items where answer_id is null or answer_id not in (select id from answers)"
    )
    assert harness.one(nameless) == 0
    once = dump(harness)
    assert counts(harness.reread().row_counts) == {}
    assert dump(harness) == once
    assert (asked(harness), harness.upstream.units) == ([], 0)
    assert second.replay.read_count == harness.one("select count(*) from answers") != 0
    ended = harness.rows("select outcome, exit_code, units from runs where command = 'reread'")
    assert ended == [("ok", 0, 0)] * 3
    assert list((harness.root / "tmp").iterdir()) == []


@pytest.mark.whole
@postgres_when_whole
def test_a_dry_run_counts_what_a_reread_adds_and_changes_nothing(either: ArchiveHarness) -> None:
    """It has the numbers of the real one that follows, also of answers without a row, and leaves no file."""
    forget(either)
    last = "select max(id) from answers where lost_at is null"
    execute(either, f"delete from answers where id = ({last})")
    before = dump(either)
    runs = either.rows("select * from runs")
    planned = either.reread(dry_run=True)
    assert (dump(either), either.rows("select * from runs")) == (before, runs)
    assert list((either.root / "tmp").iterdir()) == []
    assert planned.recovery.answers == 1
    done = either.reread()
    assert done.run_id is not None
    assert replace(done, run_id=None) == planned


def test_a_dry_run_is_refused_where_a_reread_is(harness: ArchiveHarness) -> None:
    """An older copy of the database must be brought up to date first."""
    harness.night("salwaaa_ki")
    shutil.copy(harness.root / "archive.db", harness.root.parent / "older.db")
    harness.sleep(days=1)
    harness.night("natgeo")
    lose_file(harness.root)
    shutil.copy(harness.root.parent / "older.db", harness.root / "archive.db")
    for dry_run in (True, False):
        with pytest.raises(JournalDiffers, match="older copy"):
            harness.reread(dry_run=dry_run)


@pytest.mark.whole
def test_a_highlight_that_comes_back_is_looked_at_by_the_next_run(old: ArchiveHarness) -> None:
    """A lost highlight gets a row that was never fetched; its stored page is used, so only the tray costs."""
    harness = old
    pk = str(harness.one("select pk from highlights where title = 'New'"))
    members = harness.rows("select item_pk from highlight_items where highlight_pk = ? order by position", pk)
    execute(
        harness,
        f"delete from highlight_items where highlight_pk = '{pk}'",
        f"delete from files where highlight_pk = '{pk}'",
        f"delete from highlights where pk = '{pk}'",
    )
    changes = dump(harness)["changes"]
    harness.reread()
    known = (
        "select title, fetched_at, completed_at, listed_at, cover_held, fetched_media_count"
        " from highlights where pk = ?"
    )
    assert harness.rows(known, pk) == [("New", None, None, None, None, None)]
    assert dump(harness)["changes"] == changes
    assert (
        harness.rows("select item_pk from highlight_items where highlight_pk = ? order by position", pk)
        == members
    )
    summary = harness.night(NATGEO)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 1)
    assert harness.one("select completed_at from highlights where pk = ?", pk) is not None


def test_the_later_answer_wins_and_a_row_is_as_old_as_its_first_answer(old: ArchiveHarness) -> None:
    """Answers are replayed in the order in which they came, whatever the order of their ids."""
    harness = old
    item, added = (
        str(
            harness.one(
                f"select item_pk from highlight_items where highlight_pk = ? order by {by} limit 1", BOTW
            )
        )
        for by in ("first_seen_at, position", "first_seen_at desc")
    )
    execute(
        harness, "update highlights set title = null", "delete from highlight_items", "delete from usernames"
    )
    harness.reread()
    assert harness.one("select title from highlights where pk = ?", LIMITLESS) == "Without limits"
    came = harness.rows("select finished_at from api_calls where subject = ? order by id", BOTW)
    seen = "select first_seen_at, last_seen_at from highlight_items where highlight_pk = ? and item_pk = ?"
    assert harness.rows(seen, BOTW, item) == [(came[0][0], came[1][0])]
    assert harness.rows(seen, BOTW, added) == [(came[1][0], came[1][0])]
    nights = harness.rows(
        "select max(finished_at) from api_calls where path like '%/highlights%' group by run_id"
    )
    names = harness.rows("select username, first_seen_at from usernames where user_pk = ? order by 2", NATGEO)
    assert [name for name, _ in names] == ["natgeo", "natgeo2"]
    assert str(names[0][1])[:10] < str(names[1][1])[:10] == str(nights[1][0])[:10]


def test_a_row_that_is_younger_than_its_answer_is_dated_back(old: ArchiveHarness) -> None:
    """``first_seen_at`` becomes earlier, ``last_seen_at`` of names later; the rest of a row stays."""
    harness = old
    dated = ("users", "usernames", "highlights", "items", "highlight_items")
    before = dump(harness, dict.fromkeys(dated, SEEN))
    late = "update {} set first_seen_at = '2030-01-01T00:00:00.000000Z'"
    early = "update usernames set last_seen_at = '2001-01-01T00:00:00.000000Z'"
    execute(harness, *map(late.format, dated), early)
    done = harness.reread()
    assert counts(done.row_counts) == {table: (0, len(before[table])) for table in dated}
    assert dump(harness, dict.fromkeys(dated, SEEN)) == before
    assert harness.one("select count(*) from items where first_seen_at > '2029'") == 0
    assert harness.one("select count(*) from usernames where last_seen_at < '2002'") == 0


def poorer(document: Document, asked: Pk | None = None) -> HighlightPage:
    """Return what a version with fewer fields reads: no names of mentions by pk, hashtags, media types."""
    page = parse_highlight_page(document, asked)
    return replace(page, items=tuple(map(_poorer, page.items)))


def _poorer(item: Item) -> Item:
    mentions = tuple(Mention(mention.username) for mention in item.mentions)
    return replace(item, mentions=mentions, hashtags=(), web_links=(), media_type=None, video_duration=None)


@pytest.mark.whole
def test_a_version_that_understands_more_enriches_an_old_archive(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive of a version that knew fewer fields becomes what this version would have made of it."""
    with monkeypatch.context() as older:
        older.setattr(wire, "parse_highlight_page", poorer)
        harness.night("natgeo", "salwaaa_ki")
    poor = dump(harness)
    assert not poor["hashtags"]
    newer = ArchiveHarness(harness.root.parent / "newer", harness.upstream)
    newer.night("natgeo", "salwaaa_ki")
    done = harness.reread()
    told = (*ENTRIES, "items")
    ours, theirs = (dump(of, {"items": SEEN | {"answer_id"}}) for of in (harness, newer))
    assert {table: ours[table] for table in told} == {table: theirs[table] for table in told}
    assert done.row_counts["mentions"] == (0, len(poor["mentions"]))
    assert (asked(harness), dump(harness)["changes"]) == ([], [])


def test_an_answer_that_cannot_be_read_is_told_and_left_out(old: ArchiveHarness) -> None:
    """Damaged or wrong answers do not stop the others; lost ones are not read."""
    harness = old
    harness.upstream.faults.add(edit_answer(lambda tree: []), path=PAGE, highlight=GIFT)
    harness.night(NATGEO, full=True)
    whole = dump(harness, BUT_WHEN_SEEN)
    spoilt, lost = harness.rows(
        'select a.id, segment, "offset" from answers a join api_calls c on c.id = api_call_id'
        " where subject = ?"
        " or a.id = 1 order by a.id desc limit 2",
        BOTW,
    )
    path = harness.root / "answers" / str(spoilt[1])
    data = bytearray(path.read_bytes())
    data[int(str(spoilt[2])) + 100] ^= 0xFF
    path.write_bytes(data)
    execute(harness, "update answers set lost_at = '2026-01-01T00:00:00.000000Z' where id = " + str(lost[0]))
    forget(harness)
    done = harness.reread()
    assert [(a.answer_id, a.segment) for a in done.replay.unreadable] == [(spoilt[0], spoilt[1])]
    assert (done.lost_count, done.replay.unclear_count) == (1, 1)
    assert done.replay.read_count == len(whole["answers"]) - 2
    back = dump(harness, BUT_WHEN_SEEN)
    assert back["hashtags"] == whole["hashtags"]
    assert 0 < len(whole["items"]) - len(back["items"]) < 20


def test_a_rereading_that_is_stopped_anywhere_is_finished_by_the_next(
    old: ArchiveHarness, whole: bool
) -> None:
    """A signal at any step leaves a sound archive and an empty ``tmp/``; the next replay completes it.

    ``--whole``: at five steps, else at one.
    """
    harness = old
    values = dump(harness, BUT_WHEN_SEEN)
    forget(harness)
    files = dump(harness)["files"]
    stops = 0
    for step in (1, 6, 15, 24, 1000) if whole else (15, 1000):
        try:
            harness.reread(StopAt(step))
        except StoppedBySignal:
            stops += 1
        assert list((harness.root / "tmp").iterdir()) == []
    assert (3 <= stops < 5) if whole else stops == 1
    assert dump(harness, BUT_WHEN_SEEN) == {**values, "files": files}
    assert harness.one("select count(*) from runs where outcome = 'stopped' and exit_code = 130") == stops


HIGHLIGHT = {"pk": "17", "user": {"pk": "1", "username": "ann"}, "title": "T", "items": []}
OTHERS = {"balance_call", "next_page_call"}
"""One is free; the other makes another page of a call."""
PAID = [make("1") for name, make in vars(endpoints).items() if name.endswith("_call") and name not in OTHERS]


def answer(call: Call, tree: object, status: int = 200) -> Answer:
    url, now = f"https://api.hikerapi.com{call.path}", utcnow()
    return Answer(call, url, status, (), json.dumps(tree).encode(), now, now)


def test_no_endpoint_that_costs_units_is_passed_over() -> None:
    """Every answer that costs units can be replayed; errors say nothing."""
    assert {call.path for call in PAID} == reread._READERS.keys()
    error = {"detail": "no", "exc_type": "UserNotFound"}
    assert [reread.read_content(answer(call, error, 404)) for call in PAID] == [None] * len(PAID)
    assert reread.read_content(answer(Call("/v9/new", (), "1", 1), [HIGHLIGHT])) is None


def test_a_tray_is_one_whichever_endpoint_it_came_by() -> None:
    """A tray may come in one answer, by name, or page by page."""
    page = {"response": {"tray": [HIGHLIGHT]}, "next_page_id": "2"}
    told = [
        reread.read_content(answer(call, tree))
        for call, tree in (
            (endpoints.tray_call("1"), [HIGHLIGHT]),
            (endpoints.tray_by_name_call("ann"), [HIGHLIGHT]),
            (endpoints.tray_page_call("1"), page),
        )
    ]
    assert [[h.pk for h in tray.highlights] for tray in told if isinstance(tray, Tray)] == [["17"]] * 3
