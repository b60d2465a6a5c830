"""Files and the blobs that they are: kept, verified, lost, complete."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, Connection, bindparam, exists, or_, select, update
from sqlalchemy.sql.functions import coalesce

from archiver.catalog import tables
from archiver.catalog.record.failures import resolution
from archiver.catalog.upsert import insert_if_new
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.signed_url import basename

_blobs, _files, _failures = tables.blobs, tables.files, tables.failures
_highlights, _members, _users = tables.highlights, tables.highlight_items, tables.users

_OWNER = {Subject.USER: "user_pk", Subject.HIGHLIGHT: "highlight_pk", Subject.ITEM: "item_pk"}
_WHOSE: BindParameter[str] = bindparam("digest")
_LOSE = (
    update(_blobs)
    .where(_blobs.c.sha256 == _WHOSE, _blobs.c.lost_at.is_(None))
    .values(lost_at=bindparam("now"))
)
_REOPEN = (
    update(_highlights)
    .where(
        _highlights.c.pk.in_(
            select(_members.c.highlight_pk)
            .join(_files, _files.c.item_pk == _members.c.item_pk)
            .where(_files.c.sha256 == _WHOSE)
        )
    )
    .values(completed_at=None, tried_at=None)
)
_FORGET_COVER = (
    update(_highlights)
    .where(_highlights.c.pk.in_(select(_files.c.highlight_pk).where(_files.c.sha256 == _WHOSE)))
    .values(cover_held=None)
)
_FORGET_AVATAR = (
    update(_users)
    .where(_users.c.pk.in_(select(_files.c.user_pk).where(_files.c.sha256 == _WHOSE)))
    .values(avatar_held=None)
)
_elsewhere = _members.alias()
_OPEN_FAILURES = select(_failures.c.id, _failures.c.subject_pk, _failures.c.role).where(
    _failures.c.subject == Subject.ITEM,
    _failures.c.role.is_not(None),
    _failures.c.resolved_at.is_(None),
    _failures.c.subject_pk.in_(
        select(_members.c.item_pk).where(
            _members.c.highlight_pk == bindparam("highlight"),
            or_(
                _members.c.gone_at.is_(None),
                ~exists().where(_elsewhere.c.item_pk == _members.c.item_pk, _elsewhere.c.gone_at.is_(None)),
            ),
        )
    ),
)
_RESOLVE = update(_failures).where(_failures.c.id == bindparam("row")).values(resolved_at=bindparam("now"))
_VERIFY = update(_blobs).where(_blobs.c.sha256 == _WHOSE).values(verified_at=bindparam("now"))


# Made once: this is the fact that a first night commits most, and building a statement costs more than running it.
_NEW_BLOB = insert_if_new(_blobs, "sha256", "size", "mime", "width", "height", "stored_at")
_WAS_LOST = select(_blobs.c.lost_at).where(_blobs.c.sha256 == _WHOSE)
_FIND_AGAIN = (
    update(_blobs)
    .where(_blobs.c.sha256 == _WHOSE)
    .values(
        lost_at=None,
        width=coalesce(_blobs.c.width, bindparam("wide")),
        height=coalesce(_blobs.c.height, bindparam("high")),
    )
)
_NEW_FILE = insert_if_new(_files, *(c.name for c in _files.c if c.name != "id"))
_SEE_AGAIN = {
    subject: update(_files)
    .where(
        _files.c[column] == bindparam("owner"), _files.c.role == bindparam("as"), _files.c.sha256 == _WHOSE
    )
    .values(last_seen_at=bindparam("now"))
    for subject, column in _OWNER.items()
}


@dataclass(frozen=True, slots=True)
class FileRecorded:
    """Whether the owner did not have these bytes in this role before, and whether nobody had them (or they were lost)."""

    new_file: bool
    new_blob: bool


def file(
    connection: Connection, run_id: int, file: File, answer_id: int | None, now: datetime
) -> FileRecorded:
    """Record a File whose bytes are durable. An open failure of the same (owner, role) is resolved; a lost blob is found again."""
    new_blob = _write_blob(connection, file.blob, now)
    owner = file.owner
    row = {
        "user_pk": None,
        "highlight_pk": None,
        "item_pk": None,
        _OWNER[owner.subject]: owner.pk,
        "role": file.role,
        "sha256": file.blob.sha256,
        "run_id": run_id,
        "answer_id": answer_id,
        "source_url": file.source_url,
        "kept_at": now,
        "last_seen_at": now,
    }
    new_file = connection.execute(_NEW_FILE(connection.dialect.name), row).first() is not None
    if not new_file:
        connection.execute(
            _SEE_AGAIN[owner.subject],
            {"owner": owner.pk, "as": file.role, "digest": file.blob.sha256, "now": now},
        )
    if owner.subject is not Subject.ITEM:
        _note_held(connection, owner, basename(file.source_url))
    resolution(connection, owner.subject, owner.pk, file.role, now)
    return FileRecorded(new_file, new_blob)


def _write_blob(connection: Connection, blob: Blob, now: datetime) -> bool:
    """Whether nobody had these bytes before, or they were lost."""
    row = {
        "sha256": blob.sha256,
        "size": blob.size,
        "mime": blob.mime,
        "width": blob.width,
        "height": blob.height,
        "stored_at": now,
    }
    if connection.execute(_NEW_BLOB(connection.dialect.name), row).first() is not None:
        return True
    shape = {"digest": blob.sha256, "wide": blob.width, "high": blob.height}
    lost = connection.scalar(_WAS_LOST, {"digest": blob.sha256}) is not None
    connection.execute(_FIND_AGAIN, shape)
    return lost


def _note_held(connection: Connection, owner: Owner, name: str | None) -> None:
    """Note the name under which the owner's current picture came: the same name need not be downloaded again."""
    if owner.subject is Subject.USER:
        connection.execute(update(_users).where(_users.c.pk == owner.pk).values(avatar_held=name))
    elif owner.subject is Subject.HIGHLIGHT:
        connection.execute(update(_highlights).where(_highlights.c.pk == owner.pk).values(cover_held=name))


def completion(
    connection: Connection,
    highlight_pk: Pk,
    missing: Collection[tuple[Pk, Role]],
    now: datetime,
    *,
    is_whole: bool = True,
) -> None:
    """Record that a page was worked through: what it offers is stored, or is ``missing`` and has an open failure.

    ``missing`` are items with the role of the file. ``is_whole``: every item of the page could be read. If it was and
    nothing is missing, the highlight is complete: the watermark. Open failures of files that a whole page does not
    offer any more are resolved, but not those of an item that left this highlight for another.
    """
    complete = now if is_whole and not missing else None
    found = update(_highlights).where(_highlights.c.pk == highlight_pk)
    connection.execute(found.values(tried_at=now, completed_at=complete))
    if not is_whole:
        return
    rows = connection.execute(_OPEN_FAILURES, {"highlight": highlight_pk})
    not_offered = [{"row": row.id, "now": now} for row in rows if (row.subject_pk, row.role) not in missing]
    if not_offered:
        connection.execute(_RESOLVE, not_offered)


def lost_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that the bytes are not there any more. Highlights that use them are due, pictures no longer held."""
    rows = [{"digest": digest, "now": now} for digest in digests]
    if rows:
        for statement in (_LOSE, _REOPEN, _FORGET_COVER, _FORGET_AVATAR):
            connection.execute(statement, rows)


def verified_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that the bytes were read and have their names."""
    rows = [{"digest": digest, "now": now} for digest in digests]
    if rows:
        connection.execute(_VERIFY, rows)
