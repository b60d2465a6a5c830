"""The account of what is paid: a row for each attempt, reserved before it is made and settled after.

A row that never gets settled (the process was killed) keeps its nominal price: a lost answer counts as billed.
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
    update,
)

from archiver.catalog import tables
from archiver.catalog.upsert import insert
from archiver.errors import BudgetReached
from archiver.model.billing import AnswerLocation, BudgetLeft, Call, Limits
from archiver.model.upstream import TrayFacts

_calls, _answers = tables.api_calls, tables.answers
_SUM = select(func.coalesce(func.sum(_calls.c.units), 0))
_BY_LIMIT: dict[str, Select[tuple[int]]] = {
    "per_run": _SUM.where(_calls.c.run_id == bindparam("run_id")),
    "per_day": _SUM.where(_calls.c.started_at >= bindparam("day", type_=_calls.c.started_at.type)),
    "per_month": _SUM.where(_calls.c.started_at >= bindparam("month", type_=_calls.c.started_at.type)),
}
_LATER = {"per_run": "", "per_day": " on another day (UTC)", "per_month": " in another month (UTC)"}
_LOCK = text("LOCK TABLE api_calls IN SHARE ROW EXCLUSIVE MODE")


def reserve(
    connection: Connection, run_id: int, call: Call, now: datetime, limits: Limits, kept_back: int = 0
) -> int:
    """Reserve the nominal units of a call that is about to be made; returns the id of its row. One statement checks and writes.

    ``kept_back``: units that this run has promised to other calls. Raises BudgetReached, with the name of the limit, if the call would
    pass one; days and months are those of UTC.
    """
    bounds = {name: bound for name in _BY_LIMIT if (bound := getattr(limits, name)) is not None}
    if bounds and connection.dialect.name == "postgresql":
        connection.execute(_LOCK)  # a sum does not see what another worker has reserved and not committed
    given = _moments(run_id, now)
    row = {"path": call.path, "subject": call.subject, "units": call.units, "now": now}
    promised = {name: bound - kept_back for name, bound in bounds.items()}
    reserved = connection.scalar(_reserving(tuple(bounds)), {**given, **row, **promised})
    if reserved is None:
        raise _reached(connection, call, given, bounds, kept_back)
    return int(reserved)


def settle(
    connection: Connection,
    api_call_id: int,
    status: int | None,
    units: int,
    now: datetime,
    kept: AnswerLocation | None = None,
    facts: TrayFacts | None = None,
) -> int | None:
    """Note how a call ended: its HTTP status (None: no answer) and what it cost. Returns the id of the answer, if one is kept.

    ``facts`` are the tray's facts under which it was asked.
    """
    connection.execute(
        update(_calls).where(_calls.c.id == api_call_id).values(status=status, units=units, finished_at=now)
    )
    return None if kept is None else keep(connection, api_call_id, kept, facts or TrayFacts())


def keep(connection: Connection, api_call_id: int, kept: AnswerLocation, facts: TrayFacts) -> int:
    """Note where the answer to a call is kept, and the tray's facts under which it was asked; returns the id of its row."""
    where = {"sha256": kept.sha256, "segment": kept.segment, "offset": kept.offset, "length": kept.length}
    told = {"latest_reel_media": facts.latest_reel_media, "media_count": facts.media_count}
    row = insert(connection, _answers).values(api_call_id=api_call_id, **where, **told)
    again = row.on_conflict_do_update(index_elements=["api_call_id"], set_={**where, **told})
    return int(connection.execute(again.returning(_answers.c.id)).scalar_one())


def left(connection: Connection, run_id: int, now: datetime, limits: Limits) -> int | None:
    """The units that may still be spent under these limits, never less than 0; None without any limit."""
    room = tightest(connection, run_id, now, limits)
    return room.left if room is not None else None


def tightest(connection: Connection, run_id: int, now: datetime, limits: Limits) -> BudgetLeft | None:
    """Return the limit that leaves the fewest units; None without any. ``run_id``: a run, or 0 for one that
    is yet to begin."""
    given = _moments(run_id, now)
    rooms = [
        BudgetLeft(name, bound, max(0, bound - int(connection.scalar(_BY_LIMIT[name], given) or 0)))
        for name in _BY_LIMIT
        if (bound := getattr(limits, name)) is not None
    ]
    return min(rooms, key=lambda room: room.left, default=None)


def spent(connection: Connection, run_id: int) -> int:
    """The units of a run so far: settled ones, and the nominal price of those that are not."""
    return int(connection.scalar(_BY_LIMIT["per_run"], {"run_id": run_id}) or 0)


@cache
def _reserving(limits: tuple[str, ...]) -> Insert:
    """The statement that reserves under these limits: one, so that no other reserve comes between the check and the row."""
    price = bindparam("units", type_=_calls.c.units.type)
    fits: list[ColumnElement[bool]] = [
        _BY_LIMIT[name].scalar_subquery() + price <= bindparam(name, type_=_calls.c.units.type)
        for name in limits
    ]
    values = {
        "run_id": bindparam("run_id", type_=_calls.c.run_id.type),
        "path": bindparam("path", type_=_calls.c.path.type),
        "subject": bindparam("subject", type_=_calls.c.subject.type),
        "units": price,
        "started_at": bindparam("now", type_=_calls.c.started_at.type),
    }
    row = select(*values.values()).where(and_(true(), *fits))
    return _calls.insert().from_select(list(values), row).returning(_calls.c.id)


def _moments(run_id: int, now: datetime) -> dict[str, object]:
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"run_id": run_id, "day": day, "month": day.replace(day=1)}


def _reached(
    connection: Connection, call: Call, given: dict[str, object], bounds: dict[str, int], kept_back: int
) -> BudgetReached:
    for name, bound in bounds.items():
        already = int(connection.scalar(_BY_LIMIT[name], given) or 0)
        if already + kept_back + call.units > bound:
            flag = "--max-units or " if name == "per_run" else ""
            taken = f"{already + kept_back} are spent or promised"
            return BudgetReached(
                f"{flag}budget.max_units_{name} = {bound}: {taken}, and {call.path} costs {call.units}",
                f"the next run{_LATER[name]} goes on where this one stopped; or raise the limit",
            )
    return BudgetReached(f"a limit of the budget is reached; {call.path} was not asked")
