"""What items carry: mentions, links, hashtags, locations, stickers, reshares, sponsors. One row an entry; none is ever removed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, select

from archiver.catalog import tables
from archiver.catalog.upsert import insert
from archiver.model.identity import Pk
from archiver.model.upstream import Item

Values = tuple[object, ...]
Entry = Any  # a value of the model or the row that it became: both have the columns as attributes


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table of entries, those of an item, and what tells which entry one is: its ``name``, or failing that its ``byname``."""

    table: Table
    of: Callable[[Item], Sequence[Entry]]
    name: Callable[[Entry], object]
    byname: Callable[[Entry], object] = lambda entry: None

    def identity(self, entry: Entry) -> object:
        return self.name(entry) or self.byname(entry)

    def alike(self, one: Entry, other: Entry) -> bool:
        """Whether these may be one entry, of which one answer told the name and another only the byname."""
        halves = not self.name(one) or not self.name(other)
        return halves and self.byname(one) is not None and self.byname(one) == self.byname(other)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(
            column.name for column in self.table.columns if column.name not in ("item_pk", "position")
        )


_KINDS = (
    _Kind(tables.mentions, lambda item: item.mentions, attrgetter("user_pk"), attrgetter("username")),
    _Kind(tables.links, lambda item: item.web_links, attrgetter("source", "url")),
    _Kind(tables.hashtags, lambda item: item.hashtags, attrgetter("name"), attrgetter("hashtag_pk")),
    _Kind(tables.locations, lambda item: item.locations, attrgetter("location_pk"), attrgetter("name")),
    _Kind(tables.stickers, lambda item: item.stickers, attrgetter("kind")),
    _Kind(tables.reshares, lambda item: item.reshares, attrgetter("media_pk"), attrgetter("media_code")),
    _Kind(tables.sponsors, lambda item: item.sponsors, attrgetter("user_pk"), attrgetter("username")),
)
TABLES = tuple(kind.table.name for kind in _KINDS)
"""All tables of entries."""


def write(connection: Connection, items: Sequence[Item]) -> None:
    """Add what the items carry to what is held of it."""
    for kind in _KINDS:
        carrying = [item for item in items if kind.of(item)]
        if carrying:
            _write(connection, kind, carrying)


def fill_missing(
    connection: Connection, table: str, entries: Mapping[Pk, Sequence[Entry]]
) -> tuple[int, int]:
    """Add those of these entries of items that are lacking, fill what held ones do not tell, and alter nothing else.

    Returns how many were added, and how many filled.
    """
    kind = next(kind for kind in _KINDS if kind.table.name == table)
    return _merge(connection, kind, entries, fill_only=True)


def _write(connection: Connection, kind: _Kind, items: Sequence[Item]) -> None:
    _merge(connection, kind, {item.pk: kind.of(item) for item in items})


def _merge(
    connection: Connection, kind: _Kind, entries: Mapping[Pk, Sequence[Entry]], *, fill_only: bool = False
) -> tuple[int, int]:
    """Write what the entries add to what is held; returns how many rows are new, and how many were altered."""
    held = _held(connection, kind.table, list(entries))
    columns = kind.columns
    added = 0
    rows = []
    for item_pk, new in entries.items():
        old = held[item_pk]
        places = [entry.position for entry in old]
        found = merge_entries(_keyed(old, kind), _matched(old, new, kind), places=places, fill_only=fill_only)
        for position, values in found:
            rows.append({"item_pk": item_pk, "position": position, **dict(zip(columns, values, strict=True))})
            added += position not in places
    if rows:
        upsert = insert(connection, kind.table)
        told = {column: upsert.excluded[column] for column in columns}
        connection.execute(
            upsert.on_conflict_do_update(index_elements=["item_pk", "position"], set_=told), rows
        )
    return added, len(rows) - added


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


def _matched(held: Sequence[Entry], new: Sequence[Entry], kind: _Kind) -> list[tuple[object, Values]]:
    """The new entries keyed as the held ones are: one that is held by its byname alone (no pk was told) is that one, not another."""
    keyed, known = _keyed(new, kind), [key for key, _ in _keyed(held, kind)]
    told = {key for key, _ in keyed}
    free = [(key, entry) for key, entry in zip(known, held, strict=True) if key not in told]
    matched: list[tuple[object, Values]] = []
    for (key, values), entry in zip(keyed, new, strict=True):
        same = None if key in known else next((f for f in free if kind.alike(f[1], entry)), None)
        if same is not None:
            free.remove(same)
        matched.append((key if same is None else same[0], values))
    return matched


def merge_entries(
    held: Sequence[tuple[object, Values]],
    new: Sequence[tuple[object, Values]],
    *,
    places: Sequence[int] | None = None,
    fill_only: bool = False,
) -> Iterator[tuple[int, Values]]:
    """The rows, by position, to write so that what is held knows what is new too. Pure.

    Held entries keep their ``places`` (from 0 where none are given), unknown ones follow them, or take their own place again if that
    is empty. A value of an entry that is known is replaced by a newer one only if
    the new answer is no poorer (has at least as many entries); from a poorer one, or with ``fill_only``, only what was not known is
    taken.
    """
    whole = len(new) >= len(held) and not fill_only
    places = range(len(held)) if places is None else places
    known = {key: (place, old) for place, (key, old) in zip(places, held, strict=True)}
    taken = set(places)
    for own, (key, values) in enumerate(new):
        if key not in known:
            place = own if own not in taken else max(taken) + 1
            taken.add(place)
            yield place, values
            continue
        place, old = known[key]
        richer = tuple(_richer(was, now, whole) for was, now in zip(old, values, strict=True))
        if richer != old:
            yield place, richer


def _richer(was: object, now: object, whole: bool) -> object:
    if now is None or now == "":
        return was
    return now if whole or was is None or was == "" else was
