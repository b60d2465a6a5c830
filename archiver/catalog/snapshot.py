"""The rows as they were at one moment, for who asks more than one question of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from archiver.catalog.error_mapping import told

P = ParamSpec("P")
T = TypeVar("T")

_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
"""On SQLite a transaction that reads is of one moment anyway."""
_TAKE_YOUR_TIME = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""For what reads on and on: hashing a thousand videos between two fetches takes minutes."""


class Snapshot:
    """Made by ``Catalog.moment``. The moment is that of the first question; all must be asked by one thread. Raises DatabaseError."""

    def __init__(self, connection: Connection, database: str, ending: ExitStack) -> None:
        """``connection`` stays the caller's, and has no transaction yet; what is streamed ends with ``ending`` at the latest."""
        self._connection, self._database, self._ending = connection, database, ending
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(_ONE_MOMENT)
            connection.exec_driver_sql(_TAKE_YOUR_TIME)

    def stream(
        self, question: Callable[Concatenate[Connection, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """What ``question(connection, ...)`` yields; others may be asked before its end."""
        stream = self._streamed(lambda: question(self._connection, *args, **kwargs))
        self._ending.callback(stream.close)
        return stream

    def _streamed(self, ask: Callable[[], Iterator[T]]) -> Generator[T, None, None]:
        with told(self._database):
            yield from ask()

    def read(self, question: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``question(connection, ...)`` returns."""
        with told(self._database):
            return question(self._connection, *args, **kwargs)
