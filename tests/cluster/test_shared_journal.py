"""The journal of several workers: one ships at a time, for all of them, in an order that can be replayed."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, text

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.creation import create_for_run
from archiver.archive.journaling import Journaling
from archiver.archive.worker import join_archive
from archiver.catalog import Catalog, leases, outbox, record
from archiver.errors import MarkerMismatch, StorageError
from archiver.model.journal_entries import JournalHead
from archiver.store import disk
from archiver.work import StopFlag, Work
from tests.support.cluster import ClusterHarness, wait_until

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
Two = tuple[Catalog, Catalog]


def begin(catalog: Catalog) -> JournalHead:
    """Let the journal begin with line 1, and the outbox be empty."""
    head = JournalHead(1, "0" * 64, "2026/11/000000000001-00000000.jsonl.gz", 10, 10, 0)
    catalog.write(outbox.begin, head)
    return head


def advance(catalog: Catalog, written: JournalHead | None = None, rest: float = 0.0) -> list[int] | None:
    """Return the numbers of the entries to write next; None if it is not this worker's turn."""
    assert catalog.worker_id is not None
    found = catalog.write(outbox.advance_with_lease, catalog.worker_id, written, NOW, rest_seconds=rest)
    return None if found is None else [entry.seq for entry in found[1]]


def test_a_transaction_that_commits_late_keeps_its_place_behind_what_was_numbered(
    joined: Two,
) -> None:
    """Its position is lower than that of another which was numbered before it was committed."""
    one, two = joined
    begin(one)
    positions: dict[str, Any] = {}

    def overtaken(connection: Connection) -> None:
        record.start_run(connection, "run", NOW)
        # What ``seal`` does at the end of this transaction, but before the other one commits.
        outbox.seal(connection, NOW)
        two.write(record.start_run, "backup", NOW)
        positions["numbered first"] = advance(two)

    one._derive_rows = lambda connection: None  # type: ignore[method-assign]
    one._open_writer()._derive_rows = lambda connection: None
    one.write(overtaken)
    assert positions["numbered first"] == [2]
    assert advance(two) == [2, 3]
    with one.snapshot() as snapshot:
        rows = snapshot.read(
            lambda c: c.execute(text("SELECT seq, position FROM journal_commits ORDER BY seq")).all()
        )
        assert [row.seq for row in rows] == [2, 3]
        assert rows[0].position > rows[1].position
        head = snapshot.read(outbox.read_head)
        assert head is not None
        assert [entry.seq for entry in snapshot.read(outbox.read_pending, head)] == [2, 3]


def test_one_worker_ships_at_a_time(joined: Two) -> None:
    """Its turn lasts until nothing is left to write, and the next one begins after a rest."""
    one, two = joined
    head = begin(one)
    one.write(record.start_run, "run", NOW)
    assert advance(one) == [2]
    assert advance(two) is None
    written = JournalHead(2, "1" * 64, head.file, 20, 10, 10)
    assert advance(one, written) == []
    assert advance(two, rest=60) is None
    two.write(record.start_run, "run", NOW)
    assert advance(two) == [3]


def test_fault_w3_the_turn_of_a_lost_worker_is_taken_over_with_the_same_numbers(joined: Two) -> None:
    """So lines that it wrote before it was lost, or writes afterwards, are the same lines."""
    one, two = joined
    begin(one)
    one.write(record.start_run, "run", NOW)
    assert advance(one) == [2]
    two.coordinate(leases.leave, "one")
    assert advance(two) == [2]


def test_a_worker_whose_shipping_fails_leaves_it_to_others(
    joined: Two, harness: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: it may have paid answers to store, and then keeps its lease for minutes."""
    one, two = joined
    begin(one)
    monkeypatch.setattr(disk.Objects, "grow", refuse_file)
    stop = StopFlag()
    work = Work(clock=lambda: NOW, stop=stop)
    with Journaling(ArchiveStorage(harness.config), one, work) as journal:
        journal.join()
        journal.has_reported_failure = True
        one.write(record.start_run, "run", NOW)
        wait_until(lambda: stop.cause)
        wait_until(lambda: advance(two) == [2], 5)


def refuse_file(*_: object) -> None:
    """Fail as a full disk does."""
    raise StorageError("no file can be made")


@pytest.mark.whole
@pytest.mark.parametrize("count", [3])
def test_all_that_workers_commit_is_in_the_journal_when_they_leave(
    bucket_harness: ClusterHarness, count: int
) -> None:
    """Although each night has several shippers: the outbox is empty, and the journal is whole."""
    from archiver.archive.archive import Archive
    from tests.support.cluster import worker_threads
    from tests.support.nights.expected_facts import names

    with worker_threads(bucket_harness, count):
        assert bucket_harness.night(*names(bucket_harness.upstream.world)).exit_code == 0
    assert bucket_harness.one("select count(*) from journal_outbox") == 0
    with Archive(bucket_harness.config) as archive:
        assert not archive.verify().is_damaged


@pytest.mark.whole
def test_a_due_snapshot_waits_until_the_workers_have_left(
    harness: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends before its workers have given up the lock, so it tries more than once."""
    from archiver.archive import journaling
    from archiver.archive.archive_storage import ArchiveStorage
    from tests.support.cluster import worker_threads
    from tests.support.nights.expected_facts import names

    remove_own_spool = ArchiveStorage.remove_own_spool

    def leave_late(storage: ArchiveStorage) -> None:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(2)
        remove_own_spool(storage)

    monkeypatch.setattr(ArchiveStorage, "remove_own_spool", leave_late)
    monkeypatch.setattr(journaling, "_FEW_BYTES", 0)
    with worker_threads(harness, 1):
        assert harness.night(*names(harness.upstream.world)).exit_code == 0
    assert harness.one("select entry_bytes < snapshot_bytes from journal_head") is True


def test_a_worker_does_not_join_an_archive_that_has_taken_the_place_of_its_own(
    harness: ClusterHarness,
) -> None:
    """The lease and the journal of the other are left alone."""
    create_for_run(harness.config)
    with (
        pytest.raises(MarkerMismatch, match="another archive has taken the place"),
        join_archive(harness.config, "worker", Work(archive_id="other"), worker_id="one", replaces=None),
    ):
        raise AssertionError
    assert harness.one("select count(*) from workers") == 0
