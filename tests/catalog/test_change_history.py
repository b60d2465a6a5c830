"""Changes read again, with the names that they go by now; and what moved between two orders of a list."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog import Catalog, record
from archiver.catalog.query import change_history, content
from archiver.catalog.record.changes import find_moved
from archiver.model.archived import EVERYTHING, NamedChange
from archiver.model.identity import Subject
from archiver.model.upstream import Highlight, HighlightPage, Tray, User
from tests.support.catalog_samples import FACTS, LATER, LATEST, NATGEO, highlight, page, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY

NASA = User("42", "nasa", "NASA", False, True, None, "nasa.jpg")


@pytest.fixture
def edited(catalog: Catalog, run_id: int) -> tuple[int, int]:
    """Two accounts, edited in two runs: titles and items of natgeo, the name and a highlight of nasa."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", "11", "12"), FACTS, NOW)
    catalog.write(record.record_tray, run_id, NASA.pk, Tray(NASA, (Highlight("5", NASA, "Moon"),)), NOW)
    first = catalog.write(record.start_run, "run", LATER)
    catalog.write(record.record_tray, first, NATGEO.pk, tray(highlight("1", "BOTW"), "2"), LATER)
    again = page("1", video("11", code="other"), "13", title="BOTW")
    catalog.write(record.record_page, first, None, again, FACTS, LATER, gone=("12",))
    second = catalog.write(record.start_run, "run", LATEST)
    renamed = User("42", "nasa_gov", "NASA", False, True, None, "nasa.jpg")
    catalog.write(record.record_tray, second, NASA.pk, Tray(renamed, ()), LATEST, gone=("5",))
    catalog.write(record.record_tray, second, NATGEO.pk, tray(highlight("1", "BOTW 2026"), "2"), LATEST)
    return first, second


def _short(change: NamedChange) -> tuple[object, ...]:
    return change.username, change.title, change.subject.value, change.field, change.old, change.new


@SQLITE_EVERYDAY
def test_every_change_has_the_names_of_today(catalog: Catalog, edited: tuple[int, int]) -> None:
    """In the order of ids: the account's present name, the highlight's present title; an item is its
    highlight's owner's.
    """
    found = list(catalog.stream(change_history.changes))
    assert [_short(change) for change in found] == [
        ("natgeo", "BOTW 2026", "highlight", "title", "Gift Guide", "BOTW"),
        ("natgeo", None, "item", "code", "C11", "other"),
        ("natgeo", "BOTW 2026", "highlight", "items", None, "13"),
        ("natgeo", "BOTW 2026", "highlight", "items", "12", None),
        ("nasa_gov", None, "user", "username", "nasa", "nasa_gov"),
        ("nasa_gov", "Moon", "highlight", "presence", None, "gone"),
        ("natgeo", "BOTW 2026", "highlight", "title", "BOTW", "BOTW 2026"),
    ]
    assert [change.id for change in found] == sorted(change.id for change in found)
    assert {change.user_pk for change in found} == {NATGEO.pk, NASA.pk}
    assert [(change.run_id, change.at) for change in found] == [(edited[0], LATER)] * 4 + [
        (edited[1], LATEST)
    ] * 3


def test_one_run_a_moment_and_accounts_narrow_it_down(catalog: Catalog, edited: tuple[int, int]) -> None:
    """Each alone, and together; the moment itself counts."""

    def ids(**asked: object) -> list[str]:
        return [change.subject_pk for change in catalog.stream(change_history.changes, **asked)]  # type: ignore[arg-type]

    assert ids(run_id=edited[0]) == ["1", "11", "1", "1"]
    assert ids(since=LATEST) == ["42", "5", "1"]
    assert ids(since=LATEST + timedelta(microseconds=1)) == []
    assert ids(user_pks=[NASA.pk]) == ["42", "5"]
    assert ids(user_pks=[NATGEO.pk]) == ["1", "11", "1", "1", "1"]
    assert ids(user_pks=[NATGEO.pk, NASA.pk], since=LATEST) == ["42", "5", "1"]
    assert ids(user_pks=["7"]) == []
    assert ids(run_id=edited[1], user_pks=[NATGEO.pk]) == ["1"]


@SQLITE_EVERYDAY
def test_a_clock_that_went_back_hides_nothing_and_shows_nothing_else(catalog: Catalog, run_id: int) -> None:
    """Each change is told by its own time, in the order in which it was seen."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    for title, at in (("A", LATEST), ("B", LATER), ("C", LATEST)):
        catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("1", title)), at)
    assert [change.new for change in catalog.stream(change_history.changes, since=LATEST)] == ["A", "C"]


@SQLITE_EVERYDAY
def test_an_item_of_a_stranger_is_its_highlights_owners(catalog: Catalog, run_id: int) -> None:
    """An item that names another account, such as a reshare, is told of the account whose highlight shows
    it.
    """
    catalog.write(record.record_page, run_id, None, page("1", video("11", user_pk="999")), FACTS, NOW)
    catalog.write(
        record.record_page, run_id, None, page("1", video("11", user_pk="999", code="x")), FACTS, LATER
    )
    (change,) = catalog.stream(change_history.changes, user_pks=[NATGEO.pk])
    assert (change.subject, change.user_pk, change.username) == (Subject.ITEM, NATGEO.pk, "natgeo")


@SQLITE_EVERYDAY
def test_more_than_a_thousand_come_in_order(catalog: Catalog, run_id: int) -> None:
    """Names are looked up for a thousand at a time: none is lost, none comes twice."""
    items = [str(n) for n in range(1001, 2003)]
    catalog.write(record.record_page, run_id, None, page("1", *items[:1]), FACTS, NOW)
    catalog.write(record.record_page, run_id, None, page("1", *items), FACTS, LATER)
    found = list(catalog.stream(change_history.changes, run_id=run_id))
    assert [change.new for change in found] == items[1:]
    assert {change.title for change in found} == {"Gift Guide"}


@SQLITE_EVERYDAY
def test_the_last_run_and_the_names_of_accounts(catalog: Catalog, edited: tuple[int, int]) -> None:
    """What a wrong --run or --account is answered with."""
    assert catalog.read(change_history.last_run) == edited[1]
    assert catalog.read(content.usernames, "") == ("nasa_gov", "natgeo")


@SQLITE_EVERYDAY
def test_former_titles_come_latest_first_and_once(catalog: Catalog, edited: tuple[int, int]) -> None:
    """Of the account's own highlights, while the archive is walked through too; a title that it bears again
    is none.
    """
    found = [
        catalog.read(change_history.former_titles, account.pk)
        for account in catalog.stream(content.accounts, EVERYTHING)
    ]
    assert found == [{}, {"1": ("BOTW", "Gift Guide")}]
    again = tray(highlight("1", "BOTW"), "2")
    catalog.write(record.record_tray, edited[1], NATGEO.pk, again, LATEST + timedelta(days=1))
    assert catalog.read(change_history.former_titles, NATGEO.pk) == {"1": ("BOTW 2026", "Gift Guide")}
    assert catalog.read(change_history.former_titles, NASA.pk) == {}


@SQLITE_EVERYDAY
def test_an_archive_without_runs_has_no_last_one(catalog: Catalog) -> None:
    """None, not 0; and no names."""
    assert catalog.read(change_history.last_run) is None
    assert catalog.read(content.usernames, "") == ()


@SQLITE_EVERYDAY
def test_a_page_of_an_unknown_owner(catalog: Catalog, run_id: int) -> None:
    """An account without a name is known by its pk."""
    nameless = User("77")
    shown = HighlightPage(Highlight("9", nameless, "Sea"), (video("91", user_pk="77"),))
    catalog.write(record.record_page, run_id, None, shown, FACTS, NOW)
    catalog.write(
        record.record_page, run_id, None, HighlightPage(Highlight("9", nameless, "Lake"), ()), FACTS, LATER
    )
    (change,) = catalog.stream(change_history.changes)
    assert (change.user_pk, change.username, change.title) == ("77", None, "Lake")


_lists = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(_lists, _lists)
def test_without_what_moved_the_order_is_the_same(before: list[str], after: list[str]) -> None:
    """Those that stayed stand in both lists in one order."""
    gone = find_moved(before, after)
    stayed = (set(before) & set(after)) - gone
    assert gone <= set(before) & set(after)
    assert [name for name in before if name in stayed] == [name for name in after if name in stayed]


@given(_lists, _lists)
def test_no_smaller_set_would_do(before: list[str], after: list[str]) -> None:
    """Of all sets whose removal makes the orders equal, none is smaller."""
    common = [name for name in after if name in before]
    least = next(
        size
        for size in range(len(common) + 1)
        for left in combinations(common, len(common) - size)
        if [name for name in before if name in left] == list(left)
    )
    assert len(find_moved(before, after)) == least


def test_additions_and_removals_move_nothing() -> None:
    """A new highlight in front shifts all positions and moves none; one put to the front moves alone."""
    assert find_moved("abc", "xabc") == frozenset()
    assert find_moved("abc", "ac") == frozenset()
    assert find_moved("abcd", "dabc") == {"d"}
