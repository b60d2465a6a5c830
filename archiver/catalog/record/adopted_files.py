"""Files that another tool downloaded: recorded under their item, or waiting until it is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Insert, bindparam, delete, exists, or_, select, update
from sqlalchemy.sql.functions import coalesce

from archiver.catalog import tables
from archiver.catalog.query import adoptions
from archiver.catalog.record import adopted_items, stored_files
from archiver.catalog.record.observation_order import JUST_BEFORE
from archiver.catalog.record.stored_files import StoredFile
from archiver.catalog.statements import insert
from archiver.model.archived import Blob, File, Owner
from archiver.model.foreign_files import AdoptionResult, Fate, ForeignFile, ForeignTool
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.values import replace

_adopted, _blobs, _files, _items = tables.adopted, tables.blobs, tables.files, tables.items

_AT_ONCE = 500
_IS_FILE = _adopted.c.role != Role.METADATA
_WAITING_WITH_ITEM = (
    select(
        *(_adopted.c.id, _adopted.c.item_pk, _adopted.c.role, _adopted.c.source, _adopted.c.reason),
        *(_blobs.c.sha256, _blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height),
        *adoptions.ITEM_FACTS,
    )
    .join(_blobs, _blobs.c.sha256 == _adopted.c.sha256)
    .join(_items, _items.c.pk == _adopted.c.item_pk)
    .where(_IS_FILE, _blobs.c.lost_at.is_(None))
    .order_by(_adopted.c.item_pk, _adopted.c.role, _adopted.c.id)
)
_OF_ITEMS = _WAITING_WITH_ITEM.where(_adopted.c.item_pk.in_(bindparam("pks", expanding=True)))
_ITEMS_WITH_WAITING = (
    select(_adopted.c.item_pk).distinct().join(_items, _items.c.pk == _adopted.c.item_pk).where(_IS_FILE)
)
_FILLED = ("highlight_pk", "username", "user_pk", "title", "taken_at")
"""Columns that a later adoption of the same file fills if they are empty."""
_NOT_PLACED = (
    select(_adopted, _blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height)
    .join(_blobs, _blobs.c.sha256 == _adopted.c.sha256)
    .where(
        _IS_FILE,
        _adopted.c.reason.is_(None),
        _blobs.c.lost_at.is_(None),
        or_(_adopted.c.highlight_pk.is_not(None), _adopted.c.title.is_not(None)),
        ~exists().where(_items.c.pk == _adopted.c.item_pk),
    )
    .order_by(_adopted.c.item_pk, _adopted.c.role, _adopted.c.id)
)
_ADOPTED_OF_ITEMS = (
    select(_files.c.id, _files.c.role, _files.c.sha256, _files.c.source, _files.c.item_pk)
    .add_columns(*adoptions.ITEM_FACTS)
    .join(_items, _items.c.pk == _files.c.item_pk)
    .where(_files.c.item_pk.in_(bindparam("pks", expanding=True)), _files.c.source.is_not(None))
    .order_by(_files.c.id)
)
_REMOVE_FILE = delete(_files).where(_files.c.id == bindparam("file"))
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
        adopted_items.write_item(connection, file, now)
    if result.fate is Fate.ADOPTED:
        _record(connection, run_id, file.item_pk, file.role, blob, file.source, now)
    elif result.fate is Fate.WAITING or blob.sha256 in place.waiting:
        adopted_row(connection, file, blob, now)
    if metadata is not None and result.fate is not Fate.REFUSED:
        beside, digest = metadata[0], Digest(metadata[1].sha256)
        if not adoptions.has_metadata(connection, beside.item_pk, digest):
            adopted_row(connection, *metadata, now)
            return replace(result, has_new_metadata=True)
    return result


def adopted_row(connection: Connection, file: ForeignFile, blob: Blob, now: datetime) -> None:
    """Record a file that waits for its item, or metadata; fill what an earlier row of the same bytes lacks.

    The bytes are durable.
    """
    stored_files.write_blobs(connection, [(blob, now)])
    row = {name: getattr(file, name) for name in ForeignFile.__struct_fields__ if name != "is_poster"}
    connection.execute(
        _upsert(connection.dialect.name), {**row, "sha256": blob.sha256, "adopted_at": now, "reason": None}
    )


@cache
def _upsert(dialect: str) -> Insert:
    upsert = insert(dialect, _adopted)
    return upsert.on_conflict_do_update(
        index_elements=["item_pk", "role", "sha256"],
        set_={name: coalesce(_adopted.c[name], upsert.excluded[name]) for name in _FILLED},
    )


def settle_waiting(connection: Connection, run_id: int, item_pks: Sequence[Pk], now: datetime) -> int:
    """Record the waiting files of these items, which have rows now; return how many.

    A file that cannot belong to its item keeps waiting, with the reason.
    """
    count = 0
    for start in range(0, len(item_pks), _AT_ONCE):
        rows = connection.execute(_OF_ITEMS, {"pks": list(item_pks[start : start + _AT_ONCE])})
        for (item_pk, role), group in groupby(rows.all(), key=lambda row: (row.item_pk, row.role)):
            count += _settle_place(connection, run_id, item_pk, Role(role), list(group), now)
    return count


def settle_all_waiting(connection: Connection, run_id: int, now: datetime) -> int:
    """Record the waiting files of all items that have rows now, or can have them; return how many.

    An item can have one if its account is known by now: then the archive has seen what the account shows.
    """
    count = settle_waiting(connection, run_id, list(connection.scalars(_ITEMS_WITH_WAITING)), now)
    owner_of = cache(partial(adoptions.owner_of, connection))
    for row in connection.execute(_NOT_PLACED).all():
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
    adopted_items.leave_nameless_highlights(connection, item_pks)
    for row in connection.execute(_ADOPTED_OF_ITEMS, {"pks": list(item_pks)}).all():
        reason = adoptions.mismatch(connection, row.source, row.role, row)
        if reason:
            connection.execute(_REMOVE_FILE, {"file": row.id})
            values = {name: getattr(row, name) for name in ("item_pk", "role", "sha256", "source")}
            values |= {"user_pk": row.user_pk, "taken_at": row.taken_at, "adopted_at": now, "reason": reason}
            connection.execute(_upsert(connection.dialect.name), values)


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
            _explain(connection, row, reason or adoptions.HAS_DOWNLOAD)
        else:
            blob = Blob(Digest(row.sha256), row.size, row.mime, row.width, row.height)
            _record(connection, run_id, item_pk, role, blob, row.source, now)
            count += 1
    return count


def _explain(connection: Connection, row: Any, reason: str) -> None:
    if reason and row.reason != reason:
        connection.execute(_EXPLAIN, {"row": row.id, "why": reason})


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
