"""The archive in numbers, the hosts that are refused, and checks for damage of the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, text

from archiver.catalog.column_types import UtcTime, time_text, to_struct
from archiver.catalog.counters import OF_RUN
from archiver.errors import Reason
from archiver.model.identity import Role, Subject, utcnow
from archiver.model.run_status import AccountNumbers, LatestRecords, MissingTarget, Run, Status

# In SQL: to declare the tables takes a twentieth of the time of ``archiver status``, and to compile the
# statements as much again. The row of a run that has ended contains the sum of its calls.
_NUMBERS = text("""
SELECT
  (SELECT count(*) FROM users) AS accounts,
  (SELECT count(*) FROM highlights) AS highlights,
  (SELECT sum(items) FROM monthly_totals) AS items,
  (SELECT sum(files) FROM monthly_totals) AS files,
  (SELECT sum(blobs) FROM monthly_totals) AS blobs,
  (SELECT sum(bytes) FROM monthly_totals) AS bytes,
  (SELECT count(*) FROM blobs WHERE lost_at IS NOT NULL) AS lost,
  (SELECT count(*) FROM failures WHERE resolved_at IS NULL) AS open_failures,
  (SELECT sum(units) FROM runs WHERE outcome IS NOT NULL) AS units_of_ended_runs,
  (SELECT sum(t.units) FROM budget_totals t JOIN runs r ON t.period = :of_run || CAST(r.id AS TEXT)
    WHERE r.outcome IS NULL) AS units_of_open_runs,
  (SELECT units FROM budget_totals WHERE period = :month) AS units_this_month,
  (SELECT count(*) FROM adopted WHERE role <> 'metadata') AS waiting
""")
_LAST_SUCCESS = text("""
SELECT finished_at FROM runs
WHERE exit_code = 0 AND command IN ('run', 'backup', 'demo') ORDER BY id DESC LIMIT 1
""").columns(finished_at=UtcTime)
_LAST_RUNS = text("""
SELECT id, command, started_at, finished_at, outcome, exit_code,
  CASE WHEN outcome IS NOT NULL THEN units
    ELSE coalesce((SELECT t.units FROM budget_totals t WHERE t.period = :of_run || CAST(runs.id AS TEXT)), 0)
  END AS units
FROM runs ORDER BY id DESC LIMIT 5
""").columns(started_at=UtcTime, finished_at=UtcTime)
_LATEST = text("""
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
""").columns(started_at=UtcTime, finished_at=UtcTime, verified_at=UtcTime)
_BY_ACCOUNT = text("""
SELECT pk, username, listed_at, (SELECT count(*) FROM items WHERE items.user_pk = users.pk) AS items
FROM users ORDER BY pk
""").columns(listed_at=UtcTime)
_REFUSED_HOSTS = text("""
SELECT host, count(*) AS files FROM failures
WHERE reason = :reason AND resolved_at IS NULL AND role IN :roles AND host IS NOT NULL
  AND (subject <> :item OR EXISTS (
    SELECT 1 FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
    WHERE m.item_pk = failures.subject_pk AND m.gone_at IS NULL AND h.gone_at IS NULL
  ))
GROUP BY host ORDER BY files DESC, host
""").bindparams(
    bindparam("reason", Reason.HOST_NOT_ALLOWED),
    bindparam("item", Subject.ITEM),
    bindparam("roles", expanding=True),
)

# A highlight that was asked for and never existed has no row; a target with a row did exist.
_MISSING_TARGETS = text("""
SELECT f.subject_pk, f.first_at FROM failures f
WHERE f.resolved_at IS NULL AND f.role IS NULL
  AND (f.subject = :target AND f.reason = :gone
    OR f.subject = :highlight AND f.reason = :not_found
      AND NOT EXISTS (SELECT 1 FROM highlights h WHERE h.pk = f.subject_pk))
ORDER BY f.first_at, f.subject_pk
""").columns(first_at=UtcTime)


def status(connection: Connection, now: datetime | None = None) -> Status:
    """Return the numbers of the archive; triggers of the database maintain most of them.

    ``now`` decides which month (of UTC) this is. A success is a ``run``, ``backup`` or ``demo`` with exit
    code 0.
    """
    row = connection.execute(_NUMBERS, {"of_run": OF_RUN, "month": time_text(now or utcnow())[:7]}).one()
    return Status(
        accounts=row.accounts,
        highlights=row.highlights,
        items=int(row.items or 0),
        files=int(row.files or 0),
        blobs=int(row.blobs or 0),
        bytes=int(row.bytes or 0),
        lost=row.lost,
        open_failures=row.open_failures,
        units=int(row.units_of_ended_runs or 0) + int(row.units_of_open_runs or 0),
        units_this_month=row.units_this_month or 0,
        last_runs=tuple(to_struct(Run, run) for run in connection.execute(_LAST_RUNS, {"of_run": OF_RUN})),
        last_success_at=connection.scalar(_LAST_SUCCESS),
        waiting=row.waiting,
    )


def latest_records(connection: Connection) -> LatestRecords:
    """Return what was last recorded of runs, of the balance, and of the bytes that were verified."""
    return to_struct(LatestRecords, connection.execute(_LATEST).one())


def accounts_in_numbers(connection: Connection) -> tuple[AccountNumbers, ...]:
    """Return each account in numbers, by ascending pk."""
    return tuple(to_struct(AccountNumbers, row) for row in connection.execute(_BY_ACCOUNT))


def refused_hosts(connection: Connection, roles: Collection[Role]) -> tuple[tuple[str, int], ...]:
    """Return the hosts of refused files of these roles that are still offered, with counts, highest first."""
    rows = connection.execute(_REFUSED_HOSTS, {"roles": list(roles)})
    return tuple((row.host, row.files) for row in rows)


def missing_targets(connection: Connection) -> tuple[MissingTarget, ...]:
    """Return the targets that do not exist and are asked for again, the earliest first."""
    values = {
        "target": Subject.TARGET,
        "gone": Reason.GONE,
        "highlight": Subject.HIGHLIGHT,
        "not_found": Reason.NOT_FOUND,
    }
    return tuple(to_struct(MissingTarget, row) for row in connection.execute(_MISSING_TARGETS, values))


def damage(connection: Connection) -> tuple[str, ...]:
    """Return what SQLite finds wrong with its file: damaged pages, and rows that refer to missing rows.

    () for PostgreSQL, which checks its files itself (data checksums).
    """
    if connection.dialect.name != "sqlite":
        return ()
    # Else SQLite 3.46 takes an index that another connection has made again for a malformed one.
    connection.exec_driver_sql("SELECT rowid FROM search_index LIMIT 1").all()
    pages = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check")]
    keys = [
        f"a row of {row[0]} refers to a missing row"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]
    return tuple([line for line in pages if line != "ok"] + keys)
