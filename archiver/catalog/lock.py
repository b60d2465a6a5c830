"""One writer to one PostgreSQL database, whatever directories its archives are in: an advisory lock on a connection of its own.

The server frees it when that connection ends, by death of either side too. It is one lock for each schema of a database, since each
holds at most one archive. (SQLite needs none: the lock file of the archive is beside it.)

A writer that has lost the lock must not commit beside its successor. So each of its transactions passes a gate and then looks whether
the lock is still held; whoever takes the lock waits until no transaction is inside. While the lock is held nobody else has written, and
the server has not been started anew: that is why it can say for certain how a transaction ended whose connection was lost.
"""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy import Connection, TextClause, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from archiver.catalog.engine import PG_NETWORK, Database
from archiver.catalog.error_mapping import told
from archiver.errors import ArchiveLocked, DatabaseError

_LOCK = f"{0x41524348}, hashtext(current_schema())"  # «ARCH»: no other program's
_GATE = f"{0x41524349}, hashtext(current_schema())"
_TRY = text(f"SELECT pg_try_advisory_lock({_LOCK})")
_GIVE_UP = text(f"SELECT pg_advisory_unlock({_LOCK})")
_UNTIL_NOBODY_IS_INSIDE = text(f"SELECT pg_advisory_xact_lock({_GATE})")
_PASS_THE_GATE = text(f"SELECT txid_current(), pg_advisory_xact_lock_shared({_GATE})")
_STILL_THERE = text("SELECT 1")
_END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = CAST(:xid AS xid)")
_STATUS = text("SELECT txid_status(:number)")
_LOOKS, _LOOK_AGAIN = 200, 0.05  # ten seconds for the server to end a transaction


class WriterLock:
    """The lock of a writer. Held from its making until ``release``, unless its connection is lost."""

    def __init__(self, database: Database) -> None:
        """Take the lock at once. Raises ArchiveLocked if another writer holds it, DatabaseError if the server is out of reach."""
        assert database.url is not None
        self._database = database
        with told(str(database)):
            engine = create_engine(
                database.url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",  # it lies idle for a whole run, and in no transaction
                hide_parameters=True,
                use_native_hstore=False,
                connect_args={
                    "application_name": "archiver lock",
                    "options": "-c lock_timeout=10s",
                    **PG_NETWORK,
                },
            )
            self._connection = engine.connect()
            try:
                if self._connection.scalar(_TRY):
                    self._connection.execute(_UNTIL_NOBODY_IS_INSIDE)
                    return
            except BaseException:
                self._connection.close()
                raise
            self._connection.close()
        raise ArchiveLocked(f"another run writes to the database {database}", "wait for it to end")

    def enter(self, connection: Connection) -> int:
        """Begin the transaction of a writer: returns its number on the server. Raises DatabaseError if the lock is lost.

        Until that transaction ends nobody else becomes the writer.
        """
        number = int(connection.execute(_PASS_THE_GATE).one()[0])
        self._ask(_STILL_THERE)
        return number

    def committed(self, number: int) -> bool:
        """Whether a transaction was committed whose connection was lost. If it is still open it is ended now.

        Raises DatabaseError if the lock is lost too, or if the server does not end it.
        """
        self._ask(_END, xid=str(number % 2**32))
        for _ in range(_LOOKS):
            status = self._ask(_STATUS, number=number)
            if status != "in progress":
                return status == "committed"
            time.sleep(_LOOK_AGAIN)
        raise DatabaseError(
            f"the database {self._database} does not end a transaction whose connection was lost"
        )

    def release(self) -> None:
        """Give the lock up; a lost connection has given it up already."""
        with suppress(SQLAlchemyError):
            self._connection.execute(_GIVE_UP)  # the server takes a moment to notice a closed connection
        self._connection.close()

    def _ask(self, question: TextClause, **given: object) -> object:
        try:
            found: object = self._connection.scalar(question, given)
        except SQLAlchemyError as exc:
            # Once lost it stays lost: SQLAlchemy makes no new connection by itself here.
            raise DatabaseError(
                f"the connection that holds the lock on the database {self._database} was lost: another run may write to it now",
                "run it again: it goes on where this one stopped",
            ) from exc
        return found
