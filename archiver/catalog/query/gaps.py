"""What the archive knows that it lacks, and why: one statement, read row by row in the order of accounts and highlights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from archiver.catalog import tables
from archiver.catalog.column_types import UtcTime
from archiver.errors import Reason
from archiver.model.archived import MEDIA_TYPES, Gap, GapReason
from archiver.model.identity import Role, Subject

_users, _highlights, _items, _failures = tables.users, tables.highlights, tables.items, tables.failures

_AT_ONCE = 1000
_LACKS = frozenset(lack.value for lack in GapReason)


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
        reason=GapReason(row.reason) if row.reason in _LACKS else Reason(row.reason),
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


_members = tables.highlight_items

_files = tables.files
_blobs = tables.blobs


def lacking(role: Role) -> Select[Any]:
    """Items without a file in a role that all of their kind have, and without an open failure that says why.

    If the page of a highlight was worked through, each file that it offered is stored or has an open failure. So the
    reason here is that of the last failure that was resolved when the offer ended, or that the file was never offered.
    A highlight whose page was not worked through, and that has no failure, is listed as a whole elsewhere.
    """
    held = exists().where(_files.c.item_pk == _items.c.pk, _files.c.role == role.value)
    m, h = _members.alias(), _highlights.alias()
    tried = exists().where(m.c.item_pk == _items.c.pk, h.c.pk == m.c.highlight_pk, h.c.tried_at.is_not(None))
    given_up = (
        select(_failures.c.subject_pk, func.max(_failures.c.id).label("id"))
        .where(_failures.c.subject == Subject.ITEM.value, _failures.c.role == role.value)
        .where(_failures.c.resolved_at.is_not(None))
        .group_by(_failures.c.subject_pk)
        .subquery()
    )
    source = with_home(
        _items.outerjoin(given_up, given_up.c.subject_pk == _items.c.pk).outerjoin(
            _failures, _failures.c.id == given_up.c.id
        )
    )
    why = case(
        (~tried, text(GapReason.NOT_YET)),
        (_failures.c.id.is_not(None), _failures.c.reason),
        else_=text(GapReason.NEVER_OFFERED),
    )
    past = {name: FAILED[name] for name in ("detail", "attempts", "first_at", "last_at")}
    lacking = told(source, **{**OF_ITEM, **past, "reason": why, "role": text(role)})
    lacking = lacking.where(~held, ~_still_open(role), or_(tried, _failing(_highlights)))
    return lacking.where(_items.c.media_type == MEDIA_TYPES["video"]) if role is Role.VIDEO else lacking


def _still_open(role: Role) -> ColumnElement[bool]:
    f = _failures.alias()
    return (
        exists()
        .where(f.c.subject == Subject.ITEM.value, f.c.subject_pk == _items.c.pk, f.c.role == role.value)
        .where(f.c.resolved_at.is_(None))
    )


def _failing(highlights: FromClause) -> ColumnElement[bool]:
    """Whether a failure of a highlight, or of an item that it shows, is open."""
    m, f = _members.alias(), _failures.alias()
    own = (
        exists()
        .where(f.c.subject == Subject.HIGHLIGHT.value, f.c.subject_pk == highlights.c.pk)
        .where(f.c.role.is_(None), f.c.resolved_at.is_(None))
    )
    of_items = (
        exists()
        .where(m.c.highlight_pk == highlights.c.pk, m.c.gone_at.is_(None))
        .where(f.c.subject == Subject.ITEM.value, f.c.subject_pk == m.c.item_pk, f.c.resolved_at.is_(None))
    )
    return or_(own, of_items)


def highlights_not_yet() -> Select[Any]:
    """Highlights that are shown and were not fetched, or not to the end, though nothing failed. An account that is unseen is told as such."""
    return told(
        _highlights.join(_users, _users.c.pk == _highlights.c.user_pk),
        **OF_HIGHLIGHT,
        reason=text(GapReason.NOT_YET),
        subject=text(Subject.HIGHLIGHT),
        subject_pk=_highlights.c.pk,
        first_at=_highlights.c.first_seen_at,
        last_at=_highlights.c.fetched_at,
        counted=_highlights.c.media_count,
    ).where(
        _highlights.c.gone_at.is_(None),
        _highlights.c.completed_at.is_(None),
        or_(_users.c.verdict.is_(None), ~UNSEEN),
        ~_failing(_highlights),
    )


def fewer_than_counted() -> Select[Any]:
    """Highlights that have fewer items than the tray counted when they were fetched."""
    shown = (
        select(_members.c.highlight_pk, func.count().label("number"))
        .where(_members.c.gone_at.is_(None))
        .group_by(_members.c.highlight_pk)
        .subquery()
    )
    present = func.coalesce(shown.c.number, 0)
    counted = func.coalesce(_highlights.c.fetched_media_count, _highlights.c.media_count)
    return told(
        _highlights.join(_users, _users.c.pk == _highlights.c.user_pk).outerjoin(
            shown, shown.c.highlight_pk == _highlights.c.pk
        ),
        **OF_HIGHLIGHT,
        reason=text(GapReason.FEWER_THAN_COUNTED),
        subject=text(Subject.HIGHLIGHT),
        subject_pk=_highlights.c.pk,
        last_at=_highlights.c.fetched_at,
        present=present,
        counted=counted,
    ).where(_highlights.c.gone_at.is_(None), _highlights.c.fetched_at.is_not(None), present < counted)


def _lost(owner: str) -> FromClause:
    """(owner, role) with lost bytes and no sound file beside them: ``pk``, ``role`` and since when."""
    other, sound = _files.alias(), _blobs.alias()
    column = _files.c[owner]
    replaced = (
        exists()
        .where(other.c[owner] == column, other.c.role == _files.c.role)
        .where(sound.c.sha256 == other.c.sha256, sound.c.lost_at.is_(None))
    )
    return (
        select(column.label("pk"), _files.c.role, func.min(_blobs.c.lost_at).label("since"))
        .select_from(_blobs.join(_files, _files.c.sha256 == _blobs.c.sha256))
        .where(_blobs.c.lost_at.is_not(None), column.is_not(None), ~replaced)
        .group_by(column, _files.c.role)
        .subquery()
    )


def lost_of_items() -> Select[Any]:
    lost = _lost("item_pk")
    source = with_home(lost.join(_items, _items.c.pk == lost.c.pk))
    return told(source, **{**OF_ITEM, **_since(lost)})


def lost_of_highlights() -> Select[Any]:
    lost = _lost("highlight_pk")
    source = lost.join(_highlights, _highlights.c.pk == lost.c.pk).join(
        _users, _users.c.pk == _highlights.c.user_pk
    )
    about = {"subject": text(Subject.HIGHLIGHT), "subject_pk": _highlights.c.pk, "gone": GONE_HIGHLIGHT}
    return told(source, **{**OF_HIGHLIGHT, **_since(lost), **about})


def lost_of_users() -> Select[Any]:
    lost = _lost("user_pk")
    about = {"subject": text(Subject.USER), "subject_pk": _users.c.pk, "user_pk": _users.c.pk}
    gone = flag(_users.c.gone_at.is_not(None))
    source = lost.join(_users, _users.c.pk == lost.c.pk)
    return told(source, **{**_since(lost), **about, "username": _users.c.username, "gone": gone})


def _since(lost: FromClause) -> dict[str, Any]:
    return {"reason": text(Reason.LOST), "role": lost.c.role, "first_at": lost.c.since}


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
