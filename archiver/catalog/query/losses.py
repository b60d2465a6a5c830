"""What was lost and might be had again; and every kept answer, to be looked at."""

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
from archiver.model.archived import Loss, StoredAnswer
from archiver.model.billing import AnswerLocation
from archiver.model.identity import Digest, Pk, Subject

_blobs, _files, _users, _failures = tables.blobs, tables.files, tables.users, tables.failures
_highlights, _members, _answers = tables.highlights, tables.highlight_items, tables.answers

_AT_ONCE = 1000
_other, _others_blob = _files.alias(), _blobs.alias()
_LOST = _files.join(_blobs, _blobs.c.sha256 == _files.c.sha256)


def _another(owner: Column[Any]) -> Exists:
    """Whether the owner of a file has other bytes in its role, which are not lost."""
    return (
        exists()
        .where(_other.c[owner.name] == owner, _other.c.role == _files.c.role)
        .where(_others_blob.c.sha256 == _other.c.sha256, _others_blob.c.lost_at.is_(None))
    )


def _failed(subject: Subject, pk: Column[Any], role: Column[Any] | None) -> Exists:
    """Whether a failure of that thing is open."""
    return exists().where(
        _failures.c.subject == subject,
        _failures.c.subject_pk == pk,
        _failures.c.role.is_(None) if role is None else _failures.c.role == role,
        _failures.c.resolved_at.is_(None),
    )


def _not_there(failed: Exists) -> Exists:
    """Of these failures those after which a call brings nothing now.

    It is not there and not due again (``retry.is_due``), or our own rules refuse it.
    """
    again = _failures.c.next_try_at
    now, furthest = bindparam("now", type_=again.type), bindparam("furthest", type_=again.type)
    waits = or_(again.is_(None), and_(again > now, again <= furthest))
    is_missing = and_(_failures.c.reason == Reason.NOT_FOUND, waits)
    return failed.where(or_(is_missing, _failures.c.reason.in_(NOT_RETRIED)))


_PAGE_FAILED = _failed(Subject.HIGHLIGHT, _highlights.c.pk, None)
_FILE_FAILED = _failed(Subject.ITEM, _files.c.item_pk, _files.c.role)
# One highlight for each lost file, one whose page did not fail if there is one: an item that sits in several is paid for once.
_CHOICE = func.min(case((_PAGE_FAILED, literal("1")), else_=literal("0")) + _highlights.c.pk)
_ITEMS = (
    select(_CHOICE.label("choice"))
    .select_from(
        _LOST.join(_members, _members.c.item_pk == _files.c.item_pk).join(
            _highlights, _highlights.c.pk == _members.c.highlight_pk
        )
    )
    .where(_blobs.c.lost_at.is_not(None), ~_another(_files.c.item_pk), _members.c.gone_at.is_(None))
    .where(_highlights.c.gone_at.is_(None), _highlights.c.completed_at.is_(None), ~_not_there(_PAGE_FAILED))
    .where(or_(_highlights.c.tried_at.is_(None), _FILE_FAILED))
    .where(~_not_there(_FILE_FAILED))
    .group_by(_files.c.id)
)
# A picture that was replaced since is shown no more: only what came last is to be had again.
_COVERS = (
    select(_highlights.c.pk)
    .select_from(_LOST.join(_highlights, _highlights.c.pk == _files.c.highlight_pk))
    .where(_blobs.c.lost_at.is_not(None), _highlights.c.cover_held.is_(None), _highlights.c.gone_at.is_(None))
    .where(~_another(_files.c.highlight_pk).where(_other.c.last_seen_at >= _files.c.last_seen_at))
    .where(~_not_there(_failed(Subject.HIGHLIGHT, _files.c.highlight_pk, _files.c.role)))
    .distinct()
)
# An account that is private, gone or empty shows nothing: it waits for the night that finds it changed.
_IS_SHOWN = _users.c.verdict.is_(None), _users.c.gone_at.is_(None)
# One account for each picture: the one that stands for none at all is the avatar of many.
_AVATARS = (
    select(func.min(_users.c.pk))
    .select_from(_LOST.join(_users, _users.c.pk == _files.c.user_pk))
    .where(_blobs.c.lost_at.is_not(None), _users.c.avatar_held.is_(None), *_IS_SHOWN)
    .where(~_another(_files.c.user_pk).where(_other.c.last_seen_at >= _files.c.last_seen_at))
    .where(~_not_there(_failed(Subject.USER, _files.c.user_pk, _files.c.role)))
    .group_by(_files.c.sha256)
)
_OWNERS = select(_highlights.c.pk, _highlights.c.user_pk).where(
    _highlights.c.pk.in_(bindparam("pks", expanding=True))
)
_SHOWN = select(_users.c.pk, _users.c.listed_at).where(
    _users.c.pk.in_(bindparam("pks", expanding=True)), *_IS_SHOWN
)
_KEPT = select(_answers).order_by(_answers.c.segment, _answers.c.offset)
_STANDING = select(_answers.c.id).where(_answers.c.id.in_(bindparam("pks", expanding=True)))


def losses(connection: Connection, now: datetime, *, covers: bool, avatars: bool) -> tuple[Loss, ...]:
    """The accounts that may still show what was lost of them, in the order of their pks.

    A highlight counts that is incomplete since and shows the item still, unless the file is not offered any more or is
    refused by our own rules, or unless its page, or the file, was not there and is not due again. ``covers`` and ``avatars``: whether those are wanted at all.
    """
    when = {"now": now, "furthest": now + retry.LONGEST_BACKOFF}
    items = {row.choice[1:] for row in connection.execute(_ITEMS, when)}
    pictures = set(connection.scalars(_COVERS, when)) if covers else set()
    faces = set(connection.scalars(_AVATARS, when)) if avatars else set()
    of_items, of_pictures = _by_owner(connection, items), _by_owner(connection, pictures)
    shown = _those(connection, _SHOWN, of_items.keys() | of_pictures.keys() | faces)
    return tuple(
        Loss(
            user_pk=row.pk,
            highlights=frozenset(of_items.get(row.pk, ())),
            covers=frozenset(of_pictures.get(row.pk, ())),
            avatar=row.pk in faces,
            listed=row.listed_at is not None,
        )
        for row in sorted(shown, key=lambda row: str(row.pk))
    )


def _by_owner(connection: Connection, highlights: Collection[Pk]) -> dict[Pk, set[Pk]]:
    owners: dict[Pk, set[Pk]] = {}
    for row in _those(connection, _OWNERS, highlights):
        owners.setdefault(row.user_pk, set()).add(row.pk)
    return owners


def answers(connection: Connection) -> Iterator[StoredAnswer]:
    """Every kept answer, segment by segment; streamed, so ask by ``Catalog.stream``."""
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(_KEPT):
        kept = AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256))
        yield StoredAnswer(row.id, kept, row.lost_at is not None)


def standing_answers(connection: Connection, ids: Collection[int]) -> frozenset[int]:
    """Which of these answers still have their row: a run drops its trays where only what was fetched is kept."""
    return frozenset(row.id for row in _those(connection, _STANDING, ids))


def _those(
    connection: Connection, query: Select[Any], keys: Collection[Pk] | Collection[int]
) -> Iterator[Row[Any]]:
    wanted = list(keys)
    for start in range(0, len(wanted), _AT_ONCE):
        yield from connection.execute(query, {"pks": wanted[start : start + _AT_ONCE]})
