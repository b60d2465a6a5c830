"""One catalog's facts into another: what a rereading of all answers brought, added to what is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from archiver.catalog.catalog import Catalog
from archiver.catalog.record import lacking
from archiver.catalog.tables import metadata

_AT_ONCE = 500
"""Rows of one transaction, or all of one account, highlight or item if those are more."""


def merge(source: Catalog, into: Catalog, check: Callable[[], None]) -> dict[str, tuple[int, int]]:
    """Add what ``into`` lacks of the rows of ``source``, a batch at a time; see ``record.lacking``. By table: rows added, rows filled.

    ``check`` is called before each batch and may raise to stop; the next merge goes on. Raises DatabaseError, DiskFull.
    """
    done: dict[str, tuple[int, int]] = {}
    for table in lacking.TABLES:
        added = filled = 0
        with closing(source.stream(_rows, table)) as rows:
            for batch in _batches(rows):
                check()
                some = into.write(lacking.lacking, table, batch)
                added, filled = added + some[0], filled + some[1]
        done[table] = added, filled
    return done


def _rows(connection: Connection, name: str) -> Iterator[list[Mapping[str, Any]]]:
    """All rows of a table, those together whose key begins alike."""
    table = metadata.tables[name]
    keys = list(table.primary_key.columns)
    query = select(table).order_by(*keys)
    with connection.execution_options(yield_per=_AT_ONCE).execute(query) as rows:
        for _, group in groupby(rows.mappings(), key=lambda row: str(row[keys[0].name])):
            yield [dict(row) for row in group]


def _batches(groups: Iterator[list[Mapping[str, Any]]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    for group in groups:
        batch += group
        if len(batch) >= _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
