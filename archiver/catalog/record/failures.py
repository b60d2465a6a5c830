"""What could not be had: at most one open row for each (subject, subject_pk, role), with the day of its next try."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.query.account_state import is_open
from archiver.errors import NOT_RETRIED
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject

_failures = tables.failures


def failure(connection: Connection, failure: Failure, now: datetime, *, gap: bool = False) -> int:
    """Record a failure and return how many times in a row it has failed now.

    It is dated for its next try, unless its reason is one that time does not cure, or it is a ``gap`` for another cause.
    """
    which = is_open(failure.subject, failure.subject_pk, failure.role)
    before = connection.execute(select(_failures.c.id, _failures.c.attempts).where(*which)).first()
    attempts = 1 if before is None else before.attempts + 1
    told = {
        "reason": failure.reason,
        "detail": failure.detail,
        "attempts": attempts,
        "last_at": now,
        "next_try_at": (None if gap or failure.reason in NOT_RETRIED else retry.next_try(attempts, now)),
        "host": failure.host,
        "size": failure.size,
    }
    if before is None:
        key = {"subject": failure.subject, "subject_pk": failure.subject_pk, "role": failure.role}
        connection.execute(_failures.insert().values(**key, **told, first_at=now))
    else:
        connection.execute(update(_failures).where(_failures.c.id == before.id).values(**told))
    return attempts


_OPEN = (
    update(_failures)
    .where(
        _failures.c.subject == bindparam("kind"),
        _failures.c.subject_pk == bindparam("about"),
        _failures.c.resolved_at.is_(None),
    )
    .values(resolved_at=bindparam("now"))
)
_RESOLVE = _OPEN.where(_failures.c.role == bindparam("as"))
_RESOLVE_WHOLE = _OPEN.where(_failures.c.role.is_(None))


def resolution(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None, now: datetime
) -> None:
    """Record that the thing was had after all; nothing if no failure of it is open."""
    which, told = (_RESOLVE, {"as": role}) if role is not None else (_RESOLVE_WHOLE, {})
    connection.execute(which, {"kind": subject, "about": subject_pk, "now": now, **told})
