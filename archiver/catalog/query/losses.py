"""What was lost and might be had again; and every kept answer, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, exists, func, or_, select

from archiver.catalog import tables
from archiver.model import Digest, KeptAnswer, Loss, Pk, StoredAnswer

_blobs, _files, _users = tables.blobs, tables.files, tables.users
_highlights, _members, _answers = tables.highlights, tables.highlight_items, tables.answers

_AT_ONCE = 1000
_other, _others_blob = _files.alias(), _blobs.alias()
_LOST = _files.join(_blobs, _blobs.c.sha256 == _files.c.sha256)
_HAS_ANOTHER = (
    exists()
    .where(_other.c.item_pk == _files.c.item_pk, _other.c.role == _files.c.role)
    .where(_others_blob.c.sha256 == _other.c.sha256, _others_blob.c.lost_at.is_(None))
)
_ITEMS = (
    # One highlight for each lost file: an item that sits in several is paid for once.
    select(func.min(_highlights.c.pk).label("pk"), _highlights.c.user_pk)
    .select_from(
        _LOST.join(_members, _members.c.item_pk == _files.c.item_pk).join(
            _highlights, _highlights.c.pk == _members.c.highlight_pk
        )
    )
    .where(_blobs.c.lost_at.is_not(None), ~_HAS_ANOTHER, _members.c.gone_at.is_(None))
    .where(_highlights.c.gone_at.is_(None), _highlights.c.completed_at.is_(None))
    .group_by(_files.c.id, _highlights.c.user_pk)
)
_PICTURES = (
    select(func.coalesce(_users.c.pk, _highlights.c.user_pk).label("user_pk"))
    .select_from(
        _LOST.outerjoin(_users, _users.c.pk == _files.c.user_pk).outerjoin(
            _highlights, _highlights.c.pk == _files.c.highlight_pk
        )
    )
    .where(_blobs.c.lost_at.is_not(None))
    .where(
        or_(
            _users.c.pk.is_not(None) & _users.c.avatar_held.is_(None) & _users.c.gone_at.is_(None),
            _highlights.c.pk.is_not(None)
            & _highlights.c.cover_held.is_(None)
            & _highlights.c.gone_at.is_(None),
        )
    )
    .distinct()
)
_KEPT = select(_answers).order_by(_answers.c.segment, _answers.c.offset)


def losses(connection: Connection) -> tuple[Loss, ...]:
    """The accounts that may still show what was lost of them, in the order of their pks.

    A highlight counts that is incomplete since, and shows the item still; a cover or avatar that has not been had again.
    """
    highlights: dict[Pk, set[Pk]] = {}
    for row in connection.execute(_ITEMS):
        highlights.setdefault(row.user_pk, set()).add(row.pk)
    pictures = set(connection.scalars(_PICTURES))
    return tuple(
        Loss(pk, frozenset(highlights.get(pk, ())), pk in pictures)
        for pk in sorted(highlights.keys() | pictures)
    )


def answers(connection: Connection) -> Iterator[StoredAnswer]:
    """Every kept answer, segment by segment; streamed, so ask by ``Catalog.stream``."""
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(_KEPT):
        kept = KeptAnswer(row.segment, row.offset, row.length, Digest(row.sha256))
        yield StoredAnswer(row.id, kept, row.lost_at is not None)
