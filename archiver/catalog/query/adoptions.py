"""What an archive knows about the place of a file that another tool downloaded, and which files wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.query.account_state import former_pks
from archiver.catalog.sql import Query
from archiver.model.archived import Blob
from archiver.model.foreign_files import AdoptionResult, Fate, ForeignFile, ForeignTool, WaitingFile
from archiver.model.identity import MEDIA_TYPES, Digest, Pk, Role

_FACTS = ("user_pk", "title", "taken_at")
"""What a tool says of an item, besides what names it. Files that were adopted before may lack it."""


class KnownItem(NamedTuple):
    """What ``mismatch`` needs of an item."""

    user_pk: Pk
    taken_at: datetime | None
    media_type: int | None
    item_source: str | None


class HeldFile(NamedTuple):
    """A file of an item whose bytes are held."""

    last_seen_at: datetime
    source: str | None
    sha256: str
    size: int
    width: int | None
    height: int | None


_ITEM = Query(
    "SELECT user_pk, taken_at, media_type, source AS item_source FROM items WHERE pk = :item", KnownItem
)
_HAS_PLACE = Query(
    "SELECT EXISTS (SELECT 1 FROM highlight_items WHERE item_pk = :item AND highlight_pk = :highlight)", bool
)
_OWNER = Query("SELECT user_pk FROM highlights WHERE pk = :highlight", Pk)
_HELD = Query(
    """
    SELECT last_seen_at, source, blobs.sha256, size, width, height
    FROM files JOIN blobs ON blobs.sha256 = files.sha256
    WHERE item_pk = :item AND role = :role AND lost_at IS NULL
    ORDER BY last_seen_at DESC, files.id DESC
    """,
    HeldFile,
)
_WAITING = Query(
    f"""
    SELECT adopted.sha256, size, {", ".join(_FACTS)}
    FROM adopted JOIN blobs ON blobs.sha256 = adopted.sha256
    WHERE item_pk = :item AND role = :role AND lost_at IS NULL
    """,
    lambda sha256, size, *facts: (sha256, size, facts),
)
_TAKEN_AT = Query(
    "SELECT pk FROM items WHERE user_pk = :user AND taken_at >= :first AND taken_at <= :last", Pk
)
_WAITING_FILES = Query(
    f"""
    SELECT item_pk, highlight_pk, role, blobs.sha256, size, mime, width, height, username, source, adopted_at,
        reason, lost_at, {", ".join(_FACTS)}
    FROM adopted JOIN blobs ON blobs.sha256 = adopted.sha256 WHERE role <> 'metadata'
    ORDER BY coalesce(username, ''), coalesce(highlight_pk, ''), item_pk, role, id
    """,
    lambda item, highlight, role, sha256, size, mime, width, height, *facts: WaitingFile(
        item, highlight, Role(role), Blob(Digest(sha256), size, mime, width, height), *facts
    ),
)
_COUNT = Query("SELECT count(*) FROM adopted WHERE role <> 'metadata'", int)
_METADATA = Query(
    """
    SELECT blobs.sha256 FROM blobs JOIN adopted ON adopted.sha256 = blobs.sha256
    WHERE item_pk = :item AND role = 'metadata' AND lost_at IS NULL
    """,
    str,
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
    held = held_files(connection, file.item_pk, file.role)
    waiting = _WAITING.all(connection, item=file.item_pk, role=file.role)
    item = read_item(connection, file.item_pk)
    problem, owner = "", None
    if item is not None:
        problem = mismatch(connection, file.source, file.role, item)
    elif file.highlight_pk is None and file.source != ForeignTool.INSTALOADER:
        problem = UNKNOWN_ITEM
    else:
        owner = owner_of(connection, file.highlight_pk, file.title, file.user_pk, file.username)
        if owner is not None and file.source == ForeignTool.INSTALOADER and file.taken_at is not None:
            problem = SAME_SECOND if items_taken_at(connection, owner, file.taken_at) else ""
    said = [getattr(file, name) for name in _FACTS]
    lacking = {
        sha256
        for sha256, _, facts in waiting
        if any(new and not old for new, old in zip(said, facts, strict=True))
    }
    if item is not None and item.item_source and _adds_to(connection, file, item):
        lacking |= {each.sha256 for each in held}
    return FilePlace(
        item is not None or owner is not None,
        problem,
        {each.sha256: each.size for each in held},
        {sha256: size for sha256, size, _ in waiting},
        frozenset(each.sha256 for each in held if each.source is None),
        frozenset(lacking),
    )


def held_files(connection: Connection, item_pk: Pk, role: Role) -> list[HeldFile]:
    """Return the files of an item in a role that are not lost, the current one first."""
    return _HELD.all(connection, item=item_pk, role=role)


def read_item(connection: Connection, item_pk: Pk) -> KnownItem | None:
    """Return what is known of an item; None if it has no row."""
    return _ITEM.first(connection, item=item_pk)


def _adds_to(connection: Connection, file: ForeignFile, item: KnownItem) -> bool:
    """Return whether a tool says more of an item that no answer has shown than is stored."""
    if item.taken_at is None and file.taken_at is not None:
        return True
    where = file.highlight_pk, file.title, file.user_pk, file.username
    if file.highlight_pk is None or owner_of(connection, *where) is None:
        return False
    return not _HAS_PLACE.one(connection, item=file.item_pk, highlight=file.highlight_pk)


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
    found = _OWNER.first(connection, highlight=highlight_pk) if highlight_pk is not None else None
    if found is not None or user_pk is not None:
        return found or user_pk
    accounts = former_pks(connection, username) if username is not None else ()
    return accounts[0] if len(accounts) == 1 else None


def has_metadata(connection: Connection, item_pk: Pk, digest: Digest) -> bool:
    """Return whether this metadata of an item is stored."""
    return digest in _METADATA.all(connection, item=item_pk)


def mismatch(connection: Connection, source: str, role: str, item: Any) -> str:
    """Return why a file of this tool and role cannot belong to an item; '' if it can.

    ``item``: a row with the columns of ``KnownItem``. instaloader names files by second: two items of the
    same second share a name, and the metadata of the later one replaces that of the first.
    """
    if role == Role.VIDEO and item.media_type == MEDIA_TYPES["photo"] and item.item_source is None:
        return OTHER_KIND
    is_by_second = source == ForeignTool.INSTALOADER and item.taken_at is not None
    if is_by_second and len(items_taken_at(connection, item.user_pk, item.taken_at)) > 1:
        return SAME_SECOND
    return ""


def items_taken_at(connection: Connection, user_pk: Pk, taken_at: datetime) -> tuple[Pk, ...]:
    """Return the items of an account that were taken in the second of this time."""
    first, last = taken_at.replace(microsecond=0), taken_at.replace(microsecond=999_999)
    return tuple(_TAKEN_AT.all(connection, user=user_pk, first=first, last=last))


def count_waiting(connection: Connection) -> int:
    """Return how many adopted files wait for their item."""
    return _COUNT.one(connection)


def waiting_files(connection: Connection) -> Iterator[WaitingFile]:
    """Yield the files that wait for their item, by folder name, highlight and item. Streamed."""
    return _WAITING_FILES.iterate(connection)
