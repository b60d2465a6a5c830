"""Files and their blobs: stored, verified, lost and found again; and when a highlight is complete."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, Connection, Update, bindparam, exists, or_, select, update
from sqlalchemy.sql.functions import coalesce

from archiver.catalog import tables
from archiver.catalog.record.failures import resolution
from archiver.catalog.statements import insert_if_new, update_row
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.signed_url import basename

_blobs, _files, _failures = tables.blobs, tables.files, tables.failures
_highlights, _members, _users = tables.highlights, tables.highlight_items, tables.users

_OWNER_COLUMNS = {Subject.USER: "user_pk", Subject.HIGHLIGHT: "highlight_pk", Subject.ITEM: "item_pk"}
_DIGEST: BindParameter[str] = bindparam("digest")
_BLOB = _blobs.c.sha256 == _DIGEST

_INSERT_BLOB = insert_if_new(_blobs, "sha256", "size", "mime", "width", "height", "stored_at")
_INSERT_FILE = insert_if_new(_files, *(column.name for column in _files.c if column.name != "id"))
_WAS_LOST = select(_blobs.c.lost_at).where(_BLOB)
_STORE_AGAIN = (
    update(_blobs)
    .where(_BLOB)
    .values(
        lost_at=None,
        width=coalesce(_blobs.c.width, bindparam("new_width")),
        height=coalesce(_blobs.c.height, bindparam("new_height")),
    )
)
_OF_OWNER = {
    subject: update(_files).where(
        _files.c[column] == bindparam("owner"),
        _files.c.role == bindparam("in_role"),
        _files.c.sha256 == _DIGEST,
    )
    for subject, column in _OWNER_COLUMNS.items()
}
_SEE_AGAIN = {subject: of.values(last_seen_at=bindparam("now")) for subject, of in _OF_OWNER.items()}
_CONFIRM = {
    subject: of.where(_files.c.source.is_not(None)).values(
        source=None, run_id=bindparam("run"), answer_id=bindparam("answer"), source_url=bindparam("url")
    )
    for subject, of in _OF_OWNER.items()
}
_VERIFY = update(_blobs).where(_BLOB).values(verified_at=bindparam("now"))
_FIND = update(_blobs).where(_BLOB).values(lost_at=None)
_owners = {
    column: select(_files.c[column]).where(_files.c.sha256 == _DIGEST)
    for column in ("highlight_pk", "user_pk")
}
_showing_highlights = (
    select(_members.c.highlight_pk)
    .join(_files, _files.c.item_pk == _members.c.item_pk)
    .where(_files.c.sha256 == _DIGEST)
)
_LOSE: tuple[Update, ...] = (
    update(_blobs).where(_BLOB, _blobs.c.lost_at.is_(None)).values(lost_at=bindparam("now")),
    update(_highlights)
    .where(_highlights.c.pk.in_(_showing_highlights))
    .values(completed_at=None, tried_at=None),
    update(_highlights).where(_highlights.c.pk.in_(_owners["highlight_pk"])).values(cover_held=None),
    update(_users).where(_users.c.pk.in_(_owners["user_pk"])).values(avatar_held=None),
)

_elsewhere = _members.alias()
_is_shown_elsewhere = exists().where(
    _elsewhere.c.item_pk == _members.c.item_pk, _elsewhere.c.gone_at.is_(None)
)
_OPEN_FAILURES = select(_failures.c.id, _failures.c.subject_pk, _failures.c.role).where(
    _failures.c.subject == Subject.ITEM,
    _failures.c.role.is_not(None),
    _failures.c.resolved_at.is_(None),
    _failures.c.subject_pk.in_(
        select(_members.c.item_pk).where(
            _members.c.highlight_pk == bindparam("highlight"),
            or_(_members.c.gone_at.is_(None), ~_is_shown_elsewhere),
        )
    ),
)
_RESOLVE = update(_failures).where(_failures.c.id == bindparam("row")).values(resolved_at=bindparam("now"))


@dataclass(frozen=True, slots=True)
class FileRecorded:
    """What recording a file changed.

    ``is_new_file``: the owner did not have these bytes in this role. ``is_new_blob``: no owner had them, or
    they were lost.
    """

    is_new_file: bool
    is_new_blob: bool


def file(
    connection: Connection,
    run_id: int,
    file: File,
    answer_id: int | None,
    now: datetime,
    *,
    seen_at: datetime | None = None,
) -> FileRecorded:
    """Record a File whose bytes are durable.

    An open failure of the same (owner, role) is resolved, and a lost blob is no longer lost. If adopted bytes
    are now downloaded, the file counts as downloaded. ``seen_at``: its ``last_seen_at``, if not ``now``.
    """
    is_new_blob = write_blob(connection, file.blob, now)
    owner = file.owner
    row = {
        **dict.fromkeys(_OWNER_COLUMNS.values()),
        _OWNER_COLUMNS[owner.subject]: owner.pk,
        "role": file.role,
        "sha256": file.blob.sha256,
        "run_id": run_id,
        "answer_id": answer_id,
        "source_url": file.source_url,
        "source": file.source,
        "kept_at": now,
        "last_seen_at": seen_at or now,
    }
    is_new_file = connection.execute(_INSERT_FILE(connection.dialect.name), row).first() is not None
    if not is_new_file:
        key = {"owner": owner.pk, "in_role": file.role, "digest": file.blob.sha256}
        connection.execute(_SEE_AGAIN[owner.subject], {**key, "now": seen_at or now})
        if file.source is None:
            origin = {"run": run_id, "answer": answer_id, "url": file.source_url}
            connection.execute(_CONFIRM[owner.subject], {**key, **origin})
    _note_picture_name(connection, owner, basename(file.source_url))
    resolution(connection, owner.subject, owner.pk, file.role, now)
    return FileRecorded(is_new_file, is_new_blob)


def completion(
    connection: Connection,
    highlight_pk: Pk,
    missing: Collection[tuple[Pk, Role]],
    now: datetime,
    *,
    is_whole: bool = True,
) -> None:
    """Record that every file of a page was tried: each is stored, or is ``missing`` and has an open failure.

    ``missing`` holds items with the role of the file. ``is_whole``: every item of the page could be read. If
    so, and nothing is missing, the highlight is complete: this is the watermark. Open failures of files that
    a whole page no longer offers are resolved, except those of an item that moved to another highlight.
    """
    completed_at = now if is_whole and not missing else None
    update_row(connection, _highlights, highlight_pk, {"tried_at": now, "completed_at": completed_at})
    if not is_whole:
        return
    rows = connection.execute(_OPEN_FAILURES, {"highlight": highlight_pk})
    not_offered = [{"row": row.id, "now": now} for row in rows if (row.subject_pk, row.role) not in missing]
    if not_offered:
        connection.execute(_RESOLVE, not_offered)


def lost_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that bytes are lost.

    Highlights that use them become due; covers and avatars are fetched again.
    """
    rows = [{"digest": digest, "now": now} for digest in digests]
    if rows:
        for statement in _LOSE:
            connection.execute(statement, rows)


def found_blobs(connection: Connection, digests: Iterable[Digest]) -> None:
    """Record that lost bytes were found: they were read, and match their digests."""
    rows = [{"digest": digest} for digest in digests]
    if rows:
        connection.execute(_FIND, rows)


def verified_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that bytes were read and match their digests."""
    rows = [{"digest": digest, "now": now} for digest in digests]
    if rows:
        connection.execute(_VERIFY, rows)


def write_blob(connection: Connection, blob: Blob, now: datetime) -> bool:
    """Write the row of a blob whose bytes are durable; return whether it is new or was lost."""
    row = {
        "sha256": blob.sha256,
        "size": blob.size,
        "mime": blob.mime,
        "width": blob.width,
        "height": blob.height,
        "stored_at": now,
    }
    if connection.execute(_INSERT_BLOB(connection.dialect.name), row).first() is not None:
        return True
    was_lost = connection.scalar(_WAS_LOST, {"digest": blob.sha256}) is not None
    size = {"new_width": blob.width, "new_height": blob.height}
    connection.execute(_STORE_AGAIN, {"digest": blob.sha256, **size})
    return was_lost


def _note_picture_name(connection: Connection, owner: Owner, name: str | None) -> None:
    """Store the file name of an owner's current picture, so that the same picture is not downloaded again."""
    if owner.subject is Subject.USER:
        update_row(connection, _users, owner.pk, {"avatar_held": name})
    elif owner.subject is Subject.HIGHLIGHT:
        update_row(connection, _highlights, owner.pk, {"cover_held": name})
