"""The workers of a shared run, and their leases: what they may write, and until when.

A worker is a row that it renews, and that the others remove once it has expired, by the clock of the server.
Its random id is the token that each of its transactions checks (``require``): an id is never given twice. A
visit, and the shipping of the journal, are held through that row, so they are free when it goes. Only
PostgreSQL has workers.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from archiver.catalog.dialects import WORKER
from archiver.catalog.sql import Command, Query
from archiver.errors import LeaseLost
from archiver.model.run_status import WorkerStatus

_JOIN = Command(
    {
        "postgresql": """
        INSERT INTO workers (id, name, is_run, started_at, expires_at)
        VALUES (:id, :name, :is_run, clock_timestamp(), clock_timestamp() + :seconds * interval '1 second')
    """
    }
)
_RENEW = Command(
    {
        "postgresql": """
        UPDATE workers SET expires_at = clock_timestamp() + :seconds * interval '1 second' WHERE id = :id
    """
    }
)
_FREE_VISITS = Command("UPDATE visits SET attempts = attempts - 1 WHERE worker_id = :id AND ended_at IS NULL")
_LEAVE = Command("DELETE FROM workers WHERE id = :id")
# This lock lets the lease be renewed meanwhile, but not be removed before the transaction has ended.
_REQUIRE = Query({"postgresql": "SELECT 1 FROM workers WHERE id = :id FOR KEY SHARE"}, int)
# A worker in the middle of a transaction is left until the server has ended that: see ``create_writer``.
_REMOVE_EXPIRED = Query(
    {
        "postgresql": """
            DELETE FROM workers WHERE id IN (
                SELECT id FROM workers WHERE expires_at < clock_timestamp() FOR UPDATE SKIP LOCKED
            ) RETURNING id
        """
    },
    str,
)
_END_CONNECTIONS = Query(
    {
        "postgresql": """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE application_name = :name AND usename = current_user AND pid <> pg_backend_pid()
        """
    },
    bool,
)
_IDS = Query("SELECT id FROM workers", str)
_STATUS = Query(
    {
        "postgresql": """
            SELECT w.name, w.is_run, w.started_at,
                extract(epoch FROM w.expires_at - clock_timestamp())::float AS expires_in,
                (SELECT count(*) FROM visits v WHERE v.worker_id = w.id AND v.ended_at IS NULL) AS visits
            FROM workers w ORDER BY w.is_run DESC, w.started_at, w.id
        """
    },
    WorkerStatus,
)


def join(
    connection: Connection, worker_id: str, name: str, seconds: float, *, is_run: bool, replaces: str | None
) -> None:
    """Add a worker, whose lease ends in ``seconds``.

    ``name``: for people. ``is_run``: it is the ``archiver run`` that waits for the others. ``replaces``: the
    id that this process had before; what that held is free.
    """
    if replaces is not None:
        leave(connection, replaces)
    _JOIN.run(connection, id=worker_id, name=name, is_run=is_run, seconds=seconds)


def renew(connection: Connection, worker_id: str, seconds: float) -> None:
    """Let a lease end in ``seconds`` from now. Raises LeaseLost if the worker has none any more."""
    if _RENEW.run(connection, id=worker_id, seconds=seconds) == 0:
        raise _lease_error()


def leave(connection: Connection, worker_id: str, *, was_stopped: bool = False) -> None:
    """Remove a worker. Visits that it has not ended are free.

    ``was_stopped``: somebody has stopped it, so it does not count as lost during its visits.
    """
    if was_stopped:
        _FREE_VISITS.run(connection, id=worker_id)
    _LEAVE.run(connection, id=worker_id)


def require(connection: Connection, worker_id: str) -> None:
    """Raise LeaseLost unless the worker has its lease. It keeps it until this transaction has ended."""
    if _REQUIRE.first(connection, id=worker_id) is None:
        raise _lease_error()


def _lease_error() -> LeaseLost:
    return LeaseLost(
        "this process was not heard of for longer than its lease, so others do its work now",
        "it may join again; if this happens often, raise cluster.lease",
    )


def remove_expired(connection: Connection) -> Sequence[str]:
    """Remove the workers whose lease has ended; return their ids, for ``end_connections``."""
    return _REMOVE_EXPIRED.all(connection)


def end_connections(connection: Connection, worker_id: str) -> None:
    """End the connections of a worker: one that is stopped would hold the lock of the database for days."""
    _END_CONNECTIONS.all(connection, name=f"{WORKER}{worker_id}")


def ids(connection: Connection) -> frozenset[str]:
    """Return the ids of all workers."""
    return frozenset(_IDS.all(connection))


def status(connection: Connection) -> tuple[WorkerStatus, ...]:
    """Return all workers, the run first."""
    return tuple(_STATUS.all(connection))
