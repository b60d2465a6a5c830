"""Items that only another tool has seen: their rows, until an answer shows them.

Each row names the tool as its ``source``, and has ``gone_at``: so no rule about what is shown, fetched or
gone applies to it. The first answer that shows what it stands for replaces its values and empties ``source``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BindParameter, Connection, and_, bindparam, delete, exists, func, or_, select, update

from archiver.catalog import tables
from archiver.catalog.query import adoptions
from archiver.catalog.statements import insert_if_new, update_row
from archiver.model.foreign_files import ForeignFile
from archiver.model.identity import ADOPTED_PREFIX, MEDIA_TYPES, Pk, Role
from archiver.model.target import is_username

_users, _usernames, _highlights = tables.users, tables.usernames, tables.highlights
_items, _members = tables.items, tables.highlight_items

_SEEN = ("first_seen_at", "last_seen_at")
_INSERT_USER = insert_if_new(_users, "pk", *_SEEN, returning=["pk"])
_INSERT_USERNAME = insert_if_new(_usernames, "user_pk", "username", *_SEEN)
_INSERT_HIGHLIGHT = insert_if_new(_highlights, "pk", "user_pk", "title", *_SEEN, "gone_at", "source")
_INSERT_ITEM = insert_if_new(_items, "pk", "user_pk", "taken_at", "media_type", "first_seen_at", "source")
_INSERT_PLACE = insert_if_new(_members, "highlight_pk", "item_pk", "position", *_SEEN, "gone_at", "source")
_ITEM = select(_items).where(_items.c.pk == bindparam("pk"))
_ADD_TITLE = (
    update(_highlights)
    .where(
        _highlights.c.pk == bindparam("key"), _highlights.c.source.is_not(None), _highlights.c.title.is_(None)
    )
    .values(title=bindparam("new"))
)
_taken_at = bindparam("taken_at", type_=_items.c.taken_at.type)
_BEFORE = (
    select(func.count())
    .join_from(_members, _items, _items.c.pk == _members.c.item_pk)
    .where(
        _members.c.highlight_pk == bindparam("highlight"),
        or_(
            _items.c.taken_at < _taken_at, and_(_items.c.taken_at == _taken_at, _items.c.pk < bindparam("pk"))
        ),
    )
)
_PKS: BindParameter[Sequence[str]] = bindparam("pks", expanding=True)
_is_nameless = _members.c.highlight_pk.startswith(ADOPTED_PREFIX)
_NAMELESS_OF_ITEMS = select(_members.c.highlight_pk).where(_members.c.item_pk.in_(_PKS), _is_nameless)
_IS_NAMED = select(exists().where(_members.c.item_pk == bindparam("pk"), ~_is_nameless))
_LEAVE_NAMELESS = delete(_members).where(_members.c.item_pk.in_(_PKS), _is_nameless)
_DROP_EMPTY = delete(_highlights).where(
    _highlights.c.pk.in_(_PKS), ~exists().where(_members.c.highlight_pk == _highlights.c.pk)
)


def write_item(connection: Connection, file: ForeignFile, now: datetime) -> None:
    """Write what a tool says of an item that no answer has shown, if its account is known.

    Values that another tool gave stay; only what is unknown is filled.
    """
    item = connection.execute(_ITEM, {"pk": file.item_pk}).first()
    if item is not None and item.source is None:
        return
    is_video = file.role is Role.VIDEO or file.is_poster
    if item is not None:
        filled: dict[str, object] = {"media_type": MEDIA_TYPES["video"]} if is_video else {}
        if item.taken_at is None and file.taken_at is not None:
            filled["taken_at"] = file.taken_at
        update_row(connection, _items, file.item_pk, filled)
        if file.highlight_pk is None and connection.scalar(_IS_NAMED, {"pk": file.item_pk}):
            return
    owner = adoptions.owner_of(connection, file.highlight_pk, file.title, file.user_pk, file.username)
    if owner is None:
        return
    _write_account(connection, owner, file.username, now)
    dialect = connection.dialect.name
    new = {**dict.fromkeys(_SEEN, now), "gone_at": now, "source": file.source}
    highlight_pk = file.highlight_pk or _nameless_pk(owner, file.title or "")
    row = {"pk": highlight_pk, "user_pk": owner, "title": file.title, **new}
    connection.execute(_INSERT_HIGHLIGHT(dialect), row)
    if file.title is not None:
        connection.execute(_ADD_TITLE, {"key": highlight_pk, "new": file.title})
    if item is None:
        media_type = MEDIA_TYPES["video" if is_video else "photo"]
        row = {
            "pk": file.item_pk,
            "user_pk": owner,
            "taken_at": file.taken_at,
            "media_type": media_type,
            **new,
        }
        connection.execute(_INSERT_ITEM(dialect), row)
    elif file.highlight_pk is not None:
        leave_nameless_highlights(connection, [file.item_pk])
    key = {"highlight": highlight_pk, "taken_at": file.taken_at or now, "pk": file.item_pk}
    position = connection.scalar(_BEFORE, key)
    place = {"highlight_pk": highlight_pk, "item_pk": file.item_pk, "position": position, **new}
    connection.execute(_INSERT_PLACE(dialect), place)


def leave_nameless_highlights(connection: Connection, item_pks: Sequence[Pk]) -> None:
    """Remove these items, whose highlights are known now, from highlights that have no pk of Instagram."""
    nameless = list(connection.scalars(_NAMELESS_OF_ITEMS, {"pks": list(item_pks)}))
    if nameless:
        connection.execute(_LEAVE_NAMELESS, {"pks": list(item_pks)})
        connection.execute(_DROP_EMPTY, {"pks": nameless})


def _write_account(connection: Connection, pk: Pk, username: str | None, now: datetime) -> None:
    """Write the row of an account that the archive does not know.

    Its name is only recorded as one that it had, and not at all if another account has or had it: what a
    folder says must not decide which account a run means.
    """
    seen, dialect = dict.fromkeys(_SEEN, now), connection.dialect.name
    is_new = connection.execute(_INSERT_USER(dialect), {"pk": pk, **seen}).first() is not None
    name = (username or "").lower()
    if is_new and is_username(name) and not adoptions.accounts_named(connection, name):
        connection.execute(_INSERT_USERNAME(dialect), {"user_pk": pk, "username": name, **seen})


def _nameless_pk(owner: Pk, title: str) -> Pk:
    """Return the pk of a highlight of which only account and title are known: no pk of Instagram looks so."""
    return f"{ADOPTED_PREFIX}{owner}-{hashlib.sha256(title.encode()).hexdigest()[:16]}"
