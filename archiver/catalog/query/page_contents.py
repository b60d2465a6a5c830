"""What the pages of the server need besides ``content``: sums, one page of a long list, what is new."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.query import content
from archiver.catalog.query.content import IN_ORDER
from archiver.catalog.sql import Query
from archiver.model.archived import DatedPk, Placed, Selection, ShownItem
from archiver.model.identity import Digest, Pk


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


_ACCOUNT_ITEMS = Query(
    """
    SELECT pk FROM items WHERE pk IN (
        SELECT item_pk FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk
        WHERE highlights.user_pk = :user
    )
    ORDER BY taken_at IS NULL, taken_at DESC, pk DESC LIMIT :limit OFFSET :offset
    """,
    Pk,
)
_HIGHLIGHT_ITEMS = Query(
    """
    SELECT item_pk FROM highlight_items WHERE highlight_pk = :highlight
    ORDER BY position, item_pk LIMIT :limit OFFSET :offset
    """,
    Pk,
)
_ACCOUNTS = Query(
    """
    SELECT users.pk, users.username, users.full_name, count(highlights.pk),
        max(highlights.fetched_at), max(highlights.completed_at), max(highlights.gone_at)
    FROM users LEFT JOIN highlights ON highlights.user_pk = users.pk
    WHERE users.pk = :user -- if user
    GROUP BY users.pk, users.username, users.full_name
    """,
    lambda pk, username, full_name, *stamp: (pk, username, full_name, stamp),
)
_ACCOUNT_SUMS = Query(
    """
    SELECT shown.user_pk, count(*), min(items.taken_at) AS first_at, max(items.taken_at) AS last_at
    FROM (
        SELECT DISTINCT highlights.user_pk, item_pk
        FROM highlights JOIN highlight_items ON highlight_pk = highlights.pk
        WHERE highlights.user_pk IN :pks
    ) AS shown JOIN items ON items.pk = item_pk
    GROUP BY shown.user_pk
    """,
    lambda user_pk, *sums: (user_pk, ItemSums(*sums)),
)
# When the archive noticed a change of an account: an item or a highlight that came or went, an edit. What was
# adopted is none.
_NOTICED = tuple(
    Query(sql, lambda user_pk, *times: (user_pk, times))
    for sql in (
        """
        SELECT user_pk, max(member.first_seen_at) AS first_seen_at, max(member.gone_at) AS gone_at
        FROM highlights JOIN highlight_items AS member ON highlight_pk = pk
        WHERE user_pk IN :pks AND member.source IS NULL GROUP BY user_pk
        """,
        """
        SELECT user_pk, max(first_seen_at) AS first_seen_at, max(gone_at) AS gone_at
        FROM highlights WHERE user_pk IN :pks AND source IS NULL GROUP BY user_pk
        """,
        # A join makes SQLite read the changes of all highlights.
        """
        SELECT (SELECT user_pk FROM highlights WHERE pk = changes.subject_pk) AS owner, max(changes.at) AS at
        FROM changes
        WHERE subject = 'highlight' AND subject_pk IN (SELECT pk FROM highlights WHERE user_pk IN :pks)
        GROUP BY owner
        """,
        """
        SELECT subject_pk, max(changes.at) AS at FROM changes
        WHERE subject = 'user' AND subject_pk IN :pks GROUP BY subject_pk
        """,
    )
)
_LAST_CHANGE = Query("SELECT coalesce(max(id), 0) FROM changes", int)
_EDITED = Query(
    """
    SELECT coalesce(highlights.user_pk, changes.subject_pk) FROM changes
    LEFT JOIN highlights ON changes.subject = 'highlight' AND highlights.pk = changes.subject_pk
    WHERE changes.id > :after
    """,
    Pk,
)
_HIGHLIGHT_SUMS = Query(
    """
    SELECT highlight_pk, count(*), min(taken_at) AS first_at, max(taken_at) AS last_at
    FROM highlight_items JOIN items ON items.pk = item_pk
    WHERE highlight_pk IN :pks GROUP BY highlight_pk
    """,
    lambda highlight_pk, *sums: (highlight_pk, ItemSums(*sums)),
)
_FIRST_ITEMS = Query(
    """
    SELECT min(item_pk) FROM highlight_items AS member JOIN (
        SELECT highlight_pk, min(position) AS position FROM highlight_items
        WHERE highlight_pk IN :pks GROUP BY highlight_pk
    ) AS first ON first.highlight_pk = member.highlight_pk AND first.position = member.position
    GROUP BY member.highlight_pk
    """,
    Pk,
)
_STATE = Query(
    "SELECT (SELECT max(seq) FROM journal_head), (SELECT max(id) FROM journal_outbox)",
    lambda seq, pending: (seq, pending),
)
_HIGHLIGHTS_IN_ORDER = Query(f"SELECT pk FROM highlights WHERE user_pk = :user ORDER BY {IN_ORDER}", Pk)
_RANK = Query(
    """
    SELECT (
        SELECT count(*) FROM highlight_items AS other WHERE other.highlight_pk = own.highlight_pk
        AND (other.position < own.position OR other.position = own.position AND other.item_pk < own.item_pk)
    )
    FROM highlight_items AS own WHERE highlight_pk = :highlight AND item_pk = :item
    """,
    int,
)
_BLOB = Query(
    "SELECT size, mime, lost_at IS NOT NULL AS is_lost FROM blobs WHERE sha256 = :digest", BlobFacts
)
_BEFORE = Query(
    """
    SELECT taken_at AS at, pk FROM items WHERE taken_at IS NOT NULL
    AND taken_at <= :at AND (taken_at < :at OR pk < :pk) -- if at
    ORDER BY taken_at DESC, pk DESC LIMIT :limit
    """,
    DatedPk,
)
_AFTER = Query(
    """
    SELECT taken_at AS at, pk FROM items WHERE taken_at >= :at AND (taken_at > :at OR pk > :pk)
    ORDER BY taken_at, pk LIMIT :limit
    """,
    DatedPk,
)
# The subject of these changes is always a highlight. With a condition on it, SQLite would sort all of them.
_ADDED_ITEMS = Query(
    """
    SELECT i.first_seen_at AS at, i.pk FROM changes c JOIN items i ON i.pk = c.new
    WHERE c.field = 'items' AND i.first_seen_at = c.at
    ORDER BY c.id DESC LIMIT :limit
    """,
    DatedPk,
)
_ITEMS_OF_NEW_HIGHLIGHTS = Query(
    """
    SELECT i.first_seen_at AS at, i.pk FROM (
      SELECT subject_pk, at FROM changes
      WHERE field = 'presence' AND new = 'appeared' ORDER BY id DESC LIMIT :limit
    ) AS appeared
    CROSS JOIN highlight_items m -- CROSS: SQLite reads the few changes first, not all items
    CROSS JOIN items i
    WHERE m.highlight_pk = appeared.subject_pk AND i.pk = m.item_pk AND i.first_seen_at >= appeared.at
    ORDER BY i.first_seen_at DESC, i.pk DESC LIMIT :limit
    """,
    DatedPk,
)
_NEW_ACCOUNTS = Query(
    """
    SELECT first_seen_at AS at, pk FROM users
    WHERE EXISTS (SELECT 1 FROM highlights h WHERE h.user_pk = users.pk)
    ORDER BY first_seen_at DESC, pk DESC LIMIT :limit
    """,
    DatedPk,
)
_PLACES = Query(
    """
    SELECT item_pk, highlight_pk, member.position, member.first_seen_at, member.last_seen_at, member.gone_at,
        member.source
    FROM highlight_items AS member JOIN highlights ON highlights.pk = highlight_pk WHERE item_pk IN :pks
    ORDER BY member.gone_at IS NOT NULL, highlights.gone_at IS NOT NULL, highlight_pk
    """,
    lambda item_pk, highlight_pk, position, *dates: (item_pk, (highlight_pk, position, dates)),
)


def state(connection: Connection) -> tuple[int | None, int | None]:
    """Return what differs after each change of what pages show: the journal's end, and what awaits it."""
    return _STATE.one(connection)


def account_rows(connection: Connection, user_pk: Pk | None = None) -> list[AccountRow]:
    """Return all accounts, or one, in no order."""
    names = content.names_of(connection, [] if user_pk is None else [user_pk])
    return [
        AccountRow(
            pk, username, full_name, tuple(name for name in names[pk] if name != username), stamp[0], stamp
        )
        for pk, username, full_name, stamp in _ACCOUNTS.all(connection, user=user_pk)
    ]


def last_change(connection: Connection) -> int:
    """Return the id of the last change; 0 if nothing has changed."""
    return _LAST_CHANGE.one(connection)


def edited_since(connection: Connection, change_id: int) -> set[Pk]:
    """Return the accounts that were edited after this change, themselves or in a highlight."""
    return set(_EDITED.all(connection, after=change_id))


def account_sums(connection: Connection, user_pks: Sequence[Pk]) -> dict[Pk, AccountSums]:
    """Return how many items each of these accounts has, and when it last changed.

    Reads all of their items.
    """
    items = dict(_ACCOUNT_SUMS.all(connection, pks=user_pks))
    noticed: dict[Pk, list[datetime]] = {pk: [] for pk in user_pks}
    for query in _NOTICED:
        for pk, times in query.all(connection, pks=user_pks):
            noticed[pk] += filter(None, times)
    return {
        pk: AccountSums(items.get(pk, ItemSums()), max(times, default=None)) for pk, times in noticed.items()
    }


def highlight_sums(connection: Connection, highlight_pks: Sequence[Pk]) -> dict[Pk, ItemSums]:
    """Return how many items each of these highlights has; those without are left out."""
    return dict(_HIGHLIGHT_SUMS.all(connection, pks=highlight_pks))


def account_items(connection: Connection, user_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of an account's highlights, the latest first, each once."""
    return _ACCOUNT_ITEMS.all(connection, user=user_pk, limit=limit, offset=offset)


def highlight_items(connection: Connection, highlight_pk: Pk, limit: int, offset: int) -> list[Pk]:
    """Return some of the items of a highlight, in its order."""
    return _HIGHLIGHT_ITEMS.all(connection, highlight=highlight_pk, limit=limit, offset=offset)


def first_items(connection: Connection, highlight_pks: Sequence[Pk]) -> list[Pk]:
    """Return an item at the first position of each of these highlights."""
    return _FIRST_ITEMS.all(connection, pks=highlight_pks)


def neighbours(connection: Connection, user_pk: Pk, highlight_pk: Pk) -> tuple[Pk | None, Pk | None]:
    """Return the highlights before and after this one, as its account shows them."""
    pks = _HIGHLIGHTS_IN_ORDER.all(connection, user=user_pk)
    at = pks.index(highlight_pk)
    return pks[at - 1] if at > 0 else None, pks[at + 1] if at + 1 < len(pks) else None


def rank_in_highlight(connection: Connection, highlight_pk: Pk, item_pk: Pk) -> int | None:
    """Return how many items of a highlight precede this one; None if it was never there."""
    return _RANK.first(connection, highlight=highlight_pk, item=item_pk)


def blob_facts(connection: Connection, digest: Digest) -> BlobFacts | None:
    """Return what the database knows of a blob; None if it has none under this name."""
    return _BLOB.first(connection, digest=digest)


def newest_taken(
    connection: Connection, limit: int, *, before: DatedPk | None = None, after: DatedPk | None = None
) -> tuple[DatedPk, ...]:
    """Return items by when they were taken, the latest first; those without a date are left out.

    ``before``: only those that come after this one in this order. ``after``: the last ones before this one.
    """
    if after is not None:
        return tuple(reversed(_AFTER.all(connection, limit=limit, at=after.at, pk=after.pk)))
    at, pk = (None, None) if before is None else before
    return tuple(_BEFORE.all(connection, limit=limit, at=at, pk=pk))


def new_items(connection: Connection, limit: int) -> tuple[DatedPk, ...]:
    """Return the last items that are news, each with when the archive first saw it, the latest first.

    As in ``changes``, what was seen for the first time together with its account is no news.
    """
    added, of_new = (query.all(connection, limit=limit) for query in (_ADDED_ITEMS, _ITEMS_OF_NEW_HIGHLIGHTS))
    return tuple(sorted({*added, *of_new}, reverse=True)[:limit])


def new_accounts(connection: Connection, limit: int) -> tuple[DatedPk, ...]:
    """Return the accounts that the archive saw last for the first time, the latest first."""
    return tuple(_NEW_ACCOUNTS.all(connection, limit=limit))


def shown_items(connection: Connection, pks: Collection[Pk]) -> dict[Pk, ShownItem]:
    """Return these items by pk, each in a highlight that shows it; those in no highlight are left out.

    If several show it, one that still does is preferred.
    """
    places: dict[Pk, tuple[Pk, int, tuple[Any, ...]]] = {}
    for pk, place in _PLACES.all(connection, pks=pks):
        places.setdefault(pk, place)
    if not places:  # a selection without pks means everything
        return {}
    owners = {highlight_pk for highlight_pk, _, _ in places.values()}
    highlights = {h.pk: h for h in content.highlights(connection, Selection(highlight_pks=tuple(owners)))}
    user_pks = tuple({highlight.user_pk for highlight in highlights.values()})
    accounts = {a.pk: a for a in content.accounts(connection, Selection(user_pks=user_pks))}
    shown = {}
    for item in content.items(connection, Selection(item_pks=tuple(places))):
        highlight_pk, position, dates = places[item.pk]
        highlight = highlights[highlight_pk]
        placed = Placed(highlight_pk, position, item, *dates)
        shown[item.pk] = ShownItem(accounts[highlight.user_pk], highlight, placed)
    return shown
