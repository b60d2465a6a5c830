"""Items that only another tool has seen: their rows, until an answer shows them.

Each row names the tool as its ``source``, and has ``gone_at``: so no rule about what is shown, fetched or
gone applies to it. The first answer that shows what it stands for replaces its values and empties ``source``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.query import adoptions
from archiver.catalog.sql import Command, Query
from archiver.model.foreign_files import ForeignFile
from archiver.model.identity import ADOPTED_PREFIX, MEDIA_TYPES, Pk, Role
from archiver.model.target import is_username


class _Item(NamedTuple):
    source: str | None
    taken_at: datetime | None


_ITEM = Query("SELECT source, taken_at FROM items WHERE pk = :item", _Item)
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
_INSERT_HIGHLIGHT = Command(
    """
    INSERT INTO highlights (pk, user_pk, title, first_seen_at, last_seen_at, gone_at, source)
    VALUES (:highlight, :user, :title, :now, :now, :now, :source)
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
    item = _ITEM.first(connection, item=file.item_pk)
    if item is not None and item.source is None:
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
    _INSERT_HIGHLIGHT.run(connection, highlight=highlight_pk, user=owner, title=file.title, **new)
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
    if is_new and is_username(name) and not adoptions.accounts_named(connection, name):
        _INSERT_USERNAME.run(connection, user=pk, name=name, now=now)


def _nameless_pk(owner: Pk, title: str) -> Pk:
    """Return the pk of a highlight of which only account and title are known: no pk of Instagram looks so."""
    return f"{ADOPTED_PREFIX}{owner}-{hashlib.sha256(title.encode()).hexdigest()[:16]}"
