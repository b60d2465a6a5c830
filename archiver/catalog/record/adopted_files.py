"""Files that another tool downloaded: recorded under their item, or waiting until an answer reports it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select, update

from archiver.catalog import tables
from archiver.catalog.query import adoptions
from archiver.catalog.record import stored_files
from archiver.catalog.record.observation_order import JUST_BEFORE
from archiver.catalog.record.stored_files import StoredFile
from archiver.catalog.statements import insert_if_new
from archiver.model.archived import Blob, File, Owner
from archiver.model.foreign_files import AdoptionResult, Fate, ForeignFile
from archiver.model.identity import Digest, Pk, Role, Subject

_adopted, _blobs, _files, _items = tables.adopted, tables.blobs, tables.files, tables.items

_AT_ONCE = 500
_ANY_WAITING = select(exists().where(_adopted.c.id.is_not(None)))
_WAITING_WITH_ITEM = (
    select(
        *(_adopted.c.id, _adopted.c.item_pk, _adopted.c.role, _adopted.c.source, _adopted.c.reason),
        *(_blobs.c.sha256, _blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height),
        *(_items.c.user_pk, _items.c.taken_at, _items.c.media_type),
    )
    .join(_blobs, _blobs.c.sha256 == _adopted.c.sha256)
    .join(_items, _items.c.pk == _adopted.c.item_pk)
    .where(_blobs.c.lost_at.is_(None))
    .order_by(_adopted.c.item_pk, _adopted.c.role, _adopted.c.id)
)
_OF_ITEMS = _WAITING_WITH_ITEM.where(_adopted.c.item_pk.in_(bindparam("pks", expanding=True)))
_ITEMS_WITH_WAITING = select(_adopted.c.item_pk).distinct().join(_items, _items.c.pk == _adopted.c.item_pk)
_INSERT_WAITING = insert_if_new(_adopted, *(column.name for column in _adopted.c if column.name != "id"))
_STOP_WAITING = delete(_adopted).where(
    _adopted.c.item_pk == bindparam("item"),
    _adopted.c.role == bindparam("in_role"),
    _adopted.c.sha256 == bindparam("digest"),
)
_EXPLAIN = update(_adopted).where(_adopted.c.id == bindparam("row")).values(reason=bindparam("why"))
_HELD = (
    select(_files.c.id, _files.c.last_seen_at, _files.c.source, _blobs)
    .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
    .where(_files.c.item_pk == bindparam("item"), _files.c.role == bindparam("in_role"))
    .where(_blobs.c.lost_at.is_(None))
    .order_by(_files.c.last_seen_at.desc(), _files.c.id.desc())
)


def adopt(
    connection: Connection, run_id: int, file: ForeignFile, blob: Blob, now: datetime
) -> AdoptionResult:
    """Record a file of another tool whose bytes are durable; return what became of it.

    If its item has a row, it becomes a file of the item; otherwise it waits. A refused file leaves no row.
    """
    result = adoptions.place(connection, file).judge(blob.sha256)
    if result.fate is Fate.ADOPTED:
        _record(connection, run_id, file.item_pk, file.role, blob, file.source, now)
    elif result.fate is Fate.WAITING:
        stored_files.write_blobs(connection, [(blob, now)])
        row = {
            "item_pk": file.item_pk,
            "highlight_pk": file.highlight_pk,
            "role": file.role,
            "sha256": blob.sha256,
            "username": file.username,
            "source": file.source,
            "adopted_at": now,
            "reason": None,
        }
        connection.execute(_INSERT_WAITING(connection.dialect.name), row)
    return result


def settle_waiting(connection: Connection, run_id: int, item_pks: Sequence[Pk], now: datetime) -> int:
    """Record the waiting files of these items, which have rows now; return how many.

    A file that cannot belong to its item keeps waiting, with the reason. If no file waits, this costs one
    query of an empty table.
    """
    if not item_pks or not connection.scalar(_ANY_WAITING):
        return 0
    count = 0
    for start in range(0, len(item_pks), _AT_ONCE):
        rows = connection.execute(_OF_ITEMS, {"pks": list(item_pks[start : start + _AT_ONCE])})
        for (item_pk, role), group in groupby(rows.all(), key=lambda row: (row.item_pk, row.role)):
            count += _settle_place(connection, run_id, item_pk, Role(role), list(group), now)
    return count


def settle_all_waiting(connection: Connection, run_id: int, now: datetime) -> int:
    """Record the waiting files of all items that have rows now; return how many."""
    return settle_waiting(connection, run_id, list(connection.scalars(_ITEMS_WITH_WAITING)), now)


def _settle_place(
    connection: Connection, run_id: int, item_pk: Pk, role: Role, rows: Sequence[Any], now: datetime
) -> int:
    held = connection.execute(_HELD, {"item": item_pk, "in_role": role}).all()
    digests = {row.sha256 for row in held}
    has_download = any(row.source is None for row in held)
    count = 0
    for row in rows:
        reason = adoptions.mismatch(connection, row.source, role, row)
        if row.sha256 in digests:
            _stop_waiting(connection, item_pk, role, row.sha256)
        elif reason or has_download:
            reason = reason or adoptions.HAS_DOWNLOAD
            if row.reason != reason:
                connection.execute(_EXPLAIN, {"row": row.id, "why": reason})
        else:
            blob = Blob(Digest(row.sha256), row.size, row.mime, row.width, row.height)
            _record(connection, run_id, item_pk, role, blob, row.source, now)
            count += 1
    return count


def _record(
    connection: Connection, run_id: int, item_pk: Pk, role: Role, blob: Blob, source: str, now: datetime
) -> None:
    held = connection.execute(_HELD, {"item": item_pk, "in_role": role}).all()
    seen_at = now
    if held:
        # The current file is the one seen last; of equal ones, the one recorded last.
        current = held[0]
        is_largest = _rank(blob) >= max(map(_rank, held))
        seen_at = current.last_seen_at if is_largest else current.last_seen_at - JUST_BEFORE
    file = File(Owner(Subject.ITEM, item_pk), role, blob, "", source)
    stored_files.files(connection, [StoredFile(file, None, now, seen_at)], run_id=run_id)
    _stop_waiting(connection, item_pk, role, blob.sha256)


def _stop_waiting(connection: Connection, item_pk: Pk, role: Role, digest: str) -> None:
    connection.execute(_STOP_WAITING, {"item": item_pk, "in_role": role, "digest": digest})


def _rank(blob: Any) -> tuple[int, int]:
    return (blob.width or 0) * (blob.height or 0), blob.size
