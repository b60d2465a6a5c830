"""Files and their blobs: stored, verified, lost and found again; and when a highlight is complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import BindParameter, Connection, Update, bindparam, exists, or_, select, update
from sqlalchemy.sql.functions import coalesce

from archiver.catalog import tables
from archiver.catalog.record.failures import resolve_files
from archiver.catalog.record.observation_order import dates_before
from archiver.catalog.statements import insert_if_new, update_row
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.signed_url import basename

_blobs, _files, _failures = tables.blobs, tables.files, tables.failures
_highlights, _members, _users = tables.highlights, tables.highlight_items, tables.users

_OWNER_COLUMNS = {Subject.USER: "user_pk", Subject.HIGHLIGHT: "highlight_pk", Subject.ITEM: "item_pk"}
_Order = dict[tuple[Owner, str], list[tuple[datetime, int, str]]]
"""For each owner and role: date, id and hash of the files, as they were seen one after the other."""
_NEWEST = 2**63
"""For the ids of rows that have just been added: they ascend, and are greater than all others."""
_DIGEST: BindParameter[str] = bindparam("digest")
_BLOB = _blobs.c.sha256 == _DIGEST

_INSERT_BLOBS = insert_if_new(
    _blobs, "sha256", "size", "mime", "width", "height", "stored_at", returning=["sha256"]
)
_FILE_KEY = ("user_pk", "highlight_pk", "item_pk", "role", "sha256")
_INSERT_FILES = insert_if_new(
    _files, *(column.name for column in _files.c if column.name != "id"), returning=_FILE_KEY
)
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
_IN_ORDER = {
    subject: select(
        _files.c[column].label("owner"), _files.c.role, _files.c.sha256, _files.c.id, _files.c.last_seen_at
    )
    .where(_files.c[column].in_(bindparam("pks", expanding=True)))
    .order_by(_files.c.last_seen_at, _files.c.id)
    for subject, column in _OWNER_COLUMNS.items()
}
_other = _files.alias()
_PICTURES = {
    subject: select(
        _files.c[column].label("owner"),
        *(_files.c.id, _files.c.source_url, _files.c.last_seen_at, _blobs.c.lost_at),
        (tables.users.c.avatar_name if subject is Subject.USER else _highlights.c.cover_name).label("shown"),
    )
    .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
    .join(table, table.c.pk == _files.c[column])
    .where(exists().where(_other.c[column] == _files.c[column], _other.c.id != _files.c.id))
    .order_by(_files.c.last_seen_at, _files.c.id)
    for subject, column, table in (
        (Subject.USER, "user_pk", _users),
        (Subject.HIGHLIGHT, "highlight_pk", _highlights),
    )
}
"""The pictures of owners that have several, and the name of the one that was seen last; in their order."""
_PICTURES_OF = {
    subject: query.where(_files.c[_OWNER_COLUMNS[subject]].in_(bindparam("pks", expanding=True)))
    for subject, query in _PICTURES.items()
}
_DATE = update(_files).where(_files.c.id == bindparam("file")).values(last_seen_at=bindparam("seen_at"))
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
_OPEN_FAILURES = select(_failures.c.subject_pk, _failures.c.role).where(
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


class FileRecorded(Struct, frozen=True):
    """What recording a file changed.

    ``is_new_file``: the owner did not have these bytes in this role. ``is_new_blob``: no owner had them, or
    they were lost.
    """

    is_new_file: bool
    is_new_blob: bool


class StoredFile(Struct, frozen=True):
    """A File whose bytes are durable since ``at``. ``seen_at``: its ``last_seen_at``, if not ``at``."""

    file: File
    answer_id: int | None
    at: datetime
    seen_at: datetime | None = None


def record_file(
    connection: Connection, run_id: int, file: File, answer_id: int | None, now: datetime
) -> FileRecorded:
    """Record one file; see ``files``."""
    return files(connection, [StoredFile(file, answer_id, now)], run_id=run_id)[0]


def files(connection: Connection, stored: Sequence[StoredFile], *, run_id: int) -> list[FileRecorded]:
    """Record files in their order, and return what each of them changed.

    Each becomes the current file of its owner and role, unless its ``seen_at`` says otherwise. An open
    failure of the same (owner, role) is resolved, and a lost blob is no longer lost. If adopted bytes are now
    downloaded, the file counts as downloaded.
    """
    order = _read_order(connection, stored)
    are_new_blobs = write_blobs(connection, [(each.file.blob, each.at) for each in stored])
    rows = [_file_row(run_id, each) for each in stored]
    new_keys = {tuple(row) for row in connection.execute(_INSERT_FILES(connection.dialect.name), rows)}
    recorded = []
    for number, (each, row, is_new_blob) in enumerate(zip(stored, rows, are_new_blobs, strict=True)):
        key = tuple(row[column] for column in _FILE_KEY)
        is_new_file = key in new_keys
        new_keys.discard(key)  # the same file again is not new
        _keep_order(connection, order, each, _NEWEST + number)
        if not is_new_file:
            _see_again(connection, run_id, each)
        if each.file.owner.subject is not Subject.ITEM:
            _note_picture_name(connection, each.file.owner, basename(each.file.source_url))
        recorded.append(FileRecorded(is_new_file, is_new_blob))
    resolve_files(connection, [(each.file.owner, each.file.role, each.at) for each in stored])
    return recorded


def _file_row(run_id: int, stored: StoredFile) -> dict[str, Any]:
    file = stored.file
    return {
        **dict.fromkeys(_OWNER_COLUMNS.values()),
        _OWNER_COLUMNS[file.owner.subject]: file.owner.pk,
        "role": file.role,
        "sha256": file.blob.sha256,
        "run_id": run_id,
        "answer_id": stored.answer_id,
        "source_url": file.source_url,
        "source": file.source,
        "kept_at": stored.at,
        "last_seen_at": stored.seen_at or stored.at,
    }


def _read_order(connection: Connection, stored: Sequence[StoredFile]) -> _Order:
    """Return what the owners of these files have in each role, in the order of observations."""
    order: _Order = defaultdict(list)
    for subject in {each.file.owner.subject for each in stored}:
        pks = sorted({each.file.owner.pk for each in stored if each.file.owner.subject is subject})
        for row in connection.execute(_IN_ORDER[subject], {"pks": pks}):
            order[Owner(subject, row.owner), row.role].append((row.last_seen_at, row.id, row.sha256))
    return order


def _keep_order(connection: Connection, order: _Order, stored: StoredFile, new_id: int) -> None:
    """Put a file in its place in ``order``; what was seen before it must not be dated later.

    ``new_id``: stands for its id if it has just been added.
    """
    file, at = stored.file, stored.seen_at or stored.at
    seen = order[file.owner, file.role]
    own_id = next((file_id for _, file_id, digest in seen if digest == file.blob.sha256), new_id)
    others = [each for each in seen if each[2] != file.blob.sha256]
    if stored.seen_at is None and (dates := dates_before([(each, each[0]) for each in others], at)):
        key = {"owner": file.owner.pk, "in_role": file.role}
        moved = [{**key, "digest": each[2], "now": earlier} for each, earlier in dates]
        connection.execute(_SEE_AGAIN[file.owner.subject], moved)
        earlier_dates = dict(dates)
        others = [(earlier_dates.get(each, each[0]), *each[1:]) for each in others]
    order[file.owner, file.role] = sorted([*others, (at, own_id, file.blob.sha256)], key=itemgetter(0, 1))


def show_pictures(
    connection: Connection, now: datetime, subject: Subject, pks: Sequence[Pk] | None = None
) -> None:
    """Make the covers of highlights, or the avatars of accounts, current that were seen last.

    A picture was seen last if its file name is the one that is stored for its owner (``cover_name``,
    ``avatar_name``). Nothing changes where the current one has that name too, or no stored one has it.
    ``pks``: the owners; None: all.
    """
    rows = (
        connection.execute(_PICTURES[subject])
        if pks is None
        else connection.execute(_PICTURES_OF[subject], {"pks": list(pks)})
    )
    by_owner: dict[Pk, list[Any]] = defaultdict(list)
    for row in rows:
        by_owner[row.owner].append(row)
    dates: dict[int, datetime] = {}
    for pictures in by_owner.values():
        *others, current = pictures
        named = [row for row in others if row.lost_at is None and basename(row.source_url) == row.shown]
        if named and current.shown and basename(current.source_url) != current.shown:
            shown = named[-1]
            others = [(row.id, row.last_seen_at) for row in pictures if row is not shown]
            dates |= {**dict(dates_before(others, now)), shown.id: now}
    _set_dates(connection, dates)


def _set_dates(connection: Connection, dates: Mapping[int, datetime]) -> None:
    if dates:
        connection.execute(_DATE, [{"file": file, "seen_at": at} for file, at in dates.items()])


def _see_again(connection: Connection, run_id: int, stored: StoredFile) -> None:
    """Record that a file which is held was stored again; a download replaces adoption as its source."""
    file = stored.file
    key = {"owner": file.owner.pk, "in_role": file.role, "digest": file.blob.sha256}
    connection.execute(_SEE_AGAIN[file.owner.subject], {**key, "now": stored.seen_at or stored.at})
    if file.source is None:
        origin = {"run": run_id, "answer": stored.answer_id, "url": file.source_url}
        connection.execute(_CONFIRM[file.owner.subject], {**key, **origin})


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
    not_offered = [key for row in rows if (key := (row.subject_pk, row.role)) not in missing]
    resolve_files(connection, [(Owner(Subject.ITEM, pk), role, now) for pk, role in not_offered])


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


def write_blobs(connection: Connection, blobs: Sequence[tuple[Blob, datetime]]) -> list[bool]:
    """Write the rows of blobs whose bytes are durable since a time; return for each: it is new, or was lost.

    A blob that comes twice is new once.
    """
    rows = [
        {
            "sha256": blob.sha256,
            "size": blob.size,
            "mime": blob.mime,
            "width": blob.width,
            "height": blob.height,
            "stored_at": at,
        }
        for blob, at in blobs
    ]
    new = set(connection.scalars(_INSERT_BLOBS(connection.dialect.name), rows))
    are_new = []
    for blob, _ in blobs:
        is_new = blob.sha256 in new
        new.discard(blob.sha256)
        are_new.append(is_new or _store_again(connection, blob))
    return are_new


def _store_again(connection: Connection, blob: Blob) -> bool:
    """Note that a blob which has a row was stored again; return whether it was lost."""
    was_lost = connection.scalar(_WAS_LOST, {"digest": blob.sha256}) is not None
    size = {"new_width": blob.width, "new_height": blob.height}
    connection.execute(_STORE_AGAIN, {"digest": blob.sha256, **size})
    return was_lost


def _note_picture_name(connection: Connection, owner: Owner, name: str | None) -> None:
    """Store the file name of an owner's current picture, so that the same picture is not downloaded again."""
    if owner.subject is Subject.USER:
        update_row(connection, _users, owner.pk, {"avatar_held": name})
    else:
        update_row(connection, _highlights, owner.pk, {"cover_held": name})
