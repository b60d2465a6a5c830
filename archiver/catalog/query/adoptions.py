"""What an archive knows about the place of a file that another tool downloaded, and which files wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import BindParameter, Connection, bindparam, func, select, union

from archiver.catalog import tables
from archiver.model.archived import Blob
from archiver.model.foreign_files import AdoptionResult, Fate, ForeignFile, ForeignTool, WaitingFile
from archiver.model.identity import MEDIA_TYPES, Digest, Pk, Role

_items, _files, _blobs, _adopted = tables.items, tables.files, tables.blobs, tables.adopted
_users, _usernames, _highlights = tables.users, tables.usernames, tables.highlights
_members = tables.highlight_items

_BATCH = 1000
_FACTS = ("user_pk", "title", "taken_at")
"""What a tool says of an item, besides what names it. Files that were adopted before may lack it."""
_THE_ITEM: BindParameter[str] = bindparam("item")
_THE_ROLE: BindParameter[str] = bindparam("in_role")
ITEM_FACTS = (_items.c.user_pk, _items.c.taken_at, _items.c.media_type, _items.c.source.label("item_source"))
"""What ``mismatch`` needs of an item."""
_ITEM = select(*ITEM_FACTS).where(_items.c.pk == _THE_ITEM)
_HAS_PLACE = select(_members.c.item_pk).where(
    _members.c.item_pk == _THE_ITEM, _members.c.highlight_pk == bindparam("highlight")
)
_OWNER = select(_highlights.c.user_pk).where(_highlights.c.pk == bindparam("highlight"))
_HELD = (
    select(_files.c.sha256, _files.c.source, _blobs.c.size)
    .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
    .where(_files.c.item_pk == _THE_ITEM, _files.c.role == _THE_ROLE, _blobs.c.lost_at.is_(None))
)
_IS_FILE = _adopted.c.role != Role.METADATA
_WAITING = (
    select(_adopted.c.sha256, _blobs.c.size, *(_adopted.c[name] for name in _FACTS))
    .join(_blobs, _blobs.c.sha256 == _adopted.c.sha256)
    .where(
        _adopted.c.item_pk == _THE_ITEM,
        _adopted.c.role == _THE_ROLE,
        _blobs.c.lost_at.is_(None),
    )
)
_named = union(
    select(_users.c.pk).where(_users.c.username == bindparam("name")),
    select(_usernames.c.user_pk).where(_usernames.c.username == bindparam("name")),
).subquery()
_ACCOUNTS = select(_named.c.pk)
_TAKEN_AT = select(_items.c.pk).where(
    _items.c.user_pk == bindparam("user"),
    _items.c.taken_at >= bindparam("first", type_=_items.c.taken_at.type),
    _items.c.taken_at < bindparam("end", type_=_items.c.taken_at.type),
)
_ALL_WAITING = (
    select(
        *(_adopted.c.item_pk, _adopted.c.highlight_pk, _adopted.c.role),
        *(_blobs.c.sha256, _blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height),
        *(_adopted.c.username, _adopted.c.source, _adopted.c.adopted_at, _adopted.c.reason, _blobs.c.lost_at),
        *(_adopted.c[name] for name in _FACTS),
    )
    .join(_blobs, _blobs.c.sha256 == _adopted.c.sha256)
    .where(_IS_FILE)
)
_METADATA = (
    select(_blobs.c.sha256)
    .join(_adopted, _adopted.c.sha256 == _blobs.c.sha256)
    .where(_adopted.c.item_pk == _THE_ITEM, _adopted.c.role == Role.METADATA, _blobs.c.lost_at.is_(None))
)

OTHER_KIND = "the item is a photo, the file a video"
SAME_SECOND = "the account has several items of that second, and instaloader gives them the same name"
HAS_DOWNLOAD = "archiver has downloaded this file itself, with other bytes"
UNKNOWN_ITEM = "the archive does not know the item, which may be from a post instead of a highlight"


class FilePlace(Struct, frozen=True):
    """What is stored for an item in a role. Lost bytes are left out.

    ``is_known``: whether the item has a row, or can have one, because its account is known. ``problem``: why
    no file of this tool can be adopted there, or ''. ``held`` are its files and ``waiting`` the adopted files
    that wait: sizes in bytes by digest. ``downloads`` are the digests that this program has downloaded.
    ``incomplete``: the digests whose rows lack something that the tool says.
    """

    is_known: bool
    problem: str
    held: dict[str, int]
    waiting: dict[str, int]
    downloads: frozenset[str]
    incomplete: frozenset[str] = frozenset()

    def judge(self, digest: str) -> AdoptionResult:
        """Return what becomes of a file with these bytes."""
        if digest in self.held:
            return AdoptionResult(Fate.KNOWN)
        if self.problem or self.downloads:
            if digest in self.waiting:
                return AdoptionResult(Fate.KNOWN)
            return AdoptionResult(Fate.REFUSED, self.problem or HAS_DOWNLOAD)
        if self.is_known:
            return AdoptionResult(Fate.ADOPTED)
        return AdoptionResult(Fate.KNOWN if digest in self.waiting else Fate.WAITING)

    def may_hold(self, size: int) -> bool:
        """Return whether a file of this size may be one of those that are stored."""
        return size in self.held.values() or size in self.waiting.values()


def place(connection: Connection, file: ForeignFile) -> FilePlace:
    """Return what is stored where a file belongs, and whether it can be adopted there."""
    where = {"item": file.item_pk, "in_role": file.role}
    held = connection.execute(_HELD, where).all()
    waiting = connection.execute(_WAITING, where).all()
    item = connection.execute(_ITEM, {"item": file.item_pk}).first()
    problem, owner = "", None
    if item is not None:
        problem = mismatch(connection, file.source, file.role, item)
    elif file.highlight_pk is None and file.source != ForeignTool.INSTALOADER:
        problem = UNKNOWN_ITEM
    else:
        owner = owner_of(connection, file.highlight_pk, file.title, file.user_pk, file.username)
        if owner is not None and file.source == ForeignTool.INSTALOADER and file.taken_at is not None:
            problem = SAME_SECOND if items_taken_at(connection, owner, file.taken_at) else ""
    facts = {name: getattr(file, name) for name in _FACTS}
    lacking = {row.sha256 for row in waiting if any(facts[f] and not getattr(row, f) for f in _FACTS)}
    if item is not None and item.item_source and _adds_to(connection, file, item):
        lacking |= {row.sha256 for row in held}
    return FilePlace(
        item is not None or owner is not None,
        problem,
        {row.sha256: row.size for row in held},
        {row.sha256: row.size for row in waiting},
        frozenset(row.sha256 for row in held if row.source is None),
        frozenset(lacking),
    )


def _adds_to(connection: Connection, file: ForeignFile, item: Any) -> bool:
    """Return whether a tool says more of an item that no answer has shown than is stored."""
    if item.taken_at is None and file.taken_at is not None:
        return True
    where = file.highlight_pk, file.title, file.user_pk, file.username
    if file.highlight_pk is None or owner_of(connection, *where) is None:
        return False
    place = {"item": file.item_pk, "highlight": file.highlight_pk}
    return connection.execute(_HAS_PLACE, place).first() is None


def owner_of(
    connection: Connection,
    highlight_pk: Pk | None,
    title: str | None,
    user_pk: Pk | None,
    username: str | None,
) -> Pk | None:
    """Return the account of an item that the archive does not know, as far as another tool names it.

    None if it is not known, or if nothing tells in which highlight the item is: without that it cannot be
    shown. What the archive knows of the highlight counts more than what the tool says.
    """
    if highlight_pk is None and title is None:
        return None
    found = connection.scalar(_OWNER, {"highlight": highlight_pk}) if highlight_pk is not None else None
    if found is not None or user_pk is not None:
        return found or user_pk
    accounts = accounts_named(connection, username.lower()) if username is not None else ()
    return accounts[0] if len(accounts) == 1 else None


def has_metadata(connection: Connection, item_pk: Pk, digest: Digest) -> bool:
    """Return whether this metadata of an item is stored."""
    return digest in connection.scalars(_METADATA, {"item": item_pk})


def mismatch(connection: Connection, source: str, role: str, item: Any) -> str:
    """Return why a file of this tool and role cannot belong to an item; '' if it can.

    ``item``: a row with the columns ITEM_FACTS. instaloader names files by second: two items of the same
    second share a name, and the metadata of the later one replaces that of the first.
    """
    if role == Role.VIDEO and item.media_type == MEDIA_TYPES["photo"] and item.item_source is None:
        return OTHER_KIND
    is_by_second = source == ForeignTool.INSTALOADER and item.taken_at is not None
    if is_by_second and len(items_taken_at(connection, item.user_pk, item.taken_at)) > 1:
        return SAME_SECOND
    return ""


def accounts_named(connection: Connection, username: str) -> tuple[Pk, ...]:
    """Return the accounts that have or had this username."""
    return tuple(connection.scalars(_ACCOUNTS, {"name": username}))


def items_taken_at(connection: Connection, user_pk: Pk, taken_at: datetime) -> tuple[Pk, ...]:
    """Return the items of an account that were taken in the second of this time."""
    first = taken_at.replace(microsecond=0)
    second = {"first": first, "end": first + timedelta(seconds=1)}
    return tuple(connection.scalars(_TAKEN_AT, {"user": user_pk, **second}))


def count_waiting(connection: Connection) -> int:
    """Return how many adopted files wait for their item."""
    return connection.scalar(select(func.count()).where(_IS_FILE)) or 0


def waiting_files(connection: Connection) -> Iterator[WaitingFile]:
    """Yield the files that wait for their item, by folder name, highlight and item. Streamed."""
    query = _ALL_WAITING.order_by(
        func.coalesce(_adopted.c.username, ""),
        func.coalesce(_adopted.c.highlight_pk, ""),
        _adopted.c.item_pk,
        _adopted.c.role,
        _adopted.c.id,
    )
    with connection.execution_options(yield_per=_BATCH).execute(query) as rows:
        for item, highlight, role, sha256, size, mime, width, height, *rest in rows:
            blob = Blob(Digest(sha256), size, mime, width, height)
            yield WaitingFile(item, highlight, Role(role), blob, *rest)
