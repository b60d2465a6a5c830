"""Runs: when they began, and how they ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from archiver.catalog.counters import UNITS_OF_RUN
from archiver.catalog.sql import Command, Query

KILLED = "killed"

_END_KILLED = Command(
    f"""
    UPDATE runs SET outcome = '{KILLED}', units = {UNITS_OF_RUN}
    WHERE finished_at IS NULL AND outcome IS NULL
    """
)
_START = Query("INSERT INTO runs (command, started_at, units) VALUES (:command, :now, 0) RETURNING id", int)
_BALANCE_BEFORE = Command("UPDATE runs SET balance_before = :units WHERE id = :run")
_BALANCE_AFTER = Command("UPDATE runs SET balance_after = :units WHERE id = :run")
_FINISH = Command(
    f"""
    UPDATE runs SET finished_at = :now, outcome = :outcome, exit_code = :exit_code, units = {UNITS_OF_RUN}
    WHERE id = :run
    """
)


def start_run(connection: Connection, command: str, now: datetime) -> int:
    """Record that a run begins; return its id. Runs that never ended get the outcome ``killed``."""
    _END_KILLED.run(connection)
    return _START.one(connection, command=command, now=now)


def balance_before(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports before the first paid call, or alongside the first ones."""
    _BALANCE_BEFORE.run(connection, run=run_id, units=units)


def balance_after(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports after the run has paid for everything."""
    _BALANCE_AFTER.run(connection, run=run_id, units=units)


def finish_run(connection: Connection, run_id: int, now: datetime, outcome: str, exit_code: int) -> None:
    """Record how the run ended; its units are the sum of its calls."""
    _FINISH.run(connection, run=run_id, now=now, outcome=outcome, exit_code=exit_code)
