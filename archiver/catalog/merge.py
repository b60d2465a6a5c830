"""Merge the rows of one catalog into another: add rows and fill empty columns, but change no value.

This is the last step of rereading all stored answers. Columns on which a run bases its decisions (when a
thing was listed, fetched or completed, whether it is gone, which picture of it is stored) are not merged:
they stay as they are, and are empty in a new row. A row that only another tool has seen counts as new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, RowMapping, Table, Update, bindparam, select, update

from archiver.catalog import tables
from archiver.catalog.catalog import Catalog
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.record import adopted_files, item_entries
from archiver.model.identity import utcnow

MergeRow = Mapping[str, Any]
"""A row of the other catalog, by column."""

_BATCH = 500
"""Rows in a transaction. There are more if a single account, highlight or item has more."""
_SAME_ANSWER = timedelta(minutes=1)
"""Times that differ by less come from the same answer: an answer is recorded some time after it arrived."""


class _MergeRule(Struct, frozen=True):
    """A table, its key, the columns that are filled if empty, and those that only a new row gets."""

    table: Table
    key: tuple[str, ...]
    fills: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    widens: bool = False  # a later last_seen_at replaces the stored one

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.fills, *self.only_new, "first_seen_at")

    def key_of(self, row: MergeRow | RowMapping) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)


_RULES = (
    _MergeRule(
        tables.users,
        ("pk",),
        ("username", "full_name", "is_private", "is_verified", "avatar_name"),
        ("last_seen_at",),
    ),
    _MergeRule(tables.usernames, ("user_pk", "username"), only_new=("last_seen_at",), widens=True),
    _MergeRule(
        tables.highlights,
        ("pk",),
        ("title", "position", "created_at", "latest_reel_media", "media_count", "is_pinned", "cover_name"),
        ("user_pk", "last_seen_at"),
    ),
    _MergeRule(
        tables.items,
        ("pk",),
        ("code", "taken_at", "media_type", "product_type", "video_duration", "answer_id"),
        ("user_pk",),
    ),
    _MergeRule(tables.highlight_items, ("highlight_pk", "item_pk"), only_new=("position", "last_seen_at")),
)
_BY_TABLE = {rule.table.name: rule for rule in _RULES}
TABLES = (*_BY_TABLE, *(kind.table for kind in ENTRY_KINDS))
"""All tables that are filled from answers; a table comes after those that it refers to."""


def merge(source: Catalog, into: Catalog, check: Callable[[], None]) -> dict[str, tuple[int, int]]:
    """Merge the rows of ``source``, a batch at a time. Return how many rows were added and filled, by table.

    ``check`` is called before each batch and may raise an exception to stop; the next merge does the rest.
    Raises DatabaseError, DiskFull.
    """
    counts: dict[str, tuple[int, int]] = {}
    for table in TABLES:
        added = filled = 0
        with closing(source.stream(_row_groups, table)) as groups:
            for batch in _batches(groups):
                check()
                new, more = into.write(merge_rows, table, batch)
                added, filled = added + new, filled + more
        counts[table] = added, filled
    return counts


def merge_rows(connection: Connection, table: str, rows: Sequence[MergeRow]) -> tuple[int, int]:
    """Merge these rows of a table; return how many were added, and how many filled.

    An earlier ``first_seen_at`` replaces the stored one, unless both come from the same answer. For a
    username, a later ``last_seen_at`` does too. All entries of an item must come in one call, in order.
    """
    rule = _BY_TABLE.get(table)
    if rule is None:
        entries = (SimpleNamespace(**row) for row in rows)
        by_item = groupby(entries, key=lambda entry: str(entry.item_pk))
        return item_entries.fill_missing(connection, table, {pk: list(group) for pk, group in by_item})
    stored = _read_stored(connection, rule, rows)
    new = [{name: row[name] for name in rule.columns} for row in rows if rule.key_of(row) not in stored]
    by_columns: dict[tuple[str, ...], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        before = stored.get(rule.key_of(row))
        if before is not None and (values := _values_to_fill(rule, before, row)):
            key = {f"key_{name}": row[name] for name in rule.key}
            by_columns[tuple(values)].append(key | {f"new_{name}": value for name, value in values.items()})
    for columns, parameters in by_columns.items():
        connection.execute(_fill(rule, columns), parameters)
    if new:
        connection.execute(rule.table.insert(), new)
    if rule.table is tables.items:
        shown = [row["pk"] for row in rows if _is_adopted(stored.get(rule.key_of(row)), row)]
        adopted_files.settle_shown(connection, shown, utcnow())
    return len(new), sum(map(len, by_columns.values()))


def _row_groups(connection: Connection, name: str) -> Iterator[list[MergeRow]]:
    """Yield all rows of a table; rows whose key begins with the same value come together."""
    table = tables.metadata.tables[name]
    keys = list(table.primary_key.columns)
    query = select(table).order_by(*keys)
    with connection.execution_options(yield_per=_BATCH).execute(query) as rows:
        for _, group in groupby(rows.mappings(), key=lambda row: str(row[keys[0].name])):
            yield [dict(row) for row in group]


def _batches(groups: Iterator[list[MergeRow]]) -> Iterator[list[MergeRow]]:
    batch: list[MergeRow] = []
    for group in groups:
        batch += group
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _fill(rule: _MergeRule, columns: Iterable[str]) -> Update:
    """Return the UPDATE for all rows in which exactly these columns are filled."""
    is_row = [rule.table.c[name] == bindparam(f"key_{name}") for name in rule.key]
    return update(rule.table).where(*is_row).values({name: bindparam(f"new_{name}") for name in columns})


def _read_stored(
    connection: Connection, rule: _MergeRule, rows: Sequence[MergeRow]
) -> dict[tuple[str, ...], RowMapping]:
    first_key = rule.key[0]
    query = select(rule.table).where(rule.table.c[first_key].in_(bindparam("pks", expanding=True)))
    stored = connection.execute(query, {"pks": sorted({row[first_key] for row in rows})})
    return {rule.key_of(row): row for row in stored.mappings()}


def _is_adopted(before: RowMapping | None, row: MergeRow) -> bool:
    """Return whether a stored row comes from another tool, and the new one from an answer."""
    return before is not None and before.get("source") is not None and row["source"] is None


def _values_to_fill(rule: _MergeRule, before: RowMapping, row: MergeRow) -> dict[str, object]:
    if _is_adopted(before, row):
        values = {
            name: row[name] for name in rule.columns if name not in rule.key and row[name] not in (None, "")
        }
        return values | {name: None for name in ("source", "gone_at") if name in before}
    values = {
        name: row[name] for name in rule.fills if before[name] in (None, "") and row[name] not in (None, "")
    }
    first: datetime = row["first_seen_at"]
    if first + _SAME_ANSWER < before["first_seen_at"]:
        values["first_seen_at"] = first
    if rule.widens and row["last_seen_at"] > before["last_seen_at"] + _SAME_ANSWER:
        values["last_seen_at"] = row["last_seen_at"]
    return values
