"""What each part of the union of gaps tells: one set of columns, the highlight by which an item is told, the account."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
)

from archiver.catalog import tables
from archiver.catalog.columns import UtcTime
from archiver.errors import Reason
from archiver.model.identity import Subject

_users, _highlights, _members, _items = tables.users, tables.highlights, tables.highlight_items, tables.items
_failures = tables.failures

_COLUMNS: dict[str, Any] = {
    "reason": Text(),
    "subject": Text(),
    "subject_pk": Text(),
    "role": Text(),
    "user_pk": Text(),
    "username": Text(),
    "highlight_pk": Text(),
    "title": Text(),
    "code": Text(),
    "detail": Text(),
    "attempts": BigInteger(),
    "first_at": UtcTime(),
    "last_at": UtcTime(),
    "next_try_at": UtcTime(),
    "gone": BigInteger(),
    "present": BigInteger(),
    "counted": BigInteger(),
    "place": BigInteger(),  # of the highlight in its tray
    "spot": BigInteger(),  # of the item in its highlight
}


def told(source: FromClause, **said: Any) -> Select[Any]:
    """A part of the union: what it says of a gap; null for the rest, of the type that the column has in all parts."""
    columns = [said.get(name, cast(null(), kind)).label(name) for name, kind in _COLUMNS.items()]
    return select(*columns).select_from(source)


def text(value: str) -> ColumnElement[str]:
    return cast(literal(str(value)), Text())


def flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return cast(case((condition, 1), else_=0), BigInteger())


def _home(item_pk: ColumnElement[Any]) -> ColumnElement[str]:
    """The highlight by which an item is told: one that shows it still, if there is one."""
    m, h = _members.alias(), _highlights.alias()
    return (
        select(m.c.highlight_pk)
        .join(h, h.c.pk == m.c.highlight_pk)
        .where(m.c.item_pk == item_pk)
        .order_by(flag(m.c.gone_at.is_not(None)), flag(h.c.gone_at.is_not(None)), m.c.highlight_pk)
        .limit(1)
        .correlate_except(m, h)
        .scalar_subquery()
    )


def with_home(source: FromClause) -> FromClause:
    """What is told of an item: joined with its place in that highlight, the highlight, and the account that lists it."""
    return (
        source.outerjoin(_highlights, _highlights.c.pk == _home(_items.c.pk))
        .outerjoin(
            _members, and_(_members.c.highlight_pk == _highlights.c.pk, _members.c.item_pk == _items.c.pk)
        )
        .outerjoin(_users, _users.c.pk == func.coalesce(_highlights.c.user_pk, _items.c.user_pk))
    )


OF_HIGHLIGHT = {
    "user_pk": _highlights.c.user_pk,
    "username": _users.c.username,
    "highlight_pk": _highlights.c.pk,
    "title": _highlights.c.title,
    "place": _highlights.c.position,
}
OF_ITEM = {
    **OF_HIGHLIGHT,
    "subject": text(Subject.ITEM),
    "subject_pk": _items.c.pk,
    "user_pk": func.coalesce(_highlights.c.user_pk, _items.c.user_pk),
    "code": _items.c.code,
    "gone": flag(or_(_members.c.gone_at.is_not(None), _highlights.c.gone_at.is_not(None))),
    "spot": _members.c.position,
}
GONE_HIGHLIGHT = flag(_highlights.c.gone_at.is_not(None))
FAILED = {
    "reason": _failures.c.reason,
    "subject": _failures.c.subject,
    "subject_pk": _failures.c.subject_pk,
    "role": _failures.c.role,
    "detail": _failures.c.detail,
    "attempts": _failures.c.attempts,
    "first_at": _failures.c.first_at,
    "last_at": _failures.c.last_at,
    "next_try_at": _failures.c.next_try_at,
}
UNSEEN = _users.c.verdict.in_((Reason.PRIVATE.value, Reason.GONE.value))
