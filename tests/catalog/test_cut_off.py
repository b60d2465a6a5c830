"""A connection to PostgreSQL that is lost: every fact is stored once, and nobody writes beside a new holder
of the lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import psycopg
import pytest
from sqlalchemy import Connection, text

from archiver.catalog import Catalog, ledger, record
from archiver.catalog.query import account_state
from archiver.errors import DatabaseError, Reason
from archiver.model.api_calls import Limits
from archiver.model.archived import Failure
from archiver.model.identity import Subject
from tests.support.catalog_samples import call, rows
from tests.support.databases import NOW, ConnectionProxy, CutAt, empty_database, end_connections, take_lock

FAILURE = Failure(Subject.TARGET, "natgeo", None, Reason.UPSTREAM, "500")
BEGUN = "UPDATE archive SET format = format"


@pytest.fixture
def cable(postgres_archive: str) -> Iterator[ConnectionProxy]:
    """The way to an archive on PostgreSQL."""
    empty_database(postgres_archive)
    with ConnectionProxy(postgres_archive) as cable:
        yield cable


def _at_commit(nth: int, cut: CutAt) -> Callable[[str, bytes], CutAt | None]:
    """Break the ``nth`` COMMIT."""
    commits = count(1)
    return lambda name, said: cut if b"COMMIT\0" in said and next(commits) == nth else None


@pytest.mark.parametrize("cut", CutAt)
def test_fault_h35_a_commit_that_is_cut_off_is_made_once(cable: ConnectionProxy, cut: CutAt) -> None:
    """Whether it reached the server or not: a failed attempt counts once, a call stands in the ledger once,
    under the id that was told.
    """
    with Catalog.open(cable.url, write=True) as catalog:
        run_id = catalog.write(record.start_run, "run", NOW)
        cable.judge = _at_commit(1, cut)
        assert catalog.write(record.record_failure, FAILURE, NOW) == 1
        cable.judge = _at_commit(1, cut)
        told = catalog.write(ledger.reserve, run_id, call(units=2), NOW, Limits(per_run=2))
        assert rows(catalog, "SELECT attempts FROM failures") == [(1,)]
        assert rows(catalog, "SELECT id, units FROM api_calls") == [(told, 2)]


def test_fault_h35_a_second_cut_is_an_error(cable: ConnectionProxy) -> None:
    """The facts are made once more, not for ever."""
    with Catalog.open(cable.url, write=True) as catalog:
        cable.judge = lambda name, said: CutAt.BEFORE if b"COMMIT\0" in said else None
        with pytest.raises(DatabaseError, match="lost twice"):
            catalog.write(record.record_failure, FAILURE, NOW)
        cable.judge = lambda name, said: None
        assert catalog.write(record.record_failure, FAILURE, NOW) == 1


def test_a_query_of_the_user_that_is_cut_off_is_an_error_of_the_database(cable: ConnectionProxy) -> None:
    """Its driver is used without SQLAlchemy, which makes such errors known otherwise."""
    with Catalog.open(cable.url, write=False) as catalog:
        cable.judge = lambda name, said: CutAt.BEFORE if b"generate_series" in said else None
        with pytest.raises(DatabaseError, match=r"the database postgresql.*connection"):
            catalog.run_query("SELECT * FROM generate_series(1, 10)", rows=10, seconds=60)


def test_fault_h35_what_the_server_still_holds_open_is_ended(cable: ConnectionProxy) -> None:
    """The network is gone and the server does not know: its half transaction does not keep the rows locked
    for the second try.
    """
    tries: list[int] = []

    def fact(connection: Connection) -> int:
        connection.execute(text(BEGUN))
        tries.append(len(tries))
        if len(tries) == 1:
            cable.cut("archiver", half=True)
        return connection.execute(text(BEGUN)).rowcount

    with Catalog.open(cable.url, write=True) as catalog:
        begun = time.monotonic()
        assert catalog.write(fact) == 1
    assert (len(tries), time.monotonic() - begun < 5) == (2, True)


def test_fault_h35_idle_connections_that_the_server_ended_are_made_anew(cable: ConnectionProxy) -> None:
    """Neither a reader nor the writer notices more than a new connection."""
    with Catalog.open(cable.url, write=True) as catalog:
        assert catalog.write(record.start_run, "run", NOW) == 1
        assert catalog.read(account_state.longest_tray) == 0
        assert end_connections(cable.url, "archiver") == 2
        assert catalog.read(account_state.longest_tray) == 0
        assert catalog.write(record.start_run, "run", NOW) == 2


def test_fault_h35_what_was_read_stands_if_the_connection_ends_after_it(cable: ConnectionProxy) -> None:
    """Only giving it back fails; a later read gets another one, and none is left behind. An error of the
    reader is not hidden by it.
    """
    with Catalog.open(cable.url, write=False) as catalog:
        with catalog.snapshot() as snapshot:
            assert snapshot.read(account_state.longest_tray) == 0
            assert end_connections(cable.url, "archiver") == 1
        with suppress(ZeroDivisionError), catalog.snapshot() as snapshot:
            snapshot.read(account_state.longest_tray)
            end_connections(cable.url, "archiver")
            raise ZeroDivisionError
        assert catalog._reader.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert catalog.read(account_state.longest_tray) == 0


def test_fault_h35_nothing_is_written_once_the_lock_is_lost(postgres_archive: str) -> None:
    """Its connection ends while another takes its place: the next fact is refused, and every one after it."""
    empty_database(postgres_archive)
    with Catalog.open(postgres_archive, write=True) as catalog:
        assert end_connections(postgres_archive, "archiver lock") == 1
        successor = take_lock(postgres_archive)
        for _ in range(2):
            with pytest.raises(DatabaseError, match="another run may write to it now"):
                catalog.write(record.start_run, "run", NOW)
        assert rows(catalog, "SELECT count(*) FROM runs") == [(0,)]
        successor.release()


def test_fault_h35_a_successor_waits_for_a_commit_that_is_under_way(postgres_archive: str) -> None:
    """The lock is lost after a transaction saw that it was held: nobody else becomes the writer before that
    one has ended.
    """
    empty_database(postgres_archive)
    inside, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        inside.set()
        assert go_on.wait(10)
        record.start_run(connection, "run", NOW)

    with ThreadPoolExecutor(1) as other, Catalog.open(postgres_archive, write=True) as catalog:
        written = catalog.submit(slow)
        assert inside.wait(10)
        end_connections(postgres_archive, "archiver lock")
        successor = other.submit(take_lock, postgres_archive)
        with psycopg.connect(postgres_archive.replace("+psycopg", ""), autocommit=True) as server:
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while server.execute(waits).fetchone() != (1,):
                assert not successor.done()
        go_on.set()
        written.result(10)
        successor.result(10).release()
        assert rows(catalog, "SELECT count(*) FROM runs") == [(1,)]
