"""Files that another tool downloaded, recorded under their item or waiting until it is known; and such items.

The row of an item that only another tool has seen, of its highlight and of its place names the tool as its
``source``, and has ``gone_at``: so no rule about what is shown, fetched or gone applies to it. The first
answer that shows what it stands for replaces its values and empties ``source``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.query import adoptions
from archiver.catalog.query.account_state import former_pks
from archiver.catalog.query.adoptions import HeldFile
from archiver.catalog.record import stored_files
from archiver.catalog.record.accounts import insert_unknown_highlight
from archiver.catalog.record.changes import JUST_BEFORE
from archiver.catalog.record.stored_files import StoredFile
from archiver.catalog.sql import Command, Query
from archiver.model.archived import Blob, File, Owner
from archiver.model.foreign_files import AdoptionResult, Fate, ForeignFile, ForeignTool
from archiver.model.identity import ADOPTED_PREFIX, MEDIA_TYPES, Digest, Pk, Role, Subject
from archiver.model.target import is_username
from archiver.model.values import replace


class _WaitingFile(NamedTuple):
    """A file whose item has a row now, and what ``adoptions.mismatch`` needs of the item."""

    id: int
    item_pk: Pk
    role: str
    source: str
    reason: str | None
    sha256: str
    size: int
    mime: str
    width: int | None
    height: int | None
    user_pk: Pk
    taken_at: datetime | None
    media_type: int | None
    item_source: str | None


class _UnplacedFile(NamedTuple):
    """A file whose item has no row."""

    id: int
    item_pk: Pk
    highlight_pk: Pk | None
    role: str
    sha256: str
    username: str | None
    source: str
    reason: str | None
    user_pk: Pk | None
    title: str | None
    taken_at: datetime | None
    size: int
    mime: str
    width: int | None
    height: int | None


class _AdoptedFile(NamedTuple):
    """A file that was adopted, and what ``adoptions.mismatch`` needs of its item."""

    id: int
    role: str
    sha256: str
    source: str
    item_pk: Pk
    user_pk: Pk
    taken_at: datetime | None
    media_type: int | None
    item_source: str | None


_AT_ONCE = 500
_OF_ITEMS = Query(
    """
    SELECT adopted.id, item_pk, role, adopted.source, reason, blobs.sha256, size, mime, width, height,
        items.user_pk, items.taken_at, media_type, items.source AS item_source
    FROM adopted JOIN blobs ON blobs.sha256 = adopted.sha256 JOIN items ON items.pk = item_pk
    WHERE item_pk IN :items AND role <> 'metadata' AND lost_at IS NULL
    ORDER BY item_pk, role, adopted.id
    """,
    _WaitingFile,
)
_ITEMS_WITH_WAITING = Query(
    "SELECT DISTINCT item_pk FROM adopted JOIN items ON items.pk = item_pk WHERE role <> 'metadata'", Pk
)
_NOT_PLACED = Query(
    """
    SELECT id, item_pk, highlight_pk, role, adopted.sha256, username, source, reason, user_pk, title,
        taken_at, size, mime, width, height
    FROM adopted JOIN blobs ON blobs.sha256 = adopted.sha256
    WHERE role <> 'metadata' AND reason IS NULL AND lost_at IS NULL
        AND (highlight_pk IS NOT NULL OR title IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM items WHERE pk = item_pk)
    ORDER BY item_pk, role, id
    """,
    _UnplacedFile,
)
_FILLED = ("highlight_pk", "username", "user_pk", "title", "taken_at")
"""Columns that a later adoption of the same file fills if they are empty."""
_COLUMNS = ("item_pk", "role", "sha256", "source", "adopted_at", "reason", "file_name", *_FILLED)
_ADD_WAITING = Command(
    f"""
    INSERT INTO adopted ({", ".join(_COLUMNS)}) VALUES ({", ".join(f":{name}" for name in _COLUMNS)})
    ON CONFLICT (item_pk, role, sha256) DO UPDATE
    SET {", ".join(f"{name} = coalesce(adopted.{name}, excluded.{name})" for name in _FILLED)}
    """
)
_ADOPTED_OF_ITEMS = Query(
    """
    SELECT files.id, role, sha256, files.source, item_pk,
        items.user_pk, taken_at, media_type, items.source AS item_source
    FROM files JOIN items ON items.pk = item_pk WHERE item_pk IN :items AND files.source IS NOT NULL
    ORDER BY files.id
    """,
    _AdoptedFile,
)
_REMOVE_FILE = Command("DELETE FROM files WHERE id = :file")
_STOP_WAITING = Command("DELETE FROM adopted WHERE item_pk = :item AND role = :role AND sha256 = :digest")
_EXPLAIN = Command("UPDATE adopted SET reason = :reason WHERE id = :row")


def adopt(
    connection: Connection,
    run_id: int,
    file: ForeignFile,
    blob: Blob,
    now: datetime,
    metadata: tuple[ForeignFile, Blob] | None = None,
) -> AdoptionResult:
    """Record a file of another tool whose bytes are durable; return what became of it.

    If its item has a row, or can have one because its account is known, it becomes a file of the item;
    otherwise it waits. ``metadata``: the metadata file beside it, if there is one, and its bytes. A refused
    file leaves no row, and neither does its metadata.
    """
    place = adoptions.place(connection, file)
    result = place.judge(blob.sha256)
    if result.fate is not Fate.REFUSED and place.is_known and not place.problem:
        write_item(connection, file, now)
    if result.fate is Fate.ADOPTED:
        _record(connection, run_id, file.item_pk, file.role, blob, file.source, now)
    elif result.fate is Fate.WAITING or blob.sha256 in place.waiting:
        record_adopted_row(connection, file, blob, now)
    if metadata is not None and result.fate is not Fate.REFUSED:
        beside, digest = metadata[0], Digest(metadata[1].sha256)
        if not adoptions.has_metadata(connection, beside.item_pk, digest):
            record_adopted_row(connection, *metadata, now)
            return replace(result, has_new_metadata=True)
    return result


def record_adopted_row(connection: Connection, file: ForeignFile, blob: Blob, now: datetime) -> None:
    """Record a file that waits for its item, or metadata; fill what an earlier row of the same bytes lacks.

    The bytes are durable.
    """
    stored_files.write_blobs(connection, [(blob, now)])
    row = {name: getattr(file, name) for name in ForeignFile.__struct_fields__ if name != "is_poster"}
    _ADD_WAITING.run(connection, **row, sha256=blob.sha256, adopted_at=now, reason=None)


def settle_waiting(connection: Connection, run_id: int, item_pks: Sequence[Pk], now: datetime) -> int:
    """Record the waiting files of these items, which have rows now; return how many.

    A file that cannot belong to its item keeps waiting, with the reason.
    """
    count = 0
    for start in range(0, len(item_pks), _AT_ONCE):
        rows = _OF_ITEMS.all(connection, items=item_pks[start : start + _AT_ONCE])
        for (item_pk, role), group in groupby(rows, key=lambda row: (row.item_pk, row.role)):
            count += _settle_place(connection, run_id, item_pk, Role(role), list(group), now)
    return count


def settle_all_waiting(connection: Connection, run_id: int, now: datetime) -> int:
    """Record the waiting files of all items that have rows now, or can have them; return how many.

    An item can have one if its account is known by now: then the archive has seen what the account shows.
    """
    count = settle_waiting(connection, run_id, _ITEMS_WITH_WAITING.all(connection), now)
    owner_of = cache(partial(adoptions.owner_of, connection))
    for row in _NOT_PLACED.all(connection):
        if owner_of(row.highlight_pk, row.title, row.user_pk, row.username) is None:
            continue
        names = ("item_pk", "highlight_pk", "username", "user_pk", "title", "taken_at")
        facts = {name: getattr(row, name) for name in names}
        file = ForeignFile(ForeignTool(row.source), role=Role(row.role), **facts)
        blob = Blob(Digest(row.sha256), row.size, row.mime, row.width, row.height)
        if adopt(connection, run_id, file, blob, now).fate is Fate.ADOPTED:
            count += 1
        else:
            _explain(connection, row, adoptions.place(connection, file).problem)
    return count


def settle_shown(connection: Connection, item_pks: Sequence[Pk], now: datetime) -> None:
    """Bring the adopted files of items into line with the first answer that shows these items.

    A file that cannot belong to its item waits from now on, with the reason: the run downloads the right one.
    """
    if not item_pks:
        return
    leave_nameless_highlights(connection, item_pks)
    for row in _ADOPTED_OF_ITEMS.all(connection, items=item_pks):
        reason = adoptions.mismatch(connection, row.source, row.role, row)
        if reason:
            _REMOVE_FILE.run(connection, file=row.id)
            values = {name: getattr(row, name) for name in ("item_pk", "role", "sha256", "source")}
            values |= {"user_pk": row.user_pk, "taken_at": row.taken_at, "adopted_at": now, "reason": reason}
            _ADD_WAITING.run(connection, **{**dict.fromkeys(_COLUMNS), **values})


def _settle_place(
    connection: Connection, run_id: int, item_pk: Pk, role: Role, rows: Sequence[_WaitingFile], now: datetime
) -> int:
    held = adoptions.held_files(connection, item_pk, role)
    digests = {row.sha256 for row in held}
    has_download = any(row.source is None for row in held)
    count = 0
    for row in rows:
        reason = adoptions.mismatch(connection, row.source, role, row)
        if row.sha256 in digests:
            _stop_waiting(connection, item_pk, role, row.sha256)
        elif reason or has_download:
            _explain(connection, row, reason or adoptions.HAS_DOWNLOAD)
        else:
            blob = Blob(Digest(row.sha256), row.size, row.mime, row.width, row.height)
            _record(connection, run_id, item_pk, role, blob, row.source, now)
            count += 1
    return count


def _explain(connection: Connection, row: _WaitingFile | _UnplacedFile, reason: str) -> None:
    if reason and row.reason != reason:
        _EXPLAIN.run(connection, row=row.id, reason=reason)


def _record(
    connection: Connection, run_id: int, item_pk: Pk, role: Role, blob: Blob, source: str, now: datetime
) -> None:
    held = adoptions.held_files(connection, item_pk, role)
    seen_at = now
    if held:
        # The current file is the one seen last; of equal ones, the one recorded last.
        current = held[0]
        is_largest = _rank(blob) >= max(map(_rank, held))
        seen_at = current.last_seen_at if is_largest else current.last_seen_at - JUST_BEFORE
    file = File(Owner(Subject.ITEM, item_pk), role, blob, "", source)
    stored_files.record_files(connection, [StoredFile(file, None, now, seen_at)], run_id=run_id)
    _stop_waiting(connection, item_pk, role, blob.sha256)


def _stop_waiting(connection: Connection, item_pk: Pk, role: Role, digest: str) -> None:
    _STOP_WAITING.run(connection, item=item_pk, role=role, digest=digest)


def _rank(blob: Blob | HeldFile) -> tuple[int, int]:
    return (blob.width or 0) * (blob.height or 0), blob.size


# --- items that no answer has shown

_FILL_ITEM = Command(
    """
    UPDATE items SET media_type = coalesce(:media_type, media_type), taken_at = coalesce(taken_at, :taken_at)
    WHERE pk = :item
    """
)
_INSERT_USER = Command(
    """
    INSERT INTO users (pk, first_seen_at, last_seen_at) VALUES (:user, :now, :now) ON CONFLICT DO NOTHING
    """
)
_INSERT_USERNAME = Command(
    """
    INSERT INTO usernames (user_pk, username, first_seen_at, last_seen_at) VALUES (:user, :name, :now, :now)
    ON CONFLICT DO NOTHING
    """
)
_INSERT_ITEM = Command(
    """
    INSERT INTO items (pk, user_pk, taken_at, media_type, first_seen_at, source)
    VALUES (:item, :user, :taken_at, :media_type, :now, :source)
    ON CONFLICT DO NOTHING
    """
)
_INSERT_PLACE = Command(
    """
    INSERT INTO highlight_items (
        highlight_pk, item_pk, position, first_seen_at, last_seen_at, gone_at, source
    ) VALUES (:highlight, :item, :position, :now, :now, :now, :source)
    ON CONFLICT DO NOTHING
    """
)
_ADD_TITLE = Command(
    "UPDATE highlights SET title = :title WHERE pk = :highlight AND source IS NOT NULL AND title IS NULL"
)
_COUNT_BEFORE = Query(
    """
    SELECT count(*) FROM highlight_items JOIN items ON items.pk = item_pk
    WHERE highlight_pk = :highlight
        AND (taken_at < :taken_at OR taken_at = :taken_at AND items.pk < :item)
    """,
    int,
)
_IS_NAMELESS = f"highlight_pk LIKE '{ADOPTED_PREFIX}%'"
_NAMELESS_OF_ITEMS = Query(
    f"SELECT highlight_pk FROM highlight_items WHERE item_pk IN :items AND {_IS_NAMELESS}", Pk
)
_IS_NAMED = Query(
    f"SELECT EXISTS (SELECT 1 FROM highlight_items WHERE item_pk = :item AND NOT {_IS_NAMELESS})", bool
)
_LEAVE_NAMELESS = Command(f"DELETE FROM highlight_items WHERE item_pk IN :items AND {_IS_NAMELESS}")
_DROP_EMPTY = Command(
    """
    DELETE FROM highlights
    WHERE pk IN :pks AND NOT EXISTS (SELECT 1 FROM highlight_items WHERE highlight_pk = highlights.pk)
    """
)


def write_item(connection: Connection, file: ForeignFile, now: datetime) -> None:
    """Write what a tool says of an item that no answer has shown, if its account is known.

    Values that another tool gave stay; only what is unknown is filled.
    """
    item = adoptions.read_item(connection, file.item_pk)
    if item is not None and item.item_source is None:
        return
    is_video = file.role is Role.VIDEO or file.is_poster
    if item is not None:
        is_dated = item.taken_at is None and file.taken_at is not None
        if is_video or is_dated:
            media_type = MEDIA_TYPES["video"] if is_video else None
            _FILL_ITEM.run(connection, item=file.item_pk, media_type=media_type, taken_at=file.taken_at)
        if file.highlight_pk is None and _IS_NAMED.one(connection, item=file.item_pk):
            return
    owner = adoptions.owner_of(connection, file.highlight_pk, file.title, file.user_pk, file.username)
    if owner is None:
        return
    _write_account(connection, owner, file.username, now)
    new = {"now": now, "source": file.source}
    highlight_pk = file.highlight_pk or _nameless_pk(owner, file.title or "")
    seen = {"first_seen_at": now, "last_seen_at": now, "gone_at": now, "source": file.source}
    row = {"pk": highlight_pk, "user_pk": owner, "title": file.title, **seen}
    insert_unknown_highlight(connection, row)
    if file.title is not None:
        _ADD_TITLE.run(connection, highlight=highlight_pk, title=file.title)
    if item is None:
        media_type = MEDIA_TYPES["video" if is_video else "photo"]
        facts = {"taken_at": file.taken_at, "media_type": media_type}
        _INSERT_ITEM.run(connection, item=file.item_pk, user=owner, **facts, **new)
    elif file.highlight_pk is not None:
        leave_nameless_highlights(connection, [file.item_pk])
    place = {"highlight": highlight_pk, "item": file.item_pk}
    position = _COUNT_BEFORE.one(connection, **place, taken_at=file.taken_at or now)
    _INSERT_PLACE.run(connection, **place, position=position, **new)


def leave_nameless_highlights(connection: Connection, item_pks: Sequence[Pk]) -> None:
    """Remove these items, whose highlights are known now, from highlights that have no pk of Instagram."""
    nameless = _NAMELESS_OF_ITEMS.all(connection, items=item_pks)
    if nameless:
        _LEAVE_NAMELESS.run(connection, items=item_pks)
        _DROP_EMPTY.run(connection, pks=nameless)


def _write_account(connection: Connection, pk: Pk, username: str | None, now: datetime) -> None:
    """Write the row of an account that the archive does not know.

    Its name is only recorded as one that it had, and not at all if another account has or had it: what a
    folder says must not decide which account a run means.
    """
    is_new = _INSERT_USER.run(connection, user=pk, now=now) == 1
    name = (username or "").lower()
    if is_new and is_username(name) and not former_pks(connection, name):
        _INSERT_USERNAME.run(connection, user=pk, name=name, now=now)


def _nameless_pk(owner: Pk, title: str) -> Pk:
    """Return the pk of a highlight of which only account and title are known: no pk of Instagram looks so."""
    return f"{ADOPTED_PREFIX}{owner}-{hashlib.sha256(title.encode()).hexdigest()[:16]}"
