"""What items carry: every entry stays, whatever later answers leave out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from archiver.catalog import Catalog, record, tables
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.record.highlight_page import merge_entries
from archiver.hiker.wire.story_items import to_item
from archiver.model.archived import KeptItem
from archiver.model.upstream import Hashtag, Item, Location, Mention, Reshare, Sponsor, Sticker, WebLink
from tests.support.catalog_samples import FACTS, NATGEO, page, rows, video
from tests.support.databases import NOW, SQLITE_EVERYDAY

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
