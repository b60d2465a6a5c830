"""An archive that is opened at the first read, and closed once: what every part of ``Archive`` stands on.

Its iterators end when it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack
from weakref import WeakSet

from archiver.archive.session import Session, open_for_reading
from archiver.closeable import Closeable
from archiver.config import Config
from archiver.errors import JournalDiffers, NoArchive, SchemaOld
from archiver.model.identity import utcnow
from archiver.work import StopFlag, Work

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.selection import Narrowing
    from archiver.catalog import Catalog
    from archiver.model.archived import Selection
    from archiver.model.events import Event


T = TypeVar("T")


class Reading(Closeable, Generic[T]):
    """An iterator over values of an archive. ``close``, or the end of a ``with`` block, ends it early."""

    def __init__(self, values: Generator[T, None, None]) -> None:
        self._values = values
        self._is_cut = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._is_cut:
            raise ValueError("the archive is closed")
        return next(self._values)

    def close(self) -> None:
        """Stop reading and return the connection."""
        self._values.close()

    def cut(self) -> None:
        """End the iterator because the archive is closed: reading on raises ValueError."""
        self._is_cut = True
        # ValueError: another thread is reading. The connection is returned when the generator is freed.
        with suppress(ValueError):
            self._values.close()


class ArchiveBase(Closeable):
    """Opens the archive of a configuration when something is first read, and closes it."""

    def __init__(
        self,
        config: Config,
        *,
        database: str | Path | None = None,
        on_behind: Callable[[JournalDiffers], None] = lambda error: None,
    ) -> None:
        """Use the archive of a configuration. ``database``: its database, opened under another role.

        ``on_behind`` is called when the archive is opened, if ``is_behind``, with what to say about it.
        """
        self._config = config
        self._database = database
        self._on_behind = on_behind
        self._stack = ExitStack()
        self._opened: Session | None = None
        self._readings: WeakSet[Reading[Any]] = WeakSet()
        self._is_closed = False

    @property
    def root(self) -> Path:
        """Return the directory of the archive, absolute."""
        return self._config.archive.directory

    @property
    def id(self) -> str:
        """Return the archive's own id, the same in its marker and its database, and in every copy."""
        return self._catalog.archive_id

    @property
    def storage(self) -> str | None:
        """Where blobs, answers and journal are: ``s3://bucket/prefix``, or None for the directory."""
        return self._config.archive.storage

    @property
    def is_behind(self) -> bool:
        """Return whether the journal had entries that the database lacked when the archive was opened.

        The database is an older copy, or has another history. What it lacks is not shown until ``archiver db
        rebuild`` has followed the journal.
        """
        return self._open().lacking is not None

    def close(self) -> None:
        """End every iterator and close the archive. Closing it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for reading in list(self._readings):
            reading.cut()
        self._stack.close()

    def __repr__(self) -> str:
        return f"<archiver.Archive at {str(self.root)!r}{' (closed)' if self._is_closed else ''}>"

    def _open(self) -> Session:
        """Return the open parts of the archive. Raises the errors of ``open_archive``."""
        self._require_open()
        if self._opened is None:
            self._opened = self._stack.enter_context(open_for_reading(self._config, self._database))
            if self._opened.lacking is not None:
                self._on_behind(self._opened.lacking)
        else:
            self._opened.compare_if_changed()
        return self._opened

    def _open_if_current(self) -> Session | None:
        """Return the open archive; None if there is none yet, or a run must bring its schema up to date."""
        try:
            return self._open()
        except (NoArchive, SchemaOld):
            return None

    @property
    def _catalog(self) -> Catalog:
        return self._open().catalog

    def _require_open(self) -> None:
        if self._is_closed:
            raise ValueError("the archive is closed")

    def _work(
        self,
        *,
        clock: Callable[[], datetime] = utcnow,
        stop: StopFlag | None = None,
        wait: bool = False,
        progress: Callable[..., None] = lambda *numbers: None,
        observe: Callable[[Event], None] = lambda event: None,
    ) -> Work:
        """Return how to do a piece of work, for no other archive than the one that is open."""
        known = None if self._opened is None else self._opened.catalog.archive_id
        return Work(
            clock=clock,
            stop=stop or StopFlag(),
            wait=wait,
            progress=progress,
            observe=observe,
            archive_id=known,
        )

    def _read(self, values: Generator[T, None, None]) -> Reading[T]:
        reading = Reading(values)
        self._readings.add(reading)
        return reading

    def _select(self, **narrowing: Unpack[Narrowing]) -> Selection:
        from archiver.archive import selection

        return selection.read_selection(self._catalog, **narrowing)
