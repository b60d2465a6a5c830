"""What failed: at most one open row for each (subject, subject_pk, role), with the date of its next try."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from archiver import retry
from archiver.catalog.query.account_state import open_failure
from archiver.catalog.sql import Command, Query
from archiver.errors import NOT_RETRIED
from archiver.model.archived import Failure, Owner
from archiver.model.identity import Role, Subject

_INSERT = Command(
    """
    INSERT INTO failures (
        subject, subject_pk, role, reason, detail, attempts, first_at, last_at, next_try_at, host, size
    ) VALUES (
        :subject, :subject_pk, :role, :reason, :detail, :attempts, :last_at, :last_at, :next_try_at, :host,
        :size
    )
    """
)
_REPEAT = Command(
    """
    UPDATE failures SET reason = :reason, detail = :detail, attempts = :attempts, last_at = :last_at,
        next_try_at = :next_try_at, host = :host, size = :size
    WHERE id = :id
    """
)
_RESOLVE = Command(
    """
    UPDATE failures SET resolved_at = :now
    WHERE subject = :subject AND subject_pk = :pk AND resolved_at IS NULL
        AND role = :role -- if role
        AND role IS NULL -- if not role
    """
)
_OF_TARGETS = Query(
    """
    SELECT subject, subject_pk, role FROM failures
    WHERE resolved_at IS NULL AND (
        subject = 'target'
        OR subject = 'highlight' AND NOT EXISTS (SELECT 1 FROM highlights WHERE pk = subject_pk)
    )
    """,
    lambda subject, pk, role: (subject, pk, role),
)


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
        _INSERT.run(connection, **key, **values)
    else:
        _REPEAT.run(connection, id=before.id, **values)
    return attempts


def resolution(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None, now: datetime
) -> None:
    """Record that an attempt succeeded: the open failure is resolved, if there is one."""
    _RESOLVE.run(connection, subject=subject, pk=subject_pk, role=role, now=now)


def drop_targets(connection: Connection, wanted: Iterable[str], now: datetime) -> None:
    """Resolve the open failures of targets other than those ``wanted`` (``Target.key``).

    Their entries in the configuration were corrected or removed. A highlight without a row was a target.
    """
    keys = set(wanted)
    for subject, pk, role in _OF_TARGETS.all(connection):
        if pk not in keys:
            resolution(connection, subject, pk, role, now)


def resolve_files(connection: Connection, files: Iterable[tuple[Owner, Role, datetime]]) -> None:
    """Record that files are no longer missing since a time: the open failure of each is resolved, if any."""
    rows = [{"subject": owner.subject, "pk": owner.pk, "role": role, "now": at} for owner, role, at in files]
    _RESOLVE.run_each(connection, rows)
