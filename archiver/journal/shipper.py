"""The shipper: writes committed transactions from the outbox into a file of the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from archiver.errors import ArchiverError
from archiver.journal.journal_files import JournalFiles, pack_lines
from archiver.journal.journal_line import FileHeader, encode_entries, hash_line
from archiver.model.journal_entries import Entry, JournalHead
from archiver.store.objects import Appender

Advance = Callable[[JournalHead | None], tuple[JournalHead | None, tuple[Entry, ...]]]
"""Takes the new end of the journal and returns what to write next: ``outbox.advance`` in a transaction."""

_CHECK_SECONDS = 1.0
_LARGE = 1 << 20
"""Bytes that are not gathered any longer. Compressed they are about a tenth of that."""


class Shipper:
    """Ships what was committed, gathered for ``gather_seconds`` or 1 MB; and everything when it is closed.

    The order is: entries numbered and committed → lines durable → entries deleted from the outbox. A kill
    between any two steps leaves entries that the next process ships again, as the same lines.
    """

    def __init__(
        self,
        files: JournalFiles,
        header: FileHeader,
        advance: Advance,
        outbox_size: Callable[[], int],
        *,
        on_error: Callable[[BaseException], None],
        clock: Callable[[], datetime],
        time_text: Callable[[datetime], str],
    ) -> None:
        """Start the thread. ``outbox_size`` returns the bytes that are committed and not shipped.

        ``on_error`` gets the error that ends the shipping early; ``close`` raises it.
        """
        self._files, self._header, self._advance, self._on_error = files, header, advance, on_error
        self._outbox_size = outbox_size
        self._clock, self._time_text = clock, time_text
        self._appender: Appender | None = None
        self._next_seq = 0
        self._last_name = ""
        """The file with the last line of the journal when this process last wrote or began a file."""
        self._error: BaseException | None = None
        self._shipping = threading.RLock()
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Say that the outbox has an entry to ship. Never blocks."""
        self._waiting.set()

    def ship(self) -> None:
        """Write everything that is committed now.

        Raises DiskFull, StorageError or DatabaseError. If the thread or a block of ``hold`` has failed,
        raises that error again.
        """
        with self._shipping:
            if self._error is not None:
                raise self._error
            written: JournalHead | None = None
            while True:
                head, entries = self._advance(written)
                if head is None or not entries:
                    return
                written = self._write(head, entries)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the thread from shipping during the block. After an error in the block, never ship again.

        The block itself may call ``ship``. After an error, the journal may have lines that the database does
        not know; the next process compares the two before it ships.
        """
        with self._shipping:
            try:
                yield
            except BaseException as error:
                self._error = self._error or error
                raise

    def end_file(self) -> None:
        """Ship everything and close the file. The next entry begins a new one, after the snapshot's.

        Raises the errors of ``ship``.
        """
        with self._shipping:
            self.ship()
            self._close_file()

    def close(self, *, has_failed: bool = False) -> None:
        """Ship the rest, and close the file. Raises the first error of shipping.

        ``has_failed``: the work reports an error already; the next process ships what cannot be shipped now.
        """
        self._closing.set()
        self._waiting.set()
        self._thread.join()
        try:
            if not (has_failed and self._error is not None):
                self.ship()
        except ArchiverError:
            if not has_failed:
                raise
        finally:
            self._close_file()

    def _run(self) -> None:
        while not self._closing.is_set():  # asked again: the line below may clear what ``close`` has just set
            self._waiting.wait()
            try:
                self._gather()
                if self._closing.is_set():
                    return
                self._waiting.clear()
                self.ship()
            except BaseException as error:
                self._error = error
                self._on_error(error)
                return

    def _gather(self) -> None:
        """Wait while more is committed, until it is time to ship, or ``close`` was called."""
        left = self._files.objects.gather_seconds
        while left > 0 and not self._closing.wait(min(left, _CHECK_SECONDS)):
            left -= _CHECK_SECONDS
            if left > 0 and self._outbox_size() >= _LARGE:
                return

    def _write(self, head: JournalHead, entries: tuple[Entry, ...]) -> JournalHead:
        lines = encode_entries(entries, head, self._files.before_snapshot(head), self._time_text)
        prev, member = hash_line(lines[-1]), pack_lines(lines)
        name, offset = self._open_appender(head, entries[0].seq).append(member)
        self._last_name = name.partition("/")[2]
        return JournalHead(
            entries[-1].seq,
            prev,
            self._last_name,
            offset + len(member),
            head.snapshot_bytes,
            head.entry_bytes + len(member),
        )

    def _open_appender(self, head: JournalHead, seq: int) -> Appender:
        """Return what appends to this process's file; a new one if others wrote since."""
        self._next_seq = seq
        if self._appender is None or head.file != self._last_name:
            self._close_file()
            self._last_name = head.file
            self._appender = self._files.appender(
                self._header,
                lambda: self._files.new_name(self._next_seq, self._last_name, self._clock()),
            )
        return self._appender

    def _close_file(self) -> None:
        appender = self._appender
        self._appender = None  # it must not be closed again if the next one cannot be made
        if appender is not None:
            appender.close()
