"""The newest items of all accounts, page by page; what is news; items with what shows them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BindParameter, Column, Connection, Row, bindparam, or_, select, text

from archiver.catalog import tables
from archiver.catalog.column_types import UtcTime
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

_NEWS = {"at": UtcTime}
# The subject of these changes is always a highlight. With a condition on it, SQLite would sort all of them.
_ADDED_ITEMS = text("""
SELECT i.first_seen_at AS at, i.pk FROM changes c JOIN items i ON i.pk = c.new
WHERE c.field = 'items' AND i.first_seen_at = c.at
ORDER BY c.id DESC LIMIT :limit
""").columns(**_NEWS)
_ITEMS_OF_NEW_HIGHLIGHTS = text("""
SELECT i.first_seen_at AS at, i.pk FROM (
  SELECT subject_pk, at FROM changes
  WHERE field = 'presence' AND new = 'appeared' ORDER BY id DESC LIMIT :limit
) AS appeared
CROSS JOIN highlight_items m -- CROSS: SQLite reads the few changes first, not all items
CROSS JOIN items i
WHERE m.highlight_pk = appeared.subject_pk AND i.pk = m.item_pk AND i.first_seen_at >= appeared.at
ORDER BY i.first_seen_at DESC, i.pk DESC LIMIT :limit
""").columns(**_NEWS)
_NEW_ACCOUNTS = text("""
SELECT first_seen_at AS at, pk FROM users
WHERE EXISTS (SELECT 1 FROM highlights h WHERE h.user_pk = users.pk)
ORDER BY first_seen_at DESC, pk DESC LIMIT :limit
""").columns(**_NEWS)


def newest_taken(
    connection: Connection, limit: int, *, before: DatedPk | None = None, after: DatedPk | None = None
) -> tuple[DatedPk, ...]:
    """Return items by when they were taken, the latest first; those without a date are left out.

    ``before``: only those that come after this one in this order. ``after``: the last ones before this one.
    """
    return _newest(connection, _items.c.taken_at, limit, before, after)


def new_items(connection: Connection, limit: int) -> tuple[DatedPk, ...]:
    """Return the last items that are news, each with when the archive first saw it, the latest first.

    As in ``changes``, what was seen for the first time together with its account is no news.
    """
    found = {
        DatedPk(*row)
        for statement in (_ADDED_ITEMS, _ITEMS_OF_NEW_HIGHLIGHTS)
        for row in connection.execute(statement, {"limit": limit})
    }
    return tuple(sorted(found, reverse=True)[:limit])


def new_accounts(connection: Connection, limit: int) -> tuple[DatedPk, ...]:
    """Return the accounts that the archive saw last for the first time, the latest first."""
    return tuple(DatedPk(*row) for row in connection.execute(_NEW_ACCOUNTS, {"limit": limit}))


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
        placed = Placed(place.highlight_pk, place.position, item, *dates, place.source)
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
