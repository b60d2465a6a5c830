"""What the rows of another catalog tell that ours do not: added and filled, never altered.

What a run decides by (when a thing was listed, fetched, completed, is gone, what of it is held) is no row's to tell: it stays as it is,
and is empty in a row that is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, Update, bindparam, select, update

from archiver.catalog import tables
from archiver.catalog.record import entries

Told = Mapping[str, Any]
"""A row of the other catalog, by column."""

_MOMENTS = timedelta(minutes=1)
"""Within which an answer is recorded once it has come, and not always in its turn: so much apart is the same look."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A table, its key, the columns that are filled where they say nothing, and those that only a new row is given."""

    table: Table
    key: tuple[str, ...]
    fills: tuple[str, ...] = ()
    born: tuple[str, ...] = ()
    latest: bool = False  # its last_seen_at takes the later one

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.fills, *self.born, "first_seen_at")


_RULES = (
    _Rule(
        tables.users,
        ("pk",),
        ("username", "full_name", "is_private", "is_verified", "avatar_name"),
        ("last_seen_at",),
    ),
    _Rule(tables.usernames, ("user_pk", "username"), born=("last_seen_at",), latest=True),
    _Rule(
        tables.highlights,
        ("pk",),
        ("title", "position", "created_at", "latest_reel_media", "media_count", "is_pinned", "cover_name"),
        ("user_pk", "last_seen_at"),
    ),
    _Rule(
        tables.items,
        ("pk",),
        ("code", "taken_at", "media_type", "product_type", "video_duration", "answer_id"),
        ("user_pk",),
    ),
    _Rule(tables.highlight_items, ("highlight_pk", "item_pk"), born=("position", "last_seen_at")),
)
_BY_NAME = {rule.table.name: rule for rule in _RULES}
TABLES = (*_BY_NAME, *entries.TABLES)
"""All tables that are filled from answers, in the order in which their rows refer to each other."""


def lacking(connection: Connection, table: str, rows: Sequence[Told]) -> tuple[int, int]:
    """Add those of these rows that are lacking, and fill what held ones do not say; returns how many were added, and how many filled.

    ``first_seen_at`` takes an earlier time, unless that is the same look; the names of an account widen both ways. Of entries all
    those of an item come together, in their order.
    """
    rule = _BY_NAME.get(table)
    if rule is None:
        grouped = groupby((_Entry(row) for row in rows), key=lambda entry: str(entry.item_pk))
        return entries.lacking(connection, table, {item_pk: list(those) for item_pk, those in grouped})
    held = _held(connection, rule, rows)
    new = [{name: row[name] for name in rule.columns} for row in rows if _key(rule, row) not in held]
    alike: dict[tuple[str, ...], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        before = held.get(_key(rule, row))
        if before is not None and (more := _more(rule, before, row)):
            which = {f"key_{name}": row[name] for name in rule.key}
            alike[tuple(more)].append(which | {f"new_{name}": value for name, value in more.items()})
    for columns, values in alike.items():
        connection.execute(_fill(rule, columns), values)
    if new:
        connection.execute(rule.table.insert(), new)
    return len(new), sum(map(len, alike.values()))


def _fill(rule: _Rule, columns: Iterable[str]) -> Update:
    """One statement for all rows in which the same columns are filled."""
    which = [rule.table.c[name] == bindparam(f"key_{name}") for name in rule.key]
    return update(rule.table).where(*which).values({name: bindparam(f"new_{name}") for name in columns})


def _held(connection: Connection, rule: _Rule, rows: Sequence[Told]) -> dict[tuple[str, ...], RowMapping]:
    wanted = rule.table.c[rule.key[0]].in_(bindparam("pks", expanding=True))
    found = connection.execute(
        select(rule.table).where(wanted), {"pks": sorted({row[rule.key[0]] for row in rows})}
    )
    return {_key(rule, row): row for row in found.mappings()}


def _key(rule: _Rule, row: Told | RowMapping) -> tuple[str, ...]:
    return tuple(row[name] for name in rule.key)


def _more(rule: _Rule, before: RowMapping, row: Told) -> dict[str, object]:
    more: dict[str, object] = {
        name: row[name]
        for name in rule.fills
        if before[name] in (None, "") and row[name] is not None and row[name] != ""
    }
    first: datetime = row["first_seen_at"]
    if first + _MOMENTS < before["first_seen_at"]:
        more["first_seen_at"] = first
    if rule.latest and row["last_seen_at"] > before["last_seen_at"] + _MOMENTS:
        more["last_seen_at"] = row["last_seen_at"]
    return more


class _Entry:
    """A row of entries as those of an answer are: its columns are attributes."""

    def __init__(self, row: Told) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return self._row[name]
