"""The visits of a shared run, and the rate at which all its workers call the API.

There is a visit for each target, in the order in which workers take them.

A visit is held by the worker whose id it has. That worker is the only one that visits its account: a visit
is given the account's pk as soon as that is known, and no two visits of a run have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import IntegrityError

from archiver.catalog import leases, tables
from archiver.catalog.record.runs import start_run
from archiver.errors import NOT_RETRIED, LeaseLost, Reason
from archiver.model.run_status import VisitCounts

MOST_ATTEMPTS = 3
"""After so many workers have been lost during a visit, no other tries it in this run."""

_NO_TROUBLE = NOT_RETRIED | {Reason.PRIVATE, Reason.GONE, Reason.EMPTY}
"""Reasons that a summary does not count as failures, or counts in every run."""

_runs, _visits, _reports = tables.shared_runs, tables.visits, tables.run_reports
_OPEN = text("SELECT run_id, orders FROM shared_runs WHERE closed_at IS NULL ORDER BY run_id DESC LIMIT 1")
_CLOSE = text(
    "UPDATE shared_runs SET closed_at = clock_timestamp() WHERE run_id = :run_id AND closed_at IS NULL"
)
_CLOSE_ALL = text("UPDATE shared_runs SET closed_at = clock_timestamp() WHERE closed_at IS NULL")
# A highlight belongs to an account that another visit may write. So highlights, which come last, are visited
# one by one, once all accounts have been.
_IS_TURN = (
    "(v.is_account OR v.position ="
    " (SELECT min(o.position) FROM visits o WHERE o.run_id = :run_id AND o.ended_at IS NULL))"
)
# A visit takes few round trips: ``_TAKE``, ``_CLAIM`` and ``_END`` are one statement each. The lock of the
# worker is that of ``leases.require``.
_TAKE = text(
    "UPDATE visits SET worker_id = w.id, attempts = attempts + 1"
    " FROM (SELECT id FROM workers WHERE id = :worker_id FOR KEY SHARE) AS w"
    " WHERE run_id = :run_id AND worker_id IS NULL AND position ="
    " (SELECT v.position FROM visits v JOIN shared_runs s ON s.run_id = v.run_id"
    " WHERE v.run_id = :run_id AND s.closed_at IS NULL AND v.ended_at IS NULL AND v.worker_id IS NULL"
    f" AND v.attempts < {MOST_ATTEMPTS} AND {_IS_TURN}"
    " ORDER BY v.position LIMIT 1 FOR UPDATE OF v SKIP LOCKED)"
    " RETURNING position, target"
)
_HAS_FREE = text(
    "SELECT EXISTS (SELECT 1 FROM visits v JOIN shared_runs s ON s.run_id = v.run_id"
    " LEFT JOIN workers w ON w.id = v.worker_id"
    " WHERE v.run_id = :run_id AND s.closed_at IS NULL AND v.ended_at IS NULL"
    f" AND v.attempts < {MOST_ATTEMPTS} AND {_IS_TURN}"
    " AND (w.id IS NULL OR w.expires_at < clock_timestamp()))"
)
_ANALYZE = text("ANALYZE visits")
"""Without it PostgreSQL takes the table for small, and sorts all visits each time that one is taken."""
_CLAIM = text(
    "WITH holder AS"
    " (SELECT target FROM visits WHERE run_id = :run_id AND user_pk = :user_pk AND position <> :position),"
    " claimed AS (UPDATE visits SET user_pk = :user_pk"
    " WHERE run_id = :run_id AND position = :position AND worker_id = :worker_id"
    " AND NOT EXISTS (SELECT 1 FROM holder) RETURNING 1)"
    " SELECT (SELECT target FROM holder) AS holder, EXISTS (SELECT 1 FROM claimed) AS is_claimed"
)
_REPLACE_REPORT = "ON CONFLICT (run_id, worker_id) DO UPDATE SET report = excluded.report"
_SAVE_REPORT = text(
    "INSERT INTO run_reports (run_id, worker_id, report)"
    f" VALUES (:run_id, :worker_id, :report) {_REPLACE_REPORT}"
)
# Durable, although ``create_coordinator`` does not wait for that: an account whose end is lost would be
# listed again, and paid for.
_END = text(
    "WITH ended AS (UPDATE visits SET ended_at = clock_timestamp()"
    " FROM (SELECT set_config('synchronous_commit', 'on', true) OFFSET 0) AS durable"
    " WHERE run_id = :run_id AND position = :position AND worker_id = :worker_id"
    " RETURNING run_id, worker_id)"
    " INSERT INTO run_reports (run_id, worker_id, report)"
    f" SELECT run_id, worker_id, CAST(:report AS text) FROM ended {_REPLACE_REPORT}"
)
_GIVE_UP = text(
    "UPDATE visits SET ended_at = clock_timestamp() WHERE run_id = :run_id AND ended_at IS NULL"
    f" AND worker_id IS NULL AND attempts >= {MOST_ATTEMPTS} RETURNING target"
)
_ENDED_LATELY = text(
    "SELECT position, target FROM visits WHERE run_id = :run_id"
    " AND ended_at > clock_timestamp() - interval '2 minutes'"
)
_REPEATED_FAILURES = text(
    "SELECT count(*) FROM failures f JOIN runs r ON r.id = :run_id"
    " WHERE f.resolved_at IS NULL AND f.last_at >= r.started_at AND f.reason <> ALL(:others)"
    " AND NOT (f.subject = 'highlight' AND f.reason = 'not_found')"
    " AND EXISTS (SELECT 1 FROM visits v WHERE v.run_id = :run_id AND v.attempts > 1)"
)
_COUNTS = text(
    "SELECT s.run_id, (SELECT count(*) FROM visits v WHERE v.run_id = s.run_id) AS visits,"
    " (SELECT count(*) FROM visits v WHERE v.run_id = s.run_id AND v.ended_at IS NOT NULL) AS ended,"
    " (SELECT count(*) FROM visits v WHERE v.run_id = s.run_id AND v.ended_at IS NULL"
    " AND v.worker_id IS NOT NULL) AS begun,"
    " (SELECT count(*) FROM workers WHERE NOT is_run AND expires_at > clock_timestamp()) AS workers"
    " FROM shared_runs s WHERE s.run_id = :run_id"
)
# Each call moves the time of the next one on by an interval (the generic cell rate algorithm), so calls of
# all workers are spaced evenly, by the clock of the server.
_SET_RATE = text(
    "INSERT INTO api_rate (id, per_second, next_at, paused_until)"
    " VALUES (1, :per_second, clock_timestamp(), clock_timestamp())"
    " ON CONFLICT (id) DO UPDATE SET per_second = excluded.per_second,"
    " next_at = least(api_rate.next_at, clock_timestamp())"
)
_TAKE_SLOT = text(
    "UPDATE api_rate SET next_at ="
    " greatest(next_at, paused_until, clock_timestamp()) + interval '1 second' / per_second WHERE id = 1"
    " RETURNING extract(epoch FROM next_at - interval '1 second' / per_second - clock_timestamp())::float"
)
_PAUSE = text(
    "UPDATE api_rate SET paused_until ="
    " greatest(paused_until, clock_timestamp() + :seconds * interval '1 second') WHERE id = 1"
)
_PAUSE_LEFT = text("SELECT extract(epoch FROM paused_until - clock_timestamp())::float FROM api_rate")


class SharedRun(Struct, frozen=True):
    """A run that is open to workers. ``orders``: what all of them must know, as the run wrote it."""

    run_id: int
    orders: str


class TakenVisit(Struct, frozen=True):
    """A visit that a worker holds."""

    position: int
    target: str


def begin_run(
    connection: Connection,
    command: str,
    now: datetime,
    orders: str,
    accounts: Sequence[str],
    highlights: Sequence[str],
    per_second: float,
) -> int:
    """Record that a run begins, open it to workers, and return its id.

    It has a visit for each target. What is left of earlier shared runs is removed. ``orders``: see
    ``SharedRun``. ``accounts``, ``highlights``: the targets, in the order of their visits. ``per_second``:
    the rate of API calls at first.
    """
    run_id = start_run(connection, command, now)
    set_rate(connection, per_second)
    connection.execute(delete(_runs).where(_runs.c.run_id != run_id))
    connection.execute(insert(_runs), {"run_id": run_id, "orders": orders})
    targets = [(target, True) for target in accounts] + [(target, False) for target in highlights]
    rows = [
        {"run_id": run_id, "position": position, "target": target, "is_account": is_account, "attempts": 0}
        for position, (target, is_account) in enumerate(targets, 1)
    ]
    if rows:
        connection.execute(insert(_visits), rows)
        connection.execute(_ANALYZE)
    return run_id


def close_run(connection: Connection, run_id: int) -> bool:
    """Let no more visits of a run begin. Return False if the run was closed already."""
    return connection.execute(_CLOSE, {"run_id": run_id}).rowcount == 1


def close_all(connection: Connection) -> int:
    """Let no more visits of any run begin; return how many runs were open."""
    return connection.execute(_CLOSE_ALL).rowcount


def find_open(connection: Connection) -> SharedRun | None:
    """Return the run that is open to workers, if any."""
    row = connection.execute(_OPEN).first()
    return None if row is None else SharedRun(row.run_id, row.orders)


def is_open(connection: Connection, run_id: int) -> bool:
    """Return whether visits of a run may begin."""
    closed = select(_runs.c.run_id).where(_runs.c.run_id == run_id, _runs.c.closed_at.is_(None))
    return connection.execute(closed).first() is not None


def has_free(connection: Connection, run_id: int) -> bool:
    """Return whether a visit of this run can be taken now, or once an expired worker is removed."""
    return bool(connection.execute(_HAS_FREE, {"run_id": run_id}).scalar_one())


def take(connection: Connection, run_id: int, worker_id: str) -> TakenVisit | None:
    """Take the next free visit; None if there is none now. Raises LeaseLost."""
    row = connection.execute(_TAKE, {"run_id": run_id, "worker_id": worker_id}).first()
    if row is None:
        leases.require(connection, worker_id)
        return None
    return TakenVisit(row.position, row.target)


def claim(connection: Connection, run_id: int, position: int, worker_id: str, user_pk: str) -> str | None:
    """Give a visit its account; return the target of the visit that has it already, else None.

    Not in a transaction. Raises LeaseLost.
    """
    values = {"run_id": run_id, "position": position, "worker_id": worker_id, "user_pk": user_pk}
    try:
        row = connection.execute(_CLAIM, values).one()
    except IntegrityError:  # another worker has claimed it at the same moment
        row = connection.execute(_CLAIM, values).one()
    if row.holder is None and not row.is_claimed:
        raise LeaseLost("this visit was given to another worker")
    return None if row.holder is None else str(row.holder)


def end_visit(connection: Connection, run_id: int, position: int, worker_id: str, report: str) -> None:
    """Record that a visit has ended, together with what its worker has done so far. Raises LeaseLost."""
    values = {"run_id": run_id, "position": position, "worker_id": worker_id, "report": report}
    if not connection.execute(_END, values).rowcount:
        raise LeaseLost("this visit was given to another worker")


def save_report(connection: Connection, run_id: int, worker_id: str, report: str) -> None:
    """Record what a worker has done for a run so far, in place of what it recorded before."""
    connection.execute(_SAVE_REPORT, {"run_id": run_id, "worker_id": worker_id, "report": report})


def reports(connection: Connection, run_id: int) -> Sequence[str]:
    """Return the last report of each worker."""
    return connection.execute(select(_reports.c.report).where(_reports.c.run_id == run_id)).scalars().all()


def count_failures(connection: Connection, run_id: int) -> int:
    """Return how many failures of a run are open, if a visit of it was made more than once; else 0.

    The worker that recorded one may have been lost before it reported it, and the next did not try again.
    """
    others = [reason.value for reason in _NO_TROUBLE]
    return int(connection.execute(_REPEATED_FAILURES, {"run_id": run_id, "others": others}).scalar_one())


def give_up(connection: Connection, run_id: int) -> Sequence[str]:
    """End the visits that have cost ``MOST_ATTEMPTS`` workers; return their targets."""
    return connection.execute(_GIVE_UP, {"run_id": run_id}).scalars().all()


def ended_lately(connection: Connection, run_id: int) -> dict[int, str]:
    """Return the visits that have ended in the last two minutes: position and target.

    A transaction that ends a visit lasts less than that: none is left out by a caller who asks more often.
    """
    return {row.position: row.target for row in connection.execute(_ENDED_LATELY, {"run_id": run_id})}


def counts(connection: Connection, run_id: int) -> VisitCounts | None:
    """Return how far a run has come; None if another run has taken its place."""
    row = connection.execute(_COUNTS, {"run_id": run_id}).first()
    return None if row is None else VisitCounts(**row._mapping)


def open_counts(connection: Connection) -> VisitCounts | None:
    """Return how far the open run has come; None if no run is open."""
    found = find_open(connection)
    return None if found is None else counts(connection, found.run_id)


def set_rate(connection: Connection, per_second: float) -> None:
    """Set the number of calls per second of all workers together, from now on.

    Those who have taken a slot keep it, but no other waits until those slots are over.
    """
    connection.execute(_SET_RATE, {"per_second": per_second})


def take_slot(connection: Connection) -> float:
    """Take the next slot for a call; return in how many seconds it is."""
    return float(connection.execute(_TAKE_SLOT).scalar_one())


def pause(connection: Connection, seconds: float) -> None:
    """Let no slot be in the next ``seconds``. A longer pause that has begun stays."""
    connection.execute(_PAUSE, {"seconds": seconds})


def pause_left(connection: Connection) -> float:
    """Return the seconds until the pause is over, less than 0 if it is."""
    return float(connection.execute(_PAUSE_LEFT).scalar_one())
