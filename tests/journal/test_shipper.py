"""The shipper's thread and the threads that notify and close it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from archiver.journal.disk_journal import DiskJournal
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import FORMAT, FileHeader
from archiver.journal.shipper import Shipper
from archiver.model.identity import utcnow


class _ClosedWhileCleared(threading.Event):
    """An event that its own ``clear`` sets just before: by a call of ``close`` in another thread."""

    def __init__(self, shipper: Shipper) -> None:
        super().__init__()
        self.closer = threading.Thread(target=shipper.close, daemon=True)

    def clear(self) -> None:
        self.closer.start()
        assert self.wait(10)
        super().clear()


def test_a_close_while_the_thread_clears_its_notice_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that closes the journal just when a second of gathering ends does not wait forever.

    The thread has seen that nobody closes and is about to clear its notice; then ``close`` sets both.
    """
    monkeypatch.setattr(DiskJournal, "gather_seconds", 0.01)
    closed = Shipper(
        JournalFiles(DiskJournal(tmp_path)),
        FileHeader("an archive", FORMAT, "a program", "a schema"),
        lambda written: (None, ()),
        on_error=lambda error: None,
        clock=utcnow,
        time_text=str,
    )
    waited_for = closed._waiting
    closed._waiting = event = _ClosedWhileCleared(closed)
    waited_for.set()
    assert event.wait(10)
    event.closer.join(10)
    assert not event.closer.is_alive()
