"""What API calls cost, summed up from the ledger.

The check of the balance is free and does not count as a call.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from archiver.catalog.counters import OF_RUN, UNITS_OF_RUN
from archiver.catalog.sql import Query
from archiver.model.api_calls import Cost, CostsBy, RunCost
from archiver.model.values import replace

_PAID = """
    path <> :free_path
    AND started_at >= :since -- if since
    AND run_id = :run -- if run
"""
_SUMS = """
    CAST(coalesce(sum(units), 0) AS BIGINT) AS units, count(*) AS calls,
    count(CASE WHEN status IS NULL AND units > 0 THEN 1 END) AS unknown_calls,
    CAST(coalesce(sum(CASE WHEN status IS NULL AND units > 0 THEN units END), 0) AS BIGINT) AS unknown_units
"""


def _costs_by(key: str | dict[str, str], order: str = "key") -> Query[Cost]:
    def sql(key: str) -> str:
        return f"""
            SELECT {key} AS key, {_SUMS} FROM api_calls WHERE {_PAID} GROUP BY {key} ORDER BY {order}
        """

    texts = sql(key) if isinstance(key, str) else {name: sql(text) for name, text in key.items()}
    return Query(texts, lambda key, *sums: Cost(str(key), *sums))


def _utc_date(form: str) -> dict[str, str]:
    """Return the UTC day of a call, as ``YYYY-MM-DD``, or its month, as ``YYYY-MM``, on each database."""
    return {
        "sqlite": f"substr(started_at, 1, {len(form)})",
        "postgresql": f"to_char(timezone('UTC', started_at), '{form}')",
    }


# Each subject is summed up first: to find the account of each call, as the view ``paid_calls`` does, takes
# three times as long. A highlight belongs to its owner, a name to the last account that had it.
_BY_ACCOUNT = Query(
    f"""
    SELECT coalesce(username, user_pk) AS key, units, calls, unknown_calls, unknown_units, user_pk
    FROM (
        SELECT user_pk, CAST(sum(units) AS BIGINT) AS units, CAST(sum(calls) AS BIGINT) AS calls,
            CAST(sum(unknown_calls) AS BIGINT) AS unknown_calls,
            CAST(sum(unknown_units) AS BIGINT) AS unknown_units
        FROM (
            SELECT units, calls, unknown_calls, unknown_units,
                CASE WHEN is_by_name THEN coalesce(
                    (SELECT user_pk FROM targets WHERE text = subject),
                    (SELECT user_pk FROM usernames WHERE username = subject
                        ORDER BY last_seen_at DESC, user_pk LIMIT 1)
                ) ELSE coalesce(
                    (SELECT pk FROM users WHERE pk = subject),
                    (SELECT user_pk FROM highlights WHERE pk = subject)
                ) END AS user_pk
            FROM (
                SELECT subject, path IN :name_paths AS is_by_name, {_SUMS}
                FROM api_calls WHERE {_PAID} GROUP BY subject, is_by_name
            ) AS by_subject
        ) AS of_accounts
        GROUP BY user_pk
    ) AS summed
    LEFT JOIN users ON users.pk = user_pk
    ORDER BY units DESC, coalesce(user_pk, '')
    """,
    Cost,
)
_COSTS = {
    CostsBy.DAY: _costs_by(_utc_date("YYYY-MM-DD")),
    CostsBy.MONTH: _costs_by(_utc_date("YYYY-MM")),
    CostsBy.ENDPOINT: _costs_by("path", "units DESC, key"),
    CostsBy.RUN: _costs_by("run_id"),
}
_RUN_COSTS = Query(
    f"""
    SELECT id AS run_id, command, started_at, {UNITS_OF_RUN} AS units, balance_before, balance_after,
        0 AS early_units
    FROM runs WHERE true
        AND id = :run -- if run
        AND (balance_before IS NOT NULL OR {UNITS_OF_RUN} > 0) -- if not run
        AND started_at >= :since -- if since
    ORDER BY id
    """,
    RunCost,
)
_EARLY_UNITS = Query(
    """
    SELECT CAST(coalesce(sum(units), 0) AS BIGINT) FROM api_calls
    WHERE run_id = :run AND started_at <= (
        SELECT min(finished_at) FROM api_calls WHERE run_id = :run AND path = :free_path
    )
    """,
    int,
)
_UNITS_BY_PERIOD = Query(
    "SELECT period, units FROM budget_totals WHERE period < :of_run ORDER BY period",
    lambda period, units: (period, units),
)
_LAST_PAID_RUN = Query("SELECT run_id FROM api_calls WHERE units > 0 ORDER BY run_id DESC LIMIT 1", int)
_SPENDING = Query(
    """
    SELECT started_at, units FROM runs
    WHERE command = 'run' AND finished_at IS NOT NULL AND started_at >= :since ORDER BY started_at
    """,
    lambda started_at, units: (started_at, units),
)


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
    paid = {"free_path": free_path, "since": since, "run": run_id}
    if by is CostsBy.ACCOUNT:
        return tuple(_BY_ACCOUNT.all(connection, name_paths=name_paths, **paid))
    return tuple(_COSTS[by].all(connection, **paid))


def run_costs(
    connection: Connection, since: datetime | None = None, *, free_path: str
) -> tuple[RunCost, ...]:
    """Return every run since then that paid or checked the balance, with the units of all its calls.

    ``free_path``: as in ``costs``.
    """
    found = _RUN_COSTS.all(connection, run=None, since=since)
    return tuple(_with_early_units(connection, cost, free_path) for cost in found)


def run_cost(connection: Connection, run_id: int, *, free_path: str) -> RunCost:
    """Return one run; see ``run_costs``."""
    return _with_early_units(connection, _RUN_COSTS.one(connection, run=run_id, since=None), free_path)


def units_by_period(connection: Connection) -> dict[str, int]:
    """Return the units of each month (``2026-11``) and day (``2026-11-27``) in UTC, in ascending order."""
    return dict(_UNITS_BY_PERIOD.all(connection, of_run=OF_RUN))


def last_paid_run(connection: Connection) -> int | None:
    """Return the id of the last run that paid; None if none has."""
    return _LAST_PAID_RUN.first(connection)


def spending(connection: Connection, since: datetime) -> tuple[tuple[datetime, int], ...]:
    """Return the start and the units of each ``run`` that began since then and has ended."""
    return tuple(_SPENDING.all(connection, since=since))


def _with_early_units(connection: Connection, cost: RunCost, free_path: str) -> RunCost:
    if cost.mismatch is None or cost.mismatch >= 0:
        return cost
    return replace(cost, early_units=_EARLY_UNITS.one(connection, run=cost.run_id, free_path=free_path))
