"""The content of the archive: accounts, their highlights, the items of each in order, and their files.

An item belongs to the account whose highlight shows it; the item itself may name another account.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, TypedDict, TypeVar, cast

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, exists, func, or_, select

from archiver.catalog import tables
from archiver.model.archived import (
    Blob,
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

_users, _usernames, _highlights = tables.users, tables.usernames, tables.highlights
_items, _members = tables.items, tables.highlight_items
_files, _blobs = tables.files, tables.blobs

P = TypeVar("P", Placed, PlacedFile)

IN_ORDER = (
    _highlights.c.user_pk,
    _highlights.c.gone_at.is_not(None),
    _highlights.c.position.is_(None),
    _highlights.c.position,
    _highlights.c.pk,
)
"""The order of highlights: by account, shown ones first, as in the tray."""
_PLACED_FILE = (
    *(_members.c.highlight_pk, _members.c.position, _members.c.gone_at),
    *(_items.c.pk, _items.c.code, _items.c.media_type),
    *(func.coalesce(_items.c.taken_at, _files.c.kept_at), _items.c.taken_at.is_not(None)),
    *(_files.c.role, _files.c.sha256, _blobs.c.size, _blobs.c.mime),
)
"""In the order of the fields of a PlacedFile."""
_PLACE = (
    _members.c.highlight_pk,
    _members.c.position,
    _members.c.first_seen_at.label("placed_at"),
    _members.c.last_seen_at,
    _members.c.gone_at,
    _members.c.source.label("place_source"),
    _highlights.c.title,
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
    query = select(_users).order_by(_users.c.pk)
    if selection.user_pks:
        query = query.where(_users.c.pk.in_(selection.user_pks))
    if selection.highlight_pks:
        named = select(_highlights.c.user_pk).where(_highlights.c.pk.in_(selection.highlight_pks))
        query = query.where(_users.c.pk.in_(named))
    for rows in _partitions(connection, query):
        pks = [row.pk for row in rows]
        avatars, names = files_of(connection, Subject.USER, pks), _names(connection, pks)
        for row in rows:
            yield KeptAccount(
                row.pk,
                row.username,
                row.full_name,
                row.is_private,
                row.is_verified,
                row.first_seen_at,
                row.last_seen_at,
                row.gone_at,
                tuple(names[row.pk]),
                avatars[row.pk],
            )


def highlights(connection: Connection, selection: Selection) -> Iterator[KeptHighlight]:
    """Yield the highlights, account by account, shown ones first, as in the tray. Streamed.

    Only the accounts and highlights of the selection are used.
    """
    query = select(_highlights).order_by(*IN_ORDER)
    if selection.user_pks:
        query = query.where(_highlights.c.user_pk.in_(selection.user_pks))
    if selection.highlight_pks:
        query = query.where(_highlights.c.pk.in_(selection.highlight_pks))
    for rows in _partitions(connection, query):
        wanted = [row for row in rows if _has_title(row.title, selection.titles)]
        covers = files_of(connection, Subject.HIGHLIGHT, [row.pk for row in wanted])
        for row in wanted:
            yield KeptHighlight(
                row.pk,
                row.user_pk,
                row.title,
                row.position,
                row.created_at,
                row.is_pinned,
                row.media_count,
                row.first_seen_at,
                row.last_seen_at,
                row.fetched_at,
                row.completed_at,
                row.gone_at,
                covers[row.pk],
                row.source,
            )


def contents(connection: Connection, selection: Selection, *, with_entries: bool = True) -> Iterator[Placed]:
    """Yield the items in their places, highlight by highlight in the order of ``highlights``. Streamed."""
    query = (
        select(_items, *_PLACE)
        .join(_members, _members.c.item_pk == _items.c.pk)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(*_highlight_conditions(selection), *_item_conditions(selection))
        .order_by(*IN_ORDER, _members.c.position, _members.c.item_pk)
    )
    for everything in _partitions(connection, query):
        rows = [row for row in everything if _has_title(row.title, selection.titles)]
        for row, item in zip(rows, _kept_items(connection, rows, with_entries), strict=True):
            dates = row.placed_at, row.last_seen_at, row.gone_at
            yield Placed(row.highlight_pk, row.position, item, *dates, row.place_source)


def _placed_files(connection: Connection, selection: Selection) -> Iterator[PlacedFile]:
    """Yield the files of the items, in the order of ``contents``: the newest of each role that is not lost.

    Streamed. Highlights are selected by pk alone.
    """
    query = (
        select(*_PLACED_FILE)
        .join(_items, _items.c.pk == _members.c.item_pk)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .join(_files, _files.c.item_pk == _items.c.pk)
        .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
        .where(_blobs.c.lost_at.is_(None), *_highlight_conditions(selection), *_item_conditions(selection))
        .order_by(*IN_ORDER, _members.c.position, _members.c.item_pk, _files.c.role)
        .order_by(_files.c.last_seen_at.desc(), _files.c.id.desc())
    )
    place: tuple[Pk, Pk] | None = None
    role = ""
    for rows in _partitions(connection, query):
        for file in map(PlacedFile._make, rows):
            if (file.highlight_pk, file.item_pk) != place or file.role != role:
                place, role = (file.highlight_pk, file.item_pk), file.role
                yield file


def items(connection: Connection, selection: Selection, *, with_entries: bool = True) -> Iterator[KeptItem]:
    """Yield each item once, by ascending pk. Streamed."""
    query = select(_items).where(*_item_conditions(selection)).order_by(_items.c.pk)
    if selection.user_pks or selection.highlight_pks:
        shown = select(_members.c.item_pk).join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        shown = shown.where(*_highlight_conditions(selection))
        query = query.where(_items.c.pk.in_(shown))
    for rows in _partitions(connection, query):
        if selection.titles:
            titled = _items_with_title(connection, [row.pk for row in rows], selection)
            rows = [row for row in rows if row.pk in titled]
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
    query = (
        select(_members.c.highlight_pk)
        .distinct()
        .join(_items, _items.c.pk == _members.c.item_pk)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(*_highlight_conditions(selection), *_item_conditions(selection))
    )
    return set(connection.scalars(query))


def _selected_pks(shown: Sequence[KeptHighlight], selection: Selection) -> tuple[Pk, ...]:
    return tuple(highlight.pk for highlight in shown) if selection.narrows_highlights else ()


def _items_with_title(connection: Connection, item_pks: Sequence[Pk], selection: Selection) -> set[Pk]:
    """Return which of these items are or were in a selected highlight with a selected title."""
    query = (
        select(_members.c.item_pk, _highlights.c.title)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(_members.c.item_pk.in_(bindparam("pks", expanding=True)), *_highlight_conditions(selection))
    )
    rows = connection.execute(query, {"pks": list(item_pks)})
    return {row.item_pk for row in rows if _has_title(row.title, selection.titles)}


def _names(connection: Connection, pks: Sequence[Pk]) -> dict[Pk, list[str]]:
    query = (
        select(_usernames.c.user_pk, _usernames.c.username)
        .where(_usernames.c.user_pk.in_(bindparam("pks", expanding=True)))
        .order_by(_usernames.c.last_seen_at.desc(), _usernames.c.first_seen_at.desc())
    )
    names: dict[Pk, list[str]] = defaultdict(list)
    for row in connection.execute(query, {"pks": list(pks)}):
        names[row.user_pk].append(row.username)
    return names


def _kept_items(connection: Connection, rows: Sequence[Row[Any]], with_entries: bool) -> Iterator[KeptItem]:
    pks = list(dict.fromkeys(row.pk for row in rows))
    held = files_of(connection, Subject.ITEM, pks)
    entries = entries_of(connection, pks) if with_entries else {}
    for row in rows:
        yield KeptItem(
            row.pk,
            row.user_pk,
            row.code,
            row.taken_at,
            row.media_type,
            row.product_type,
            row.video_duration,
            row.first_seen_at,
            held[row.pk],
            answer_id=row.answer_id,
            source=row.source,
            **entries.get(row.pk, {}),
        )


class ItemEntries(TypedDict, total=False):
    """The entries of a KeptItem, by field."""

    mentions: tuple[Mention, ...]
    web_links: tuple[WebLink, ...]
    hashtags: tuple[Hashtag, ...]
    locations: tuple[Location, ...]
    stickers: tuple[Sticker, ...]
    reshares: tuple[Reshare, ...]
    sponsors: tuple[Sponsor, ...]


_KINDS: tuple[tuple[str, Table, type[Struct]], ...] = (
    ("mentions", tables.mentions, Mention),
    ("web_links", tables.links, WebLink),
    ("hashtags", tables.hashtags, Hashtag),
    ("locations", tables.locations, Location),
    ("stickers", tables.stickers, Sticker),
    ("reshares", tables.reshares, Reshare),
    ("sponsors", tables.sponsors, Sponsor),
)


def entries_of(connection: Connection, item_pks: Sequence[Pk]) -> dict[Pk, ItemEntries]:
    """Return the entries of these items, in the order of the answers; items without entries are left out."""
    found: dict[Pk, dict[str, Any]] = defaultdict(dict)
    for name, table, kind in _KINDS:
        columns = [table.c[name] for name in kind.__struct_fields__]
        query = (
            select(table.c.item_pk, *columns)
            .where(table.c.item_pk.in_(bindparam("pks", expanding=True)))
            .order_by(table.c.item_pk, table.c.position)
        )
        for item_pk, *values in connection.execute(query, {"pks": list(item_pks)}):
            found[item_pk][name] = (*found[item_pk].get(name, ()), kind(*values))
    return cast("dict[Pk, ItemEntries]", found)


_BATCH = 1000
_OWNERS = {
    Subject.USER: _files.c.user_pk,
    Subject.HIGHLIGHT: _files.c.highlight_pk,
    Subject.ITEM: _files.c.item_pk,
}
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(_files.c.item_pk, _files.c.highlight_pk, _files.c.user_pk, _files.c.role, _files.c.sha256),
    *(_blobs.c.size, _blobs.c.mime, _blobs.c.width, _blobs.c.height),
    *(_files.c.source_url, _files.c.kept_at, _files.c.last_seen_at, _blobs.c.lost_at),
    *(_files.c.run_id, _files.c.answer_id, _files.c.source),
)
"""In the order in which ``_kept_file`` unpacks them: over a million rows, access by name would cost more than
everything else.
"""
_ROLES = {role.value: role for role in Role}


def files(connection: Connection) -> Iterator[KeptFile]:
    """Yield all files, also those that are no longer shown, in the order in which they were stored.

    Streamed.
    """
    query = select(*_COLUMNS).join(_blobs, _blobs.c.sha256 == _files.c.sha256).order_by(_files.c.id)
    for rows in _partitions(connection, query):
        yield from map(_kept_file, rows)


def files_of(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> dict[Pk, tuple[KeptFile, ...]]:
    """Return the files of these owners, newest first; () for an owner without files."""
    owner = _OWNERS[subject]
    query = (
        select(*_COLUMNS)
        .join(_blobs, _blobs.c.sha256 == _files.c.sha256)
        .where(owner.in_(bindparam("pks", expanding=True)))
        .order_by(owner, _files.c.last_seen_at.desc(), _files.c.id.desc())
    )
    found: dict[Pk, tuple[KeptFile, ...]] = dict.fromkeys(pks, ())
    rows = map(_kept_file, connection.execute(query, {"pks": list(pks)}))
    for pk, group in groupby(rows, key=lambda file: file.owner.pk):
        found[pk] = tuple(group)
    return found


def _partitions(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows of a query a thousand at a time, read as needed.

    The cursor is closed with the iterator.
    """
    with connection.execution_options(yield_per=_BATCH).execute(query) as rows:
        yield from rows.partitions()


def _kept_file(row: Sequence[Any]) -> KeptFile:
    item, highlight, user, role, sha256, size, mime, width, height, url, kept, seen, lost, *origin = row
    if item is not None:
        owner = Owner(Subject.ITEM, item)
    elif highlight is not None:
        owner = Owner(Subject.HIGHLIGHT, highlight)
    else:
        owner = Owner(Subject.USER, user)
    blob = Blob(Digest(sha256), size, mime, width, height)
    return KeptFile(owner, _ROLES[role], blob, url, kept, seen, lost, *origin)


_new_file = tables.files.alias("new_file")


def _has_title(title: str | None, globs: Sequence[str]) -> bool:
    """Return whether a title matches one of the globs, or there are none. The databases' own globs differ."""
    return not globs or any(fnmatchcase(title or "", glob) for glob in globs)


def _highlight_conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on the highlight that shows an item, for a query that joins both."""
    if selection.user_pks:
        yield _highlights.c.user_pk.in_(selection.user_pks)
    if selection.highlight_pks:
        yield _highlights.c.pk.in_(selection.highlight_pks)


def _item_conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on the item itself."""
    if selection.item_pks:
        yield _items.c.pk.in_(selection.item_pks)
    if selection.taken_from is not None:
        yield _items.c.taken_at >= selection.taken_from
    if selection.taken_before is not None:
        yield _items.c.taken_at < selection.taken_before
    if selection.media_types:
        yield _items.c.media_type.in_(sorted(selection.media_types))
    if selection.new_since is not None:
        is_new_file = _new_file.c.item_pk == _items.c.pk, _new_file.c.kept_at >= selection.new_since
        yield or_(_items.c.first_seen_at >= selection.new_since, exists().where(*is_new_file))
