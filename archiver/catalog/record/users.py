"""Accounts: who they are, what they were called, and why one shows nothing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.record import changes
from archiver.catalog.upsert import insert
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import User

_users, _names = tables.users, tables.usernames
_SAID = ("username", "full_name", "is_private", "is_verified", "avatar_name")
_BEFORE = select(_users).where(_users.c.pk == bindparam("user_pk"))


def user(connection: Connection, run_id: int, user: User, now: datetime) -> None:
    """Record what an answer shows of an account, and that it is there. What the answer leaves out stays as it was."""
    upsert_user(connection, run_id, user, now)


def upsert_user(
    connection: Connection, run_id: int, user: User, now: datetime, *, shown: bool = True, **also: object
) -> RowMapping | None:
    """As ``user``, with more columns in ``also``; returns the row as it was before, None if there was none.

    ``shown`` is False where nothing of the account itself was seen (an empty tray): then it only gets its row.
    """
    before = connection.execute(_BEFORE, {"user_pk": user.pk}).mappings().first()
    said = {field: getattr(user, field) for field in _SAID}
    if before is None:
        connection.execute(
            _users.insert().values(pk=user.pk, first_seen_at=now, last_seen_at=now, **said, **also)
        )
    else:
        new = changes.find_new_values(before, said)
        found = changes.find_edits(Subject.USER, user.pk, before, new, _SAID)
        if shown:
            new["last_seen_at"] = now
        if shown and before["gone_at"] is not None:
            new["gone_at"] = None
            found.append(changes.presence_change(Subject.USER, user.pk, "returned"))
        if new or also:
            connection.execute(update(_users).where(_users.c.pk == user.pk).values(**new, **also))
        changes.write(connection, run_id, now, found)
    if user.username:
        _called(connection, user.pk, user.username, now)
    return before


def _called(connection: Connection, user_pk: Pk, username: str, now: datetime) -> None:
    row = insert(connection, _names).values(
        user_pk=user_pk, username=username, first_seen_at=now, last_seen_at=now
    )
    connection.execute(
        row.on_conflict_do_update(index_elements=["user_pk", "username"], set_={"last_seen_at": now})
    )


def bind_target(connection: Connection, text: str, user_pk: Pk, now: datetime) -> None:
    """Bind an entry of the configuration to the account that it meant first; a later call changes nothing."""
    row = insert(connection, tables.targets).values(text=text, user_pk=user_pk, bound_at=now)
    connection.execute(row.on_conflict_do_nothing(index_elements=["text"]))


def verdict(connection: Connection, run_id: int, user_pk: Pk, reason: Reason | None, now: datetime) -> None:
    """Record why an account shows nothing (private, gone, empty), and when that is asked again; None: it shows something.

    The same verdict again waits longer (``retry.next_check``). An account never seen before gets its row. One that is private is there,
    and is said to be private.
    """
    before = connection.execute(_BEFORE, {"user_pk": user_pk}).mappings().first()
    if reason is None:
        if before is not None and before["verdict"] is not None:
            _set(connection, user_pk, verdict=None, verdict_checks=0, verdict_at=None, verdict_due_at=None)
        return
    private = reason is Reason.PRIVATE
    if before is None or private:
        told = User(user_pk, is_private=True if private else None)
        upsert_user(connection, run_id, told, now, shown=private)
    again = before is not None and before["verdict"] == reason
    checks = before["verdict_checks"] + 1 if before is not None and again else 1
    _set(
        connection,
        user_pk,
        verdict=reason,
        verdict_checks=checks,
        verdict_at=now,
        verdict_due_at=retry.next_check(checks, now),
    )
    if reason is Reason.GONE and (before is None or before["gone_at"] is None):
        _set(connection, user_pk, gone_at=now)
        if before is not None:
            changes.write(connection, run_id, now, [changes.presence_change(Subject.USER, user_pk, "gone")])


def _set(connection: Connection, user_pk: Pk, **values: object) -> None:
    connection.execute(update(_users).where(_users.c.pk == user_pk).values(**values))
