"""The archive in numbers, the hosts that are refused, and checks for damage of the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, Table, exists, func, or_, select

from archiver.catalog import ledger, tables
from archiver.catalog.query import adoptions
from archiver.errors import Reason
from archiver.model.identity import Role, Subject, utcnow
from archiver.model.run_status import Run, Status

_runs, _blobs, _failures = tables.runs, tables.blobs, tables.failures
_months = tables.monthly_totals

_LAST_RUNS = 5
_COMPLETE = ("run", "backup", "demo")
# The row of a run that has ended contains the sum of its calls.
_ENDED = select(func.coalesce(func.sum(_runs.c.units), 0)).where(_runs.c.outcome.is_not(None))
_OPEN = select(func.coalesce(func.sum(ledger.units_of_run), 0)).where(_runs.c.outcome.is_(None))
_members, _highlights = tables.highlight_items, tables.highlights
_SHOWN = exists().where(
    _members.c.item_pk == _failures.c.subject_pk,
    _members.c.gone_at.is_(None),
    _highlights.c.pk == _members.c.highlight_pk,
    _highlights.c.gone_at.is_(None),
)
_FILES = func.count().label("files")
_REFUSED_HOSTS = (
    select(_failures.c.host, _FILES)
    .where(_failures.c.reason == Reason.HOST_NOT_ALLOWED, _failures.c.resolved_at.is_(None))
    .where(or_(_failures.c.subject != Subject.ITEM, _SHOWN))
    .group_by(_failures.c.host)
    .order_by(_FILES.desc(), _failures.c.host)
)
_COUNTED = select(
    *(func.coalesce(func.sum(_months.c[name]), 0) for name in ("items", "files", "blobs", "bytes"))
)


def status(connection: Connection, now: datetime | None = None) -> Status:
    """Return the numbers of the archive; triggers of the database maintain most of them.

    ``now`` decides which month (of UTC) this is. A success is a ``run``, ``backup`` or ``demo`` with exit
    code 0.
    """
    items, files, blobs, size = connection.execute(_COUNTED).one()
    lost = select(func.count()).select_from(_blobs).where(_blobs.c.lost_at.is_not(None))
    success = select(func.max(_runs.c.finished_at)).where(
        _runs.c.exit_code == 0, _runs.c.command.in_(_COMPLETE)
    )
    return Status(
        accounts=_count(connection, tables.users),
        highlights=_count(connection, tables.highlights),
        items=int(items),
        files=int(files),
        blobs=int(blobs),
        bytes=int(size),
        lost=connection.scalar(lost) or 0,
        open_failures=connection.scalar(
            select(func.count()).select_from(_failures).where(_failures.c.resolved_at.is_(None))
        )
        or 0,
        units=int(connection.scalar(_ENDED) or 0) + int(connection.scalar(_OPEN) or 0),
        units_this_month=ledger.units_spent_in_month(connection, now or utcnow()),
        last_runs=_last_runs(connection),
        last_success_at=connection.scalar(success),
        waiting=adoptions.count_waiting(connection),
    )


def refused_hosts(connection: Connection, roles: Collection[Role]) -> tuple[tuple[str, int], ...]:
    """Return the hosts of refused files of these roles that are still offered, with counts, highest first."""
    rows = connection.execute(_REFUSED_HOSTS.where(_failures.c.role.in_(list(roles))))
    return tuple((row.host, row.files) for row in rows if row.host is not None)


def damage(connection: Connection) -> tuple[str, ...]:
    """Return what SQLite finds wrong with its file: damaged pages, and rows that refer to missing rows.

    () for PostgreSQL, which checks its files itself (data checksums).
    """
    if connection.dialect.name != "sqlite":
        return ()
    pages = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check")]
    keys = [
        f"a row of {row[0]} refers to a missing row"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]
    return tuple([line for line in pages if line != "ok"] + keys)


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _last_runs(connection: Connection) -> tuple[Run, ...]:
    rows = connection.execute(select(_runs).order_by(_runs.c.id.desc()).limit(_LAST_RUNS))
    return tuple(
        Run(row.id, row.command, row.started_at, row.finished_at, row.outcome, row.exit_code, row.units)
        for row in rows
    )
