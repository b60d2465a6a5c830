"""The content of the archive: accounts, their highlights, the items of each in order, and their files.

An item belongs to the account whose highlight shows it; the item itself may name another account.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, TypedDict, TypeVar, cast

from sqlalchemy import Connection

from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.query.holdings import OWNER_COLUMNS
from archiver.catalog.sql import Query
from archiver.model.archived import (
    Blob,
    ContentSize,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    Owner,
    Placed,
    PlacedFile,
    Selection,
)
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink
from archiver.model.values import replace

P = TypeVar("P", Placed, PlacedFile)
Columns = tuple[Any, ...]

_account: Callable[..., KeptAccount] = KeptAccount
_highlight: Callable[..., KeptHighlight] = KeptHighlight
_item: Callable[..., KeptItem] = KeptItem

_ROLES = {role.value: role for role in Role}


def _columns(*columns: Any) -> Columns:
    return columns


def _kept_file(
    item_pk: Pk | None,
    highlight_pk: Pk | None,
    user_pk: Pk,
    role: str,
    sha256: str,
    size: int,
    mime: str,
    width: int | None,
    height: int | None,
    *facts: Any,
) -> KeptFile:
    if item_pk is not None:
        owner = Owner(Subject.ITEM, item_pk)
    elif highlight_pk is not None:
        owner = Owner(Subject.HIGHLIGHT, highlight_pk)
    else:
        owner = Owner(Subject.USER, user_pk)
    return KeptFile(owner, _ROLES[role], Blob(Digest(sha256), size, mime, width, height), *facts)


IN_ORDER = """
    highlights.user_pk, highlights.gone_at IS NOT NULL, highlights.position IS NULL, highlights.position,
    highlights.pk
"""
"""The order of highlights: by account, shown ones first, as in the tray."""
_OF_HIGHLIGHTS = """
    AND highlights.user_pk IN :user_pks -- if user_pks
    AND highlights.pk IN :highlight_pks -- if highlight_pks
"""
"""The conditions on the highlight that shows an item; see ``_of_highlights``."""
_OF_ITEMS = """
    AND items.pk IN :item_pks -- if item_pks
    AND items.taken_at >= :taken_from -- if taken_from
    AND items.taken_at < :taken_before -- if taken_before
    AND items.media_type IN :media_types -- if media_types
    AND (items.first_seen_at >= :new_since OR EXISTS (SELECT 1 FROM files AS new_file -- if new_since
        WHERE new_file.item_pk = items.pk AND new_file.kept_at >= :new_since)) -- if new_since
"""
"""The conditions on the item itself; see ``_of_items``."""
_ACCOUNTS = Query(
    """
    SELECT pk, username, full_name, is_private, is_verified, first_seen_at, last_seen_at, gone_at FROM users
    WHERE true
        AND pk IN :user_pks -- if user_pks
        AND pk IN (SELECT user_pk FROM highlights WHERE pk IN :highlight_pks) -- if highlight_pks
    ORDER BY pk
    """,
    _columns,
)
_NAMES = Query(
    """
    SELECT user_pk, username FROM usernames
    WHERE user_pk IN :pks -- if pks
    ORDER BY last_seen_at DESC, first_seen_at DESC
    """,
    _columns,
)
_HIGHLIGHTS = Query(
    f"""
    SELECT pk, user_pk, title, position, created_at, is_pinned, media_count, first_seen_at, last_seen_at,
        fetched_at, completed_at, gone_at, source
    FROM highlights WHERE true {_OF_HIGHLIGHTS} ORDER BY {IN_ORDER}
    """,
    _columns,
)
_ITEM = """
    items.pk, items.user_pk, items.code, items.taken_at, items.media_type, items.product_type,
    items.video_duration, items.first_seen_at, items.answer_id, items.source
"""
_CONTENTS = Query(
    f"""
    SELECT highlights.title, highlight_pk, member.position, member.first_seen_at, member.last_seen_at,
        member.gone_at, member.source, {_ITEM}
    FROM items JOIN highlight_items AS member ON member.item_pk = items.pk
    JOIN highlights ON highlights.pk = highlight_pk
    WHERE true {_OF_HIGHLIGHTS} {_OF_ITEMS}
    ORDER BY {IN_ORDER}, member.position, member.item_pk
    """,
    lambda title, highlight_pk, position, first_seen_at, last_seen_at, gone_at, source, *item: (
        title,
        (highlight_pk, position),
        (first_seen_at, last_seen_at, gone_at, source),
        item,
    ),
)
_PLACED_FILES = Query(
    f"""
    SELECT highlight_items.highlight_pk, highlight_items.position, highlight_items.gone_at,
        items.pk AS item_pk, items.code, items.media_type, coalesce(items.taken_at, files.kept_at) AS at,
        items.taken_at IS NOT NULL AS is_dated, files.role, files.sha256, blobs.size, blobs.mime
    FROM highlight_items JOIN items ON items.pk = highlight_items.item_pk
    JOIN highlights ON highlights.pk = highlight_items.highlight_pk
    JOIN files ON files.item_pk = items.pk JOIN blobs ON blobs.sha256 = files.sha256
    WHERE blobs.lost_at IS NULL {_OF_HIGHLIGHTS} {_OF_ITEMS}
    ORDER BY {IN_ORDER}, highlight_items.position, highlight_items.item_pk, files.role,
        files.last_seen_at DESC, files.id DESC
    """,
    PlacedFile,
)
_ITEMS = Query(f"SELECT {_ITEM} FROM items WHERE true {_OF_ITEMS} ORDER BY items.pk", _columns)
_SHOWN_ITEMS = Query(
    f"""
    SELECT {_ITEM} FROM items WHERE items.pk IN (
        SELECT item_pk FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk
        WHERE true {_OF_HIGHLIGHTS}
    ) {_OF_ITEMS}
    ORDER BY items.pk
    """,
    _columns,
)
_HIGHLIGHTS_WITH_ITEMS = Query(
    f"""
    SELECT DISTINCT highlight_pk FROM highlight_items JOIN items ON items.pk = item_pk
    JOIN highlights ON highlights.pk = highlight_pk
    WHERE true {_OF_HIGHLIGHTS} {_OF_ITEMS}
    """,
    Pk,
)
_TITLES_OF_ITEMS = Query(
    f"""
    SELECT item_pk, title FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk
    WHERE item_pk IN :pks {_OF_HIGHLIGHTS}
    """,
    _columns,
)
_FILE = """
    SELECT files.item_pk, files.highlight_pk, files.user_pk, files.role, files.sha256, blobs.size, blobs.mime,
        blobs.width, blobs.height, files.source_url, files.kept_at, files.last_seen_at, blobs.lost_at,
        files.run_id, files.answer_id, files.source
    FROM files JOIN blobs ON blobs.sha256 = files.sha256
"""
_FILES = Query(f"{_FILE} ORDER BY files.id", _kept_file)
_FILES_OF = {
    subject: Query(
        f"""
        {_FILE} WHERE files.{column} IN :pks
        ORDER BY files.{column}, files.last_seen_at DESC, files.id DESC
        """,
        _kept_file,
    )
    for subject, column in OWNER_COLUMNS.items()
}
_ENTRIES = tuple(
    (
        kind,
        Query(
            f"""
            SELECT item_pk, {", ".join(kind.struct.__struct_fields__)} FROM {kind.table}
            WHERE item_pk IN :pks ORDER BY item_pk, position
            """,
            _columns,
        ),
    )
    for kind in ENTRY_KINDS
)


def walk(
    connection: Connection, selection: Selection, *, with_entries: bool = True
) -> Iterator[KeptAccount | KeptHighlight | Placed]:
    """Yield each account by pk, then its highlights (shown ones first, as in the tray), each with its items.

    A highlight without any selected item is left out, and so is an account without any selected highlight.
    All is from one point in time. Streamed: read it with ``Catalog.stream``. Without ``with_entries`` items
    come without mentions, links and the like.
    """
    return _walk(
        connection, selection, lambda within: contents(connection, within, with_entries=with_entries)
    )


def walk_files(
    connection: Connection, selection: Selection
) -> Iterator[KeptAccount | KeptHighlight | PlacedFile]:
    """Walk as ``walk`` does, but yield files instead of items: in their order, picture before video."""
    return _walk(connection, selection, lambda within: _placed_files(connection, within))


def _walk(
    connection: Connection, selection: Selection, inside: Callable[[Selection], Iterator[P]]
) -> Iterator[KeptAccount | KeptHighlight | P]:
    for account in accounts(connection, selection):
        shown = False
        whole = not (selection.narrows_highlights or selection.narrows_items)
        if whole:
            yield account
        for highlight, placed in _selected_highlights(connection, account.pk, selection, inside):
            if not (whole or shown):
                shown = True
                yield account
            yield highlight
            yield from placed


def accounts(connection: Connection, selection: Selection) -> Iterator[KeptAccount]:
    """Yield the accounts by ascending pk. Streamed.

    Only the pks of accounts and highlights in the selection are used.
    """
    for rows in _ACCOUNTS.pages(connection, **_of_highlights(selection)):
        pks = [pk for pk, *_ in rows]
        avatars = files_of(connection, Subject.USER, pks)
        names = names_of(connection, pks)
        for pk, *columns in rows:
            yield _account(pk, *columns, tuple(names[pk]), avatars[pk])


def names_of(connection: Connection, user_pks: Sequence[Pk] = ()) -> dict[Pk, list[str]]:
    """Return the usernames of these accounts, or of all, the latest first."""
    names: dict[Pk, list[str]] = defaultdict(list)
    for pk, name in _NAMES.all(connection, pks=user_pks):
        names[pk].append(name)
    return names


def highlights(connection: Connection, selection: Selection) -> Iterator[KeptHighlight]:
    """Yield the highlights, account by account, shown ones first, as in the tray. Streamed.

    Only the accounts and highlights of the selection are used.
    """
    for everything in _HIGHLIGHTS.pages(connection, **_of_highlights(selection)):
        rows = [row for row in everything if _has_title(row[2], selection.titles)]
        covers = files_of(connection, Subject.HIGHLIGHT, [pk for pk, *_ in rows])
        for pk, *columns, source in rows:
            yield _highlight(pk, *columns, covers[pk], source)


def contents(connection: Connection, selection: Selection, *, with_entries: bool = True) -> Iterator[Placed]:
    """Yield the items in their places, highlight by highlight in the order of ``highlights``. Streamed."""
    for everything in _CONTENTS.pages(connection, **_of_highlights(selection), **_of_items(selection)):
        rows = [row for row in everything if _has_title(row[0], selection.titles)]
        items = _kept_items(connection, [item for *_, item in rows], with_entries)
        for (_, place, dates, _), item in zip(rows, items, strict=True):
            yield Placed(*place, item, *dates)


def _placed_files(connection: Connection, selection: Selection) -> Iterator[PlacedFile]:
    """Yield the files of the items, in the order of ``contents``: the newest of each role that is not lost.

    Streamed. Highlights are selected by pk alone.
    """
    place: tuple[Pk, Pk] | None = None
    role = ""
    for file in _PLACED_FILES.iterate(connection, **_of_highlights(selection), **_of_items(selection)):
        if (file.highlight_pk, file.item_pk) != place or file.role != role:
            place, role = (file.highlight_pk, file.item_pk), file.role
            yield file


def items(connection: Connection, selection: Selection, *, with_entries: bool = True) -> Iterator[KeptItem]:
    """Yield each item once, by ascending pk. Streamed."""
    conditions = _of_items(selection)
    query = _ITEMS
    if selection.user_pks or selection.highlight_pks:
        conditions |= _of_highlights(selection)
        query = _SHOWN_ITEMS
    for rows in query.pages(connection, **conditions):
        if selection.titles:
            titled = _items_with_title(connection, [pk for pk, *_ in rows], selection)
            rows = [row for row in rows if row[0] in titled]
        yield from _kept_items(connection, rows, with_entries)


def _selected_highlights(
    connection: Connection, user_pk: Pk, selection: Selection, inside: Callable[[Selection], Iterator[P]]
) -> Iterator[tuple[KeptHighlight, list[P]]]:
    """Yield the selected highlights of an account, each with what ``inside`` yields for it.

    ``inside`` must yield in the order of the highlights.
    """
    own = Selection((user_pk,), selection.highlight_pks, selection.titles)
    shown = list(highlights(connection, own))
    within = replace(selection, user_pks=(user_pk,), highlight_pks=_selected_pks(shown, selection))
    if selection.narrows_items and shown:
        with_items = _highlights_with_items(connection, within)
        shown = [highlight for highlight in shown if highlight.pk in with_items]
    groups = groupby(inside(within) if shown else (), key=lambda found: found.highlight_pk)
    pk, group = next(groups, (None, None))
    for highlight in shown:
        found: list[P] = []
        if group is not None and pk == highlight.pk:
            found = list(group)
            pk, group = next(groups, (None, None))
        yield highlight, found


def _highlights_with_items(connection: Connection, selection: Selection) -> set[Pk]:
    """Return the highlights in which a selected item is or was."""
    found = _HIGHLIGHTS_WITH_ITEMS.all(connection, **_of_highlights(selection), **_of_items(selection))
    return set(found)


def _selected_pks(shown: Sequence[KeptHighlight], selection: Selection) -> tuple[Pk, ...]:
    return tuple(highlight.pk for highlight in shown) if selection.narrows_highlights else ()


def _items_with_title(connection: Connection, item_pks: Sequence[Pk], selection: Selection) -> set[Pk]:
    """Return which of these items are or were in a selected highlight with a selected title."""
    rows = _TITLES_OF_ITEMS.all(connection, pks=item_pks, **_of_highlights(selection))
    return {pk for pk, title in rows if _has_title(title, selection.titles)}


def _kept_items(
    connection: Connection, rows: Sequence[Sequence[Any]], with_entries: bool
) -> Iterator[KeptItem]:
    pks = list(dict.fromkeys(pk for pk, *_ in rows))
    held = files_of(connection, Subject.ITEM, pks)
    entries = entries_of(connection, pks) if with_entries else {}
    for pk, *columns, answer_id, source in rows:
        yield _item(pk, *columns, held[pk], answer_id=answer_id, source=source, **entries.get(pk, {}))


class ItemEntries(TypedDict, total=False):
    """The entries of a KeptItem, by field."""

    mentions: tuple[Mention, ...]
    web_links: tuple[WebLink, ...]
    hashtags: tuple[Hashtag, ...]
    locations: tuple[Location, ...]
    stickers: tuple[Sticker, ...]
    reshares: tuple[Reshare, ...]
    sponsors: tuple[Sponsor, ...]


def entries_of(connection: Connection, item_pks: Sequence[Pk]) -> dict[Pk, ItemEntries]:
    """Return the entries of these items, in the order of the answers; items without entries are left out."""
    found: dict[Pk, dict[str, Any]] = defaultdict(dict)
    for kind, query in _ENTRIES:
        for item_pk, *values in query.all(connection, pks=item_pks):
            found[item_pk][kind.field] = (*found[item_pk].get(kind.field, ()), kind.struct(*values))
    return cast("dict[Pk, ItemEntries]", found)


def files(connection: Connection) -> Iterator[KeptFile]:
    """Yield all files, also those that are no longer shown, in the order in which they were stored.

    Streamed.
    """
    return _FILES.iterate(connection)


def files_of(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> dict[Pk, tuple[KeptFile, ...]]:
    """Return the files of these owners, newest first; () for an owner without files."""
    found: dict[Pk, tuple[KeptFile, ...]] = dict.fromkeys(pks, ())
    for pk, group in groupby(_FILES_OF[subject].all(connection, pks=pks), key=lambda file: file.owner.pk):
        found[pk] = tuple(group)
    return found


def _has_title(title: str | None, globs: Sequence[str]) -> bool:
    """Return whether a title matches one of the globs, or there are none. The databases' own globs differ."""
    return not globs or any(fnmatchcase(title or "", glob) for glob in globs)


def _of_highlights(selection: Selection) -> dict[str, tuple[Pk, ...]]:
    return {"user_pks": selection.user_pks, "highlight_pks": selection.highlight_pks}


def _of_items(selection: Selection) -> dict[str, object]:
    return {
        "item_pks": selection.item_pks,
        "taken_from": selection.taken_from,
        "taken_before": selection.taken_before,
        "media_types": sorted(selection.media_types),
        "new_since": selection.new_since,
    }


_MOST_NAMES = 500
_USERNAMES_FROM = Query(
    "SELECT username FROM users WHERE substr(lower(username), 1, :length) = :prefix ORDER BY 1 LIMIT :most",
    str,
)
_TITLES_FROM = Query(
    "SELECT DISTINCT title FROM highlights WHERE substr(title, 1, :length) = :prefix ORDER BY 1 LIMIT :most",
    str,
)


def usernames(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the current usernames that begin with this, in any case; not all if there are very many."""
    return tuple(_USERNAMES_FROM.all(connection, length=len(prefix), prefix=prefix.lower(), most=_MOST_NAMES))


def titles(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the titles of highlights that begin with this, each once; not all if there are very many."""
    return tuple(_TITLES_FROM.all(connection, length=len(prefix), prefix=prefix, most=_MOST_NAMES))


# --- how much it is

_BLOBS_OF_HIGHLIGHTS = """
    SELECT files.highlight_pk, files.sha256 FROM files JOIN highlights ON highlights.pk = files.highlight_pk
    WHERE highlights.user_pk = :user
    UNION
    SELECT member.highlight_pk, files.sha256 FROM highlight_items AS member
    JOIN highlights ON highlights.pk = member.highlight_pk JOIN files ON files.item_pk = member.item_pk
    WHERE highlights.user_pk = :user
"""
_SUMS = """
    count(*) FILTER (WHERE blobs.lost_at IS NULL) AS blobs,
    CAST(coalesce(sum(blobs.size) FILTER (WHERE blobs.lost_at IS NULL), 0) AS BIGINT) AS bytes,
    count(blobs.lost_at) AS lost
"""
_CONTENT_OF_HIGHLIGHTS = Query(
    f"""
    SELECT pk, coalesce(shown.items, 0), coalesce(shown.gone, 0), coalesce(held.blobs, 0),
        coalesce(held.bytes, 0), coalesce(held.lost, 0)
    FROM highlights
    LEFT JOIN (
        SELECT member.highlight_pk, count(*) AS items,
            count(coalesce(member.gone_at, highlights.gone_at)) AS gone
        FROM highlight_items AS member JOIN highlights ON highlights.pk = member.highlight_pk
        WHERE highlights.user_pk = :user GROUP BY member.highlight_pk
    ) AS shown ON shown.highlight_pk = pk
    LEFT JOIN (
        SELECT own.highlight_pk, {_SUMS} FROM ({_BLOBS_OF_HIGHLIGHTS}) AS own
        JOIN blobs ON blobs.sha256 = own.sha256 GROUP BY own.highlight_pk
    ) AS held ON held.highlight_pk = pk
    WHERE user_pk = :user AND (shown.highlight_pk IS NOT NULL OR held.highlight_pk IS NOT NULL)
    """,
    lambda pk, *sizes: (Pk(pk), ContentSize(*sizes)),
)
_CONTENT = Query(
    f"""
    SELECT shown.items, shown.gone, held.blobs, held.bytes, held.lost
    FROM (
        SELECT count(*) AS items, count(CASE WHEN present = 0 THEN 1 END) AS gone FROM (
            SELECT count(*) - count(coalesce(member.gone_at, highlights.gone_at)) AS present
            FROM highlight_items AS member JOIN highlights ON highlights.pk = member.highlight_pk
            WHERE highlights.user_pk = :user GROUP BY member.item_pk
        ) AS each_item
    ) AS shown,
    (
        SELECT {_SUMS} FROM blobs JOIN (
            SELECT sha256 FROM files WHERE user_pk = :user
            UNION SELECT sha256 FROM ({_BLOBS_OF_HIGHLIGHTS}) AS of_highlights
        ) AS own ON own.sha256 = blobs.sha256
    ) AS held
    """,
    ContentSize,
)
_ITEMS_BY_CODE = Query("SELECT pk FROM items WHERE code = :code ORDER BY pk", Pk)


def extents(connection: Connection, user_pk: Pk) -> dict[Pk, ContentSize]:
    """Return the content size of each highlight of an account, covers included; empty ones are left out."""
    return dict(_CONTENT_OF_HIGHLIGHTS.all(connection, user=user_pk))


def extent(connection: Connection, user_pk: Pk) -> ContentSize:
    """Return the content size of an account.

    An item in several of its highlights counts once, and is gone when none of them shows it any more.
    """
    return _CONTENT.one(connection, user=user_pk)


def pks_by_code(connection: Connection, code: str) -> tuple[Pk, ...]:
    """Return the items that have this code: one, unless upstream contradicts itself."""
    return tuple(_ITEMS_BY_CODE.all(connection, code=code))
