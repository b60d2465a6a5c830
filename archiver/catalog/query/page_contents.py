"""What the pages of the server need besides ``content``: sums, and one page of a long list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Select, and_, bindparam, func, or_, select

from archiver.catalog import tables
from archiver.catalog.query.content import IN_ORDER
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
    select(
        *(_users.c.pk, _users.c.username, _users.c.full_name, func.count(_highlights.c.pk)),
        *(func.max(_highlights.c.fetched_at), func.max(_highlights.c.completed_at)),
        func.max(_highlights.c.gone_at),
    )
    .outerjoin(_highlights, _highlights.c.user_pk == _users.c.pk)
    .group_by(_users.c.pk, _users.c.username, _users.c.full_name)
)
_owner = _highlights.c.user_pk
_IS_OURS = _owner.in_(bindparam("pks", expanding=True))
_SHOWN = (
    select(_owner, _members.c.item_pk)
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .where(_IS_OURS)
    .distinct()
    .subquery()
)
_ITEM_SUMS = (
    select(_SHOWN.c.user_pk, func.count(), func.min(_items.c.taken_at), func.max(_items.c.taken_at))
    .join(_items, _items.c.pk == _SHOWN.c.item_pk)
    .group_by(_SHOWN.c.user_pk)
)
# When the archive noticed a change of an account: an item or a highlight that came or went, an edit. What was
# adopted is none.
_NOTICED: tuple[Select[Any], ...] = (
    select(_owner, func.max(_members.c.first_seen_at), func.max(_members.c.gone_at))
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .where(_IS_OURS, _members.c.source.is_(None))
    .group_by(_owner),
    select(_owner, func.max(_highlights.c.first_seen_at), func.max(_highlights.c.gone_at))
    .where(_IS_OURS, _highlights.c.source.is_(None))
    .group_by(_owner),
    # A join makes SQLite read the changes of all highlights.
    select(
        select(_owner).where(_highlights.c.pk == _changes.c.subject_pk).scalar_subquery().label("owner"),
        func.max(_changes.c.at),
    )
    .where(
        _changes.c.subject == Subject.HIGHLIGHT,
        _changes.c.subject_pk.in_(select(_highlights.c.pk).where(_IS_OURS)),
    )
    .group_by("owner"),
    select(_changes.c.subject_pk, func.max(_changes.c.at))
    .where(
        _changes.c.subject == Subject.USER,
        _changes.c.subject_pk.in_(bindparam("pks", expanding=True)),
    )
    .group_by(_changes.c.subject_pk),
)
_LAST_CHANGE = select(func.max(_changes.c.id))
_EDITED = (
    select(func.coalesce(_highlights.c.user_pk, _changes.c.subject_pk))
    .outerjoin(
        _highlights,
        and_(_changes.c.subject == Subject.HIGHLIGHT, _highlights.c.pk == _changes.c.subject_pk),
    )
    .where(_changes.c.id > bindparam("after"))
)
_SPANS = (
    select(
        _members.c.highlight_pk,
        *(func.count(), func.min(_items.c.taken_at), func.max(_items.c.taken_at)),
    )
    .join(_items, _items.c.pk == _members.c.item_pk)
    .group_by(_members.c.highlight_pk)
)
_FIRST_PLACES = (
    select(_members.c.highlight_pk, func.min(_members.c.position).label("position"))
    .where(_members.c.highlight_pk.in_(bindparam("pks", expanding=True)))
    .group_by(_members.c.highlight_pk)
    .subquery()
)
_FIRST_ITEMS = (
    select(func.min(_members.c.item_pk))
    .join(
        _FIRST_PLACES,
        and_(
            _FIRST_PLACES.c.highlight_pk == _members.c.highlight_pk,
            _FIRST_PLACES.c.position == _members.c.position,
        ),
    )
    .group_by(_members.c.highlight_pk)
)
_STATE = select(
    select(func.max(tables.journal_head.c.seq)).scalar_subquery(),
    select(func.max(tables.journal_outbox.c.id)).scalar_subquery(),
)


class ItemSums(Struct, frozen=True):
    """How many items a highlight or an account has or had, and when the first and last were taken."""

    items: int = 0
    first: datetime | None = None
    last: datetime | None = None


class AccountRow(Struct, frozen=True):
    """An account in a list: its names, and how many highlights it has or had.

    ``stamp`` changes when a highlight is fetched, completed or gone: then its sums may have changed.
    """

    pk: Pk
    username: str | None
    full_name: str | None
    former_usernames: tuple[str, ...]
    highlights: int
    stamp: tuple[object, ...]


class AccountSums(Struct, frozen=True):
    """How many items an account has or had, each counted once, and when they were taken.

    ``changed_at``: when the archive last noticed something new, edited or gone.
    """

    items: ItemSums = ItemSums()
    changed_at: datetime | None = None


class BlobFacts(Struct, frozen=True):
    """A blob as the database knows it. ``size`` in bytes."""

    size: int
    mime: str
    is_lost: bool


def state(connection: Connection) -> tuple[int | None, int | None]:
    """Return what differs after each change of what pages show: the journal's end, and what awaits it."""
    seq, pending = connection.execute(_STATE).one()
    return seq, pending


def account_rows(connection: Connection, user_pk: Pk | None = None) -> list[AccountRow]:
    """Return all accounts, or one, in no order."""
    accounts, usernames = _ACCOUNTS, select(_usernames.c.user_pk, _usernames.c.username)
    if user_pk is not None:
        accounts = accounts.where(_users.c.pk == user_pk)
        usernames = usernames.where(_usernames.c.user_pk == user_pk)
    names: dict[Pk, list[str]] = defaultdict(list)
    for pk, name in connection.execute(usernames):
        names[pk].append(name)
    rows = connection.execute(accounts)
    return [
        AccountRow(
            pk,
            username,
            full_name,
            tuple(name for name in names[pk] if name != username),
            highlights,
            (highlights, *times),
        )
        for pk, username, full_name, highlights, *times in rows
    ]


def last_change(connection: Connection) -> int:
    """Return the id of the last change; 0 if nothing has changed."""
    return connection.scalar(_LAST_CHANGE) or 0


def edited_since(connection: Connection, change_id: int) -> set[Pk]:
    """Return the accounts that were edited after this change, themselves or in a highlight."""
    return set(connection.scalars(_EDITED, {"after": change_id}))


def account_sums(connection: Connection, user_pks: Sequence[Pk]) -> dict[Pk, AccountSums]:
    """Return how many items each of these accounts has, and when it last changed.

    Reads all of their items.
    """
    ours = {"pks": list(user_pks)}
    items = {pk: ItemSums(*sums) for pk, *sums in connection.execute(_ITEM_SUMS, ours)}
    noticed: dict[Pk, list[datetime]] = {pk: [] for pk in user_pks}
    for query in _NOTICED:
        for pk, *times in connection.execute(query, ours):
            noticed[pk] += filter(None, times)
    return {
        pk: AccountSums(items.get(pk, ItemSums()), max(times, default=None)) for pk, times in noticed.items()
    }


def highlight_sums(connection: Connection, highlight_pks: Sequence[Pk]) -> dict[Pk, ItemSums]:
    """Return how many items each of these highlights has; those without are left out."""
    query = _SPANS.where(_members.c.highlight_pk.in_(bindparam("pks", expanding=True)))
    rows = connection.execute(query, {"pks": list(highlight_pks)})
    return {pk: ItemSums(*sums) for pk, *sums in rows}


def account_items(connection: Connection, user_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of an account's highlights, the latest first, each once."""
    query = _OF_ACCOUNT.limit(limit).offset(offset)
    return list(connection.scalars(query, {"pk": user_pk}))


def highlight_items(connection: Connection, highlight_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of a highlight, in its order."""
    query = _OF_HIGHLIGHT.limit(limit).offset(offset)
    return list(connection.scalars(query, {"pk": highlight_pk}))


def first_items(connection: Connection, highlight_pks: Sequence[Pk]) -> list[Pk]:
    """Return an item at the first position of each of these highlights."""
    pks = {"pks": list(highlight_pks)}
    return list(connection.scalars(_FIRST_ITEMS, pks))


def neighbours(connection: Connection, user_pk: Pk, highlight_pk: Pk) -> tuple[Pk | None, Pk | None]:
    """Return the highlights before and after this one, as its account shows them."""
    query = select(_highlights.c.pk).where(_highlights.c.user_pk == user_pk).order_by(*IN_ORDER)
    pks = list(connection.scalars(query))
    at = pks.index(highlight_pk)
    return pks[at - 1] if at > 0 else None, pks[at + 1] if at + 1 < len(pks) else None


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
