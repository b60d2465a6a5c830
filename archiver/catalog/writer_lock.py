"""The lock of the only writer to a PostgreSQL database: an advisory lock on a connection of its own.

The server releases it when that connection ends, even if either side dies. There is one lock for each schema
of a database, since a schema holds at most one archive. SQLite does not need it: the archive has a lock file.

A writer that has lost the lock must not commit once another writer has it. So each transaction first takes a
second lock, the gate, in shared mode, and then checks that the first lock is still held. A new writer takes
the gate in exclusive mode, which waits until no transaction is open. As long as the lock is held, the server
has not restarted. So if a connection is lost, it can say for certain how its transaction ended.

The workers of a run share the lock: they hold it in shared mode.
"""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy import Connection, TextClause, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from archiver.catalog.engine import PG_LOCK_SECONDS, PG_NETWORK, Database, refuse_bytes
from archiver.catalog.error_mapping import map_errors
from archiver.errors import ArchiveLocked, DatabaseError

_LOCK_KEY = f"{0x41524348}, hashtext(current_schema())"  # "ARCH": a key that no other program uses
_GATE_KEY = f"{0x41524349}, hashtext(current_schema())"
_TRY_LOCK = text(f"SELECT pg_try_advisory_lock({_LOCK_KEY})")
_TRY_SHARED_LOCK = text(f"SELECT pg_try_advisory_lock_shared({_LOCK_KEY})")
_UNLOCK = text(f"SELECT pg_advisory_unlock({_LOCK_KEY})")
_UNLOCK_SHARED = text(f"SELECT pg_advisory_unlock_shared({_LOCK_KEY})")
_CLOSE_GATE = text(f"SELECT pg_advisory_xact_lock({_GATE_KEY})")
_PASS_GATE = text(f"SELECT txid_current(), pg_advisory_xact_lock_shared({_GATE_KEY})")
_PING = text("SELECT 1")
_TERMINATE = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = CAST(:xid AS xid)"
)
_STATUS = text("SELECT txid_status(:txid)")
_STATUS_CHECKS, _CHECK_SECONDS = 200, 0.05  # ten seconds for the server to end a transaction


class WriterLock:
    """The lock of a writer, held from its creation until ``release``, unless its connection is lost."""

    def __init__(self, database: Database, *, shared_by: str | None = None) -> None:
        """Take the lock.

        ``shared_by``: the name of a worker's connection, which shares the lock with other workers. Raises
        ArchiveLocked if another writer holds it, DatabaseError if the server is out of reach.
        """
        assert database.url is not None
        self._database = database
        self._unlock = _UNLOCK if shared_by is None else _UNLOCK_SHARED
        with map_errors(str(database)):
            engine = create_engine(
                database.url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",  # the connection is idle for a whole run, in no transaction
                hide_parameters=True,
                use_native_hstore=False,
                connect_args={
                    "application_name": shared_by or "archiver lock",
                    "options": f"-c lock_timeout={PG_LOCK_SECONDS if shared_by else 10}s",
                    **PG_NETWORK,
                },
            )
            refuse_bytes(engine)
            self._connection = engine.connect()
            try:
                if self._connection.scalar(_TRY_LOCK if shared_by is None else _TRY_SHARED_LOCK):
                    self._connection.execute(_CLOSE_GATE)
                    return
            except BaseException:
                self._connection.close()
                raise
            self._connection.close()
        raise ArchiveLocked(f"another run writes to the database {database}", "wait for it to end")

    def enter(self, connection: Connection) -> int:
        """Begin a transaction of the writer and return its id on the server.

        Raises DatabaseError if the lock is lost. Nobody else can become the writer before that transaction
        ends.
        """
        txid = int(connection.execute(_PASS_GATE).one()[0])
        self._scalar(_PING)
        return txid

    def was_committed(self, txid: int) -> bool:
        """Return whether a transaction whose connection was lost was committed.

        If it is still open, it is ended first. Raises DatabaseError if the lock is lost too, or the server
        does not end the transaction.
        """
        self._scalar(_TERMINATE, xid=str(txid % 2**32))
        for _ in range(_STATUS_CHECKS):
            status = self._scalar(_STATUS, txid=txid)
            if status != "in progress":
                return status == "committed"
            time.sleep(_CHECK_SECONDS)
        raise DatabaseError(
            f"the server of the database {self._database} has not ended a transaction"
            " whose connection was lost",
            "run it again later: it continues where this one stopped",
        )

    def release(self) -> None:
        """Release the lock. If the connection was lost, it has been released already."""
        with suppress(SQLAlchemyError):
            self._connection.execute(self._unlock)  # the server takes a moment to notice a closed connection
        self._connection.close()

    def _scalar(self, query: TextClause, **parameters: object) -> object:
        try:
            value: object = self._connection.scalar(query, parameters)
        except SQLAlchemyError as exc:
            # A lost lock stays lost: SQLAlchemy does not reconnect by itself here.
            raise DatabaseError(
                f"lost the connection that holds the lock on the database {self._database}:"
                " another run may write to it now",
                "run it again: it continues where this one stopped",
            ) from exc
        return value
