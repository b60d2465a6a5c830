"""What is lacking although no failure is open: never offered, given up, not yet had, fewer than counted, lost."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, case, exists, func, or_, select

from archiver.catalog import tables
from archiver.catalog.query.told import (
    FAILED,
    GONE_HIGHLIGHT,
    OF_HIGHLIGHT,
    OF_ITEM,
    UNSEEN,
    flag,
    text,
    told,
    with_home,
)
from archiver.errors import Reason
from archiver.model.archived import MEDIA_TYPES, Lack
from archiver.model.identity import Role, Subject

_users, _highlights, _members, _items = tables.users, tables.highlights, tables.highlight_items, tables.items
_failures, _files, _blobs = tables.failures, tables.files, tables.blobs


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
        (~tried, text(Lack.NOT_YET)),
        (_failures.c.id.is_not(None), _failures.c.reason),
        else_=text(Lack.NEVER_OFFERED),
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
        reason=text(Lack.NOT_YET),
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
        reason=text(Lack.FEWER_THAN_COUNTED),
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
