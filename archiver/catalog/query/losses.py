"""Which accounts may still show files whose bytes were lost, so that a repair can fetch them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Exists,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)

from archiver import retry
from archiver.catalog import tables
from archiver.errors import NOT_RETRIED, Reason
from archiver.model.archived import Loss
from archiver.model.identity import Pk, Subject

_blobs, _files, _users, _failures = tables.blobs, tables.files, tables.users, tables.failures
_highlights, _members = tables.highlights, tables.highlight_items

_BATCH = 1000
_PKS: Any = bindparam("pks", expanding=True)
_other, _other_blob = _files.alias(), _blobs.alias()
_FILES_WITH_BLOBS = _files.join(_blobs, _blobs.c.sha256 == _files.c.sha256)


def _has_other_file(owner: Column[Any]) -> Exists:
    """Return the condition that the owner has another file in the same role that is not lost."""
    return (
        exists()
        .where(_other.c[owner.name] == owner, _other.c.role == _files.c.role)
        .where(_other_blob.c.sha256 == _other.c.sha256, _other_blob.c.lost_at.is_(None))
    )


def _has_open_failure(subject: Subject, pk: Column[Any], role: Column[Any] | None) -> Exists:
    return exists().where(
        _failures.c.subject == subject,
        _failures.c.subject_pk == pk,
        _failures.c.role.is_(None) if role is None else _failures.c.role == role,
        _failures.c.resolved_at.is_(None),
    )


def _is_hopeless(failure: Exists) -> Exists:
    """Narrow open failures to those that a call cannot resolve now.

    The thing was not found and is not due again (``retry.is_due``), or our own rules refuse it.
    """
    due_at = _failures.c.next_try_at
    now, furthest = bindparam("now", type_=due_at.type), bindparam("furthest", type_=due_at.type)
    is_waiting = or_(due_at.is_(None), and_(due_at > now, due_at <= furthest))
    is_missing = and_(_failures.c.reason == Reason.NOT_FOUND, is_waiting)
    return failure.where(or_(is_missing, _failures.c.reason.in_(NOT_RETRIED)))


_PAGE_FAILED = _has_open_failure(Subject.HIGHLIGHT, _highlights.c.pk, None)
_FILE_FAILED = _has_open_failure(Subject.ITEM, _files.c.item_pk, _files.c.role)
# One highlight for each lost file, so that an item in several highlights is paid for once. A highlight whose
# page did not fail is preferred.
_CHOICE = func.min(case((_PAGE_FAILED, literal("1")), else_=literal("0")) + _highlights.c.pk)
_HIGHLIGHTS_OF_ITEMS = (
    select(_CHOICE.label("choice"))
    .select_from(
        _FILES_WITH_BLOBS.join(_members, _members.c.item_pk == _files.c.item_pk).join(
            _highlights, _highlights.c.pk == _members.c.highlight_pk
        )
    )
    .where(_blobs.c.lost_at.is_not(None), ~_has_other_file(_files.c.item_pk), _members.c.gone_at.is_(None))
    .where(_highlights.c.gone_at.is_(None), _highlights.c.completed_at.is_(None), ~_is_hopeless(_PAGE_FAILED))
    .where(or_(_highlights.c.tried_at.is_(None), _FILE_FAILED))
    .where(~_is_hopeless(_FILE_FAILED))
    .group_by(_files.c.id)
)
# A picture that was replaced is not shown any more: only the last one can be fetched again.
_COVERS = (
    select(_highlights.c.pk)
    .select_from(_FILES_WITH_BLOBS.join(_highlights, _highlights.c.pk == _files.c.highlight_pk))
    .where(_blobs.c.lost_at.is_not(None), _highlights.c.cover_held.is_(None), _highlights.c.gone_at.is_(None))
    .where(~_has_other_file(_files.c.highlight_pk).where(_other.c.last_seen_at >= _files.c.last_seen_at))
    .where(~_is_hopeless(_has_open_failure(Subject.HIGHLIGHT, _files.c.highlight_pk, _files.c.role)))
    .distinct()
)
# An account that is private, gone or empty shows nothing until a run finds it changed.
_IS_SHOWN = _users.c.verdict.is_(None), _users.c.gone_at.is_(None)
# One account for each picture: the placeholder of accounts without a picture is the avatar of many.
_AVATARS = (
    select(func.min(_users.c.pk))
    .select_from(_FILES_WITH_BLOBS.join(_users, _users.c.pk == _files.c.user_pk))
    .where(_blobs.c.lost_at.is_not(None), _users.c.avatar_held.is_(None), *_IS_SHOWN)
    .where(~_has_other_file(_files.c.user_pk).where(_other.c.last_seen_at >= _files.c.last_seen_at))
    .where(~_is_hopeless(_has_open_failure(Subject.USER, _files.c.user_pk, _files.c.role)))
    .group_by(_files.c.sha256)
)
_OWNERS = select(_highlights.c.pk, _highlights.c.user_pk).where(_highlights.c.pk.in_(_PKS))
_SHOWN_ACCOUNTS = select(_users.c.pk, _users.c.listed_at).where(_users.c.pk.in_(_PKS), *_IS_SHOWN)


def losses(connection: Connection, now: datetime, *, covers: bool, avatars: bool) -> tuple[Loss, ...]:
    """Return the accounts that may still show what was lost, in the order of their pks.

    A highlight counts if it has been incomplete since the loss and still shows the item. It does not count if
    the file is no longer offered or is refused by our own rules, or if its page or the file was not found and
    is not due again. ``covers`` and ``avatars``: whether to include those.
    """
    times = {"now": now, "furthest": now + retry.LONGEST_BACKOFF}
    item_highlights = {row.choice[1:] for row in connection.execute(_HIGHLIGHTS_OF_ITEMS, times)}
    cover_highlights = set(connection.scalars(_COVERS, times)) if covers else set()
    avatar_accounts = set(connection.scalars(_AVATARS, times)) if avatars else set()
    by_items, by_covers = _by_owner(connection, item_highlights), _by_owner(connection, cover_highlights)
    accounts = _select_in(connection, _SHOWN_ACCOUNTS, by_items.keys() | by_covers.keys() | avatar_accounts)
    return tuple(
        Loss(
            user_pk=row.pk,
            highlights=frozenset(by_items.get(row.pk, ())),
            covers=frozenset(by_covers.get(row.pk, ())),
            is_avatar_lost=row.pk in avatar_accounts,
            was_listed=row.listed_at is not None,
        )
        for row in sorted(accounts, key=lambda row: str(row.pk))
    )


def _by_owner(connection: Connection, highlights: Collection[Pk]) -> dict[Pk, set[Pk]]:
    owners: dict[Pk, set[Pk]] = {}
    for row in _select_in(connection, _OWNERS, highlights):
        owners.setdefault(row.user_pk, set()).add(row.pk)
    return owners


def _select_in(connection: Connection, query: Select[Any], pks: Collection[Pk]) -> Iterator[Row[Any]]:
    """Yield the rows of a query by pk, a batch of pks at a time."""
    all_pks = list(pks)
    for start in range(0, len(all_pks), _BATCH):
        yield from connection.execute(query, {"pks": all_pks[start : start + _BATCH]})
