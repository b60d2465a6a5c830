"""What the archive knows that it lacks, and why: one statement, read row by row in the order of accounts and highlights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    FromClause,
    Row,
    Select,
    case,
    cast,
    exists,
    func,
    null,
    select,
    union_all,
)

from archiver.catalog import tables
from archiver.catalog.columns import UtcTime
from archiver.catalog.query.lacks import (
    fewer_than_counted,
    highlights_not_yet,
    lacking,
    lost_of_highlights,
    lost_of_items,
    lost_of_users,
)
from archiver.catalog.query.told import (
    FAILED,
    GONE_HIGHLIGHT,
    OF_HIGHLIGHT,
    OF_ITEM,
    UNSEEN,
    text,
    told,
    with_home,
)
from archiver.errors import Reason
from archiver.model.archived import Gap, Lack
from archiver.model.identity import Role, Subject

_users, _highlights, _items, _failures = tables.users, tables.highlights, tables.items, tables.failures

_AT_ONCE = 1000
_LACKS = frozenset(lack.value for lack in Lack)


def gaps(connection: Connection) -> Iterator[Gap]:
    """Every gap, account after account; streamed, so ask by ``Catalog.stream``.

    A thing that was lost and could not be had again is told twice: as lost, and as what failed. Highlights that were listed and never
    fetched are told whether anybody wants them or not.
    """
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(_every()):
        yield _gap(row)


def _failed(kind: Subject, source: FromClause, **said: Any) -> Select[Any]:
    """The open failures of one kind of thing."""
    is_open = _failures.c.subject == kind.value, _failures.c.resolved_at.is_(None)
    return told(source, **{**said, **FAILED}).where(*is_open)


def _failures_of_targets() -> Select[Any]:
    """Names that nobody answers to, but for those whose account is told by its verdict."""
    names = tables.usernames
    known = (
        exists()
        .where(names.c.username == _failures.c.subject_pk, names.c.user_pk == _users.c.pk)
        .where(UNSEEN)
    )
    by_pk = exists().where(_users.c.pk == _failures.c.subject_pk, UNSEEN)
    # What is asked for by its id is told under the account's name.
    account = select(_users.c.username).where(_users.c.pk == _failures.c.subject_pk).scalar_subquery()
    whose = {"username": func.coalesce(account, _failures.c.subject_pk)}
    return _failed(Subject.TARGET, _failures, **whose).where(~known, ~by_pk)


def _unseen_accounts() -> Select[Any]:
    """Accounts that are private or gone."""
    return told(
        _users,
        reason=_users.c.verdict,
        subject=text(Subject.USER),
        subject_pk=_users.c.pk,
        user_pk=_users.c.pk,
        username=_users.c.username,
        attempts=cast(_users.c.verdict_checks, BigInteger()),
        first_at=case(
            (_users.c.verdict == Reason.GONE.value, _users.c.gone_at), else_=cast(null(), UtcTime())
        ),
        last_at=_users.c.verdict_at,
        next_try_at=_users.c.verdict_due_at,
    ).where(UNSEEN)


@cache
def _every() -> Select[Any]:
    of_items = _failures.outerjoin(_items, _items.c.pk == _failures.c.subject_pk)
    of_highlights = _failures.outerjoin(_highlights, _highlights.c.pk == _failures.c.subject_pk).outerjoin(
        _users, _users.c.pk == _highlights.c.user_pk
    )
    of_users = _failures.outerjoin(_users, _users.c.pk == _failures.c.subject_pk)
    everything = union_all(
        _failed(Subject.ITEM, with_home(of_items), **OF_ITEM),
        _failed(
            Subject.HIGHLIGHT,
            of_highlights,
            **{**OF_HIGHLIGHT, "highlight_pk": _failures.c.subject_pk, "gone": GONE_HIGHLIGHT},
        ),
        _failed(Subject.USER, of_users, user_pk=_failures.c.subject_pk, username=_users.c.username),
        _failures_of_targets(),
        _unseen_accounts(),
        lacking(Role.THUMBNAIL),
        lacking(Role.VIDEO),
        highlights_not_yet(),
        fewer_than_counted(),
        lost_of_items(),
        lost_of_highlights(),
        lost_of_users(),
    ).subquery()
    c = everything.c
    account = func.coalesce(c.username, c.user_pk, c.highlight_pk)
    order = [func.coalesce(column, default) for column, default in ((c.place, -1), (c.highlight_pk, ""))]
    order += [func.coalesce(column, default) for column, default in ((c.spot, -1), (c.role, ""))]
    return select(everything).order_by(
        account, func.coalesce(c.user_pk, ""), *order, c.subject, c.subject_pk, c.reason
    )


def _gap(row: Row[Any]) -> Gap:
    return Gap(
        reason=Lack(row.reason) if row.reason in _LACKS else Reason(row.reason),
        subject=Subject(row.subject),
        subject_pk=row.subject_pk,
        role=Role(row.role) if row.role is not None else None,
        user_pk=row.user_pk,
        username=row.username,
        highlight_pk=row.highlight_pk,
        title=row.title,
        code=row.code,
        detail=row.detail or "",
        attempts=row.attempts,
        first_at=row.first_at,
        last_at=row.last_at,
        next_try_at=row.next_try_at,
        gone=bool(row.gone),
        present=row.present,
        counted=row.counted,
    )
