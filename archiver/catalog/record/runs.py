"""Runs: when they began, and how they ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select, update

from archiver.catalog import tables

KILLED = "killed"

_runs, _calls = tables.runs, tables.api_calls
units_of_calls = (
    select(func.coalesce(func.sum(_calls.c.units), 0)).where(_calls.c.run_id == _runs.c.id).scalar_subquery()
)
"""The units of a run, as a value of its row."""

_END_KILLED = (
    update(_runs)
    .where(_runs.c.finished_at.is_(None), _runs.c.outcome.is_(None))
    .values(outcome=KILLED, units=units_of_calls)
)


def start_run(connection: Connection, command: str, now: datetime) -> int:
    """Record that a run begins, and return its id. Runs that never ended, as one that is killed, get the outcome ``killed``."""
    connection.execute(_END_KILLED)
    begun = _runs.insert().values(command=command, started_at=now, units=0).returning(_runs.c.id)
    return int(connection.execute(begun).scalar_one())


def balance_before(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API said were left before the run paid for anything."""
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(balance_before=units))


def balance_after(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API said were left when the run had paid for everything."""
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(balance_after=units))


def finish_run(connection: Connection, run_id: int, now: datetime, outcome: str, exit_code: int) -> None:
    """Record how the run ended; its units are the sum of its calls."""
    connection.execute(
        update(_runs)
        .where(_runs.c.id == run_id)
        .values(finished_at=now, outcome=outcome, exit_code=exit_code, units=units_of_calls)
    )
