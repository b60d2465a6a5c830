"""The entries of items: mentions, links, hashtags, locations, stickers, reshares, sponsors.

Entries are never removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, Table, bindparam, select

from archiver.catalog import tables
from archiver.catalog.sql import Command
from archiver.model.identity import Pk
from archiver.model.upstream import Item

EntryValues = tuple[object, ...]
Entry = Any  # a value of the model, or the row that it became: both have the columns as attributes


class _EntryKind(Struct, frozen=True, dict=True):
    """A table of entries, how to get them from an item, and what identifies one: ``id``, or else ``name``."""

    table: Table
    entries: Callable[[Item], Sequence[Entry]]
    id: Callable[[Entry], object]
    name: Callable[[Entry], object] = lambda entry: None

    def identity(self, entry: Entry) -> object:
        return self.id(entry) or self.name(entry)

    def may_be_same(self, one: Entry, other: Entry) -> bool:
        """Return whether two entries may be the same: one answer has the id, the other only the name."""
        is_id_missing = not self.id(one) or not self.id(other)
        return is_id_missing and self.name(one) is not None and self.name(one) == self.name(other)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(
            column.name for column in self.table.columns if column.name not in ("item_pk", "position")
        )


_KINDS = (
    _EntryKind(tables.mentions, lambda item: item.mentions, attrgetter("user_pk"), attrgetter("username")),
    _EntryKind(tables.links, lambda item: item.web_links, attrgetter("source", "url")),
    _EntryKind(tables.hashtags, lambda item: item.hashtags, attrgetter("name"), attrgetter("hashtag_pk")),
    _EntryKind(tables.locations, lambda item: item.locations, attrgetter("location_pk"), attrgetter("name")),
    _EntryKind(tables.stickers, lambda item: item.stickers, attrgetter("kind")),
    _EntryKind(tables.reshares, lambda item: item.reshares, attrgetter("media_pk"), attrgetter("media_code")),
    _EntryKind(tables.sponsors, lambda item: item.sponsors, attrgetter("user_pk"), attrgetter("username")),
)
TABLES = tuple(kind.table.name for kind in _KINDS)
"""All tables of entries."""

_STORED = {
    table.name: select(table)
    .where(table.c.item_pk.in_(bindparam("pks", expanding=True)))
    .order_by(table.c.item_pk, table.c.position)
    for table in (kind.table for kind in _KINDS)
}


def _upsert(table: str, columns: Sequence[str]) -> Command:
    names = ("item_pk", "position", *columns)
    return Command(
        f"""
        INSERT INTO {table} ({", ".join(names)}) VALUES ({", ".join(f":{name}" for name in names)})
        ON CONFLICT (item_pk, position) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in columns)}
        """
    )


_UPSERT = {kind.table.name: _upsert(kind.table.name, kind.columns) for kind in _KINDS}


def write(connection: Connection, items: Sequence[Item]) -> None:
    """Add the entries of these items to the stored ones."""
    for kind in _KINDS:
        entries = {item.pk: kind.entries(item) for item in items if kind.entries(item)}
        if entries:
            _merge(connection, kind, entries)


def fill_missing(
    connection: Connection, table: str, entries: Mapping[Pk, Sequence[Entry]]
) -> tuple[int, int]:
    """Add missing entries of items and fill empty columns of stored ones; alter nothing else.

    Return how many entries were added, and how many filled.
    """
    kind = next(kind for kind in _KINDS if kind.table.name == table)
    return _merge(connection, kind, entries, fill_only=True)


def merge_entries(
    stored: Sequence[tuple[object, EntryValues]],
    new: Sequence[tuple[object, EntryValues]],
    *,
    positions: Sequence[int] | None = None,
    fill_only: bool = False,
) -> Iterator[tuple[int, EntryValues]]:
    """Yield the rows to write, by position, so that the stored entries include the new ones. Pure.

    Stored entries keep their ``positions`` (from 0 by default). A new one gets the position that it has in
    the answer if that is free, or follows the last. A stored value is replaced only by an answer with at
    least as many entries; a shorter answer, or ``fill_only``, only fills what is empty.
    """
    may_replace = len(new) >= len(stored) and not fill_only
    positions = range(len(stored)) if positions is None else positions
    by_key = {key: (position, old) for position, (key, old) in zip(positions, stored, strict=True)}
    taken = set(positions)
    for own_position, (key, values) in enumerate(new):
        if key not in by_key:
            position = own_position if own_position not in taken else max(taken) + 1
            taken.add(position)
            yield position, values
            continue
        position, old = by_key[key]
        merged = tuple(_merge_value(was, now, may_replace) for was, now in zip(old, values, strict=True))
        if merged != old:
            yield position, merged


def _merge(
    connection: Connection,
    kind: _EntryKind,
    entries: Mapping[Pk, Sequence[Entry]],
    *,
    fill_only: bool = False,
) -> tuple[int, int]:
    """Write what the entries add to the stored ones.

    Return how many rows are new, and how many were altered.
    """
    stored = _read_stored(connection, kind.table, list(entries))
    columns = kind.columns
    added = 0
    rows = []
    for item_pk, new in entries.items():
        old = stored[item_pk]
        positions = [entry.position for entry in old]
        merged = merge_entries(
            _with_keys(old, kind),
            _with_stored_keys(old, new, kind),
            positions=positions,
            fill_only=fill_only,
        )
        for position, values in merged:
            rows.append({"item_pk": item_pk, "position": position, **dict(zip(columns, values, strict=True))})
            added += position not in positions
    _UPSERT[kind.table.name].run_each(connection, rows)
    return added, len(rows) - added


def _read_stored(connection: Connection, table: Table, pks: Sequence[Pk]) -> dict[Pk, list[Row[Any]]]:
    stored: dict[Pk, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_STORED[table.name], {"pks": list(pks)}):
        stored[row.item_pk].append(row)
    return stored


def _with_keys(entries: Iterable[Entry], kind: _EntryKind) -> list[tuple[object, EntryValues]]:
    """Return the values of each entry under a key: its identity, and how many entries before it share it."""
    counts: Counter[object] = Counter()
    keyed: list[tuple[object, EntryValues]] = []
    for entry in entries:
        identity = kind.identity(entry)
        keyed.append(((identity, counts[identity]), tuple(getattr(entry, column) for column in kind.columns)))
        counts[identity] += 1
    return keyed


def _with_stored_keys(
    stored: Sequence[Entry], new: Sequence[Entry], kind: _EntryKind
) -> list[tuple[object, EntryValues]]:
    """Return the new entries under the keys of the stored ones.

    An entry stored without its id matches by its name.
    """
    keyed, stored_keys = _with_keys(new, kind), [key for key, _ in _with_keys(stored, kind)]
    new_keys = {key for key, _ in keyed}
    unmatched = [(key, entry) for key, entry in zip(stored_keys, stored, strict=True) if key not in new_keys]
    result: list[tuple[object, EntryValues]] = []
    for (key, values), entry in zip(keyed, new, strict=True):
        match = None
        if key not in stored_keys:
            match = next((pair for pair in unmatched if kind.may_be_same(pair[1], entry)), None)
        if match is not None:
            unmatched.remove(match)
        result.append((key if match is None else match[0], values))
    return result


def _merge_value(old: object, new: object, may_replace: bool) -> object:
    if new is None or new == "":
        return old
    return new if may_replace or old is None or old == "" else old
