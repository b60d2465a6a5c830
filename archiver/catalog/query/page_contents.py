"""What the pages of the server need besides ``content``: sums, and one page of a long list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Select, and_, bindparam, func, or_, select, union

from archiver.catalog import tables
from archiver.model.identity import Digest, Pk, Subject

_users, _usernames, _highlights = tables.users, tables.usernames, tables.highlights
_items, _members = tables.items, tables.highlight_items
_files, _blobs, _changes = tables.files, tables.blobs, tables.changes

_OF_ACCOUNT = (
    select(_items.c.pk, _items.c.taken_at)
    .where(
        _items.c.pk.in_(
            select(_members.c.item_pk)
            .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
            .where(_highlights.c.user_pk == bindparam("pk"))
        )
    )
    .order_by(_items.c.taken_at.is_(None), _items.c.taken_at.desc(), _items.c.pk.desc())
)
_OF_HIGHLIGHT = (
    select(_members.c.item_pk)
    .where(_members.c.highlight_pk == bindparam("pk"))
    .order_by(_members.c.position, _members.c.item_pk)
)
_ACCOUNTS = (
    select(_users.c.pk, _users.c.username, _users.c.full_name, func.count(_highlights.c.pk))
    .outerjoin(_highlights, _highlights.c.user_pk == _users.c.pk)
    .group_by(_users.c.pk, _users.c.username, _users.c.full_name)
)
_ITEMS = (
    select(
        _highlights.c.user_pk,
        func.count(_members.c.item_pk.distinct()),
        *(func.min(_items.c.taken_at), func.max(_items.c.taken_at)),
    )
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .join(_items, _items.c.pk == _members.c.item_pk)
    .group_by(_highlights.c.user_pk)
)
_NAMED_BLOBS = union(
    select(_files.c.user_pk, _files.c.sha256).where(_files.c.user_pk.is_not(None)),
    select(_highlights.c.user_pk, _files.c.sha256).join(
        _highlights, _highlights.c.pk == _files.c.highlight_pk
    ),
    select(_highlights.c.user_pk, _files.c.sha256)
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .join(_files, _files.c.item_pk == _members.c.item_pk),
).subquery()
_BYTES = (
    select(_NAMED_BLOBS.c.user_pk, func.sum(_blobs.c.size))
    .join(_blobs, _blobs.c.sha256 == _NAMED_BLOBS.c.sha256)
    .where(_blobs.c.lost_at.is_(None))
    .group_by(_NAMED_BLOBS.c.user_pk)
)
# When the archive noticed a change: an item or a highlight that came or went, an edit.
_CHANGED: tuple[Select[Any], ...] = (
    select(_highlights.c.user_pk, func.max(_members.c.first_seen_at), func.max(_members.c.gone_at))
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .group_by(_highlights.c.user_pk),
    select(
        _highlights.c.user_pk, func.max(_highlights.c.first_seen_at), func.max(_highlights.c.gone_at)
    ).group_by(_highlights.c.user_pk),
    select(_highlights.c.user_pk, func.max(_changes.c.at))
    .join(
        _changes,
        and_(_changes.c.subject == Subject.HIGHLIGHT, _changes.c.subject_pk == _highlights.c.pk),
    )
    .group_by(_highlights.c.user_pk),
    select(_changes.c.subject_pk, func.max(_changes.c.at))
    .where(_changes.c.subject == Subject.USER)
    .group_by(_changes.c.subject_pk),
)
_SPANS = (
    select(
        _members.c.highlight_pk,
        *(func.count(), func.min(_items.c.taken_at), func.max(_items.c.taken_at)),
    )
    .join(_items, _items.c.pk == _members.c.item_pk)
    .group_by(_members.c.highlight_pk)
)
_SEQ = select(func.max(tables.journal_head.c.seq))


class ItemSums(Struct, frozen=True):
    """How many items a highlight or an account has or had, and when the first and last were taken."""

    items: int = 0
    first: datetime | None = None
    last: datetime | None = None


class AccountSums(Struct, frozen=True):
    """An account in a list: its names, and how much it has. Items and bytes are counted once each.

    ``changed_at``: when the archive last noticed something new, edited or removed.
    """

    pk: Pk
    username: str | None
    full_name: str | None
    former_usernames: tuple[str, ...]
    highlights: int
    items: ItemSums
    bytes: int
    changed_at: datetime | None


class BlobFacts(Struct, frozen=True):
    """A blob as the database knows it. ``size`` in bytes."""

    size: int
    mime: str
    is_lost: bool


def state(connection: Connection) -> int | None:
    """Return a number that differs after every change of what pages show: the head of the journal."""
    seq: int | None = connection.scalar(_SEQ)
    return seq


def account_sums(connection: Connection) -> list[AccountSums]:
    """Return all accounts with their sums, in no order. Reads the whole archive: seconds for a million items.

    Read it in a snapshot: several queries must see one point in time.
    """
    names: dict[Pk, list[str]] = defaultdict(list)
    for pk, name in connection.execute(select(_usernames.c.user_pk, _usernames.c.username)):
        names[pk].append(name)
    items = {pk: ItemSums(*numbers) for pk, *numbers in connection.execute(_ITEMS)}
    sizes = {pk: int(size) for pk, size in connection.execute(_BYTES)}
    changed: dict[Pk, datetime] = {}
    for query in _CHANGED:
        for pk, *times in connection.execute(query):
            known = [at for at in (changed.get(pk), *times) if at is not None]
            if known:
                changed[pk] = max(known)
    return [
        AccountSums(
            pk,
            username,
            full_name,
            tuple(name for name in names[pk] if name != username),
            highlights,
            items.get(pk, ItemSums()),
            sizes.get(pk, 0),
            changed.get(pk),
        )
        for pk, username, full_name, highlights in connection.execute(_ACCOUNTS)
    ]


def highlight_sums(connection: Connection, highlight_pks: Sequence[Pk]) -> dict[Pk, ItemSums]:
    """Return how many items each of these highlights has; those without are left out."""
    query = _SPANS.where(_members.c.highlight_pk.in_(bindparam("pks", expanding=True)))
    rows = connection.execute(query, {"pks": list(highlight_pks)})
    return {pk: ItemSums(*sums) for pk, *sums in rows}


def account_items(connection: Connection, user_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of an account's highlights, the latest first, each once."""
    query = _OF_ACCOUNT.limit(limit).offset(offset)
    return list(connection.scalars(query, {"pk": user_pk}))


def account_span(connection: Connection, user_pk: Pk) -> ItemSums:
    """Return how many items an account's highlights have, each counted once."""
    own = _OF_ACCOUNT.order_by(None).subquery()
    query = select(func.count(), func.min(own.c.taken_at), func.max(own.c.taken_at)).select_from(own)
    return ItemSums(*connection.execute(query, {"pk": user_pk}).one())


def highlight_items(connection: Connection, highlight_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of a highlight, in its order."""
    query = _OF_HIGHLIGHT.limit(limit).offset(offset)
    return list(connection.scalars(query, {"pk": highlight_pk}))


def rank_in_highlight(connection: Connection, highlight_pk: Pk, item_pk: Pk) -> int | None:
    """Return how many items of a highlight precede this one; None if it was never there."""
    at = connection.scalar(
        select(_members.c.position).where(
            _members.c.highlight_pk == highlight_pk, _members.c.item_pk == item_pk
        )
    )
    if at is None:
        return None
    is_before = or_(_members.c.position < at, and_(_members.c.position == at, _members.c.item_pk < item_pk))
    found = connection.scalar(select(func.count()).where(_members.c.highlight_pk == highlight_pk, is_before))
    return int(found or 0)


def blob_facts(connection: Connection, digest: Digest) -> BlobFacts | None:
    """Return what the database knows of a blob; None if it has none under this name."""
    query = select(_blobs.c.size, _blobs.c.mime, _blobs.c.lost_at).where(_blobs.c.sha256 == digest)
    row = connection.execute(query).first()
    return None if row is None else BlobFacts(row.size, row.mime, row.lost_at is not None)
