"""The newest items of all accounts, page by page, and items with the highlight and account that show them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BindParameter, Column, Connection, Row, bindparam, or_, select

from archiver.catalog import tables
from archiver.catalog.query import content
from archiver.model.archived import DatedPk, Placed, Selection, ShownItem
from archiver.model.identity import Pk

_items, _members, _highlights = tables.items, tables.highlight_items, tables.highlights
_PKS: BindParameter[Any] = bindparam("pks", expanding=True)
_PLACES = (
    select(_members, _highlights.c.gone_at.label("highlight_gone_at"))
    .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
    .where(_members.c.item_pk.in_(_PKS))
)


def newest_taken(
    connection: Connection, limit: int, *, before: DatedPk | None = None, after: DatedPk | None = None
) -> tuple[DatedPk, ...]:
    """Return items by when they were taken, the latest first; those without a date are left out.

    ``before``: only those that come after this one in this order. ``after``: the last ones before this one.
    """
    return _newest(connection, _items.c.taken_at, limit, before, after)


def newest_seen(connection: Connection, limit: int) -> tuple[DatedPk, ...]:
    """Return the items that the archive saw last for the first time, the latest first."""
    return _newest(connection, _items.c.first_seen_at, limit, None, None)


def shown_items(connection: Connection, pks: Collection[Pk]) -> dict[Pk, ShownItem]:
    """Return these items by pk, each in a highlight that shows it; those in no highlight are left out."""
    places = _places(connection, pks)
    if not places:  # a selection without pks means everything
        return {}
    owners = {place.highlight_pk for place in places.values()}
    highlights = {h.pk: h for h in content.highlights(connection, Selection(highlight_pks=tuple(owners)))}
    user_pks = tuple({highlight.user_pk for highlight in highlights.values()})
    accounts = {a.pk: a for a in content.accounts(connection, Selection(user_pks=user_pks))}
    shown = {}
    for item in content.items(connection, Selection(item_pks=tuple(places))):
        place = places[item.pk]
        highlight = highlights[place.highlight_pk]
        dates = place.first_seen_at, place.last_seen_at, place.gone_at
        placed = Placed(place.highlight_pk, place.position, item, *dates)
        shown[item.pk] = ShownItem(accounts[highlight.user_pk], highlight, placed)
    return shown


def _newest(
    connection: Connection, at: Column[Any], limit: int, before: DatedPk | None, after: DatedPk | None
) -> tuple[DatedPk, ...]:
    pk = _items.c.pk
    query = select(at, pk).where(at.is_not(None)).limit(limit)
    if after is not None:
        query = query.where(at >= after.at, or_(at > after.at, pk > after.pk)).order_by(at, pk)
        return tuple(DatedPk(*row) for row in reversed(connection.execute(query).all()))
    if before is not None:
        query = query.where(at <= before.at, or_(at < before.at, pk < before.pk))
    return tuple(DatedPk(*row) for row in connection.execute(query.order_by(at.desc(), pk.desc())))


def _places(connection: Connection, pks: Collection[Pk]) -> dict[Pk, Row[Any]]:
    """Return a place of each item: one that still shows it, if there is one."""
    rows: Sequence[Row[Any]] = connection.execute(_PLACES, {"pks": list(pks)}).all()
    places: dict[Pk, Row[Any]] = {}
    for row in sorted(rows, key=lambda row: (_is_gone(row), row.highlight_pk)):
        places.setdefault(row.item_pk, row)
    return places


def _is_gone(row: Row[Any]) -> tuple[bool, bool]:
    return row.gone_at is not None, row.highlight_gone_at is not None
