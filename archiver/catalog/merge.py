"""Merge the rows of one catalog into another: add rows and fill empty columns, but change no value.

This is the last step of rereading all stored answers. Columns on which a run bases its decisions (when a
thing was listed, fetched or completed, whether it is gone, which picture of it is stored) are not merged:
they stay as they are, and are empty in a new row. A row that only another tool has seen counts as new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import groupby
from types import SimpleNamespace

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.catalog import Catalog
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.record import adopted_files, changes, highlight_page
from archiver.catalog.record.changes import StoredRow
from archiver.catalog.sql import Command, Query
from archiver.model.identity import utcnow

_BATCH = 500
"""Rows in a transaction. There are more if a single account, highlight or item has more."""
_SAME_ANSWER = timedelta(minutes=1)
"""Times that differ by less come from the same answer: an answer is recorded some time after it arrived."""


class _MergeRule(Struct, frozen=True):
    """A table, its key, the columns that are filled if empty, and those that only a new row gets."""

    table: str
    key: tuple[str, ...]
    fills: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    widens: bool = False  # a later last_seen_at replaces the stored one
    state: tuple[str, ...] = ()  # what says that only another tool has seen the row

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.fills, *self.only_new, "first_seen_at")

    def key_of(self, row: StoredRow) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)


RULES = (
    _MergeRule(
        "users",
        ("pk",),
        ("username", "full_name", "is_private", "is_verified", "avatar_name"),
        ("last_seen_at",),
    ),
    _MergeRule("usernames", ("user_pk", "username"), only_new=("last_seen_at",), widens=True),
    _MergeRule(
        "highlights",
        ("pk",),
        ("title", "position", "created_at", "latest_reel_media", "media_count", "is_pinned", "cover_name"),
        ("user_pk", "last_seen_at"),
        state=("source", "gone_at"),
    ),
    _MergeRule(
        "items",
        ("pk",),
        ("code", "taken_at", "media_type", "product_type", "video_duration", "answer_id"),
        ("user_pk",),
        state=("source",),
    ),
    _MergeRule(
        "highlight_items",
        ("highlight_pk", "item_pk"),
        only_new=("position", "last_seen_at"),
        state=("source", "gone_at"),
    ),
)
_BY_TABLE = {rule.table: rule for rule in RULES}
TABLES = (*_BY_TABLE, *(kind.table for kind in ENTRY_KINDS))
"""All tables that are filled from answers; a table comes after those that it refers to."""


def _select(table: str, columns: Sequence[str], end: str) -> Query[StoredRow]:
    return Query(f"SELECT {', '.join(columns)} FROM {table} {end}", changes.as_row(*columns))


_ROWS = {  # by the first column of their key
    **{
        rule.table: _select(rule.table, (*rule.columns, *rule.state), f"ORDER BY {', '.join(rule.key)}")
        for rule in RULES
    },
    **{
        kind.table: _select(kind.table, ("item_pk", "position", *kind.columns), "ORDER BY item_pk, position")
        for kind in ENTRY_KINDS
    },
}
_STORED = {
    rule.table: _select(rule.table, (*rule.columns, *rule.state), f"WHERE {rule.key[0]} IN :pks")
    for rule in RULES
}
_INSERT = {
    rule.table: Command(
        f"""
        INSERT INTO {rule.table} ({", ".join(rule.columns)})
        VALUES ({", ".join(f":{name}" for name in rule.columns)})
        """
    )
    for rule in RULES
}


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


def merge_rows(connection: Connection, table: str, rows: Sequence[StoredRow]) -> tuple[int, int]:
    """Merge these rows of a table; return how many were added, and how many filled.

    An earlier ``first_seen_at`` replaces the stored one, unless both come from the same answer. For a
    username, a later ``last_seen_at`` does too. All entries of an item must come in one call, in order.
    """
    rule = _BY_TABLE.get(table)
    if rule is None:
        entries = (SimpleNamespace(**row) for row in rows)
        by_item = groupby(entries, key=lambda entry: str(entry.item_pk))
        return highlight_page.fill_missing(connection, table, {pk: list(group) for pk, group in by_item})
    first_keys = {row[rule.key[0]] for row in rows}
    stored = {rule.key_of(row): row for row in _STORED[table].all(connection, pks=first_keys)}
    new = [{name: row[name] for name in rule.columns} for row in rows if rule.key_of(row) not in stored]
    by_columns: dict[tuple[str, ...], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        before = stored.get(rule.key_of(row))
        if before is not None and (values := _values_to_fill(rule, before, row)):
            key = {f"key_{name}": row[name] for name in rule.key}
            by_columns[tuple(values)].append(key | values)
    for columns, parameters in by_columns.items():
        changes.update_statement(table, rule.key, columns).run_each(connection, parameters)
    _INSERT[table].run_each(connection, new)
    if table == "items":
        shown = [row["pk"] for row in rows if _is_adopted(stored.get(rule.key_of(row)), row)]
        adopted_files.settle_shown(connection, shown, utcnow())
    return len(new), sum(map(len, by_columns.values()))


def _row_groups(connection: Connection, table: str) -> Iterator[list[StoredRow]]:
    """Yield all rows of a table; rows whose key begins with the same value come together."""
    rows = _ROWS[table].iterate(connection)
    for _, group in groupby(rows, key=lambda row: str(next(iter(row.values())))):
        yield list(group)


def _batches(groups: Iterator[list[StoredRow]]) -> Iterator[list[StoredRow]]:
    batch: list[StoredRow] = []
    for group in groups:
        batch += group
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_adopted(before: StoredRow | None, row: StoredRow) -> bool:
    """Return whether a stored row comes from another tool, and the new one from an answer."""
    return before is not None and before.get("source") is not None and row["source"] is None


def _values_to_fill(rule: _MergeRule, before: StoredRow, row: StoredRow) -> dict[str, object]:
    if _is_adopted(before, row):
        values = {
            name: row[name] for name in rule.columns if name not in rule.key and row[name] not in (None, "")
        }
        return values | dict.fromkeys(rule.state)
    values = {
        name: row[name] for name in rule.fills if before[name] in (None, "") and row[name] not in (None, "")
    }
    first: datetime = row["first_seen_at"]
    if first + _SAME_ANSWER < before["first_seen_at"]:
        values["first_seen_at"] = first
    if rule.widens and row["last_seen_at"] > before["last_seen_at"] + _SAME_ANSWER:
        values["last_seen_at"] = row["last_seen_at"]
    return values
