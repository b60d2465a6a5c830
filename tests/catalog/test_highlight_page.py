"""Pages of highlights: items, their places, and their entries, which stay whatever a later answer lacks."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from archiver.catalog import Catalog, record, tables
from archiver.catalog.column_types import time_text
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.query import account_state, holdings
from archiver.catalog.record.highlight_page import merge_entries
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import Reason
from archiver.hiker.wire.story_items import to_item
from archiver.model.archived import KeptItem
from archiver.model.identity import Role
from archiver.model.target import Target
from archiver.model.upstream import (
    Hashtag,
    Item,
    Location,
    Mention,
    Reshare,
    Sponsor,
    Sticker,
    TrayNumbers,
    User,
    WebLink,
)
from archiver.model.values import replace
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    change_rows,
    digest,
    file_of,
    highlight,
    page,
    rows,
    tray,
    video,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY

_USER = "SELECT username, is_private, gone_at, verdict, last_seen_at FROM users"
_HIGHLIGHT = "SELECT title, gone_at, last_seen_at FROM highlights"
_NAMES = "SELECT username, last_seen_at FROM usernames ORDER BY username"
_FILES = "SELECT id, last_seen_at FROM files"


@pytest.fixture
def fetched(catalog: Catalog, run_id: int) -> int:
    """A highlight 1 whose page with the items 10, 11, 12 was seen once; the run that did."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, 7, page("1", "10", "11", "12"), FACTS, NOW)
    return run_id


@SQLITE_EVERYDAY
def test_the_first_page_is_no_change(catalog: Catalog, run_id: int) -> None:
    """Its items are stored in order; the highlight knows when and under which numbers it was fetched, and is
    not complete by that.
    """
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    new = catalog.write(record.record_page, run_id, 7, page("1", "11", "10"), TrayNumbers(5, None), LATER)
    assert new == 2
    assert catalog.read(holdings.members, "1") == ("11", "10")
    held = catalog.read(account_state.highlight_state, "1")
    assert held is not None
    assert (held.fetched_at, held.fetched_numbers, held.completed_at) == (LATER, TrayNumbers(5, None), None)
    assert held.numbers == FACTS
    assert rows(catalog, "SELECT pk, user_pk, code, media_type, answer_id FROM items ORDER BY pk") == [
        ("10", NATGEO.pk, "C10", 2, 7),
        ("11", NATGEO.pk, "C11", 2, 7),
    ]
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_highlight_target_needs_no_tray(catalog: Catalog, run_id: int) -> None:
    """Account and highlight come with the page, numbers too, since no tray gave any."""
    catalog.write(record.record_page, run_id, None, page("1", "10"), TrayNumbers(), NOW)
    held = catalog.read(account_state.highlight_state, "1")
    assert held is not None
    assert (held.title, held.numbers, held.fetched_numbers) == ("Gift Guide", FACTS, TrayNumbers())
    assert catalog.read(account_state.resolve, Target("", username="natgeo"), from_config=False) == NATGEO.pk


@SQLITE_EVERYDAY
def test_the_pages_own_numbers_do_not_overwrite_the_trays(catalog: Catalog, fetched: int) -> None:
    """Else every night would find that they differ."""
    catalog.write(record.record_page, fetched, 8, page("1", "10", numbers=TrayNumbers(1, 98)), FACTS, LATER)
    held = catalog.read(account_state.highlight_state, "1")
    assert held is not None
    assert held.numbers == FACTS


@pytest.mark.parametrize(
    ("pages", "new", "changes"),
    [
        pytest.param([("10", "11", "12")], 0, [], id="the same"),
        pytest.param([("9", "10", "11", "12")], 1, [("items", None, "9")], id="an item is added"),
        pytest.param(
            [("12", "10", "13", "11")],
            1,
            [("items", None, "13"), ("item_order", "10,11,12", "12,10,11")],
            id="another order of those that both show",
        ),
        pytest.param([("12",), ("10", "11", "12")], 0, [], id="left out, and as they were"),
    ],
)
@SQLITE_EVERYDAY
def test_what_later_pages_show_otherwise_is_a_change(
    catalog: Catalog,
    fetched: int,
    pages: list[tuple[str, ...]],
    new: int,
    changes: list[tuple[str, str | None, str]],
) -> None:
    """One row for each item that is new, that moves no other, and one for another order. Known items keep the
    answer that they came from.
    """
    for items, at in zip(pages, (LATER, LATEST), strict=False):
        assert catalog.write(record.record_page, fetched, 8, page("1", *items), FACTS, at) == new
    assert change_rows(catalog) == [("highlight", "1", *change) for change in changes]
    assert catalog.read(holdings.members, "1") == pages[-1]
    assert rows(catalog, "SELECT count(*) FROM items WHERE answer_id = 7") == [(3,)]


@SQLITE_EVERYDAY
def test_a_page_that_came_earlier_tells_of_the_order_all_the_same(catalog: Catalog, fetched: int) -> None:
    """It served for nothing on a later night; what the next page shows in another order is a change."""
    catalog.write(
        record.record_page, fetched, 8, page("1", "10", "11", "12"), FACTS, LATEST, fetched_at=LATER
    )
    catalog.write(record.record_page, fetched, 9, page("1", "12", "10", "11"), FACTS, LATEST)
    assert change_rows(catalog) == [("highlight", "1", "item_order", "10,11,12", "12,10,11")]


@SQLITE_EVERYDAY
def test_an_absent_item_is_gone_only_if_that_is_said(catalog: Catalog, fetched: int) -> None:
    """One row when it goes, however often that is said, and one when it returns."""
    catalog.write(record.record_page, fetched, 8, page("1", "10", "12"), FACTS, LATER)
    assert catalog.read(holdings.members, "1") == ("10", "11", "12")
    for time in (LATER, LATEST):
        catalog.write(record.record_page, fetched, 9, page("1", "10", "12"), FACTS, time, gone=("11",))
    assert catalog.read(holdings.members, "1") == ("10", "12")
    catalog.write(record.record_page, fetched, 10, page("1", "10", "11", "12"), FACTS, LATEST)
    assert catalog.read(holdings.members, "1") == ("10", "11", "12")
    assert change_rows(catalog) == [
        ("highlight", "1", "items", "11", None),
        ("highlight", "1", "items", None, "11"),
    ]


@SQLITE_EVERYDAY
def test_an_item_may_sit_in_two_highlights(catalog: Catalog, fetched: int) -> None:
    """It is one item, gone from one of them and not from the other."""
    catalog.write(record.record_page, fetched, 8, page("2", "11"), FACTS, NOW)
    catalog.write(record.record_page, fetched, 9, page("1", "10", "12"), FACTS, LATER, gone=("11",))
    assert catalog.read(holdings.members, "1") == ("10", "12")
    assert catalog.read(holdings.members, "2") == ("11",)
    assert rows(catalog, "SELECT count(*) FROM items") == [(3,)]


def test_a_page_edits_its_highlight(catalog: Catalog, fetched: int) -> None:
    """A title that the page shows otherwise is the owner's edit, and a highlight thought gone is back."""
    catalog.write(record.record_tray, fetched, NATGEO.pk, tray(), LATER, gone=("1",))
    catalog.write(
        record.record_page, fetched, 8, page("1", "10", title="BOTW"), FACTS, LATEST, shrunk_to="print"
    )
    held = catalog.read(account_state.highlight_state, "1")
    assert held is not None
    assert (held.title, held.gone_at, held.shrunk_to) == ("BOTW", None, "print")
    assert change_rows(catalog)[1:] == [
        ("highlight", "1", "title", "Gift Guide", "BOTW"),
        ("highlight", "1", "presence", None, "returned"),
    ]


@pytest.mark.parametrize(
    ("field", "value", "old", "new"),
    [
        ("code", "X", "C10", "X"),
        ("media_type", 1, "2", "1"),
        ("product_type", "story", "reel", "story"),
        ("video_duration", 20.5, "20.038000106811523", "20.5"),
        (
            "taken_at",
            NOW + timedelta(seconds=1),
            "2026-03-31T23:30:00.250000Z",
            "2026-03-31T23:30:01.250000Z",
        ),
    ],
)
@SQLITE_EVERYDAY
def test_an_item_that_reads_otherwise_is_a_change(
    catalog: Catalog, run_id: int, field: str, value: object, old: str, new: str
) -> None:
    """One row for each column, with both values in words; a poorer answer is none."""
    rich = video("10", product_type="reel", video_duration=20.038000106811523)
    catalog.write(record.record_page, run_id, 7, page("1", rich), FACTS, NOW)
    catalog.write(record.record_page, run_id, 8, page("1", Item("10")), FACTS, LATER)
    assert change_rows(catalog) == []
    catalog.write(record.record_page, run_id, 9, page("1", replace(rich, **{field: value})), FACTS, LATER)  # type: ignore[arg-type]
    assert change_rows(catalog) == [("item", "10", field, old, new)]


@SQLITE_EVERYDAY
def test_an_item_that_names_no_owner_is_the_highlights(catalog: Catalog, run_id: int) -> None:
    """Items carry a poorer user than their highlight."""
    catalog.write(record.record_page, run_id, 7, page("1", Item("10")), FACTS, NOW)
    assert rows(catalog, "SELECT user_pk FROM items") == [(NATGEO.pk,)]


@pytest.mark.parametrize("current", ["old", "new"])
@SQLITE_EVERYDAY
def test_an_offered_file_is_seen_again(catalog: Catalog, fetched: int, current: str) -> None:
    """Of two files in one role the current one is; what is not offered any more is not."""
    for time, content in ((NOW, "old"), (NOW, "new"), (LATER, current)):
        catalog.write(
            record.record_files, [StoredFile(file_of("10", content=content), 7, time)], run_id=fetched
        )
    catalog.write(record.record_files, [StoredFile(file_of("11"), 7, NOW)], run_id=fetched)
    only_pictures = replace(video("11"), links=video("11").links[:1])
    catalog.write(record.record_page, fetched, 8, page("1", "10", only_pictures), FACTS, LATEST)
    seen = rows(
        catalog, "SELECT sha256 FROM files WHERE last_seen_at = (SELECT max(last_seen_at) FROM files)"
    )
    assert seen == [(digest(current),)]
    is_older = "SELECT last_seen_at < (SELECT max(last_seen_at) FROM files) FROM files ORDER BY id"
    assert rows(catalog, is_older) == [(content != current,) for content in ("old", "new", "11")]


@SQLITE_EVERYDAY
def test_the_owner_of_a_page_is_recorded_as_an_account(catalog: Catalog, fetched: int) -> None:
    """A rename that the page shows first is a change of the account."""
    renamed = replace(page("1", "10"), highlight=replace(highlight("1"), user=User(NATGEO.pk, "renamed")))
    catalog.write(record.record_page, fetched, 8, renamed, FACTS, LATER)
    assert change_rows(catalog) == [("user", NATGEO.pk, "username", "natgeo", "renamed")]


@SQLITE_EVERYDAY  # which takes the fewest parameters at once
def test_a_page_of_many_items_is_stored_whole(catalog: Catalog, run_id: int, whole: bool) -> None:
    """As many as one answer may hold, with what they carry; every day half of them."""
    count = 3000 if whole else 1500
    many = [video(str(pk), hashtags=(Hashtag("tag", "1"),)) for pk in range(1000, 1000 + count)]
    assert catalog.write(record.record_page, run_id, 7, page("1", *many), FACTS, NOW) == count
    assert catalog.write(record.record_page, run_id, 8, page("1", *many), FACTS, LATER) == 0
    assert len(catalog.read(holdings.members, "1")) == count
    assert catalog.read(holdings.stored_roles, [item.pk for item in many]) == frozenset()
    assert Role.VIDEO in {link.role for link in many[0].links}


@SQLITE_EVERYDAY
@pytest.mark.parametrize("verdict", [Reason.GONE, Reason.PRIVATE])
def test_fault_a45_a_page_older_than_the_look_at_the_account_does_not_show_it(
    catalog: Catalog, fetched: int, verdict: Reason
) -> None:
    """A run that was broken off paid for the page; on the next night the account is gone or private, and then
    the page is used: that is the only change, and the account was not seen since. Its items are recorded.
    """
    catalog.write(record.record_verdict, fetched, NATGEO.pk, verdict, LATEST)
    after_look, told = rows(catalog, _USER), change_rows(catalog)
    evening = LATEST + timedelta(hours=1)
    shown = page("1", "10", "11", "12", "13")
    assert catalog.write(record.record_page, fetched, 8, shown, FACTS, evening, fetched_at=LATER) == 1
    assert rows(catalog, _USER) == after_look
    assert [row for row in change_rows(catalog) if row[0] == "user"] == told
    catalog.write(
        record.record_page, fetched, 9, shown, FACTS, evening, fetched_at=LATEST + timedelta(minutes=1)
    )
    assert rows(catalog, "SELECT gone_at, is_private FROM users") == [(None, False)]  # the later one shows it


def _name_dates(catalog: Catalog) -> list[tuple[object, str]]:
    """Return the names of the account, each with the text of its date on either database."""
    dates = rows(catalog, _NAMES)
    return [(name, time_text(at) if isinstance(at, datetime) else str(at)) for name, at in dates]


@SQLITE_EVERYDAY
def test_an_older_page_replaces_nothing_that_was_seen_since(catalog: Catalog, fetched: int) -> None:
    """Account renamed, highlight gone, files offered: what the later answers said stays, with its dates."""
    catalog.write(record.record_files, [StoredFile(file_of("10"), 7, LATEST)], run_id=fetched)
    catalog.write(record.record_user, fetched, replace(NATGEO, username="renamed"), LATEST)
    catalog.write(record.record_tray, fetched, NATGEO.pk, tray("1", user=None), LATEST)
    catalog.write(record.record_tray, fetched, NATGEO.pk, tray(user=None), LATEST, gone=("1",))
    state = [rows(catalog, sql) for sql in (_USER, _HIGHLIGHT, _NAMES, _FILES)]
    told = change_rows(catalog)
    evening = LATEST + timedelta(hours=1)
    catalog.write(
        record.record_page, fetched, 8, page("1", "10", "11", "12"), FACTS, evening, fetched_at=LATER
    )
    renewed = [rows(catalog, sql) for sql in (_USER, _HIGHLIGHT, _FILES)]
    assert renewed == [state[0], state[1], state[3]]
    assert change_rows(catalog) == told
    names = [("natgeo", time_text(LATER)), ("renamed", time_text(LATEST))]  # the page has the former name
    assert _name_dates(catalog) == names
    again = replace(page("1", "10"), highlight=replace(highlight("1"), user=User(NATGEO.pk, "renamed")))
    catalog.write(record.record_page, fetched, 9, again, FACTS, evening, fetched_at=LATER)
    assert _name_dates(catalog) == names


@SQLITE_EVERYDAY
def test_a_page_that_has_just_come_counts_whatever_the_clock_said(catalog: Catalog, fetched: int) -> None:
    """The clock was ahead when the account was gone: what shows it now is its return all the same."""
    catalog.write(record.record_verdict, fetched, NATGEO.pk, Reason.GONE, LATEST)
    catalog.write(record.record_page, fetched, 8, page("1", "10", "11", "12"), FACTS, LATER)
    assert change_rows(catalog)[-1] == ("user", NATGEO.pk, "presence", None, "returned")


_CARRIED: dict[str, tuple[dict[str, object], str, list[tuple[object, ...]]]] = {
    "mentions": (
        {"mentions": (Mention("friend", "9", "A Friend", 0.5, 0.25, 0.125, 0.0625, 0.0),)},
        "SELECT user_pk, username, full_name, x, y, width, height, rotation FROM mentions",
        [("9", "friend", "A Friend", 0.5, 0.25, 0.125, 0.0625, 0.0)],
    ),
    "links": (
        {"web_links": (WebLink("https://a"), WebLink("https://a", "A", "a.org", "sticker"))},
        "SELECT position, url, title, display_url, source FROM links ORDER BY position",
        [(0, "https://a", None, None, "link"), (1, "https://a", "A", "a.org", "sticker")],
    ),
    "hashtags": (
        {"hashtags": (Hashtag("tag", "4"),)},
        "SELECT hashtag_pk, name FROM hashtags",
        [("4", "tag")],
    ),
    "locations": (
        {"locations": (Location("Rome", "3", 41.9, 12.5),)},
        "SELECT location_pk, name, lat, lng FROM locations",
        [("3", "Rome", 41.9, 12.5)],
    ),
    "stickers": (
        {"stickers": (Sticker("poll", '{"a": 1}'),)},
        "SELECT kind, extra FROM stickers",
        [("poll", '{"a": 1}')],
    ),
    "reshares": (
        {"reshares": (Reshare("5", "CODE", "6", "feed"),)},
        "SELECT media_pk, media_code, user_pk, product_type FROM reshares",
        [("5", "CODE", "6", "feed")],
    ),
    "sponsors": (
        {"sponsors": (Sponsor("brand", "8"),)},
        "SELECT user_pk, username FROM sponsors",
        [("8", "brand")],
    ),
}


@SQLITE_EVERYDAY
def test_what_an_item_carries_stays(catalog: Catalog, run_id: int) -> None:
    """Each entry is a row with all that was said of it, and a later answer without it takes nothing away."""
    for carried, sql, expected in _CARRIED.values():
        for item in (video("10", **carried), video("10", **carried), video("10")):
            catalog.write(record.record_page, run_id, 7, page("1", item), FACTS, NOW)
            assert rows(catalog, sql) == expected
    assert rows(catalog, "SELECT pk FROM users") == [(NATGEO.pk,)], "strangers are no accounts"


@SQLITE_EVERYDAY
def test_entries_of_a_later_answer_join_those_held(catalog: Catalog, run_id: int) -> None:
    """Unknown ones come after, known ones keep their place and learn what they lacked."""
    first = (Mention("a", "1"), Mention("b", "2"))
    later = (Mention("b", "2", "Bee"), Mention("c", "3"))
    for mentions in (first, later):
        catalog.write(record.record_page, run_id, 7, page("1", video("10", mentions=mentions)), FACTS, NOW)
    assert rows(catalog, "SELECT position, username, full_name FROM mentions ORDER BY position") == [
        (0, "a", None),
        (1, "b", "Bee"),
        (2, "c", None),
    ]


@SQLITE_EVERYDAY
def test_an_item_may_carry_the_same_thing_twice(catalog: Catalog, run_id: int) -> None:
    """Both are entries, and stay two when they are seen again."""
    twice = video("10", hashtags=(Hashtag("tag", "1"), Hashtag("tag", "1")))
    for _ in range(2):
        catalog.write(record.record_page, run_id, 7, page("1", twice), FACTS, NOW)
    assert rows(catalog, "SELECT position, name FROM hashtags ORDER BY position") == [(0, "tag"), (1, "tag")]


@SQLITE_EVERYDAY
def test_who_was_known_by_name_alone_is_the_one_whose_pk_is_told(catalog: Catalog, run_id: int) -> None:
    """One entry that learns its pk, not a second one beside it; another pk under the same name is another
    entry.
    """
    named, told, other = Mention("a"), Mention("a", "1"), Mention("a", "2")
    for mentions in ((named,), (told,), (other,), (named, told)):
        catalog.write(record.record_page, run_id, 7, page("1", video("10", mentions=mentions)), FACTS, NOW)
    assert rows(catalog, "SELECT position, username, user_pk FROM mentions ORDER BY position") == [
        (0, "a", "1"),
        (1, "a", "2"),
    ]


_values = st.tuples(st.sampled_from([None, "", "x", "y"]), st.sampled_from([None, 1, 2]))
_entries = st.lists(st.tuples(st.sampled_from("abc"), _values), unique_by=lambda entry: entry[0], max_size=3)


@given(_entries, _entries)
def test_merging_loses_nothing_and_is_done_once(
    held: list[tuple[str, tuple[object, ...]]], new: list[tuple[str, tuple[object, ...]]]
) -> None:
    """No entry and no known value disappears, and the same answer again writes nothing."""
    after: list[tuple[object, tuple[object, ...]]] = [*held]
    unknown = [key for key, _ in new if key not in dict(held)]
    for position, values in merge_entries(held, new):
        if position == len(after):
            after.append((unknown.pop(0), values))
        else:
            after[position] = (after[position][0], values)
    assert not unknown
    assert [key for key, _ in after][: len(held)] == [key for key, _ in held]
    for (_, before), (_, now) in zip(held, after, strict=False):
        assert all(
            value not in (None, "") or old in (None, "") for old, value in zip(before, now, strict=True)
        )
    if len(new) >= len(after):
        assert list(merge_entries(after, new)) == []


def test_a_poorer_answer_fills_gaps_and_replaces_nothing() -> None:
    """With fewer entries than are held an answer is not trusted to replace, only to add."""
    held = [("a", ("x", None)), ("b", ("y", 2))]
    assert list(merge_entries(held, [("a", ("z", 1))])) == [(0, ("x", 1))]
    assert list(merge_entries(held, [("a", ("z", 1)), ("b", ("y", None))])) == [(0, ("z", 1))]


def test_an_entry_that_was_lost_takes_its_own_place_again() -> None:
    """The others keep theirs; where its place is taken it comes after all."""
    held = [("b", ("y", 2))]
    assert list(merge_entries(held, [("a", ("x", 1)), ("b", ("y", 2))], positions=[1])) == [(0, ("x", 1))]
    assert list(merge_entries(held, [("a", ("x", 1)), ("b", ("y", 2))], positions=[0])) == [(1, ("x", 1))]


def test_what_is_only_to_be_filled_replaces_nothing() -> None:
    """Not even from an answer that is no poorer."""
    held = [("a", ("x", None))]
    assert list(merge_entries(held, [("a", ("z", 1)), ("b", ("y", 2))], fill_only=True)) == [
        (0, ("x", 1)),
        (1, ("y", 2)),
    ]


def test_the_kinds_are_the_tables_and_the_fields_that_have_entries() -> None:
    """A kind that one list lacked would not be recorded, exported or removed, or stop ``forget``."""
    references = {
        table.name
        for table in tables.metadata.tables.values()
        if any(key.column is tables.items.c.pk for key in table.foreign_keys)
    }
    assert {kind.table for kind in ENTRY_KINDS} == references - {"highlight_items", "files"}
    for kind in ENTRY_KINDS:
        columns = {column.name for column in tables.metadata.tables[kind.table].columns}
        assert {*kind.columns, "item_pk", "position"} == columns
        assert kind.searched.keys() <= set(kind.struct.__struct_fields__)
    fields = {kind.field for kind in ENTRY_KINDS}
    assert fields == {name for name in _lists(Item) if name not in ("links", "cut_lists")}
    assert fields == {name for name in _lists(KeptItem) if name != "files"}


def test_each_kind_is_read_from_an_answer() -> None:
    """``hiker.wire`` has its own list, since it imports nothing of the catalog."""
    entries = {
        "mentions": [{"user": {"pk": "1", "username": "a"}}],
        "links": [{"webUri": "https://a.org"}],
        "hashtags": [{"hashtag": {"id": "2", "name": "b"}}],
        "locations": [{"location": {"pk": "3", "name": "c"}}],
        "stickers": [{"type": "x"}],
        "medias": [{"media_pk": "4"}],
        "sponsor_tags": [{"pk": "5", "username": "d"}],
    }
    item = to_item({"pk": "9", **entries})
    assert isinstance(item, Item)
    assert [kind.field for kind in ENTRY_KINDS if not getattr(item, kind.field)] == []


def _lists(struct: type[Struct]) -> set[str]:
    return {field.name for field in structs.fields(struct) if field.default == ()}
