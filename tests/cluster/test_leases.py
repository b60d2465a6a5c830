"""Leases: who may write for a shared run."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Connection, text

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.catalog import Catalog, leases, ledger, postgresql, record, visits
from archiver.cluster.heartbeat import Heartbeat, remove_expired
from archiver.cluster.shared_visits import encode
from archiver.errors import ArchiveLocked, DatabaseError, LeaseLost, StoppedBySignal
from archiver.model.api_calls import Call, Limits
from archiver.model.target import parse_target
from archiver.work import StopFlag
from tests.support.cluster import ClusterHarness, wait_until
from tests.support.databases import take_lock

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
CALL = Call("/v1/user/by/id", (("id", "1"),), "1", 1)
Two = tuple[Catalog, Catalog]


def expire(catalog: Catalog, worker_id: str) -> None:
    """Let a lease end now."""
    catalog.coordinate(leases.renew, worker_id, -1)


def open_run(catalog: Catalog, accounts: int = 2, highlights: int = 0) -> int:
    """Open a run with so many visits."""
    return catalog.write(
        visits.begin_run,
        "run",
        NOW,
        "{}",
        [f"account {n}" for n in range(accounts)],
        [f"highlight {n}" for n in range(highlights)],
        1.0,
    )


def test_fault_w2_a_worker_without_its_lease_writes_nothing_but_what_a_call_cost(joined: Two) -> None:
    """Its facts raise LeaseLost. A call that it made before is settled all the same, and twice is once."""
    one, two = joined
    run_id = open_run(one)
    call_id = one.write(ledger.reserve, run_id, CALL, NOW, Limits())
    expire(one, "one")
    remove_expired(two)
    with pytest.raises((LeaseLost, DatabaseError)):
        one.write(ledger.reserve, run_id, CALL, NOW, Limits())
    again = Catalog.join(str(_url_of(one)), "one")
    with again:
        with pytest.raises(LeaseLost):
            again.write(ledger.reserve, run_id, CALL, NOW, Limits())
        for _ in range(2):
            again.write_without_lease(ledger.settle, call_id, 200, 1, NOW)
        assert again.read(ledger.units_of, run_id) == 1


def _url_of(catalog: Catalog) -> str:
    database = catalog._database
    assert isinstance(database, postgresql.Database)
    return database.url.render_as_string(hide_password=False)


def test_a_batch_without_the_lease_keeps_what_does_not_need_it(joined: Two) -> None:
    """Facts that wait at the same time are committed together: those with the lease fail alone."""
    one, two = joined
    run_id = open_run(two)
    call_id = two.write(ledger.reserve, run_id, CALL, NOW, Limits())
    two.coordinate(leases.leave, "one")
    blocked, release = threading.Event(), threading.Event()

    def block(_: Connection) -> None:
        blocked.set()
        release.wait(10)

    waiting = threading.Thread(target=lambda: one.write_without_lease(block))
    waiting.start()
    blocked.wait(10)
    fact = one.submit(record.record_balance_before, run_id, 5)
    settling = threading.Thread(target=lambda: one.write_without_lease(ledger.settle, call_id, 200, 1, NOW))
    settling.start()
    time.sleep(0.2)
    release.set()
    with pytest.raises(LeaseLost):
        fact.result(10)
    settling.join(10)
    waiting.join(10)
    with two.snapshot() as snapshot:
        status = snapshot.read(lambda c: c.execute(text("SELECT status FROM api_calls")).scalar_one())
        before = snapshot.read(lambda c: c.execute(text("SELECT balance_before FROM runs")).scalar_one())
    assert (status, before) == (200, None)


def test_fault_w1_what_an_expired_worker_held_is_free(joined: Two) -> None:
    """Another takes its visit, and the turn to ship the journal."""
    one, two = joined
    run_id = open_run(one, accounts=1)
    assert one.coordinate(visits.take, run_id, "one") is not None
    assert two.coordinate(visits.take, run_id, "two") is None
    assert not two.read(visits.has_free, run_id)
    expire(one, "one")
    assert two.read(visits.has_free, run_id)
    remove_expired(two)
    taken = two.coordinate(visits.take, run_id, "two")
    assert taken is not None
    with pytest.raises(DatabaseError):
        one.write(visits.end_visit, run_id, taken.position, "one", "{}")


def test_fault_w2_a_worker_in_the_middle_of_a_transaction_is_not_removed(joined: Two) -> None:
    """Until its transaction ends it may be about to commit: nobody else gets its visits before that."""
    one, two = joined
    inside, release = threading.Event(), threading.Event()

    def slow(_: Connection) -> None:
        inside.set()
        release.wait(10)

    writing = one.submit(slow)
    inside.wait(10)
    expire(two, "one")
    remove_expired(two)
    assert "one" in two.read(leases.ids)
    release.set()
    writing.result(10)
    remove_expired(two)
    assert "one" not in two.read(leases.ids)


def test_fault_w2_the_connections_of_a_removed_worker_are_ended(joined: Two) -> None:
    """A stopped process would hold the lock of the database, and no command could write alone."""
    one, two = joined
    expire(one, "one")
    remove_expired(two)
    two.close()
    lock = take_lock(_url_of(one))
    lock.release()


def test_no_two_visits_have_the_same_account(joined: Two) -> None:
    """The second one is told which target has it."""
    one, two = joined
    run_id = open_run(one)
    first, second = one.coordinate(visits.take, run_id, "one"), two.coordinate(visits.take, run_id, "two")
    assert first is not None
    assert second is not None
    assert one.coordinate(visits.claim, run_id, first.position, "one", "787132") is None
    assert two.coordinate(visits.claim, run_id, second.position, "two", "787132") == first.target
    assert one.coordinate(visits.claim, run_id, first.position, "one", "787132") is None


def test_highlights_are_taken_last_and_one_by_one(joined: Two) -> None:
    """Their accounts may be among those that are visited."""
    one, two = joined
    run_id = open_run(one, accounts=1, highlights=2)
    account = one.coordinate(visits.take, run_id, "one")
    assert account is not None
    assert two.coordinate(visits.take, run_id, "two") is None
    one.write(visits.end_visit, run_id, account.position, "one", "{}")
    first = two.coordinate(visits.take, run_id, "two")
    assert first is not None
    assert first.target == "highlight 0"
    assert one.coordinate(visits.take, run_id, "one") is None
    two.write(visits.end_visit, run_id, first.position, "two", "{}")
    second = one.coordinate(visits.take, run_id, "one")
    assert second is not None
    assert second.target == "highlight 1"


def test_workers_that_are_stopped_are_not_lost(joined: Two) -> None:
    """However often all workers are started again, the accounts that they visit are not given up."""
    one, two = joined
    run_id = open_run(one, 1)
    for number in range(visits.MOST_ATTEMPTS + 1):
        name, stop = f"stopped {number}", StopFlag()
        with (
            suppress(StoppedBySignal),
            Heartbeat(two, name, "host:1", 60, stop, is_run=False, replaces=None),
        ):
            assert two.coordinate(visits.take, run_id, name)
            raise StoppedBySignal(signal.SIGTERM)
        assert one.coordinate(visits.give_up, run_id) == []


def test_fault_w6_an_account_that_ends_three_workers_is_given_up(joined: Two) -> None:
    """No fourth one takes it."""
    one, _ = joined
    run_id = open_run(one, accounts=1)
    for number in range(visits.MOST_ATTEMPTS):
        name = f"doomed {number}"
        one.coordinate(leases.join, name, name, 60, is_run=False, replaces=None)
        assert one.coordinate(visits.take, run_id, name) is not None
        one.coordinate(leases.leave, name)
    assert one.coordinate(visits.take, run_id, "one") is None
    assert list(one.coordinate(visits.give_up, run_id)) == ["account 0"]


def test_no_visit_begins_once_the_run_is_closed(joined: Two) -> None:
    """Those that have begun are ended."""
    one, two = joined
    run_id = open_run(one)
    taken = one.coordinate(visits.take, run_id, "one")
    assert taken is not None
    assert two.coordinate(visits.close_run, run_id)
    assert two.coordinate(visits.take, run_id, "two") is None
    one.write(visits.end_visit, run_id, taken.position, "one", "{}")


def test_a_heartbeat_stops_the_work_once_the_lease_is_lost(joined: Two) -> None:
    """Within a quarter of the lease."""
    one, two = joined
    stop = StopFlag()
    with Heartbeat(one, "third", "host:3", 0.4, stop, is_run=False, replaces=None):
        time.sleep(0.6)
        assert stop.cause is None
        two.coordinate(leases.leave, "third")
        wait_until(lambda: stop.cause is not None, 5)
    assert isinstance(stop.cause, LeaseLost)


def test_workers_and_a_command_that_writes_alone_exclude_each_other(harness: ClusterHarness) -> None:
    """Whichever comes second ends with code 11."""
    create_for_run(harness.config)
    assert harness.database is not None
    with Catalog.join(harness.database, "one"), pytest.raises(ArchiveLocked):
        Catalog.open(harness.database, write=True)
    with Catalog.open(harness.database, write=True), pytest.raises(ArchiveLocked):
        Catalog.join(harness.database, "one")


def test_fault_w4_a_stopped_transaction_ends_before_others_give_up(joined: Two) -> None:
    """The server ends it after 5 s; others wait for 30 s. So one stopped worker does not make all fail."""
    names = ("idle_in_transaction_session_timeout", "lock_timeout")
    for catalog in joined:
        found = [catalog.write_without_lease(_show, name) for name in names]
        assert found == ["5s", "30s"]


def _show(connection: Connection, name: str) -> object:
    return connection.scalar(text(f"SHOW {name}"))


def test_archives_without_workers_have_no_rows_of_them(harness: ClusterHarness) -> None:
    """The tables are there, and empty."""
    create_for_run(harness.config)
    with Archive(harness.config) as archive:
        assert (archive.status().shared_run, archive.status().workers) == (None, ())
    assert harness.database is not None
    with psycopg.connect(harness.database.replace("+psycopg", "")) as connection:
        for table in ("workers", "shared_runs", "visits", "run_reports", "api_rate", "journal_lease"):
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)


@pytest.mark.whole
def test_a_visit_of_a_very_long_list_is_taken_quickly(joined: Two) -> None:
    """Whether it is an account, or a highlight that must wait for another."""
    one, two = joined
    accounts = [encode(parse_target(f"account{number:06}")) for number in range(100_000)]
    highlights = [encode(parse_target(f"highlight:{10**17 + number}")) for number in range(20_000)]
    run_id = one.write(visits.begin_run, "run", NOW, "{}", accounts, highlights, 1.0)
    begun = time.monotonic()
    taken = [one.coordinate(visits.take, run_id, "one") for _ in range(50)]
    seconds = time.monotonic() - begun
    assert [visit and visit.position for visit in taken] == list(range(1, 51))
    end_all = text("UPDATE visits SET ended_at = clock_timestamp() WHERE is_account")
    one.coordinate(lambda rows: rows.execute(end_all).rowcount)
    assert one.coordinate(visits.take, run_id, "one")
    begun = time.monotonic()
    assert two.coordinate(visits.take, run_id, "two") is None
    assert not two.read(visits.has_free, run_id)
    assert (seconds < 1, time.monotonic() - begun < 1) == (True, True)
