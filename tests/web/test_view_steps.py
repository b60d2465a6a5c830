"""What a page reads does not grow with the archive: the steps of SQLite for its queries stay the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from archiver.catalog import Catalog, record
from archiver.catalog.query import change_history, gaps, page_contents
from archiver.model.upstream import Highlight, HighlightPage, Tray, User
from tests.support.catalog_samples import FACTS, page, tray, video
from tests.support.databases import NOW, count_steps

OTHER = User("42", "nasa", "NASA", False, True, None, "nasa.jpg")
SECOND = timedelta(seconds=1)

QUERIES: tuple[Callable[[Connection], object], ...] = (
    lambda connection: page_contents.newest_taken(connection, 5),
    lambda connection: page_contents.new_items(connection, 5),
    lambda connection: change_history.changes_back(connection, 5),
    lambda connection: list(gaps.gaps_of(connection, ["787132"], with_targets=True)),
)


def record_other_items(catalog: Catalog, run_id: int, first: int, number: int) -> None:
    """Record more items of another account; ten come at a time."""
    listed = Highlight("5", OTHER, "Moon")
    for start in range(first, number, 10):
        pks = range(5000 + start, 5010 + start)
        items = tuple(video(str(pk), user_pk=OTHER.pk, taken_at=NOW + SECOND * pk) for pk in pks)
        now = NOW + SECOND * start
        catalog.write(record.record_page, run_id, None, HighlightPage(listed, items), FACTS, now)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_pages_read_no_more_rows_of_a_larger_archive(catalog: Catalog, run_id: int) -> None:
    """The first page of the timeline, of the feed and of the changes, and the gaps of another account."""
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", "10", "11"), FACTS, NOW)
    catalog.write(record.record_tray, run_id, OTHER.pk, Tray(OTHER, (Highlight("5", OTHER, "Moon"),)), NOW)
    steps = []
    for first, number in ((0, 100), (100, 500)):
        record_other_items(catalog, run_id, first, number)
        steps.append([catalog.read(count_query_steps, query) for query in QUERIES])
    few, many = steps
    assert all(later <= 1.2 * before for before, later in zip(few, many, strict=True)), steps


def count_query_steps(connection: Connection, query: Callable[[Connection], object]) -> int:
    return count_steps(connection, lambda: query(connection))
