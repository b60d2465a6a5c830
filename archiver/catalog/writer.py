"""The one writer: a thread with one connection, at which every fact queues up and waits for its own commit.

Facts that wait at the same time are committed together: one sync of the disk serves them all. If one of them raises, all are
rolled back and made again, each under a savepoint, so that one that fails fails alone. A commit that raises may have been made
all the same (a disk can store the bytes and then report an error), so every fact is written to be repeatable, and its caller is
told of an error, never of an absence. What follows from the facts is made last in the same transaction (``Writer``'s ``finish``).

Where PostgreSQL's connection is lost, the facts are made once more over a new one, unless the server says that their COMMIT was made
and only the word of it was lost: a call of the ledger or a failed attempt must not count twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import SQLAlchemyError

from archiver.catalog.error_mapping import as_ours, cut_off
from archiver.catalog.lock import WriterLock
from archiver.errors import DatabaseError

P = ParamSpec("P")
T = TypeVar("T")

_TOGETHER = 64


class Writer:
    """Takes facts from any thread and commits them in the order in which they came."""

    def __init__(
        self,
        engine: Engine,
        database: str,
        lock: WriterLock | None = None,
        *,
        finish: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """``database`` is what errors call it, fit to be shown. ``lock`` is that of a PostgreSQL database.

        ``finish`` is called before each commit, after all facts of the transaction; if it raises none of them is stored.
        """
        self._engine = engine
        self._database = database
        self._lock = lock
        self._finish = finish
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)
        self._thread.start()

    def write(self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fact(connection, ...)`` in a transaction and return its value once that is durable.

        Raises what the fact raises, DatabaseError or DiskFull if the database fails; then the fact may be stored or not.
        """
        return self.submit(fact, *args, **kwargs).result()

    def submit(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As ``write``, without waiting: the Future ends once the fact is durable. What is done by its callbacks holds up the desk."""
        waiting = _Waiting(lambda connection: fact(connection, *args, **kwargs))
        with self._closing:
            if self._closed:
                raise DatabaseError(f"the database {self._database} is closed already")
            self._queue.put(waiting)
        return cast("Future[T]", waiting.future)

    def close(self) -> None:
        """Commit everything that was given, then end the thread. Again is nothing."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._together()
            self._commit(batch)

    def _together(self) -> tuple[list[_Waiting], bool]:
        """The facts that wait now, at least one unless the desk closes; and whether more may come."""
        batch: list[_Waiting] = []
        try:
            while len(batch) < _TOGETHER:
                waiting = self._queue.get(block=not batch)
                if waiting is None:
                    return batch, False
                batch.append(waiting)
        except Empty:
            pass
        return batch, True

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            if batch and not self._plainly(batch):
                self._each_alone(batch)
        except BaseException as error:  # whatever it is, nobody may wait for ever
            for waiting in batch:
                waiting.fail(error, self._database)
        else:
            for waiting in batch:
                waiting.end(self._database)

    def _plainly(self, batch: list[_Waiting]) -> bool:
        """Commit all, as nearly always; False if none of them is stored: a fact raised, or the connection was lost."""
        with self._engine.connect() as connection:
            transaction, number = connection.begin(), None
            try:
                number = self._enter(connection)
                for waiting in batch:
                    waiting.put(connection)
                self._finish(connection)
            except BaseException as error:
                transaction.rollback()
                if self._lock is not None and number is not None and cut_off(error):
                    # It is not; but the server may not know yet, and keep its rows locked.
                    self._lock.committed(number)
                return False
            return self._committed(connection, transaction, number)

    def _each_alone(self, batch: list[_Waiting]) -> None:
        """Commit all that do not raise: two statements more for each, which is why this is the second way."""
        with self._engine.connect() as connection:
            transaction = connection.begin()
            number = self._enter(connection)
            for waiting in batch:
                waiting.put_alone(connection)
            self._finish(connection)
            if not self._committed(connection, transaction, number):
                raise DatabaseError(f"the connection to the database {self._database} was lost twice")

    def _enter(self, connection: Connection) -> int | None:
        return self._lock.enter(connection) if self._lock is not None else None

    def _committed(self, connection: Connection, transaction: RootTransaction, number: int | None) -> bool:
        """Commit; False if the connection was lost and the server says that nothing is stored. Raises what the commit raises."""
        try:
            transaction.commit()
        except BaseException as error:
            # Perhaps made, perhaps still open, and SQLAlchemy rolls nothing back then: the next batch must not inherit it.
            connection.invalidate()
            if self._lock is None or number is None or not cut_off(error):
                raise
            return self._lock.committed(number)
        return True


class _Waiting:
    """One fact in the queue, and how it ended."""

    def __init__(self, fact: Callable[[Connection], object]) -> None:
        self.future: Future[object] = Future()
        self.future.set_running_or_notify_cancel()  # given is given: nobody takes a fact back
        self._fact = fact
        self._value: object = None
        self._error: BaseException | None = None

    def put(self, connection: Connection) -> None:
        """Make the fact's changes. Raises what the fact raises."""
        self._value = self._fact(connection)

    def put_alone(self, connection: Connection) -> None:
        """Make the fact's changes, or none of them. Raises only if the transaction itself is lost, with all that was in it."""
        savepoint = connection.begin_nested()
        try:
            self._value = self._fact(connection)
        except BaseException as error:
            self._error = error
            try:
                savepoint.rollback()
            except SQLAlchemyError:
                raise error from None  # a full disk or a lost connection ends the whole transaction
        else:
            savepoint.commit()

    def end(self, database: str) -> None:
        """Let the caller go on with the value, or with the error of this fact alone."""
        if self._error is None:
            self.future.set_result(self._value)
        else:
            self.fail(self._error, database)

    def fail(self, error: BaseException, database: str) -> None:
        """Let the caller go on with the fact's own error, or with this one of the whole transaction."""
        cause = self._error or error
        ours = as_ours(cause, database)
        if ours is not cause:
            ours.__cause__ = cause
        self.future.set_exception(ours)
