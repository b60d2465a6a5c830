"""The shipper's thread and the threads that notify and close it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from archiver.catalog import Catalog, outbox, record
from archiver.journal import shipper
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import FORMAT, FileHeader
from archiver.journal.shipper import Shipper
from archiver.model.identity import utcnow
from archiver.model.journal_entries import JournalHead
from archiver.model.values import replace
from archiver.store import disk
from tests.support.catalog_samples import NATGEO
from tests.support.databases import NOW


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
    monkeypatch.setattr(disk.Objects, "gather_seconds", 0.01)
    closed = Shipper(
        JournalFiles(disk.Objects(tmp_path)),
        FileHeader("an archive", FORMAT, "a program", "a schema"),
        lambda written: (None, ()),
        lambda: 0,
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


@pytest.mark.parametrize(
    ("size", "is_early"), [pytest.param((1 << 20) - 1, False, marks=pytest.mark.whole), (1 << 20, True)]
)
def test_a_megabyte_is_shipped_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, is_early: bool
) -> None:
    """Entries are gathered for ten seconds where every file is an object, unless there are many."""
    monkeypatch.setattr(disk.Objects, "gather_seconds", 10)
    monkeypatch.setattr(shipper, "_CHECK_SECONDS", 0.1)
    shipped = threading.Event()

    def advance(written: JournalHead | None) -> tuple[None, tuple[()]]:
        shipped.set()
        return None, ()

    opened = Shipper(
        JournalFiles(disk.Objects(tmp_path)),
        FileHeader("an archive", FORMAT, "a program", "a schema"),
        advance,
        lambda: size,
        on_error=lambda error: None,
        clock=utcnow,
        time_text=str,
    )
    opened.notify()
    assert shipped.wait(2) == is_early
    opened.close()
    assert shipped.is_set()


def test_the_size_of_what_is_not_shipped_is_known(catalog: Catalog, run_id: int) -> None:
    """It grows with what is committed; nothing ships it here."""
    before = catalog.read(outbox.size)
    catalog.write(record.record_user, run_id, replace(NATGEO, full_name="x" * 5000), NOW)
    assert 5000 < catalog.read(outbox.size) - before < 20_000
