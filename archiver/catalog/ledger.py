"""The cost of each API call: one row for each attempt, reserved before the call and settled after it.

A row that is never settled (the process was killed) keeps its nominal price: a lost answer counts as billed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    and_,
    bindparam,
    func,
    select,
    text,
    true,
)
from sqlalchemy.sql.dml import ReturningInsert

from archiver.catalog import tables
from archiver.catalog.statements import insert, update_row
from archiver.errors import BudgetReached
from archiver.model.api_calls import AnswerLocation, BudgetLeft, Call, Limits
from archiver.model.upstream import TrayFacts

_calls, _answers = tables.api_calls, tables.answers
_SUM = select(func.coalesce(func.sum(_calls.c.units), 0))
_UNITS: dict[str, Select[tuple[int]]] = {
    "per_run": _SUM.where(_calls.c.run_id == bindparam("run_id")),
    "per_day": _SUM.where(_calls.c.started_at >= bindparam("day", type_=_calls.c.started_at.type)),
    "per_month": _SUM.where(_calls.c.started_at >= bindparam("month", type_=_calls.c.started_at.type)),
}
"""The units that count for each limit."""
_ANSWER_COLUMNS = ("sha256", "segment", "offset", "length", "latest_reel_media", "media_count")
_WHEN_AGAIN = {"per_run": "", "per_day": " on another day (UTC)", "per_month": " in another month (UTC)"}
_LOCK = text("LOCK TABLE api_calls IN SHARE ROW EXCLUSIVE MODE")


def reserve(
    connection: Connection, run_id: int, call: Call, now: datetime, limits: Limits, promised: int = 0
) -> int:
    """Reserve the nominal units of a call about to be made; return the id of its row.

    One statement checks the limits and writes the row. ``promised``: units that this run has promised to
    other calls. Days and months are those of UTC. Raises BudgetReached, which names the limit, if the call
    would exceed one.
    """
    bounds = _bounds(limits)
    if bounds and connection.dialect.name == "postgresql":
        connection.execute(_LOCK)  # a sum misses what another worker has reserved but not yet committed
    periods = _periods(run_id, now)
    row = {"path": call.path, "subject": call.subject, "units": call.units, "now": now}
    unpromised = {name: bound - promised for name, bound in bounds.items()}
    reserved = connection.scalar(_reserve_within(tuple(bounds)), {**periods, **row, **unpromised})
    if reserved is None:
        raise _budget_reached(connection, call, periods, bounds, promised)
    return int(reserved)


def settle(
    connection: Connection,
    api_call_id: int,
    status: int | None,
    units: int,
    now: datetime,
    location: AnswerLocation | None = None,
    facts: TrayFacts | None = None,
) -> int | None:
    """Record how a call ended: its HTTP status (None: no answer) and its price.

    Return the id of a stored answer. ``facts`` are the tray's facts when the call was made.
    """
    update_row(connection, _calls, api_call_id, {"status": status, "units": units, "finished_at": now})
    return (
        None if location is None else record_answer(connection, api_call_id, location, facts or TrayFacts())
    )


def record_answer(
    connection: Connection, api_call_id: int, location: AnswerLocation, facts: TrayFacts
) -> int:
    """Record where the answer to a call is stored; return the id of its row. ``facts``: as in ``settle``."""
    values = {
        "sha256": location.sha256,
        "segment": location.segment,
        "offset": location.offset,
        "length": location.length,
        "latest_reel_media": facts.latest_reel_media,
        "media_count": facts.media_count,
    }
    row = {"api_call_id": api_call_id, **values}
    return int(connection.execute(_keep_answer(connection.dialect.name), row).scalar_one())


@cache
def _keep_answer(dialect: str) -> ReturningInsert[int]:
    upsert = insert(dialect, _answers)
    values = {name: upsert.excluded[name] for name in _ANSWER_COLUMNS}
    return upsert.on_conflict_do_update(index_elements=["api_call_id"], set_=values).returning(_answers.c.id)


def units_left(connection: Connection, run_id: int, now: datetime, limits: Limits) -> int | None:
    """Return the units that these limits still allow, at least 0; None if there is no limit."""
    room = tightest_limit(connection, run_id, now, limits)
    return room.left if room is not None else None


def tightest_limit(connection: Connection, run_id: int, now: datetime, limits: Limits) -> BudgetLeft | None:
    """Return the limit that leaves the fewest units; None if there is no limit.

    ``run_id``: 0 for a run that has not begun.
    """
    periods = _periods(run_id, now)
    rooms = [
        BudgetLeft(name, bound, max(0, bound - int(connection.scalar(_UNITS[name], periods) or 0)))
        for name, bound in _bounds(limits).items()
    ]
    return min(rooms, key=lambda room: room.left, default=None)


def units_spent(connection: Connection, run_id: int) -> int:
    """Return the units of a run so far: those settled, and the nominal price of calls that are not."""
    return int(connection.scalar(_UNITS["per_run"], {"run_id": run_id}) or 0)


@cache
def _reserve_within(limits: tuple[str, ...]) -> Insert:
    """Return the statement that reserves units, which checks the limits and writes the row in one step."""
    price = bindparam("units", type_=_calls.c.units.type)
    is_within: list[ColumnElement[bool]] = [
        _UNITS[name].scalar_subquery() + price <= bindparam(name, type_=_calls.c.units.type)
        for name in limits
    ]
    values = {
        "run_id": bindparam("run_id", type_=_calls.c.run_id.type),
        "path": bindparam("path", type_=_calls.c.path.type),
        "subject": bindparam("subject", type_=_calls.c.subject.type),
        "units": price,
        "started_at": bindparam("now", type_=_calls.c.started_at.type),
    }
    row = select(*values.values()).where(and_(true(), *is_within))
    return _calls.insert().from_select(list(values), row).returning(_calls.c.id)


def _bounds(limits: Limits) -> dict[str, int]:
    return {name: bound for name in _UNITS if (bound := getattr(limits, name)) is not None}


def _periods(run_id: int, now: datetime) -> dict[str, object]:
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"run_id": run_id, "day": day, "month": day.replace(day=1)}


def _budget_reached(
    connection: Connection, call: Call, periods: dict[str, object], bounds: dict[str, int], promised: int
) -> BudgetReached:
    for name, bound in bounds.items():
        taken = int(connection.scalar(_UNITS[name], periods) or 0) + promised
        if taken + call.units > bound:
            flag = "--max-units or " if name == "per_run" else ""
            return BudgetReached(
                f"{flag}budget.max_units_{name} = {bound}: {taken} spent or reserved,"
                f" and {call.path} costs {call.units}",
                f"run again{_WHEN_AGAIN[name]} to continue where this run stopped, or raise the limit",
            )
    return BudgetReached(f"a limit of the budget is reached: {call.path} was not called")
