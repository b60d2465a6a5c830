"""The only writer of a database: a thread with one connection, and a queue of facts.

A fact is a function that writes rows through the connection it is given. Facts that wait at the same time are
committed together, with one sync of the disk. If one of them raises an exception, all are rolled back and
repeated, each under a savepoint, so that only that one fails. A fact is called again only after a rollback,
or if the server says that its COMMIT failed. If COMMIT fails otherwise, the caller gets the error, and the
rows may be stored (a disk can store the bytes and then report an error). So every fact must be repeatable.

The way of one commit: ``write`` queues a fact and waits. The thread calls the facts of a batch, then
``derive_rows`` (``Catalog._derive_rows``), which adds what the search needs of them and their entries for the
journal. If there are entries, ``Catalog.before_commit`` wakes the thread that ships the journal
(``journal.shipper``). Then comes COMMIT, and the callers of ``write`` go on. The shipper writes the entries
to a file, and records in a fact of its own, by ``Catalog.write``, how far the journal goes; such a fact makes
no entry.

If the connection to PostgreSQL is lost, the facts are repeated over a new one, unless the server says that
their COMMIT succeeded and only the confirmation was lost: a reserved call or a failed attempt must not count
twice. Facts whose transaction PostgreSQL has ended because of a deadlock with another worker are repeated.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import Enum, auto
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import SQLAlchemyError

from archiver import retry
from archiver.catalog.dialects import Database, is_connection_lost, to_archiver_error
from archiver.errors import DatabaseError, LeaseLost

if TYPE_CHECKING:
    from archiver.catalog.postgresql import WriterLock

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")

_MAX_BATCH = 64
_DEADLOCKS = 8
"""After so many deadlocks in a row, facts are committed separately."""


class _Outcome(Enum):
    """How an attempt to commit facts together ended. Only after ``STORED`` are their rows in the database."""

    STORED = auto()
    DEADLOCK = auto()
    FAILED = auto()


class Writer:
    """Takes facts from any thread and commits them in the order in which they arrive.

    Of those that are committed together, the facts of ``write_last`` come last.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        lock: WriterLock | None = None,
        *,
        derive_rows: Callable[[Connection], None] = lambda connection: None,
        require_lease: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """Start the thread. ``database``: that of the engine.

        ``lock``: the lock of a PostgreSQL database. ``derive_rows`` is called before each commit, after all
        facts of the transaction; if it raises, none is stored. ``require_lease`` is called before the facts
        that a worker may only write with its lease; if it raises LeaseLost, none of those is stored.
        """
        self._engine = engine
        self._database = database
        self._lock = lock
        self._derive_rows = derive_rows
        self._require_lease = require_lease
        self._queue: SimpleQueue[_PendingFact | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fact(connection, ...)`` in a transaction and return its value once that is durable.

        Raises what the fact raises; DatabaseError or DiskFull if the database fails, and then it is unknown
        whether the fact is stored.
        """
        return self.submit(fact, *args, **kwargs).result()

    def submit(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Queue a fact as ``write`` does, without waiting.

        Callbacks of the Future run in the writer's thread and delay it.
        """
        return cast("Future[T]", self._put(_PendingFact(lambda rows, _: [fact(rows, *args, **kwargs)])))

    def write_without_lease(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what ``write`` does, for a fact that is written without a lease too."""
        pending = _PendingFact(lambda rows, _: [fact(rows, *args, **kwargs)], needs_lease=False)
        return cast("Future[T]", self._put(pending)).result()

    def write_last(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what ``write`` does, for a fact that changes rows which all workers change.

        It comes after the other facts of its transaction: the other workers wait for the rows until the
        commit.
        """
        pending = _PendingFact(lambda rows, _: [fact(rows, *args, **kwargs)], is_last=True)
        return cast("Future[T]", self._put(pending)).result()

    def submit_each(self, fact: Callable[[Connection, Sequence[A]], Sequence[T]], item: A) -> Future[T]:
        """Queue an item of a fact that records many, as ``submit`` does. The Future has the item's value.

        Items of the same fact (the same object) that wait one after another are recorded by one call, which
        costs a fraction of one call for each.
        """
        return cast("Future[T]", self._put(_PendingFact(fact, item, is_alone=False)))

    def _put(self, pending: _PendingFact) -> Future[Any]:
        with self._closing:
            if self._closed:
                raise DatabaseError(f"the database {self._database} is closed")
            self._queue.put(pending)
        return pending.future

    def close(self) -> None:
        """Commit everything that was submitted, then end the thread. May be called more than once."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            self._commit(batch)

    def _next_batch(self) -> tuple[list[_PendingFact], bool]:
        """Return the facts that wait now, and whether the writer is still open.

        If no fact waits, block until one does or the writer is closed.
        """
        batch: list[_PendingFact] = []
        try:
            while len(batch) < _MAX_BATCH:
                pending = self._queue.get(block=not batch)
                if pending is None:
                    return batch, False
                batch.append(pending)
        except Empty:
            pass
        return batch, True

    def _commit(self, batch: list[_PendingFact]) -> None:
        batch.sort(key=lambda pending: pending.is_last)
        try:
            if batch and not self._commit_together_repeatedly(batch):
                self._commit_separately(batch)
        except BaseException as error:  # whatever it is: no caller must wait forever
            for pending in batch:
                pending.fail(error, self._database)
        else:
            for pending in batch:
                pending.end(self._database)

    def _commit_together_repeatedly(self, batch: list[_PendingFact]) -> bool:
        """Commit all facts in one transaction, again after a deadlock; return whether they are stored."""
        for attempt in range(1, _DEADLOCKS + 1):
            outcome = self._commit_together(batch)
            if outcome is not _Outcome.DEADLOCK:
                return outcome is _Outcome.STORED
            time.sleep(retry.backoff(attempt, random.random, 0.01))
        return False

    def _commit_together(self, batch: list[_PendingFact]) -> _Outcome:
        """Commit all facts in one transaction, which nearly always works."""
        with self._engine.connect() as connection:
            transaction, txid = connection.begin(), None
            try:
                txid = self._enter(connection)
                for _, group in groupby(self._writable_facts(batch, connection), key=_PendingFact.kind):
                    _apply_together(list(group), connection)
                self._derive_rows(connection)
            except BaseException as error:
                transaction.rollback()
                if self._database.is_deadlock(error):
                    return _Outcome.DEADLOCK
                if self._lock is not None and txid is not None and is_connection_lost(error):
                    # Not committed. But the server may not have noticed yet, and may still hold locks on
                    # rows.
                    self._lock.was_committed(txid)
                return _Outcome.FAILED
            is_stored = self._try_commit(connection, transaction, txid)
            return _Outcome.STORED if is_stored else _Outcome.FAILED

    def _commit_separately(self, batch: list[_PendingFact]) -> None:
        """Commit the facts, each under a savepoint, except those that raise.

        This takes two more statements for each fact, so it is only the second attempt.
        """
        with self._engine.connect() as connection:
            transaction = connection.begin()
            txid = self._enter(connection)
            for pending in self._writable_facts(batch, connection):
                pending.apply_in_savepoint(connection)
            self._derive_rows(connection)
            if not self._try_commit(connection, transaction, txid):
                raise DatabaseError(f"the connection to the database {self._database} was lost twice")

    def _writable_facts(self, batch: list[_PendingFact], connection: Connection) -> list[_PendingFact]:
        """Return the facts that may be written. Without the lease the others fail, and are left out."""
        if not any(pending.needs_lease for pending in batch):
            return batch
        try:
            self._require_lease(connection)
        except LeaseLost as error:
            for pending in batch:
                if pending.needs_lease:
                    pending.error = error
            return [pending for pending in batch if not pending.needs_lease]
        return batch

    def _enter(self, connection: Connection) -> int | None:
        return self._lock.enter(connection) if self._lock is not None else None

    def _try_commit(self, connection: Connection, transaction: RootTransaction, txid: int | None) -> bool:
        """Commit the transaction.

        Return False if the connection was lost and the server says that nothing was stored; raise other
        errors.
        """
        try:
            transaction.commit()
        except BaseException as error:
            # The transaction may be committed or still open, and SQLAlchemy does not roll it back: the next
            # batch needs a new connection.
            connection.invalidate()
            if self._lock is None or txid is None or not is_connection_lost(error):
                raise
            return self._lock.was_committed(txid)
        return True


class _PendingFact:
    """One fact in the queue, or one item of a fact that records many; and its result."""

    def __init__(
        self,
        fact: Callable[[Connection, Sequence[Any]], Sequence[object]],
        item: object = None,
        *,
        is_alone: bool = True,
        needs_lease: bool = True,
        is_last: bool = False,
    ) -> None:
        """``fact`` takes items and returns a value for each. ``is_alone``: it is not called with others.

        ``is_last``: it comes after the other facts of its transaction.
        """
        self.future: Future[object] = Future()
        self.future.set_running_or_notify_cancel()  # a submitted fact cannot be cancelled
        self.fact = fact
        self.item = item
        self.value: object = None
        self._is_alone = is_alone
        self.needs_lease, self.is_last = needs_lease, is_last
        self.error: BaseException | None = None

    def kind(self) -> object:
        """Return what facts that are recorded by one call have in common."""
        return self if self._is_alone else self.fact

    def apply_in_savepoint(self, connection: Connection) -> None:
        """Write all rows of the fact or none. Raises only if the whole transaction is lost."""
        savepoint = connection.begin_nested()
        try:
            _apply_together([self], connection)
        except BaseException as error:
            self.error = error
            try:
                savepoint.rollback()
            except SQLAlchemyError:
                raise error from None  # a full disk or a lost connection ends the whole transaction
        else:
            savepoint.commit()

    def end(self, database: Database) -> None:
        """Give the caller the value, or the error of this fact alone."""
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.fail(self.error, database)

    def fail(self, error: BaseException, database: Database) -> None:
        """Give the caller the fact's own error if it has one, else this error of the whole transaction."""
        cause = self.error or error
        mapped = to_archiver_error(cause, database)
        if mapped is not cause:
            mapped.__cause__ = cause
        self.future.set_exception(mapped)


def _apply_together(group: Sequence[_PendingFact], connection: Connection) -> None:
    """Write the rows of facts of one kind. Raises what the fact raises."""
    values = group[0].fact(connection, [pending.item for pending in group])
    for pending, value in zip(group, values, strict=True):
        pending.value = value
