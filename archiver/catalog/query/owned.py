"""Files, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, select

from archiver.catalog import tables
from archiver.model.archived import Blob, KeptFile, Owner
from archiver.model.identity import Digest, Pk, Role, Subject

_files, _blobs = tables.files, tables.blobs

_AT_ONCE = 1000
_OWNERS = {
    Subject.USER: _files.c.user_pk,
    Subject.HIGHLIGHT: _files.c.highlight_pk,
    Subject.ITEM: _files.c.item_pk,
}
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(_files.c.item_pk, _files.c.highlight_pk, _files.c.user_pk, _files.c.role, _files.c.sha256),
    *(_blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height),
    *(_files.c.source_url, _files.c.kept_at, _files.c.last_seen_at, _blobs.c.lost_at),
    *(_files.c.run_id, _files.c.answer_id),
)
"""In the order in which ``_kept_file`` takes them apart: a row's names cost more than all else, a million times."""
_ROLES = {role.value: role for role in Role}


def files(connection: Connection) -> Iterator[KeptFile]:
    """Every file that is or was anybody's, in the order in which they were kept; streamed."""
    question = select(*_COLUMNS).join(_blobs, _blobs.c.sha256 == _files.c.sha256).order_by(_files.c.id)
    for rows in partitions(connection, question):
        yield from map(_kept_file, rows)


def files_of(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> dict[Pk, tuple[KeptFile, ...]]:
    """The files of these owners of one kind, newest first, () for those that have none."""
    owner = _OWNERS[subject]
    question = (
        select(*_COLUMNS)
        .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
        .where(owner.in_(bindparam("pks", expanding=True)))
        .order_by(owner, _files.c.last_seen_at.desc(), _files.c.id.desc())
    )
    found: dict[Pk, tuple[KeptFile, ...]] = dict.fromkeys(pks, ())
    rows = map(_kept_file, connection.execute(question, {"pks": list(pks)}))
    for pk, group in groupby(rows, key=lambda file: file.owner.pk):
        found[pk] = tuple(group)
    return found


def partitions(connection: Connection, question: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a question a thousand at a time, none read before it is wanted; its cursor is closed with the iterator."""
    with connection.execution_options(yield_per=_AT_ONCE).execute(question) as rows:
        yield from rows.partitions()


def _kept_file(row: Sequence[Any]) -> KeptFile:
    item, highlight, user, role, sha256, size, mime, width, height, url, kept, seen, lost, run, answer = row
    if item is not None:
        owner = Owner(Subject.ITEM, item)
    elif highlight is not None:
        owner = Owner(Subject.HIGHLIGHT, highlight)
    else:
        owner = Owner(Subject.USER, user)
    blob = Blob(Digest(sha256), size, mime, width, height)
    return KeptFile(owner, _ROLES[role], blob, url, kept, seen, lost, run, answer)
