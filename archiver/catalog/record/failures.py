"""What failed: at most one open row for each (subject, subject_pk, role), with the date of its next try."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.query.account_state import open_failure
from archiver.catalog.statements import update_row
from archiver.errors import NOT_RETRIED
from archiver.model.archived import Failure, Owner
from archiver.model.identity import Role, Subject

_failures, _highlights = tables.failures, tables.highlights
_INSERT = _failures.insert()
_RESOLVE = (
    update(_failures)
    .where(
        _failures.c.subject == bindparam("of_subject"),
        _failures.c.subject_pk == bindparam("of_pk"),
        _failures.c.resolved_at.is_(None),
    )
    .values(resolved_at=bindparam("now"))
)
_RESOLVE_ROLE = _RESOLVE.where(_failures.c.role == bindparam("in_role"))
_RESOLVE_WHOLE = _RESOLVE.where(_failures.c.role.is_(None))


def record_failure(connection: Connection, failure: Failure, now: datetime, *, is_gap: bool = False) -> int:
    """Record a failure; return how many times in a row it has failed now.

    It gets a date for the next try, unless waiting does not help (``NOT_RETRIED``) or the caller makes it a
    gap (``is_gap``).
    """
    before = open_failure(connection, failure.subject, failure.subject_pk, failure.role)
    attempts = 1 if before is None else before.attempts + 1
    values = {
        "reason": failure.reason,
        "detail": failure.detail,
        "attempts": attempts,
        "last_at": now,
        "next_try_at": None if is_gap or failure.reason in NOT_RETRIED else retry.next_try(attempts, now),
        "host": failure.host,
        "size": failure.size,
    }
    if before is None:
        key = {"subject": failure.subject, "subject_pk": failure.subject_pk, "role": failure.role}
        connection.execute(_INSERT, {**key, **values, "first_at": now})
    else:
        update_row(connection, _failures, before.id, values)
    return attempts


def resolution(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None, now: datetime
) -> None:
    """Record that an attempt succeeded: the open failure is resolved, if there is one."""
    parameters = {"of_subject": subject, "of_pk": subject_pk, "now": now}
    if role is None:
        connection.execute(_RESOLVE_WHOLE, parameters)
    else:
        connection.execute(_RESOLVE_ROLE, {**parameters, "in_role": role})


def drop_targets(connection: Connection, wanted: Iterable[str], now: datetime) -> None:
    """Resolve the open failures of targets other than those ``wanted`` (``Target.key``).

    Their entries in the configuration were corrected or removed. A highlight without a row was a target.
    """
    is_stored = select(_highlights.c.pk).where(_highlights.c.pk == _failures.c.subject_pk).exists()
    is_target = or_(
        _failures.c.subject == Subject.TARGET, and_(_failures.c.subject == Subject.HIGHLIGHT, ~is_stored)
    )
    is_open = _failures.c.resolved_at.is_(None)
    keys = set(wanted)
    query = select(_failures.c.subject, _failures.c.subject_pk, _failures.c.role).where(is_open, is_target)
    for row in connection.execute(query).all():
        if row.subject_pk not in keys:
            resolution(connection, row.subject, row.subject_pk, row.role, now)


def resolve_files(connection: Connection, files: Iterable[tuple[Owner, Role, datetime]]) -> None:
    """Record that files are no longer missing since a time: the open failure of each is resolved, if any."""
    rows = [
        {"of_subject": owner.subject, "of_pk": owner.pk, "in_role": role, "now": at}
        for owner, role, at in files
    ]
    if rows:
        connection.execute(_RESOLVE_ROLE, rows)
