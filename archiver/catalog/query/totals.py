"""The archive and its accounts in numbers, what calls of the API cost, and the end of the journal.

The check of the balance is free and does not count as a call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.column_types import time_text
from archiver.catalog.counters import OF_RUN, UNITS_OF_RUN
from archiver.catalog.dialects import dialect_of
from archiver.catalog.sql import Query
from archiver.errors import Reason
from archiver.model.api_calls import Cost, CostsBy, RunCost
from archiver.model.identity import Pk, Role, Subject, utcnow
from archiver.model.journal_entries import JournalHead
from archiver.model.run_status import AccountNumbers, LatestRecords, MissingTarget, Run, Status
from archiver.model.values import replace

# Triggers maintain the counters that are read here. The row of a run that has ended contains the sum of its
# calls.
_NUMBERS = Query(
    """
    SELECT
        (SELECT count(*) FROM users),
        (SELECT count(*) FROM highlights),
        (SELECT CAST(coalesce(sum(items), 0) AS BIGINT) FROM monthly_totals),
        (SELECT CAST(coalesce(sum(files), 0) AS BIGINT) FROM monthly_totals),
        (SELECT CAST(coalesce(sum(blobs), 0) AS BIGINT) FROM monthly_totals),
        (SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM monthly_totals),
        (SELECT count(*) FROM blobs WHERE lost_at IS NOT NULL),
        (SELECT count(*) FROM failures WHERE resolved_at IS NULL),
        (SELECT CAST(coalesce(sum(units), 0) AS BIGINT) FROM runs WHERE outcome IS NOT NULL) + (
            SELECT CAST(coalesce(sum(t.units), 0) AS BIGINT) FROM budget_totals t
            JOIN runs r ON t.period = :of_run || CAST(r.id AS TEXT) WHERE r.outcome IS NULL
        ),
        coalesce((SELECT units FROM budget_totals WHERE period = :month), 0),
        (SELECT count(*) FROM adopted WHERE role <> 'metadata')
    """,
    lambda *numbers: numbers,
)
_HEAD = Query("SELECT seq, hash, file, length, snapshot_bytes, entry_bytes FROM journal_head", JournalHead)
_status: Callable[..., Status] = Status
_LAST_SUCCESS = Query(
    """
    SELECT finished_at FROM runs
    WHERE exit_code = 0 AND command IN ('run', 'backup', 'demo') ORDER BY id DESC LIMIT 1
    """,
    lambda finished_at: finished_at,
)
_LAST_RUNS = Query(
    f"""
    SELECT id, command, started_at, finished_at, outcome, exit_code,
        CASE WHEN outcome IS NOT NULL THEN units ELSE {UNITS_OF_RUN} END AS units
    FROM runs ORDER BY id DESC LIMIT 5
    """,
    Run,
)
_LATEST = Query(
    """
    SELECT
        (SELECT started_at FROM runs WHERE command IN ('run', 'backup', 'demo') ORDER BY id DESC LIMIT 1)
            AS started_at,
        (SELECT finished_at FROM runs WHERE command IN ('run', 'backup', 'demo') AND finished_at IS NOT NULL
            ORDER BY id DESC LIMIT 1) AS finished_at,
        (SELECT exit_code FROM runs WHERE command IN ('run', 'backup', 'demo') AND finished_at IS NOT NULL
            ORDER BY id DESC LIMIT 1) AS exit_code,
        (SELECT coalesce(balance_after, balance_before) FROM runs
            WHERE coalesce(balance_after, balance_before) IS NOT NULL ORDER BY id DESC LIMIT 1) AS balance,
        (SELECT max(verified_at) FROM blobs) AS verified_at
    """,
    LatestRecords,
)
_ACCOUNT_NUMBERS = Query(
    """
    SELECT pk, username, listed_at, (SELECT count(*) FROM items WHERE items.user_pk = users.pk) AS items
    FROM users ORDER BY pk
    """,
    AccountNumbers,
)
_REFUSED_HOSTS = Query(
    """
    SELECT host, count(*) AS files FROM failures
    WHERE reason = 'host_not_allowed' AND resolved_at IS NULL AND role IN :roles AND host IS NOT NULL
        AND (subject <> 'item' OR EXISTS (
            SELECT 1 FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
            WHERE m.item_pk = failures.subject_pk AND m.gone_at IS NULL AND h.gone_at IS NULL
        ))
    GROUP BY host ORDER BY files DESC, host
    """,
    lambda host, files: (host, files),
)
# A highlight that was asked for and never existed has no row; a target with a row did exist.
_MISSING_TARGETS = Query(
    """
    SELECT f.subject_pk, f.first_at FROM failures f
    WHERE f.resolved_at IS NULL AND f.role IS NULL AND (
        f.subject = 'target' AND f.reason = 'gone'
        OR f.subject = 'highlight' AND f.reason = 'not_found'
            AND NOT EXISTS (SELECT 1 FROM highlights h WHERE h.pk = f.subject_pk)
    )
    ORDER BY f.first_at, f.subject_pk
    """,
    lambda target, first_at: MissingTarget(target, first_at),
)


def status(connection: Connection, now: datetime | None = None) -> Status:
    """Return the numbers of the archive; triggers of the database maintain most of them.

    ``now`` decides which month (of UTC) this is. A success is a ``run``, ``backup`` or ``demo`` with exit
    code 0.
    """
    month = time_text(now or utcnow())[:7]
    *numbers, waiting = _NUMBERS.one(connection, of_run=OF_RUN, month=month)
    return _status(
        *numbers,
        last_runs=tuple(_LAST_RUNS.all(connection)),
        last_success_at=_LAST_SUCCESS.first(connection),
        waiting=waiting,
    )


def latest_records(connection: Connection) -> LatestRecords:
    """Return what was last recorded of runs, of the balance, and of the bytes that were verified."""
    return _LATEST.one(connection)


def accounts_in_numbers(connection: Connection) -> tuple[AccountNumbers, ...]:
    """Return each account in numbers, by ascending pk."""
    return tuple(_ACCOUNT_NUMBERS.all(connection))


def refused_hosts(connection: Connection, roles: Collection[Role]) -> tuple[tuple[str, int], ...]:
    """Return the hosts of refused files of these roles that are still offered, with counts, highest first."""
    return tuple(_REFUSED_HOSTS.all(connection, roles=roles))


def missing_targets(connection: Connection) -> tuple[MissingTarget, ...]:
    """Return the targets that do not exist and are asked for again, the earliest first."""
    return tuple(_MISSING_TARGETS.all(connection))


def damage(connection: Connection) -> tuple[str, ...]:
    """Return what SQLite finds wrong with its file; () for PostgreSQL."""
    return dialect_of(connection).find_damage(connection)


def read_head(connection: Connection) -> JournalHead | None:
    """Return where the journal ends; None if it has not begun. Raises ValueError for values of no journal."""
    return _HEAD.first(connection)


class AccountTotals(Struct, frozen=True):
    """A stored account. ``looked_at``: when an answer last said what it shows. Lost files do not count."""

    pk: Pk
    username: str | None
    is_private: bool
    is_gone: bool
    looked_at: datetime | None
    highlights: int
    items: int
    bytes: int


class FailedTarget(Struct, frozen=True):
    """An open failure of an account's name or of a single highlight."""

    reason: Reason
    at: datetime


class SingleHighlight(Struct, frozen=True):
    """A highlight that is followed by itself. ``looked_at``: when it was last listed or fetched."""

    user_pk: Pk
    looked_at: datetime | None
    is_gone: bool


_ACCOUNTS = Query(
    """
    SELECT a.user_pk, a.username, a.is_private, a.verdict, a.gone_at, a.listed_at, u.verdict_at,
        a.highlights, a.items, CAST(coalesce(a.bytes, 0) AS BIGINT) AS bytes
    FROM accounts a JOIN users u ON u.pk = a.user_pk
    ORDER BY lower(a.username), a.user_pk
    """,
    lambda pk, username, is_private, verdict, gone_at, listed_at, verdict_at, *sums: AccountTotals(
        pk,
        username,
        bool(is_private) or verdict == Reason.PRIVATE,
        gone_at is not None or verdict == Reason.GONE,
        max(filter(None, (listed_at, verdict_at)), default=None),
        *sums,
    ),
)
_FAILED_TARGETS = Query(
    """
    SELECT subject, subject_pk, reason, last_at FROM failures
    WHERE subject IN ('target', 'highlight') AND role IS NULL AND resolved_at IS NULL
    """,
    lambda subject, pk, reason, last_at: ((Subject(subject), pk), FailedTarget(Reason(reason), last_at)),
)
_SINGLE_HIGHLIGHT = Query(
    "SELECT user_pk, listed_at, fetched_at, gone_at IS NOT NULL AS is_gone FROM highlights WHERE pk = :pk",
    lambda user_pk, listed_at, fetched_at, is_gone: SingleHighlight(
        user_pk, max(filter(None, (listed_at, fetched_at)), default=None), is_gone
    ),
)


def account_totals(connection: Connection) -> tuple[AccountTotals, ...]:
    """Return every account, by name."""
    return tuple(_ACCOUNTS.all(connection))


def failed_targets(connection: Connection) -> dict[tuple[Subject, str], FailedTarget]:
    """Return the open failures of names and of highlights' pages."""
    return dict(_FAILED_TARGETS.all(connection))


def single_highlight(connection: Connection, pk: Pk) -> SingleHighlight | None:
    """Return whose this highlight is, and when it was last seen; None if it is not stored."""
    return _SINGLE_HIGHLIGHT.first(connection, pk=pk)


# --- what calls cost

CALL_IS_BY_NAME = "path LIKE '%/username'"
"""SQL: the subject of a call is a username. All others are the pk of an account or of a highlight."""

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
                SELECT subject, {CALL_IS_BY_NAME} AS is_by_name, {_SUMS}
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
    CostsBy.ACCOUNT: _BY_ACCOUNT,
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
    run_id: int | None = None,
) -> tuple[Cost, ...]:
    """Return the costs since then: dates and runs in order, accounts and endpoints by cost, highest first.

    ``free_path``: the path of the checks of the balance, which are left out. ``run_id``: only what this run
    paid.
    """
    return tuple(_COSTS[by].all(connection, free_path=free_path, since=since, run=run_id))


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
