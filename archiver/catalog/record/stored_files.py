"""Files and their blobs: stored, verified, lost and found again; when a highlight is complete; what failed.

A subject and a role have at most one open failure, with the date of its next try.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, Table
from sqlalchemy.sql.dml import ReturningInsert

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.dialects import Dialect, dialect_of
from archiver.catalog.query import holdings
from archiver.catalog.query.account_state import open_failure
from archiver.catalog.query.holdings import OWNER_COLUMNS
from archiver.catalog.record.changes import dates_before
from archiver.catalog.sql import Command, Query
from archiver.errors import NOT_RETRIED
from archiver.model.archived import Blob, Failure, File, Owner
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.signed_url import basename


class _SeenFile(NamedTuple):
    """A file of an owner."""

    owner: Pk
    role: str
    sha256: str
    id: int
    last_seen_at: datetime


class _Picture(NamedTuple):
    """A picture of an owner; ``shown``: the name of the one that was seen last."""

    owner: Pk
    id: int
    source_url: str
    last_seen_at: datetime
    lost_at: datetime | None
    shown: str | None


_Order = dict[tuple[Owner, str], list[tuple[datetime, int, str]]]
"""For each owner and role: date, id and hash of the files, as they were seen one after the other."""
_NEWEST = 2**63
"""For the ids of rows that have just been added: they ascend, and are greater than all others."""

_STORE_AGAIN = Command(
    """
    UPDATE blobs SET lost_at = NULL, width = coalesce(width, :width), height = coalesce(height, :height)
    WHERE sha256 = :digest
    """
)
_FILE_KEY = ("user_pk", "highlight_pk", "item_pk", "role", "sha256")
_SEE_AGAIN = {
    subject: Command(
        f"UPDATE files SET last_seen_at = :at WHERE {column} = :owner AND role = :role AND sha256 = :digest"
    )
    for subject, column in OWNER_COLUMNS.items()
}
_CONFIRM = {
    subject: Command(
        f"""
        UPDATE files SET source = NULL, run_id = :run, answer_id = :answer, source_url = :url
        WHERE {column} = :owner AND role = :role AND sha256 = :digest AND source IS NOT NULL
        """
    )
    for subject, column in OWNER_COLUMNS.items()
}
_IN_ORDER = {
    subject: Query(
        f"""
        SELECT {column} AS owner, role, sha256, id, last_seen_at FROM files WHERE {column} IN :pks
        ORDER BY last_seen_at, id
        """,
        _SeenFile,
    )
    for subject, column in OWNER_COLUMNS.items()
}
_PICTURES = {  # of owners that have several, in their order
    subject: Query(
        f"""
        SELECT files.{column} AS owner, files.id, source_url, files.last_seen_at, blobs.lost_at,
            {name} AS shown
        FROM files JOIN blobs ON blobs.sha256 = files.sha256 JOIN {table} ON {table}.pk = files.{column}
        WHERE EXISTS (
            SELECT 1 FROM files AS other WHERE other.{column} = files.{column} AND other.id <> files.id
        )
            AND files.{column} IN :pks -- if pks
        ORDER BY files.last_seen_at, files.id
        """,
        _Picture,
    )
    for subject, column, table, name in (
        (Subject.USER, "user_pk", "users", "avatar_name"),
        (Subject.HIGHLIGHT, "highlight_pk", "highlights", "cover_name"),
    )
}
_DATE = Command("UPDATE files SET last_seen_at = :at WHERE id = :file")
_VERIFY = Command("UPDATE blobs SET verified_at = :now WHERE sha256 = :digest")
_FIND = Command("UPDATE blobs SET lost_at = NULL WHERE sha256 = :digest")
_LOSE = (
    Command("UPDATE blobs SET lost_at = :now WHERE sha256 = :digest AND lost_at IS NULL"),
    Command(
        """
        UPDATE highlights SET completed_at = NULL, tried_at = NULL WHERE pk IN (
            SELECT member.highlight_pk FROM highlight_items AS member
            JOIN files ON files.item_pk = member.item_pk WHERE sha256 = :digest
        )
        """
    ),
    Command(
        """
        UPDATE highlights SET cover_held = NULL
        WHERE pk IN (SELECT highlight_pk FROM files WHERE sha256 = :digest)
        """
    ),
    Command(
        "UPDATE users SET avatar_held = NULL WHERE pk IN (SELECT user_pk FROM files WHERE sha256 = :digest)"
    ),
)
_COMPLETE = Command(
    "UPDATE highlights SET tried_at = :now, completed_at = :completed_at WHERE pk = :highlight"
)
_OPEN_FAILURES = Query(  # of the files of its items, without those that moved to another highlight
    """
    SELECT subject_pk, role FROM failures
    WHERE subject = 'item' AND role IS NOT NULL AND resolved_at IS NULL AND subject_pk IN (
        SELECT item_pk FROM highlight_items AS member WHERE highlight_pk = :highlight AND (
            gone_at IS NULL OR NOT EXISTS (
                SELECT 1 FROM highlight_items AS elsewhere
                WHERE elsewhere.item_pk = member.item_pk AND elsewhere.gone_at IS NULL
            )
        )
    )
    """,
    lambda item_pk, role: (item_pk, role),
)
_NOTE_AVATAR = Command("UPDATE users SET avatar_held = :name WHERE pk = :owner")
_NOTE_COVER = Command("UPDATE highlights SET cover_held = :name WHERE pk = :owner")


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


def record_files(connection: Connection, stored: Sequence[StoredFile], *, run_id: int) -> list[FileRecorded]:
    """Record files in their order, and return what each of them changed.

    Each becomes the current file of its owner and role, unless its ``seen_at`` says otherwise. An open
    failure of the same (owner, role) is resolved, and a lost blob is no longer lost. If adopted bytes are now
    downloaded, the file counts as downloaded.
    """
    order = _read_order(connection, stored)
    are_new_blobs = write_blobs(connection, [(each.file.blob, each.at) for each in stored])
    rows = [_file_row(run_id, each) for each in stored]
    new_keys = _insert_new(connection, tables.files, rows, _FILE_KEY)
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


def _insert_new(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], returning: tuple[str, ...]
) -> set[tuple[Any, ...]]:
    """Insert rows, and leave those that exist as they are; return these columns of the new ones."""
    statement = _insert_statement(dialect_of(connection), table, returning)
    return {tuple(row) for row in connection.execute(statement, rows)}


@cache
def _insert_statement(dialect: Dialect, table: Table, returning: tuple[str, ...]) -> ReturningInsert[Any]:
    """Return the INSERT. SQLAlchemy builds it: only so are many rows inserted at once with what is new."""
    columns = [table.c[name] for name in returning]
    return dialect.insert(table).on_conflict_do_nothing().returning(*columns)


def _file_row(run_id: int, stored: StoredFile) -> dict[str, Any]:
    file = stored.file
    return {
        **dict.fromkeys(OWNER_COLUMNS.values()),
        OWNER_COLUMNS[file.owner.subject]: file.owner.pk,
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
        for row in _IN_ORDER[subject].all_of(connection, "pks", pks):
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
        key = {"owner": file.owner.pk, "role": file.role}
        moved = ({**key, "digest": each[2], "at": earlier} for each, earlier in dates)
        _SEE_AGAIN[file.owner.subject].run_each(connection, moved)
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
    query = _PICTURES[subject]
    rows = query.all(connection, pks=None) if pks is None else query.all_of(connection, "pks", pks)
    by_owner: dict[Pk, list[_Picture]] = defaultdict(list)
    for row in rows:
        by_owner[row.owner].append(row)
    dates: dict[int, datetime] = {}
    for pictures in by_owner.values():
        *others, current = pictures
        named = [row for row in others if row.lost_at is None and basename(row.source_url) == row.shown]
        if named and current.shown and basename(current.source_url) != current.shown:
            shown = named[-1]
            earlier = [(row.id, row.last_seen_at) for row in pictures if row is not shown]
            dates |= {**dict(dates_before(earlier, now)), shown.id: now}
    date_files(connection, dates.items())


def date_files(connection: Connection, dates: Iterable[tuple[int, datetime]]) -> None:
    """Set when files were last seen, by the ids of their rows."""
    _DATE.run_each(connection, ({"file": file, "at": at} for file, at in dates))


def _see_again(connection: Connection, run_id: int, stored: StoredFile) -> None:
    """Record that a file which is held was stored again; a download replaces adoption as its source."""
    file = stored.file
    key = {"owner": file.owner.pk, "role": file.role, "digest": file.blob.sha256}
    _SEE_AGAIN[file.owner.subject].run(connection, **key, at=stored.seen_at or stored.at)
    if file.source is None:
        origin = {"run": run_id, "answer": stored.answer_id, "url": file.source_url}
        _CONFIRM[file.owner.subject].run(connection, **key, **origin)


def record_completion(
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
    _COMPLETE.run(connection, highlight=highlight_pk, now=now, completed_at=completed_at)
    if not is_whole:
        return
    failed = _OPEN_FAILURES.all(connection, highlight=highlight_pk)
    not_offered = [key for key in failed if key not in missing]
    resolve_files(connection, [(Owner(Subject.ITEM, pk), role, now) for pk, role in not_offered])


def record_lost_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that bytes are lost.

    Highlights that use them become due; covers and avatars are fetched again.
    """
    rows = [{"digest": digest, "now": now} for digest in digests]
    for statement in _LOSE:
        statement.run_each(connection, rows)


def record_found_blobs(connection: Connection, digests: Iterable[Digest]) -> None:
    """Record that lost bytes were found: they were read, and match their digests."""
    _FIND.run_each(connection, ({"digest": digest} for digest in digests))


def record_verified_blobs(connection: Connection, digests: Iterable[Digest], now: datetime) -> None:
    """Record that bytes were read and match their digests."""
    _VERIFY.run_each(connection, ({"digest": digest, "now": now} for digest in digests))


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
    new = _insert_new(connection, tables.blobs, rows, ("sha256",))
    are_new = []
    for blob, _ in blobs:
        is_new = (blob.sha256,) in new
        new.discard((blob.sha256,))
        are_new.append(is_new or _store_again(connection, blob))
    return are_new


def _store_again(connection: Connection, blob: Blob) -> bool:
    """Note that a blob which has a row was stored again; return whether it was lost."""
    was_lost = holdings.is_lost(connection, blob.sha256)
    _STORE_AGAIN.run(connection, digest=blob.sha256, width=blob.width, height=blob.height)
    return was_lost is True


def _note_picture_name(connection: Connection, owner: Owner, name: str | None) -> None:
    """Store the file name of an owner's current picture, so that the same picture is not downloaded again."""
    note = _NOTE_AVATAR if owner.subject is Subject.USER else _NOTE_COVER
    note.run(connection, owner=owner.pk, name=name)


# --- what failed

_INSERT_FAILURE = Command(
    """
    INSERT INTO failures (
        subject, subject_pk, role, reason, detail, attempts, first_at, last_at, next_try_at, host, size
    ) VALUES (
        :subject, :subject_pk, :role, :reason, :detail, :attempts, :last_at, :last_at, :next_try_at, :host,
        :size
    )
    """
)
_REPEAT = Command(
    """
    UPDATE failures SET reason = :reason, detail = :detail, attempts = :attempts, last_at = :last_at,
        next_try_at = :next_try_at, host = :host, size = :size
    WHERE id = :id
    """
)
_RESOLVE = Command(
    """
    UPDATE failures SET resolved_at = :now
    WHERE subject = :subject AND subject_pk = :pk AND resolved_at IS NULL
        AND role = :role -- if role
        AND role IS NULL -- if not role
    """
)
_OF_TARGETS = Query(
    """
    SELECT subject, subject_pk, role FROM failures
    WHERE resolved_at IS NULL AND (
        subject = 'target'
        OR subject = 'highlight' AND NOT EXISTS (SELECT 1 FROM highlights WHERE pk = subject_pk)
    )
    """,
    lambda subject, pk, role: (subject, pk, role),
)


def record_failure(connection: Connection, failure: Failure, now: datetime, *, is_gap: bool = False) -> int:
    """Record a failure; return how many times in a row it has failed now.

    It gets a date for the next try, unless waiting does not help (``NOT_RETRIED``) or the caller makes it a
    gap (``is_gap``).
    """
    before = open_failure(connection, failure.subject, failure.subject_pk, failure.role)
    attempts = 1 if before is None else before.attempts + 1
    values = {
        "reason": failure.reason,
        "detail": failure.detail,
        "attempts": attempts,
        "last_at": now,
        "next_try_at": None if is_gap or failure.reason in NOT_RETRIED else retry.next_try(attempts, now),
        "host": failure.host,
        "size": failure.size,
    }
    if before is None:
        key = {"subject": failure.subject, "subject_pk": failure.subject_pk, "role": failure.role}
        _INSERT_FAILURE.run(connection, **key, **values)
    else:
        _REPEAT.run(connection, id=before.id, **values)
    return attempts


def resolve_failure(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None, now: datetime
) -> None:
    """Record that an attempt succeeded: the open failure is resolved, if there is one."""
    _RESOLVE.run(connection, subject=subject, pk=subject_pk, role=role, now=now)


def drop_targets(connection: Connection, wanted: Iterable[str], now: datetime) -> None:
    """Resolve the open failures of targets other than those ``wanted`` (``Target.key``).

    Their entries in the configuration were corrected or removed. A highlight without a row was a target.
    """
    keys = set(wanted)
    for subject, pk, role in _OF_TARGETS.all(connection):
        if pk not in keys:
            resolve_failure(connection, subject, pk, role, now)


def resolve_files(connection: Connection, files: Iterable[tuple[Owner, Role, datetime]]) -> None:
    """Record that files are no longer missing since a time: the open failure of each is resolved, if any."""
    rows = [{"subject": owner.subject, "pk": owner.pk, "role": role, "now": at} for owner, role, at in files]
    _RESOLVE.run_each(connection, rows)
