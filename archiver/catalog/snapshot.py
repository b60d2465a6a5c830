"""A read snapshot: all its queries see the same point in time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from archiver.catalog.dialects import Database, dialect_of, map_read_errors

P = ParamSpec("P")
T = TypeVar("T")


class Snapshot:
    """A read snapshot, made by ``Catalog.snapshot``. Its point in time is that of the first query.

    Only one thread may use it.
    """

    def __init__(self, connection: Connection, database: Database, streams: ExitStack) -> None:
        """Take a ``connection`` of the caller that has no transaction yet.

        ``streams`` closes the streams that are still open.
        """
        self._connection, self._database, self._streams = connection, database, streams
        dialect_of(connection).begin_snapshot(connection)

    def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``query(connection, ...)``. Raises DatabaseError, ArchiveDamaged."""
        with map_read_errors(self._database):
            return query(self._connection, *args, **kwargs)

    def stream(
        self, query: Callable[Concatenate[Connection, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """Yield what ``query(connection, ...)`` yields; other queries may run before it ends.

        Raises DatabaseError, ArchiveDamaged.
        """

        def rows() -> Generator[T, None, None]:
            with map_read_errors(self._database):
                yield from query(self._connection, *args, **kwargs)

        stream = rows()
        self._streams.callback(stream.close)
        return stream
