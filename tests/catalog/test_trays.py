"""Trays: the highlights of an account, their order, and what is no evidence of anything."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state
from archiver.model.upstream import RejectedEntry, Tray, TrayNumbers, User
from archiver.model.values import replace
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    change_rows,
    highlight,
    page,
    rows,
    tray,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.states import stored_account


@pytest.fixture
def listed(catalog: Catalog, run_id: int) -> int:
    """An account whose tray of 1, 2, 3 was seen once; the run that did."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2", "3"), NOW)
    return run_id


def _pks(catalog: Catalog) -> list[str]:
    return [held.pk for held in stored_account(catalog, NATGEO.pk).highlights]


@SQLITE_EVERYDAY
def test_the_first_tray_is_no_change(catalog: Catalog, listed: int) -> None:
    """Its account and all of its highlights are stored, in its order."""
    held = stored_account(catalog, NATGEO.pk).highlights
    assert [(h.pk, h.title, h.numbers, h.fetched_numbers) for h in held] == [
        (pk, "Gift Guide", FACTS, TrayNumbers()) for pk in ("1", "2", "3")
    ]
    account = stored_account(catalog, NATGEO.pk)
    assert (account.username, account.listed_at, account.tray_length) == ("natgeo", NOW, 3)
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_tray_that_says_the_same_changes_nothing(catalog: Catalog, listed: int) -> None:
    """Only the times at which things were seen move on."""
    shown = (
        "SELECT pk, title, position, media_count, is_pinned, cover_name, first_seen_at "
        "FROM highlights ORDER BY pk"
    )
    before = rows(catalog, shown)
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATER)
    assert rows(catalog, shown) == before
    assert len(rows(catalog, "SELECT 1 FROM highlights WHERE last_seen_at > first_seen_at")) == 3
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_new_highlight_appears_and_moves_no_other(catalog: Catalog, listed: int) -> None:
    """It comes first; that all positions shift is no change of order."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("9", "1", "2", "3"), LATER)
    assert _pks(catalog) == ["9", "1", "2", "3"]
    assert change_rows(catalog) == [("highlight", "9", "presence", None, "appeared")]


@SQLITE_EVERYDAY
def test_a_highlight_that_moved_is_the_only_change(catalog: Catalog, listed: int) -> None:
    """The last one put to the front: one row, with both positions."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("3", "1", "2"), LATER)
    assert _pks(catalog) == ["3", "1", "2"]
    assert change_rows(catalog) == [("highlight", "3", "position", "2", "0")]


@SQLITE_EVERYDAY
def test_the_order_is_compared_with_the_last_look_only(catalog: Catalog, listed: int) -> None:
    """A highlight that the last tray did not show has no place in its order, so its return moves nothing."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("2", "3"), LATER)
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("2", "3", "1"), LATEST)
    assert change_rows(catalog) == []


@pytest.mark.parametrize(
    ("field", "value", "old", "new"),
    [
        ("title", "BOTW", "Gift Guide", "BOTW"),
        ("cover_name", "new.jpg", "2.jpg", "new.jpg"),
        ("is_pinned", True, "false", "true"),
    ],
)
@SQLITE_EVERYDAY
def test_what_the_owner_edits_is_a_change(
    catalog: Catalog, listed: int, field: str, value: object, old: str, new: str
) -> None:
    """Title, cover and pin: one row, with both values."""
    edited = replace(highlight("2"), **{field: value})  # type: ignore[arg-type]
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", edited, "3"), LATER)
    assert change_rows(catalog) == [("highlight", "2", field, old, new)]


@SQLITE_EVERYDAY
def test_a_poorer_tray_overwrites_nothing(catalog: Catalog, listed: int) -> None:
    """What it leaves out stays known."""
    shown = "SELECT title, created_at, latest_reel_media, media_count, is_pinned, cover_name FROM highlights"
    before = rows(catalog, shown)
    poor = [
        replace(highlight(pk, ""), created_at=None, numbers=TrayNumbers(), is_pinned=None, cover_name=None)
        for pk in "123"
    ]
    catalog.write(record.record_tray, listed, NATGEO.pk, tray(*poor), LATER)
    assert rows(catalog, shown) == before
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_new_numbers_are_facts_and_no_changes(catalog: Catalog, listed: int) -> None:
    """They decide on fetching; what came of them is told by the items."""
    catalog.write(
        record.record_tray,
        listed,
        NATGEO.pk,
        tray("1", highlight("2", numbers=TrayNumbers(9, 3)), "3"),
        LATER,
    )
    assert stored_account(catalog, NATGEO.pk).highlights[1].numbers == TrayNumbers(9, 3)
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_absence_alone_is_no_evidence(catalog: Catalog, listed: int) -> None:
    """A tray may be cut: what it lacks stays as it was unless the caller says it is gone."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1"), LATER)
    assert [held.gone_at for held in stored_account(catalog, NATGEO.pk).highlights] == [None] * 3
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_what_is_gone_is_dated_once_and_may_return(catalog: Catalog, listed: int) -> None:
    """One row when it goes and one when it is back."""
    for time in (LATER, LATEST):
        catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "3"), time, gone=("2",))
    gone = {held.pk: held.gone_at for held in stored_account(catalog, NATGEO.pk).highlights}
    assert gone == {"1": None, "2": LATER, "3": None}
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATEST)
    assert change_rows(catalog) == [
        ("highlight", "2", "presence", None, "gone"),
        ("highlight", "2", "presence", None, "returned"),
    ]
    assert stored_account(catalog, NATGEO.pk).highlights[1].gone_at is None


def test_a_shrunken_tray_waits_for_a_second_one(catalog: Catalog, listed: int) -> None:
    """Its fingerprint is kept until a tray comes without one."""
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1"), LATER, shrunk_to="print")
    held = stored_account(catalog, NATGEO.pk)
    assert (held.shrunk_to, held.tray_length) == ("print", 1)
    catalog.write(record.record_tray, listed, NATGEO.pk, tray("1", "2", "3"), LATEST)
    held = stored_account(catalog, NATGEO.pk)
    assert held.shrunk_to is None


def test_the_longest_v1_tray_of_any_account_is_known(catalog: Catalog, listed: int) -> None:
    """Unreadable entries count, a v2 tray does not, and a later shorter one does not lower it."""
    assert catalog.read(account_state.longest_tray) == 3
    long = Tray(User("2", "other"), (), (RejectedEntry("7", "?"),) * 5)
    catalog.write(record.record_tray, listed, "2", long, NOW, is_whole=True)
    assert catalog.read(account_state.longest_tray) == 3
    catalog.write(record.record_tray, listed, "2", long, NOW)
    catalog.write(record.record_tray, listed, "2", tray(user=None), LATER)
    assert catalog.read(account_state.longest_tray) == 5


@SQLITE_EVERYDAY
def test_an_account_without_a_tray_has_a_longest_of_none(catalog: Catalog) -> None:
    """A new archive has seen no tray: 0."""
    assert catalog.read(account_state.longest_tray) == 0


@SQLITE_EVERYDAY
def test_a_highlight_known_before_the_first_tray_does_not_appear(catalog: Catalog, run_id: int) -> None:
    """One that was asked for by its own URL is known; the tray that lists it only gives it its place."""
    catalog.write(record.record_page, run_id, None, page("2", "20"), FACTS, NOW)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), LATER)
    assert _pks(catalog) == ["1", "2"]
    assert change_rows(catalog) == []


@SQLITE_EVERYDAY
def test_a_highlight_belongs_to_the_account_that_lists_it(catalog: Catalog, listed: int) -> None:
    """Stored under another account before, it is this one's from then on, and its place among the other's is
    no place here.
    """
    other = User("2", "other")
    catalog.write(record.record_tray, listed, other.pk, tray("9", user=other), NOW)
    catalog.write(record.record_tray, listed, other.pk, tray("3", "9", user=other), LATER)
    assert [held.pk for held in stored_account(catalog, other.pk).highlights] == ["3", "9"]
    assert _pks(catalog) == ["1", "2"]
    assert change_rows(catalog) == [("highlight", "3", "user_pk", NATGEO.pk, "2")]


@SQLITE_EVERYDAY
def test_a_pk_that_is_listed_twice_counts_once(catalog: Catalog, run_id: int) -> None:
    """The first entry of a pk wins."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", highlight("1", "again"), "2"), NOW)
    assert [(h.pk, h.title) for h in stored_account(catalog, NATGEO.pk).highlights] == [
        ("1", "Gift Guide"),
        ("2", "Gift Guide"),
    ]
