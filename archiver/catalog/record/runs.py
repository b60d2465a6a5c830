"""Runs: when they began, and how they ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update

from archiver.catalog import tables
from archiver.catalog.ledger import units_of_run

KILLED = "killed"

_runs = tables.runs
_END_KILLED = (
    update(_runs)
    .where(_runs.c.finished_at.is_(None), _runs.c.outcome.is_(None))
    .values(outcome=KILLED, units=units_of_run)
)


def start_run(connection: Connection, command: str, now: datetime) -> int:
    """Record that a run begins; return its id. Runs that never ended get the outcome ``killed``."""
    connection.execute(_END_KILLED)
    row = _runs.insert().values(command=command, started_at=now, units=0)
    return int(connection.execute(row.returning(_runs.c.id)).scalar_one())


def balance_before(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports before the first paid call, or alongside the first ones."""
    _update(connection, run_id, balance_before=units)


def balance_after(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports after the run has paid for everything."""
    _update(connection, run_id, balance_after=units)


def finish_run(connection: Connection, run_id: int, now: datetime, outcome: str, exit_code: int) -> None:
    """Record how the run ended; its units are the sum of its calls."""
    _update(connection, run_id, finished_at=now, outcome=outcome, exit_code=exit_code, units=units_of_run)


def _update(connection: Connection, run_id: int, **values: object) -> None:
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(values))
