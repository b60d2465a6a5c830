"""What a visit reads of a stored highlight to decide when it is fetched again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from archiver.catalog import Catalog, record
from archiver.catalog.column_types import time_text
from archiver.catalog.query import account_state
from archiver.catalog.query.account_state import HighlightState
from archiver.model.target import Target
from archiver.model.upstream import TrayNumbers
from tests.support.catalog_samples import LATER, LATEST, NATGEO, page, tray, video
from tests.support.databases import NOW

DAY = timedelta(days=1)
OLD, OLDER = NOW - 400 * DAY, NOW - 900 * DAY


@pytest.fixture
def listed(catalog: Catalog, run_id: int) -> int:
    """An account with one highlight, which was not fetched yet; the run."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    return run_id


def fetch(catalog: Catalog, run_id: int, at: datetime, items: dict[str, datetime | None], *gone: str) -> None:
    """Record a page with items that were posted at these times."""
    made = page("1", *(video(pk, taken_at=taken_at) for pk, taken_at in items.items()))
    catalog.write(record.record_page, run_id, None, made, TrayNumbers(1, 2), at, gone=gone)


def state(catalog: Catalog) -> HighlightState:
    """Read the highlight alone; what is read with its account must be the same."""
    (found,) = catalog.read(account_state.account_state, Target("", user_pk=NATGEO.pk)).highlights
    assert catalog.read(account_state.highlight_state, "1") == found
    return found


def test_fault_e4_the_first_page_changes_nothing_since_its_newest_item(catalog: Catalog, listed: int) -> None:
    """Items of the first page are as old as they say; one without a date says nothing."""
    assert state(catalog).changed_at is None
    fetch(catalog, listed, LATER, {"10": None})
    assert state(catalog).changed_at is None
    fetch(catalog, listed, LATER, {"10": OLDER, "11": OLD})
    assert state(catalog).changed_at == OLD


def test_fault_e4_an_older_item_that_is_added_is_a_change(catalog: Catalog, listed: int) -> None:
    """It was posted long ago, and was not in the highlight when that was first fetched."""
    fetch(catalog, listed, NOW, {"10": OLD})
    fetch(catalog, listed, LATER, {"10": OLD, "9": OLDER})
    assert state(catalog).changed_at == LATER
    fetch(catalog, listed, LATEST, {"10": OLD, "9": OLDER})
    assert state(catalog).changed_at == LATER


def test_fault_e4_an_item_that_is_gone_is_a_change(catalog: Catalog, listed: int) -> None:
    """From the day on which the page lacked it."""
    fetch(catalog, listed, NOW, {"10": OLD, "9": OLDER})
    fetch(catalog, listed, LATER, {"9": OLDER}, "10")
    assert state(catalog).changed_at == LATER


def test_fault_e4_an_adopted_item_is_no_change(catalog: Catalog, listed: int) -> None:
    """What only another tool has seen says nothing of what the owner does: it makes no fetch due."""
    fetch(catalog, listed, LATER, {"10": OLD, "11": OLDER})
    before = state(catalog)
    values = {"now": time_text(LATEST)}

    def adopt(connection: Connection) -> None:
        connection.execute(
            text(
                "INSERT INTO items (pk, user_pk, taken_at, first_seen_at, source)"
                " VALUES ('12', '787132', :now, :now, 'insta-dl')"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO highlight_items"
                " (highlight_pk, item_pk, position, first_seen_at, last_seen_at, gone_at, source)"
                " VALUES ('1', '12', 2, :now, :now, :now, 'insta-dl')"
            ),
            values,
        )

    catalog.write(adopt)
    assert state(catalog) == before


def test_fault_e4_fewer_items_than_the_tray_counted_are_a_gap(catalog: Catalog, listed: int) -> None:
    """As ``archiver gaps`` counts them: without those that are gone."""
    fetch(catalog, listed, NOW, {"10": OLD})
    assert state(catalog).lacks_items
    fetch(catalog, listed, LATER, {"10": OLD, "9": OLDER})
    assert not state(catalog).lacks_items
    fetch(catalog, listed, LATEST, {"10": OLD}, "9")
    assert state(catalog).lacks_items


def test_fault_e4_the_signs_of_change_are_read_by_indexes(catalog: Catalog, listed: int) -> None:
    """A night reads them for each account: it must not read the items of all others."""
    for plan in catalog.read(_plans):
        assert "SCAN highlight" not in plan
        assert "SCAN items" not in plan
        assert "Seq Scan" not in plan
        assert "items_pkey" in plan or "autoindex_items" in plan


def _plans(connection: Connection) -> list[str]:
    """Return how the database reads the highlights of an account, and a single one."""
    asked: list[tuple[str, Any]] = []

    def note(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "last_taken_at" in statement:
            asked.append((statement, parameters))

    with connection.engine.connect() as other:
        event.listen(other, "before_cursor_execute", note)
        account_state.account_state(other, Target("", user_pk=NATGEO.pk))
        account_state.highlight_state(other, "1")
    how = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        # For one item any way is quick, and statistics decide: without this, tables are read as a whole.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        how = "EXPLAIN"
    return [str(connection.exec_driver_sql(f"{how} {sql}", values).all()) for sql, values in asked]
