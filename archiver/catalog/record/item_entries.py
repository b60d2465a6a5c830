"""The entries of items: mentions, links, hashtags, locations, stickers, reshares, sponsors.

Entries are never removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, bindparam, select

from archiver.catalog import tables
from archiver.catalog.entry_kinds import ENTRY_KINDS, EntryKind
from archiver.catalog.sql import Command
from archiver.model.identity import Pk
from archiver.model.upstream import Item

EntryValues = tuple[object, ...]
Entry = Any  # a value of the model, or the row that it became: both have the columns as attributes


class _Identity(Struct, frozen=True):
    """What identifies an entry: ``id``, or else ``name``."""

    id: Callable[[Entry], object]
    name: Callable[[Entry], object] = lambda entry: None

    def of(self, entry: Entry) -> object:
        return self.id(entry) or self.name(entry)

    def may_be_same(self, one: Entry, other: Entry) -> bool:
        """Return whether two entries may be the same: one answer has the id, the other only the name."""
        is_id_missing = not self.id(one) or not self.id(other)
        return is_id_missing and self.name(one) is not None and self.name(one) == self.name(other)


IDENTITIES = {
    "mentions": _Identity(attrgetter("user_pk"), attrgetter("username")),
    "links": _Identity(attrgetter("source", "url")),
    "hashtags": _Identity(attrgetter("name"), attrgetter("hashtag_pk")),
    "locations": _Identity(attrgetter("location_pk"), attrgetter("name")),
    "stickers": _Identity(attrgetter("kind")),
    "reshares": _Identity(attrgetter("media_pk"), attrgetter("media_code")),
    "sponsors": _Identity(attrgetter("user_pk"), attrgetter("username")),
}
"""What identifies an entry, by table."""

_COLUMNS = {
    kind.table: tuple(
        column.name
        for column in tables.metadata.tables[kind.table].columns
        if column.name not in ("item_pk", "position")
    )
    for kind in ENTRY_KINDS
}
"""By table: fields of its entries, and properties that queries look for (the domain of a link)."""
_STORED = {
    kind.table: select(table)
    .where(table.c.item_pk.in_(bindparam("pks", expanding=True)))
    .order_by(table.c.item_pk, table.c.position)
    for kind in ENTRY_KINDS
    for table in (tables.metadata.tables[kind.table],)
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


_UPSERT = {table: _upsert(table, columns) for table, columns in _COLUMNS.items()}


def write(connection: Connection, items: Sequence[Item]) -> None:
    """Add the entries of these items to the stored ones."""
    for kind in ENTRY_KINDS:
        entries = {item.pk: found for item in items if (found := getattr(item, kind.field))}
        if entries:
            _merge(connection, kind, entries)


def fill_missing(
    connection: Connection, table: str, entries: Mapping[Pk, Sequence[Entry]]
) -> tuple[int, int]:
    """Add missing entries of items and fill empty columns of stored ones; alter nothing else.

    Return how many entries were added, and how many filled.
    """
    kind = next(kind for kind in ENTRY_KINDS if kind.table == table)
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
    kind: EntryKind,
    entries: Mapping[Pk, Sequence[Entry]],
    *,
    fill_only: bool = False,
) -> tuple[int, int]:
    """Write what the entries add to the stored ones.

    Return how many rows are new, and how many were altered.
    """
    stored = _read_stored(connection, kind.table, list(entries))
    columns = _COLUMNS[kind.table]
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
    _UPSERT[kind.table].run_each(connection, rows)
    return added, len(rows) - added


def _read_stored(connection: Connection, table: str, pks: Sequence[Pk]) -> dict[Pk, list[Row[Any]]]:
    stored: dict[Pk, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_STORED[table], {"pks": list(pks)}):
        stored[row.item_pk].append(row)
    return stored


def _with_keys(entries: Iterable[Entry], kind: EntryKind) -> list[tuple[object, EntryValues]]:
    """Return the values of each entry under a key: its identity, and how many entries before it share it."""
    identify, columns = IDENTITIES[kind.table].of, _COLUMNS[kind.table]
    counts: Counter[object] = Counter()
    keyed: list[tuple[object, EntryValues]] = []
    for entry in entries:
        identity = identify(entry)
        keyed.append(((identity, counts[identity]), tuple(getattr(entry, column) for column in columns)))
        counts[identity] += 1
    return keyed


def _with_stored_keys(
    stored: Sequence[Entry], new: Sequence[Entry], kind: EntryKind
) -> list[tuple[object, EntryValues]]:
    """Return the new entries under the keys of the stored ones.

    An entry stored without its id matches by its name.
    """
    keyed, stored_keys = _with_keys(new, kind), [key for key, _ in _with_keys(stored, kind)]
    new_keys = {key for key, _ in keyed}
    unmatched = [(key, entry) for key, entry in zip(stored_keys, stored, strict=True) if key not in new_keys]
    may_be_same = IDENTITIES[kind.table].may_be_same
    result: list[tuple[object, EntryValues]] = []
    for (key, values), entry in zip(keyed, new, strict=True):
        match = None
        if key not in stored_keys:
            match = next((pair for pair in unmatched if may_be_same(pair[1], entry)), None)
        if match is not None:
            unmatched.remove(match)
        result.append((key if match is None else match[0], values))
    return result


def _merge_value(old: object, new: object, may_replace: bool) -> object:
    if new is None or new == "":
        return old
    return new if may_replace or old is None or old == "" else old
