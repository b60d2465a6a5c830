"""All kept answers read anew: what the database lacks comes back, what it has stays, and nothing is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.errors import Stopped
from archiver.hiker import wire
from archiver.hiker.wire import highlight_page
from archiver.model.billing import Answer
from archiver.model.identity import Pk
from archiver.model.upstream import HighlightPage, Item, Mention
from archiver.sandbox import StandIn
from tests.support.api_faults import PAGE, edited
from tests.support.archive_harness import House
from tests.support.table_dumps import SEEN, StopAt, asked, counts, dump, execute

NATGEO, ME = "787132", "18085475671830440"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"
ENTRIES = ("mentions", "links", "hashtags", "locations", "stickers", "reshares", "sponsors")
VIDEOS = "select pk from items where media_type = 2 and pk not in (select item_pk from mentions)"
BUT_WHEN_SEEN = {"usernames": SEEN, "items": SEEN | {"answer_id"}, "highlight_items": SEEN}
"""An item of two highlights names the answer that was recorded first, which may not be the one that came first."""


def two_nights(house: House) -> House:
    """Keep both accounts, edit one in every way, and keep them again a day later."""
    house.night("natgeo", "salwaaa_ki")
    world = house.upstream.world
    world.add_item(BOTW, "video")
    photo = next(item for item in world.highlight(GIFT).items if item.video is None)
    world.remove_item(GIFT, photo.pk)  # nothing tells that it is gone but its row: that one must stay
    world.retitle(LIMITLESS, "Without limits")
    world.rename("natgeo", "natgeo2")
    world.add_highlight(NATGEO, "New")
    world.add_item(ME)
    world.lose_page(ME)  # 404, billed and kept: it tells nothing
    house.sleep(days=1)
    house.night(NATGEO, "salwaaa_ki")
    return house


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An archive of two nights."""
    with StandIn() as upstream:
        yield two_nights(House(tmp_path_factory.mktemp("template") / "archive", upstream))


@pytest.fixture
def old(template: House, tmp_path: Path) -> House:
    """A copy of it; the world is that of all tests, and to be left as it is."""
    shutil.copytree(template.root, tmp_path / "archive")
    return House(tmp_path / "archive", template.upstream, later=template.later)


@pytest.fixture
def either(request: pytest.FixtureRequest, tmp_path: Path, nowhere: str | Path) -> Iterator[House]:
    """An archive of two nights on either database."""
    if isinstance(nowhere, Path):
        yield request.getfixturevalue("old")
        return
    with StandIn() as upstream:
        yield two_nights(House(tmp_path / "archive", upstream, nowhere))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An archive that is not there yet, and the two accounts of the vendor's page."""
    with StandIn() as upstream:
        yield House(tmp_path / "archive", upstream)


def forget(house: House) -> None:
    """Take away of every table that is filled from answers: rows that nothing refers to, and what columns say."""
    execute(
        house,
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


def test_what_was_taken_away_comes_back_and_all_else_stays(either: House) -> None:
    """A whole archive stays as it is; one that lost rows and values equals it again but for the files; twice is once; no call."""
    house = either
    whole, values = dump(house), dump(house, BUT_WHEN_SEEN)
    first = house.reread()
    assert (dump(house), counts(first.learnt), first.replayed.unclear) == (whole, {}, 0)
    forget(house)
    files = dump(house)["files"]
    assert files != whole["files"]
    for left in ("reread-0a.db", "reread-0a.db-wal", "reread-0a.db-shm"):  # by one that was killed
        (house.root / "tmp" / left).write_bytes(b"x")
    second = house.reread()
    assert dump(house, BUT_WHEN_SEEN) == {**values, "files": files}
    assert counts(second.learnt).keys() >= {*ENTRIES, "users", "usernames", "highlights", "items"}
    assert second.learnt["highlight_items"][0] > 0
    nameless = (
        "select count(*) from items where answer_id is null or answer_id not in (select id from answers)"
    )
    assert house.one(nameless) == 0
    once = dump(house)
    assert counts(house.reread().learnt) == {}
    assert dump(house) == once
    assert (asked(house), house.upstream.units) == ([], 0)
    assert second.replayed.read == house.one("select count(*) from answers") != 0
    ended = house.rows("select outcome, exit_code, units from runs where command = 'reread'")
    assert ended == [("ok", 0, 0)] * 3
    assert list((house.root / "tmp").iterdir()) == []


def test_a_highlight_that_comes_back_is_looked_at_by_the_next_run(old: House) -> None:
    """Its row is new: nothing says that it was fetched. The kept page serves, so that this costs no unit but the tray's."""
    house = old
    pk = str(house.one("select pk from highlights where title = 'New'"))
    members = house.rows("select item_pk from highlight_items where highlight_pk = ? order by position", pk)
    execute(
        house,
        f"delete from highlight_items where highlight_pk = '{pk}'",
        f"delete from files where highlight_pk = '{pk}'",
        f"delete from highlights where pk = '{pk}'",
    )
    changes = dump(house)["changes"]
    house.reread()
    known = "select title, fetched_at, completed_at, listed_at, cover_held, fetched_media_count from highlights where pk = ?"
    assert house.rows(known, pk) == [("New", None, None, None, None, None)]
    assert dump(house)["changes"] == changes
    assert (
        house.rows("select item_pk from highlight_items where highlight_pk = ? order by position", pk)
        == members
    )
    summary = house.night(NATGEO)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 1)
    assert house.one("select completed_at from highlights where pk = ?", pk) is not None


def test_the_later_answer_wins_and_a_row_is_as_old_as_its_first_answer(old: House) -> None:
    """In the order in which they came, each under its own time, whatever the order of their ids."""
    house = old
    item, added = (
        str(
            house.one(
                f"select item_pk from highlight_items where highlight_pk = ? order by {by} limit 1", BOTW
            )
        )
        for by in ("first_seen_at, position", "first_seen_at desc")
    )
    execute(
        house, "update highlights set title = null", "delete from highlight_items", "delete from usernames"
    )
    house.reread()
    assert house.one("select title from highlights where pk = ?", LIMITLESS) == "Without limits"
    came = house.rows("select finished_at from api_calls where subject = ? order by id", BOTW)
    seen = "select first_seen_at, last_seen_at from highlight_items where highlight_pk = ? and item_pk = ?"
    assert house.rows(seen, BOTW, item) == [(came[0][0], came[1][0])]
    assert house.rows(seen, BOTW, added) == [(came[1][0], came[1][0])]
    nights = house.rows(
        "select max(finished_at) from api_calls where path like '%/highlights%' group by run_id"
    )
    names = house.rows("select username, first_seen_at from usernames where user_pk = ? order by 2", NATGEO)
    assert [name for name, _ in names] == ["natgeo", "natgeo2"]
    assert str(names[0][1])[:10] < str(names[1][1])[:10] == str(nights[1][0])[:10]


def test_a_row_that_is_younger_than_its_answer_is_dated_back(old: House) -> None:
    """``first_seen_at`` takes the earlier time; of names ``last_seen_at`` takes the later; nothing else of those rows moves."""
    house = old
    dated = ("users", "usernames", "highlights", "items", "highlight_items")
    before = dump(house, dict.fromkeys(dated, SEEN))
    late = "update {} set first_seen_at = '2030-01-01T00:00:00.000000Z'"
    early = "update usernames set last_seen_at = '2001-01-01T00:00:00.000000Z'"
    execute(house, *map(late.format, dated), early)
    done = house.reread()
    assert counts(done.learnt) == {table: (0, len(before[table])) for table in dated}
    assert dump(house, dict.fromkeys(dated, SEEN)) == before
    assert house.one("select count(*) from items where first_seen_at > '2029'") == 0
    assert house.one("select count(*) from usernames where last_seen_at < '2002'") == 0


def poorer(answer: Answer, asked: Pk | None = None) -> HighlightPage:
    """What a version reads that knows fewer fields: no names of whom items mention by pk, no hashtags, no kind of media."""
    page = highlight_page(answer, asked)
    return replace(page, items=tuple(map(_poorer, page.items)))


def _poorer(item: Item) -> Item:
    mentions = tuple(Mention(mention.username) for mention in item.mentions)
    return replace(item, mentions=mentions, hashtags=(), web_links=(), media_type=None, video_duration=None)


def test_a_version_that_understands_more_enriches_an_old_archive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by one that knew fewer fields, read anew it is what this version would have made of it, without one call."""
    with monkeypatch.context() as older:
        older.setattr(wire, "highlight_page", poorer)
        house.night("natgeo", "salwaaa_ki")
    poor = dump(house)
    assert not poor["hashtags"]
    newer = House(house.root.parent / "newer", house.upstream)
    newer.night("natgeo", "salwaaa_ki")
    done = house.reread()
    told = (*ENTRIES, "items")
    ours, theirs = (dump(of, {"items": SEEN | {"answer_id"}}) for of in (house, newer))
    assert {table: ours[table] for table in told} == {table: theirs[table] for table in told}
    assert done.learnt["mentions"] == (0, len(poor["mentions"]))
    assert (asked(house), dump(house)["changes"]) == ([], [])


def test_an_answer_that_cannot_be_read_is_told_and_left_out(house: House) -> None:
    """Damaged bytes, or a body that is not what was asked for, keep nobody from the other answers; what is lost is not looked at."""
    two_nights(house)
    house.upstream.world.add_item(GIFT)
    house.upstream.faults.add(edited(lambda tree: []), path=PAGE, highlight=GIFT)
    house.night(NATGEO)
    whole = dump(house, BUT_WHEN_SEEN)
    spoilt, lost = house.rows(
        'select a.id, segment, "offset" from answers a join api_calls c on c.id = api_call_id where subject = ?'
        " or a.id = 1 order by a.id desc limit 2",
        BOTW,
    )
    path = house.root / "answers" / str(spoilt[1])
    data = bytearray(path.read_bytes())
    data[int(str(spoilt[2])) + 100] ^= 0xFF
    path.write_bytes(data)
    execute(house, "update answers set lost_at = '2026-01-01T00:00:00.000000Z' where id = " + str(lost[0]))
    forget(house)
    done = house.reread()
    assert [(a.answer_id, a.segment) for a in done.replayed.unreadable] == [(spoilt[0], spoilt[1])]
    assert (done.lost, done.replayed.unclear) == (1, 1)
    assert done.replayed.read == len(whole["answers"]) - 2
    back = dump(house, BUT_WHEN_SEEN)
    assert back["hashtags"] == whole["hashtags"]
    assert 0 < len(whole["items"]) - len(back["items"]) < 20


def test_a_rereading_that_is_stopped_anywhere_is_finished_by_the_next(old: House) -> None:
    """Ended by a signal at any step, it leaves the archive sound and nothing in ``tmp/``; the next one makes it whole."""
    house = old
    values = dump(house, BUT_WHEN_SEEN)
    forget(house)
    files = dump(house)["files"]
    stops = 0
    for step in (1, 3, 6, 12, 18, 24, 30, 1000):
        try:
            house.reread(StopAt(step))
        except Stopped:
            stops += 1
        assert list((house.root / "tmp").iterdir()) == []
    assert 4 <= stops < 8
    assert dump(house, BUT_WHEN_SEEN) == {**values, "files": files}
    assert house.one("select count(*) from runs where outcome = 'stopped' and exit_code = 130") == stops
