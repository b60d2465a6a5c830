"""Files, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from archiver.catalog import tables
from archiver.model import Blob, Digest, KeptFile, Owner, Pk, Role, Subject

_files, _blobs = tables.files, tables.blobs

_AT_ONCE = 1000
_OWNERS = {
    Subject.USER: _files.c.user_pk,
    Subject.HIGHLIGHT: _files.c.highlight_pk,
    Subject.ITEM: _files.c.item_pk,
}
_BLOB = (_blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height, _blobs.c.lost_at)


def files(connection: Connection) -> Iterator[KeptFile]:
    """Every file that is or was anybody's, in the order in which they were kept; streamed."""
    question = select(_files, *_BLOB).join(_blobs, _blobs.c.sha256 == _files.c.sha256).order_by(_files.c.id)
    for rows in partitions(connection, question):
        yield from map(_kept_file, rows)


def files_of(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> dict[Pk, tuple[KeptFile, ...]]:
    """The files of these owners of one kind, newest first, () for those that have none."""
    owner = _OWNERS[subject]
    question = (
        select(_files, *_BLOB)
        .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
        .where(owner.in_(bindparam("pks", expanding=True)))
        .order_by(owner, _files.c.last_seen_at.desc(), _files.c.id.desc())
    )
    found: dict[Pk, tuple[KeptFile, ...]] = dict.fromkeys(pks, ())
    rows = connection.execute(question, {"pks": list(pks)})
    for pk, group in groupby(rows, key=lambda row: _owner(row).pk):
        found[pk] = tuple(map(_kept_file, group))
    return found


def partitions(connection: Connection, question: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a question a thousand at a time, none read before it is wanted; its cursor is closed with the iterator."""
    with connection.execution_options(yield_per=_AT_ONCE).execute(question) as rows:
        yield from rows.partitions()


def _kept_file(row: Row[Any]) -> KeptFile:
    blob = Blob(Digest(row.sha256), row.size, row.mime, row.width, row.height)
    return KeptFile(
        _owner(row),
        Role(row.role),
        blob,
        row.source_url,
        row.kept_at,
        row.last_seen_at,
        row.lost_at,
        row.run_id,
        row.answer_id,
    )


def _owner(row: Row[Any]) -> Owner:
    pks = ((Subject.USER, row.user_pk), (Subject.HIGHLIGHT, row.highlight_pk), (Subject.ITEM, row.item_pk))
    return next(Owner(subject, pk) for subject, pk in pks if pk is not None)
