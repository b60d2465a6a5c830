"""Measure a reservation in the ledger. Imported only in a process of its own; see ``growth``."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from generated import format_time
from million import inserting
from sqlalchemy import Connection

from archiver.archive.creation import create_archive
from archiver.catalog import Catalog, ledger
from archiver.config import load
from archiver.model.api_calls import Call, Limits

_MONTH = datetime(2026, 3, 1, tzinfo=UTC)
_RUNS = 30  # one each day
_RESERVATIONS = 25


def measure_reserve(directory: Path, calls: int) -> float:
    """Return the milliseconds of a reservation in a new archive with so many calls in the month."""
    create_archive(load(None, {}, {"archive.directory": str(directory)}))
    _insert_calls(directory / "archive.db", calls)
    now = _MONTH + timedelta(days=_RUNS - 1, hours=20)
    spare = _RESERVATIONS + 1
    limits = Limits(per_run=calls + spare, per_day=calls + spare, per_month=calls + spare)
    with Catalog.open(directory / "archive.db", write=True) as catalog:
        if catalog.read(ledger.units_left, _RUNS, now, limits) != spare:
            raise SystemExit("the ledger does not count the calls that were inserted")
        times = [catalog.write(_time_reserve, now, limits) for _ in range(_RESERVATIONS)]
    return median(times) * 1000


def _time_reserve(connection: Connection, now: datetime, limits: Limits) -> float:
    started = time.thread_time()
    ledger.reserve(connection, _RUNS, Call("/v1/highlight/by/url", (), "17800000000000000", 1), now, limits)
    return time.thread_time() - started


def _insert_calls(database: Path, calls: int) -> None:
    nights = [format_time(_MONTH + timedelta(days=day)) for day in range(_RUNS)]
    with inserting(database) as rows:
        for number, night in enumerate(nights, 1):
            rows.add(
                "runs",
                id=number,
                command="run",
                started_at=night,
                finished_at=night,
                outcome="ok",
                exit_code=0,
                units=calls // _RUNS,
            )
        rows.flush()
        for number in range(calls):
            night = nights[number * _RUNS // calls]
            rows.add(
                "api_calls",
                run_id=number * _RUNS // calls + 1,
                path="/v1/highlight/by/url",
                subject=str(17_800_000_000_000_000 + number % 100_000),
                status=200,
                units=1,
                started_at=night,
                finished_at=night,
            )
