"""What items carry: mentions, links, hashtags, locations, stickers, reshares, sponsors. One row an entry; none is ever removed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, select

from archiver.catalog import tables
from archiver.catalog.upsert import insert
from archiver.model import Item, Pk

Values = tuple[object, ...]
Entry = Any  # a value of the model or the row that it became: both have the columns as attributes


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table of entries, those of an item, and what tells which entry one is."""

    table: Table
    of: Callable[[Item], Sequence[Entry]]
    identity: Callable[[Entry], object]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(
            column.name for column in self.table.columns if column.name not in ("item_pk", "position")
        )


_KINDS = (
    _Kind(tables.mentions, lambda item: item.mentions, lambda entry: entry.user_pk or entry.username),
    _Kind(tables.links, lambda item: item.web_links, lambda entry: (entry.source, entry.url)),
    _Kind(tables.hashtags, lambda item: item.hashtags, lambda entry: entry.name or entry.hashtag_pk),
    _Kind(tables.locations, lambda item: item.locations, lambda entry: entry.location_pk or entry.name),
    _Kind(tables.stickers, lambda item: item.stickers, lambda entry: entry.kind),
    _Kind(tables.reshares, lambda item: item.reshares, lambda entry: entry.media_pk or entry.media_code),
    _Kind(tables.sponsors, lambda item: item.sponsors, lambda entry: entry.user_pk or entry.username),
)


def write(connection: Connection, items: Sequence[Item]) -> None:
    """Add what the items carry to what is held of it."""
    for kind in _KINDS:
        carrying = [item for item in items if kind.of(item)]
        if carrying:
            _write(connection, kind, carrying)


def _write(connection: Connection, kind: _Kind, items: Sequence[Item]) -> None:
    held = _held(connection, kind.table, [item.pk for item in items])
    columns = kind.columns
    rows = [
        {"item_pk": item.pk, "position": position, **dict(zip(columns, values, strict=True))}
        for item in items
        for position, values in merged(_keyed(held[item.pk], kind), _keyed(kind.of(item), kind))
    ]
    if rows:
        upsert = insert(connection, kind.table)
        new = {column: upsert.excluded[column] for column in columns}
        connection.execute(
            upsert.on_conflict_do_update(index_elements=["item_pk", "position"], set_=new), rows
        )


def _held(connection: Connection, table: Table, pks: Sequence[Pk]) -> dict[Pk, list[Row[Any]]]:
    held: dict[Pk, list[Row[Any]]] = defaultdict(list)
    wanted = table.c.item_pk.in_(bindparam("pks", expanding=True))
    query = select(table).where(wanted).order_by(table.c.item_pk, table.c.position)
    for row in connection.execute(query, {"pks": list(pks)}):
        held[row.item_pk].append(row)
    return held


def _keyed(entries: Iterable[Entry], kind: _Kind) -> list[tuple[object, Values]]:
    """Each entry's values under its identity and how often that came before: an item may carry the same thing twice."""
    seen: Counter[object] = Counter()
    keyed: list[tuple[object, Values]] = []
    for entry in entries:
        identity = kind.identity(entry)
        keyed.append(((identity, seen[identity]), tuple(getattr(entry, column) for column in kind.columns)))
        seen[identity] += 1
    return keyed


def merged(
    held: Sequence[tuple[object, Values]], new: Sequence[tuple[object, Values]]
) -> Iterator[tuple[int, Values]]:
    """The rows, by position, to write so that what is held knows what is new too. Pure.

    Held entries keep their positions, unknown ones follow them. A value of an entry that is known is replaced by a newer one only if
    the new answer is no poorer (has at least as many entries); from a poorer one only what was not known is taken.
    """
    whole = len(new) >= len(held)
    place = {key: position for position, (key, _) in enumerate(held)}
    after = len(held)
    for key, values in new:
        position = place.get(key)
        if position is None:
            yield after, values
            after += 1
            continue
        old = held[position][1]
        known = tuple(_richer(was, now, whole) for was, now in zip(old, values, strict=True))
        if known != old:
            yield position, known


def _richer(was: object, now: object, whole: bool) -> object:
    if now is None or now == "":
        return was
    return now if whole or was is None or was == "" else was
