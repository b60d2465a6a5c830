"""The cost of each API call: one row for each attempt, reserved before the call and settled after it.

A row that is never settled (the process was killed) keeps its nominal price: a lost answer counts as billed.
Triggers add the units of each month, day and run up in ``budget_totals`` (``counters``).
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from archiver.catalog.column_types import time_text
from archiver.catalog.counters import OF_RUN
from archiver.catalog.sql import Command, Query
from archiver.errors import ArchiveDamaged, BudgetReached
from archiver.model.api_calls import AnswerLocation, BudgetLeft, Call, Limits
from archiver.model.upstream import TrayNumbers
from archiver.model.values import replace
from archiver.text_format import pluralize

_RESERVE = Query(
    """
    INSERT INTO api_calls (run_id, path, subject, units, started_at)
    VALUES (:run, :path, :subject, :units, :now) RETURNING id
    """,
    int,
)
_SETTLE = Command(
    "UPDATE api_calls SET status = :status, units = :units, finished_at = :now WHERE id = :call"
)
_SPENT = Query(
    """
    SELECT period, units FROM budget_totals
    WHERE period IN (:per_run, :per_month) OR period >= :per_day AND period < :of_run
    """,
    lambda period, units: (period, units),
)
_COUNT_UNITS = Query(
    """
    SELECT CAST(coalesce(sum(units), 0) AS BIGINT) FROM api_calls WHERE true
        AND run_id = :run -- if run
        AND started_at >= :since -- if since
    """,
    int,
)
_UNITS_OF = Query("SELECT units FROM budget_totals WHERE period = :period", int)
_KEEP_ANSWER = Query(
    """
    INSERT INTO answers (api_call_id, sha256, segment, "offset", length, latest_reel_media, media_count)
    VALUES (:api_call_id, :sha256, :segment, :offset, :length, :latest_reel_media, :media_count)
    ON CONFLICT (api_call_id) DO UPDATE SET sha256 = excluded.sha256, segment = excluded.segment,
        "offset" = excluded."offset", length = excluded.length,
        latest_reel_media = excluded.latest_reel_media, media_count = excluded.media_count
    RETURNING id
    """,
    int,
)
_WHEN_AGAIN = {"per_run": "", "per_day": " on another day (UTC)", "per_month": " in another month (UTC)"}


def reserve(
    connection: Connection, run_id: int, call: Call, now: datetime, limits: Limits, promised: int = 0
) -> int:
    """Reserve the nominal units of a call about to be made; return the id of its row.

    ``promised``: units that this run has promised to other calls. Days and months are those of UTC. Raises
    BudgetReached, which names the limit, if the call exceeds one: then the caller must roll back.
    """
    reserved = _RESERVE.one(
        connection, run=run_id, path=call.path, subject=call.subject, units=call.units, now=now
    )
    # The row comes first: its trigger locks the totals, so nobody else can change them before the commit.
    for room in _rooms(connection, run_id, now, limits):
        if room.left < promised:
            raise _budget_reached(room, call, promised)
    return reserved


def settle(
    connection: Connection,
    api_call_id: int,
    status: int | None,
    units: int,
    now: datetime,
    location: AnswerLocation | None = None,
    numbers: TrayNumbers | None = None,
) -> int | None:
    """Record how a call ended: its HTTP status (None: no answer) and its price.

    Return the id of a stored answer. ``numbers`` are those of the tray when the call was made.
    """
    _SETTLE.run(connection, call=api_call_id, status=status, units=units, now=now)
    return (
        None
        if location is None
        else record_answer(connection, api_call_id, location, numbers or TrayNumbers())
    )


def record_answer(
    connection: Connection, api_call_id: int, location: AnswerLocation, numbers: TrayNumbers
) -> int:
    """Record where the answer to a call is stored; return the id of its row. ``numbers``: see ``settle``."""
    return _KEEP_ANSWER.one(
        connection,
        api_call_id=api_call_id,
        sha256=location.sha256,
        segment=location.segment,
        offset=location.offset,
        length=location.length,
        latest_reel_media=numbers.latest_reel_media,
        media_count=numbers.media_count,
    )


def units_left(connection: Connection, run_id: int, now: datetime, limits: Limits) -> int | None:
    """Return the units that these limits still allow, at least 0; None if there is no limit."""
    room = tightest_limit(connection, run_id, now, limits)
    return room.left if room is not None else None


def tightest_limit(connection: Connection, run_id: int, now: datetime, limits: Limits) -> BudgetLeft | None:
    """Return the limit that leaves the fewest units; None if there is no limit.

    ``run_id``: 0 for a run that has not begun.
    """
    rooms = _rooms(connection, run_id, now, limits)
    tightest = min(rooms, key=lambda room: room.left, default=None)
    return tightest and replace(tightest, left=max(0, tightest.left))


def require_right_sums(connection: Connection, run_id: int, now: datetime, limits: Limits) -> None:
    """Raise ArchiveDamaged if a sum that limits use is not that of the calls: they would not hold.

    All queries must see the same point in time: use a snapshot.
    """
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = {"per_run": None, "per_day": day, "per_month": day.replace(day=1)}
    for room in _rooms(connection, run_id, now, limits):
        stored = room.units - room.left
        since = starts[room.limit]
        counted = _COUNT_UNITS.one(connection, run=run_id if since is None else None, since=since)
        if stored != counted:
            raise ArchiveDamaged(
                f"the database counts {stored:,} units for {room.name}, and its calls cost {counted:,}",
                "something else has changed it: archiver verify --repair counts them again",
            )


def units_of(connection: Connection, run_id: int) -> int:
    """Return the units that a run has spent or reserved so far."""
    return _UNITS_OF.first(connection, period=f"{OF_RUN}{run_id}") or 0


def _rooms(connection: Connection, run_id: int, now: datetime, limits: Limits) -> list[BudgetLeft]:
    """Return what each limit leaves: less than 0 if it is exceeded."""
    starts = {
        "per_run": f"{OF_RUN}{run_id}",
        "per_day": time_text(now)[:10],
        "per_month": time_text(now)[:7],
    }
    bounds = {name: bound for name in starts if (bound := getattr(limits, name)) is not None}
    if not bounds:
        return []
    # Later days and months count too: a clock that was wrong may have dated calls in the future.
    rows = _SPENT.all(connection, of_run=OF_RUN, **starts)
    spent = {name: sum(units for period, units in rows if _is_since(period, starts[name])) for name in bounds}
    return [
        BudgetLeft(name, bound, bound - spent[name], is_flag=limits.is_flag and name == "per_run")
        for name, bound in bounds.items()
    ]


def _is_since(period: str, start: str) -> bool:
    """Return whether a period is ``start``, or a later one of the same kind."""
    is_of_run = start.startswith(OF_RUN)
    return period == start or (not is_of_run and len(period) == len(start) and period > start)


def _budget_reached(room: BudgetLeft, call: Call, promised: int) -> BudgetReached:
    left = room.left + call.units - promised
    return BudgetReached(
        f"{room.name} is reached"
        if left <= 0
        else f"{room.name} leaves {pluralize(left, 'unit')}, and the next call costs {call.units}",
        f"run again{_WHEN_AGAIN[room.limit]} to continue where this run stopped, or raise the limit"
        if room.units
        else "raise the limit",
    )
