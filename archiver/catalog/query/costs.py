"""What API calls cost, summed up from the ledger.

The check of the balance is free and does not count as a call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    text,
)

from archiver.catalog import tables
from archiver.catalog.counters import OF_RUN
from archiver.catalog.ledger import units_of_run
from archiver.model.api_calls import Cost, CostsBy, RunCost
from archiver.model.values import replace

_calls, _runs, _users, _highlights = tables.api_calls, tables.runs, tables.users, tables.highlights
_UNKNOWN = and_(_calls.c.status.is_(None), _calls.c.units > 0)
_SUMS = (
    cast(func.coalesce(func.sum(_calls.c.units), 0), BigInteger).label("units"),
    func.count().label("calls"),
    func.count(case((_UNKNOWN, 1))).label("unknown_calls"),
    cast(func.coalesce(func.sum(case((_UNKNOWN, _calls.c.units))), 0), BigInteger).label("unknown_units"),
)
_RUN_COSTS = select(_runs, units_of_run.label("paid"))
_SUM_NAMES = ("units", "calls", "unknown_calls", "unknown_units")


def costs(
    connection: Connection,
    by: CostsBy,
    since: datetime | None = None,
    *,
    free_path: str,
    name_paths: Collection[str],
    run_id: int | None = None,
) -> tuple[Cost, ...]:
    """Return the costs since then: dates and runs in order, accounts and endpoints by cost, highest first.

    ``free_path``: the path of the checks of the balance, which are left out. ``name_paths``: the paths of the
    calls whose subject is a username. ``run_id``: only what this run paid.
    """
    conditions = [_calls.c.path != free_path]
    conditions += [] if since is None else [_calls.c.started_at >= since]
    conditions += [] if run_id is None else [_calls.c.run_id == run_id]
    if by is CostsBy.ACCOUNT:
        return tuple(_cost(row) for row in connection.execute(_by_account(conditions, name_paths)))
    key = {
        CostsBy.DAY: _date(connection, "YYYY-MM-DD"),
        CostsBy.MONTH: _date(connection, "YYYY-MM"),
        CostsBy.ENDPOINT: _calls.c.path,
        CostsBy.RUN: _calls.c.run_id,
    }[by].label("key")
    summed = select(key, *_SUMS).where(*conditions).group_by(key)
    in_order = summed.order_by(_SUMS[0].desc(), key) if by is CostsBy.ENDPOINT else summed.order_by(key)
    return tuple(_cost(row) for row in connection.execute(in_order))


def run_costs(
    connection: Connection, since: datetime | None = None, *, free_path: str
) -> tuple[RunCost, ...]:
    """Return every run since then that paid or checked the balance, with the units of all its calls.

    ``free_path``: as in ``costs``.
    """
    paid = or_(_runs.c.balance_before.is_not(None), units_of_run > 0)
    query = _RUN_COSTS.where(paid).order_by(_runs.c.id)
    if since is not None:
        query = query.where(_runs.c.started_at >= since)
    return tuple(_run_cost(connection, row, free_path) for row in connection.execute(query).all())


def run_cost(connection: Connection, run_id: int, *, free_path: str) -> RunCost:
    """Return one run; see ``run_costs``."""
    row = connection.execute(_RUN_COSTS.where(_runs.c.id == run_id)).one()
    return _run_cost(connection, row, free_path)


def units_by_period(connection: Connection) -> dict[str, int]:
    """Return the units of each month (``2026-11``) and day (``2026-11-27``) in UTC, in ascending order."""
    totals = tables.budget_totals
    query = select(totals.c.period, totals.c.units).where(totals.c.period < OF_RUN).order_by(totals.c.period)
    return {row.period: row.units for row in connection.execute(query)}


def last_paid_run(connection: Connection) -> int | None:
    """Return the id of the last run that paid; None if none has."""
    paid = select(_calls.c.run_id).where(_calls.c.units > 0).order_by(_calls.c.run_id.desc()).limit(1)
    run_id: int | None = connection.scalar(paid)
    return run_id


def spending(connection: Connection, since: datetime) -> tuple[tuple[datetime, int], ...]:
    """Return the start and the units of each ``run`` that began since then and has ended."""
    ended = _runs.c.command == "run", _runs.c.finished_at.is_not(None), _runs.c.started_at >= since
    rows = connection.execute(
        select(_runs.c.started_at, _runs.c.units).where(*ended).order_by(_runs.c.started_at)
    )
    return tuple((row.started_at, row.units) for row in rows)


def _by_account(conditions: Sequence[ColumnElement[bool]], name_paths: Collection[str]) -> Select[Any]:
    """Sum up each subject, then find its account.

    A highlight belongs to its owner, a name to the last account that had it.
    """
    is_by_name = _calls.c.path.in_(sorted(name_paths))
    subjects = (
        select(_calls.c.subject, is_by_name.label("is_by_name"), *_SUMS)
        .where(*conditions)
        .group_by(_calls.c.subject, text("is_by_name"))
        .subquery()
    )
    targets, names = tables.targets, tables.usernames
    bound = select(targets.c.user_pk).where(targets.c.text == subjects.c.subject).scalar_subquery()
    last_with_name = (
        select(names.c.user_pk)
        .where(names.c.username == subjects.c.subject)
        .order_by(names.c.last_seen_at.desc(), names.c.user_pk)
        .limit(1)
        .scalar_subquery()
    )
    owner = select(_highlights.c.user_pk).where(_highlights.c.pk == subjects.c.subject).scalar_subquery()
    itself = select(_users.c.pk).where(_users.c.pk == subjects.c.subject).scalar_subquery()
    account = case(
        (subjects.c.is_by_name, func.coalesce(bound, last_with_name)), else_=func.coalesce(itself, owner)
    )
    by_subject = select(account.label("user_pk"), *(subjects.c[name] for name in _SUM_NAMES)).subquery()
    sums = [cast(func.sum(by_subject.c[name]), BigInteger).label(name) for name in _SUM_NAMES]
    summed = select(by_subject.c.user_pk, *sums).group_by(by_subject.c.user_pk).subquery()
    key = func.coalesce(_users.c.username, summed.c.user_pk)
    return (
        select(key.label("key"), summed)
        .select_from(summed.outerjoin(_users, _users.c.pk == summed.c.user_pk))
        .order_by(summed.c.units.desc(), func.coalesce(summed.c.user_pk, ""))
    )


def _date(connection: Connection, form: str) -> ColumnElement[Any]:
    """Return the UTC day of a call, as ``YYYY-MM-DD``, or its month, as ``YYYY-MM``."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", _calls.c.started_at), form)
    return func.substr(_calls.c.started_at, 1, len(form))


def _run_cost(connection: Connection, row: Row[Any], free_path: str) -> RunCost:
    cost = RunCost(row.id, row.command, row.started_at, int(row.paid), row.balance_before, row.balance_after)
    if cost.mismatch is None or cost.mismatch >= 0:
        return cost
    of_run = _calls.c.run_id == cost.run_id
    first_stated = select(func.min(_calls.c.finished_at)).where(of_run, _calls.c.path == free_path)
    early = select(func.coalesce(func.sum(_calls.c.units), 0)).where(
        of_run, _calls.c.started_at <= first_stated.scalar_subquery()
    )
    return replace(cost, early_units=int(connection.execute(early).scalar_one()))


def _cost(row: Row[Any]) -> Cost:
    key = None if row.key is None else str(row.key)
    units, calls, unknown_calls, unknown_units = (int(row._mapping[name]) for name in _SUM_NAMES)
    return Cost(key, units, calls, unknown_calls, unknown_units, row._mapping.get("user_pk"))
