"""One writer to one PostgreSQL database, whatever directories its archives are in: an advisory lock on a connection of its own.

The server frees it when that connection ends, by death of either side too. It is one lock for each schema of a database, since each
holds at most one archive. (SQLite needs none: the lock file of the archive is beside it.)
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from archiver.catalog.engine import Database
from archiver.catalog.faults import told
from archiver.errors import ArchiveLocked

_NUMBER = 0x41524348  # «ARCH»: no other program's
_GIVE_UP = text(f"SELECT pg_advisory_unlock({_NUMBER}, hashtext(current_schema()))")
_TRY = text(f"SELECT pg_try_advisory_lock({_NUMBER}, hashtext(current_schema()))")


class WriterLock:
    """The lock of a writer. Held from its making until ``release``."""

    def __init__(self, database: Database) -> None:
        """Take the lock at once. Raises ArchiveLocked if another writer holds it, DatabaseError if the server is out of reach."""
        assert database.url is not None
        with told(str(database)):
            engine: Engine = create_engine(
                database.url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",  # it lies idle for a whole run, and in no transaction
                hide_parameters=True,
                connect_args={"application_name": "archiver lock", "connect_timeout": 10},
            )
            self._connection = engine.connect()
            if self._connection.scalar(_TRY):
                return
            self._connection.close()
        raise ArchiveLocked(f"another run writes to the database {database}", "wait for it to end")

    def release(self) -> None:
        """Give the lock up; a lost connection has given it up already."""
        with suppress(SQLAlchemyError):
            self._connection.execute(_GIVE_UP)  # the server takes a moment to notice a closed connection
        self._connection.close()
