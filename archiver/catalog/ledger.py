"""The cost of each API call: one row for each attempt, reserved before the call and settled after it.

A row that is never settled (the process was killed) keeps its nominal price: a lost answer counts as billed.
Triggers add the units of each month, day and run up in ``budget_totals`` (``counters``).
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from archiver.catalog import counters, tables
from archiver.catalog.column_types import time_text
from archiver.catalog.sql import Query
from archiver.catalog.statements import update_row
from archiver.errors import ArchiveDamaged, BudgetReached
from archiver.model.api_calls import AnswerLocation, BudgetLeft, Call, Limits
from archiver.model.upstream import TrayNumbers
from archiver.model.values import replace
from archiver.text_format import pluralize

_calls, _totals = tables.api_calls, tables.budget_totals
_RESERVE = _calls.insert().returning(_calls.c.id)
_SPENT = select(_totals.c.period, _totals.c.units).where(
    or_(
        _totals.c.period.in_([bindparam("per_run"), bindparam("per_month")]),
        and_(_totals.c.period >= bindparam("per_day"), _totals.c.period < counters.OF_RUN),
    )
)
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
    row = {"run_id": run_id, "path": call.path, "subject": call.subject}
    reserved = connection.execute(_RESERVE, {**row, "units": call.units, "started_at": now}).scalar_one()
    # The row comes first: its trigger locks the totals, so nobody else can change them before the commit.
    for room in _rooms(connection, run_id, now, limits):
        if room.left < promised:
            raise _budget_reached(room, call, promised)
    return int(reserved)


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
    update_row(connection, _calls, api_call_id, {"status": status, "units": units, "finished_at": now})
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
    are_counted = {
        "per_run": _calls.c.run_id == run_id,
        "per_day": _calls.c.started_at >= day,
        "per_month": _calls.c.started_at >= day.replace(day=1),
    }
    for room in _rooms(connection, run_id, now, limits):
        stored = room.units - room.left
        counted = connection.scalar(select(func.sum(_calls.c.units)).where(are_counted[room.limit])) or 0
        if stored != counted:
            raise ArchiveDamaged(
                f"the database counts {stored:,} units for {room.name}, and its calls cost {counted:,}",
                "something else has changed it: archiver verify --repair counts them again",
            )


def units_of(connection: Connection, run_id: int) -> int:
    """Return the units that a run has spent or reserved so far."""
    spent = select(_totals.c.units).where(_totals.c.period == f"{counters.OF_RUN}{run_id}")
    return int(connection.execute(spent).scalar() or 0)


def _rooms(connection: Connection, run_id: int, now: datetime, limits: Limits) -> list[BudgetLeft]:
    """Return what each limit leaves: less than 0 if it is exceeded."""
    starts = {
        "per_run": f"{counters.OF_RUN}{run_id}",
        "per_day": time_text(now)[:10],
        "per_month": time_text(now)[:7],
    }
    bounds = {name: bound for name in starts if (bound := getattr(limits, name)) is not None}
    if not bounds:
        return []
    # Later days and months count too: a clock that was wrong may have dated calls in the future.
    rows = connection.execute(_SPENT, starts).all()
    spent = {name: sum(row.units for row in rows if _is_since(row.period, starts[name])) for name in bounds}
    return [
        BudgetLeft(name, bound, bound - spent[name], is_flag=limits.is_flag and name == "per_run")
        for name, bound in bounds.items()
    ]


def _is_since(period: str, start: str) -> bool:
    """Return whether a period is ``start``, or a later one of the same kind."""
    is_of_run = start.startswith(counters.OF_RUN)
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
