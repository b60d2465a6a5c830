"""Details of one account, highlight or item: how much it has, its names, and which answers it came from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Subquery, bindparam, func, select, union

from archiver.catalog import tables
from archiver.model.api_calls import AnswerLocation
from archiver.model.archived import ContentSize, DatedUsername, NameChange, Provenance
from archiver.model.identity import Digest, Pk, Subject

_highlights, _members, _items = tables.highlights, tables.highlight_items, tables.items
_files, _blobs, _changes = tables.files, tables.blobs, tables.changes
_answers, _calls = tables.answers, tables.api_calls

_GONE = func.coalesce(_members.c.gone_at, _highlights.c.gone_at)
_NAME_FIELDS = ("username", "full_name", "title")


def extents(connection: Connection, user_pk: Pk) -> dict[Pk, ContentSize]:
    """Return the content size of each highlight of an account, covers included; empty ones are left out."""
    of_items = (
        select(_members.c.highlight_pk, func.count(), func.count(_GONE))
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(_highlights.c.user_pk == user_pk)
        .group_by(_members.c.highlight_pk)
    )
    items = {pk: (count, gone) for pk, count, gone in connection.execute(of_items)}
    highlight_blobs = _blobs_of_highlights(user_pk)
    of_blobs = (
        select(highlight_blobs.c.highlight_pk, *_SUMS)
        .join(_blobs, _blobs.c.sha256 == highlight_blobs.c.sha256)
        .group_by(highlight_blobs.c.highlight_pk)
    )
    blobs = {pk: tuple(map(int, sums)) for pk, *sums in connection.execute(of_blobs)}
    return {
        pk: ContentSize(*items.get(pk, (0, 0)), *blobs.get(pk, (0, 0, 0)))
        for pk in items.keys() | blobs.keys()
    }


def extent(connection: Connection, user_pk: Pk) -> ContentSize:
    """Return the content size of an account.

    An item in several of its highlights counts once, and is gone when none of them shows it any more.
    """
    shown = (
        select((func.count() == func.count(_GONE)).label("gone"))
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(_highlights.c.user_pk == user_pk)
        .group_by(_members.c.item_pk)
        .subquery()
    )
    rows = connection.execute(select(shown.c.gone, func.count()).group_by(shown.c.gone))
    counts = {bool(gone): count for gone, count in rows}
    highlight_blobs = _blobs_of_highlights(user_pk)
    own = union(
        select(_files.c.sha256).where(_files.c.user_pk == user_pk), select(highlight_blobs.c.sha256)
    ).subquery()
    sums = connection.execute(select(*_SUMS).join_from(_blobs, own, _blobs.c.sha256 == own.c.sha256)).one()
    return ContentSize(sum(counts.values()), counts.get(True, 0), *map(int, sums))


def names(connection: Connection, user_pk: Pk) -> tuple[DatedUsername, ...]:
    """Return the usernames of an account, the latest first."""
    usernames = tables.usernames
    query = (
        select(usernames.c.username, usernames.c.first_seen_at, usernames.c.last_seen_at)
        .where(usernames.c.user_pk == user_pk)
        .order_by(usernames.c.last_seen_at.desc(), usernames.c.first_seen_at.desc())
    )
    return tuple(DatedUsername(*row) for row in connection.execute(query))


def renamings(connection: Connection, subject: Subject, pk: Pk) -> tuple[NameChange, ...]:
    """Return the changes of a subject's names, the latest first."""
    query = (
        select(_changes.c.at, _changes.c.field, _changes.c.old, _changes.c.new)
        .where(_changes.c.subject == subject, _changes.c.subject_pk == pk, _changes.c.field.in_(_NAME_FIELDS))
        .order_by(_changes.c.id.desc())
    )
    return tuple(NameChange(*row) for row in connection.execute(query))


def provenance(connection: Connection, answer_ids: Collection[int]) -> dict[int, Provenance]:
    """Return where these answers are stored, except those dropped (``keep_answers = "fetched"``)."""
    query = (
        select(_answers, _calls.c.run_id, _calls.c.path)
        .join(_calls, _calls.c.id == _answers.c.api_call_id)
        .where(_answers.c.id.in_(bindparam("ids", expanding=True)))
    )
    return {
        row.id: Provenance(
            row.id,
            row.run_id,
            row.path,
            AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256)),
            row.lost_at is not None,
        )
        for row in connection.execute(query, {"ids": list(answer_ids)})
    }


def pks_by_code(connection: Connection, code: str) -> tuple[Pk, ...]:
    """Return the items that have this code: one, unless upstream contradicts itself."""
    return tuple(connection.scalars(select(_items.c.pk).where(_items.c.code == code).order_by(_items.c.pk)))


def _blobs_of_highlights(user_pk: Pk) -> Subquery:
    """Select each highlight of an account with each of its blobs, once."""
    own = _highlights.c.user_pk == user_pk
    covers = (
        select(_files.c.highlight_pk, _files.c.sha256)
        .join(_highlights, _highlights.c.pk == _files.c.highlight_pk)
        .where(own)
    )
    of_items = (
        select(_members.c.highlight_pk, _files.c.sha256)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .join(_files, _files.c.item_pk == _members.c.item_pk)
        .where(own)
    )
    return union(covers, of_items).subquery()


def _sum_unless_lost(value: Any) -> Any:
    return func.coalesce(func.sum(value).filter(_blobs.c.lost_at.is_(None)), 0)


_SUMS = (_sum_unless_lost(1), _sum_unless_lost(_blobs.c.size), func.count(_blobs.c.lost_at))
