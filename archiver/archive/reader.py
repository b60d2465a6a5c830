"""The archive for programs: ``archiver.open_archive`` and what it gives. Documented in docs/python.md, whose names stay."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypedDict, TypeVar, Unpack
from weakref import WeakSet

from archiver.archive import arguments, named
from archiver.archive.iterating import Reading
from archiver.archive.opening import Opened, reading_at
from archiver.catalog import Catalog, SearchQuery
from archiver.catalog.query import content
from archiver.catalog.search import results
from archiver.errors import UsageError
from archiver.model.archived import (
    NO_LIMIT,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    Placed,
    Rows,
    Selection,
    Value,
)
from archiver.model.identity import Pk, is_pk
from archiver.model.search_hits import Hit, Kind
from archiver.model.target import ItemTarget, parse_target, parse_target_or_item

T = TypeVar("T")

_ACCOUNT = "username, id, link or KeptAccount"
_HIGHLIGHT = "pk, link or KeptHighlight"
_NOTHING = Selection(user_pks=("",))  # nobody has that pk


class Narrowing(TypedDict, total=False):
    """Which part of an archive is read; what is left out, or None, does not narrow it. An empty list is met by nothing.

    ``accounts`` (by username, id or link) and ``highlights`` (by pk or link): one, or several. ``titles``: one glob of present titles, or
    several; case counts. Items are narrowed by when they were taken (``taken_from`` ≤ taken < ``taken_before``), by ``media_types`` (1
    photo, 2 video; one, or several), and to what came into the archive ``new_since`` then, the item or a file of its. Times must be aware.
    """

    accounts: KeptAccount | str | Iterable[KeptAccount | str] | None
    highlights: KeptHighlight | str | Iterable[KeptHighlight | str] | None
    titles: str | Iterable[str] | None
    taken_from: datetime | None
    taken_before: datetime | None
    media_types: int | Iterable[int] | None
    new_since: datetime | None


def open_archive(path: str | os.PathLike[str], *, database: str | os.PathLike[str] | None = None) -> Archive:
    """The archive in the directory ``path``, for reading: nothing is ever written, and a run may be on meanwhile.

    ``database`` is the file or PostgreSQL URL that holds its rows if that is not ``<path>/archive.db``; no configuration and no variable
    of the environment counts. Raises UsageError, NoArchive, MarkerMismatch if the database belongs to another archive, SchemaOld and SchemaNew if
    it was made by another version, DatabaseError, StorageError.
    """
    root = arguments.directory(path)
    with ExitStack() as opening:
        opened = opening.enter_context(reading_at(root, _place(root, database)))
        return Archive(opened, opening.pop_all())


class Archive:
    """An archive open for reading. Made by ``open_archive``; a context manager, or ended by ``close``.

    Every method may be called from any thread; an iterator belongs to one thread at a time. Each iterator is of the moment at which its
    first value was read. It has a connection until it ends, is closed, or is not referred to any more; ``close`` ends those that
    are left. After that every method, and every iterator, raises ValueError, as a closed file does.
    """

    def __init__(self, opened: Opened, closing: ExitStack) -> None:
        self._opened = opened
        self._closing = closing
        self._readings: WeakSet[Reading[Any]] = WeakSet()
        self._closed = False

    @property
    def root(self) -> Path:
        """The directory of the archive, absolute."""
        return self._opened.root

    @property
    def id(self) -> str:
        """The archive's own id, the same in its marker and its database, and in every copy."""
        return self._opened.catalog.archive_id

    def accounts(self) -> Reading[KeptAccount]:
        """Every account, by ascending pk."""
        return self._read(self._catalog.stream(content.accounts, Selection()))

    def highlights(
        self,
        *,
        accounts: KeptAccount | str | Iterable[KeptAccount | str] | None = None,
        titles: str | Iterable[str] | None = None,
    ) -> Reading[KeptHighlight]:
        """The highlights, account by account: those that are shown, in the order of the profile, then those that are gone."""
        return self._read(
            self._catalog.stream(content.highlights, self._selection(accounts=accounts, titles=titles))
        )

    def items(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptItem]:
        """Each item once, by ascending pk, whichever highlights show it."""
        return self._read(self._catalog.stream(content.items, self._selection(**narrowing)))

    def contents(self, **narrowing: Unpack[Narrowing]) -> Reading[Placed]:
        """The items in their places: highlight by highlight in the order of ``highlights``, each one's oldest item first."""
        return self._read(self._catalog.stream(content.contents, self._selection(**narrowing)))

    def places(self, item: KeptItem) -> tuple[Placed, ...]:
        """Where one item is shown or was shown: its place in each of its highlights."""
        pk = arguments.instance("item", item, KeptItem).pk
        return tuple(self._catalog.stream(content.contents, Selection(item_pks=(pk,))))

    def walk(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptAccount | KeptHighlight | Placed]:
        """Each account, after it its highlights, after each of these its items in their places; all of one moment.

        Highlights without any selected item, and accounts without any selected highlight, are left out.
        """
        return self._read(self._catalog.stream(content.walk, self._selection(**narrowing)))

    def files(self) -> Reading[KeptFile]:
        """Every file that is or was an account's, a highlight's or an item's, in the order in which they were kept."""
        return self._read(self._catalog.stream(content.files))

    def search(
        self,
        text: str,
        *,
        accounts: KeptAccount | str | Iterable[KeptAccount | str] | None = None,
        highlights: KeptHighlight | str | Iterable[KeptHighlight | str] | None = None,
        kinds: Kind | str | Iterable[Kind | str] | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Reading[Hit]:
        """What ``archiver search`` finds, best first: accounts, highlights and items that have all words of ``text``.

        ``kinds``: one of ``Kind``, or several; ``since``: made since then, or first seen, where nobody knows when it was made; at most
        ``limit``. An empty list is met by nothing. Raises UsageError, also for a text without a word.
        """
        sought = SearchQuery.parse(arguments.text("text", text, "text to search for"))
        user_pks = arguments.several(accounts, self._account_pk)
        highlight_pks = arguments.several(highlights, self._highlight_pk)
        of_kinds = arguments.several(kinds, arguments.kind)
        made_since, most = arguments.moment("since", since), arguments.count("limit", limit)
        found = self._catalog.stream(
            results.hits,
            sought,
            user_pks=user_pks or (),
            highlight_pks=highlight_pks or (),
            kinds=of_kinds or (),
            since=made_since,
            limit=0 if () in (user_pks, highlight_pks, of_kinds) else most,
        )
        return self._read(found)

    def account(self, name: str) -> KeptAccount:
        """The account of that username (or one that it bore once), id or profile link. Raises NotHeld, naming near ones, and UsageError
        if several bore the name."""
        return named.account(
            self._catalog, parse_target(arguments.text("account", name, "username, id or link"))
        )

    def highlight(self, pk: str) -> KeptHighlight:
        """The highlight of that pk, ``highlight:<pk>`` or link. Raises NotHeld."""
        return named.highlight(self._catalog, _highlight_pk(arguments.text("highlight", pk, "pk or link")))

    def item(self, name: str) -> KeptItem:
        """The item of that pk or code. Raises NotHeld."""
        name = arguments.text("item", name, "pk or code")
        wanted = parse_target_or_item(name if name.startswith("item:") else f"item:{name}")
        assert isinstance(wanted, ItemTarget)
        return named.item(self._catalog, wanted)

    def path(self, file: KeptFile) -> Path:
        """Where the bytes of a file lie, absolute. They are there unless ``file.lost_at`` is set; nothing may alter them."""
        self._require_open()
        return self._opened.store.path(arguments.instance("file", file, KeptFile).blob.sha256)

    def open(self, file: KeptFile) -> BinaryIO:
        """The bytes of a file, for reading; the caller closes it. Raises StorageError if they are not there."""
        self._require_open()
        return self._opened.store.open(arguments.instance("file", file, KeptFile).blob.sha256)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        limit: int | None = None,
        seconds: float = 60.0,
    ) -> Rows:
        """What one SQL statement brings, for certain read-only: at most ``limit`` rows, within so many seconds.

        ``parameters`` are bound where it says ``:name``. Raises QueryRefused, UsageError.
        """
        most = arguments.count("limit", limit)
        return self._catalog.run_query(
            arguments.text("sql", sql, "statement"),
            rows=NO_LIMIT if most is None else most,
            seconds=arguments.seconds("seconds", seconds),
            parameters=arguments.parameters(parameters),
            own_process=False,
        )

    def close(self) -> None:
        """End every iterator and let go of the archive. Again is nothing."""
        if self._closed:
            return
        self._closed = True
        for reading in list(self._readings):
            reading.cut()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<archiver.Archive {self.id} at {str(self.root)!r}{' (closed)' if self._closed else ''}>"

    @property
    def _catalog(self) -> Catalog:
        self._require_open()
        return self._opened.catalog

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("the archive is closed")

    def _read(self, values: Generator[T, None, None]) -> Reading[T]:
        reading = Reading(values)
        self._readings.add(reading)
        return reading

    def _selection(
        self,
        *,
        accounts: KeptAccount | str | Iterable[KeptAccount | str] | None = None,
        highlights: KeptHighlight | str | Iterable[KeptHighlight | str] | None = None,
        titles: str | Iterable[str] | None = None,
        media_types: int | Iterable[int] | None = None,
        taken_from: datetime | None = None,
        taken_before: datetime | None = None,
        new_since: datetime | None = None,
    ) -> Selection:
        """The selection that is meant. Raises NotHeld, TargetError, UsageError."""
        user_pks = arguments.several(accounts, self._account_pk)
        highlight_pks = arguments.several(highlights, self._highlight_pk)
        globs = arguments.several(titles, lambda one: arguments.text("titles", one, "glob, as in 'BOTW*'"))
        types = arguments.several(media_types, arguments.media_type)
        narrowed = Selection(
            user_pks=user_pks or (),
            highlight_pks=highlight_pks or (),
            titles=globs or (),
            media_types=frozenset(types or ()),
            taken_from=arguments.moment("taken_from", taken_from),
            taken_before=arguments.moment("taken_before", taken_before),
            new_since=arguments.moment("new_since", new_since),
        )
        return _NOTHING if () in (user_pks, highlight_pks, globs, types) else narrowed

    def _account_pk(self, one: object) -> Pk:
        if isinstance(one, KeptAccount):
            return one.pk
        return self.account(arguments.text("accounts", one, _ACCOUNT)).pk

    def _highlight_pk(self, one: object) -> Pk:
        if isinstance(one, KeptHighlight):
            return one.pk
        return self.highlight(arguments.text("highlights", one, _HIGHLIGHT)).pk


def _place(root: Path, database: str | os.PathLike[str] | None) -> str | Path:
    if database is None:
        return root / "archive.db"
    found = arguments.path("database", database)
    return database if isinstance(database, str) else found


def _highlight_pk(text: str) -> Pk:
    target = parse_target(f"highlight:{text}" if is_pk(text) else text)
    if target.highlight_pk is None:
        raise UsageError(f"{text} is no highlight", "give its pk, or its link")
    return target.highlight_pk
