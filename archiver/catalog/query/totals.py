"""The archive and its accounts in numbers, targets that failed, refused hosts, and damage of the database."""

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
from archiver.model.identity import Pk, Role, Subject, utcnow
from archiver.model.run_status import AccountNumbers, LatestRecords, MissingTarget, Run, Status

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
_BY_ACCOUNT = Query(
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
    return tuple(_BY_ACCOUNT.all(connection))


def refused_hosts(connection: Connection, roles: Collection[Role]) -> tuple[tuple[str, int], ...]:
    """Return the hosts of refused files of these roles that are still offered, with counts, highest first."""
    return tuple(_REFUSED_HOSTS.all(connection, roles=roles))


def missing_targets(connection: Connection) -> tuple[MissingTarget, ...]:
    """Return the targets that do not exist and are asked for again, the earliest first."""
    return tuple(_MISSING_TARGETS.all(connection))


def damage(connection: Connection) -> tuple[str, ...]:
    """Return what SQLite finds wrong with its file; () for PostgreSQL."""
    return dialect_of(connection).find_damage(connection)


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
