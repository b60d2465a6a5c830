"""Accounts: their names and facts, and why an account shows nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.record import changes, stored_files
from archiver.catalog.record.changes import StoredRow
from archiver.catalog.record.observation_order import dates_before
from archiver.catalog.sql import Command, Query
from archiver.catalog.statements import update_row
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import User


class _LaterName(NamedTuple):
    """A name that is dated later than the current one, which was last seen at ``current_at``."""

    user_pk: Pk
    username: str
    last_seen_at: datetime
    current_at: datetime


_FIELDS = ("username", "full_name", "is_private", "is_verified", "avatar_name")
_DATES = ("last_seen_at", "gone_at", "verdict_at")
"""When an answer last said something about the account itself."""
_COLUMNS = (*_FIELDS, *_DATES, "verdict", "verdict_checks", "listed_at", "tray_longest")
_BY_PK = Query(f"SELECT {', '.join(_COLUMNS)} FROM users WHERE pk = :user", changes.as_row(*_COLUMNS))
_OF_TRAY = (
    "listed_at", "tray_length", "tray_endpoint", "shrunk_to", "shrunk_run_id", "paged_at", "pages_failed_at"
)  # fmt: skip
"""Columns that are set together with a tray of the account."""
_INSERT = Command(
    f"""
    INSERT INTO users (pk, {", ".join((*_FIELDS, *_OF_TRAY))}, first_seen_at, last_seen_at)
    VALUES (:pk, {", ".join(f":{name}" for name in (*_FIELDS, *_OF_TRAY))}, :seen_at, :seen_at)
    """
)
_NAMED = Query(
    """
    SELECT pk, last_seen_at FROM users WHERE lower(username) = :name AND pk <> :user ORDER BY last_seen_at
    """,
    lambda pk, at: (pk, at),
)
_LATER_NAMES = Query(
    """
    SELECT user_pk, username, last_seen_at FROM usernames
    WHERE last_seen_at >= :now AND (
        user_pk = :user AND username <> :name
        OR user_pk IN (SELECT user_pk FROM usernames WHERE username = :name AND user_pk <> :user)
    )
    ORDER BY last_seen_at, first_seen_at
    """,
    lambda user_pk, username, at: ((user_pk, username), at),
)
_LATER_THAN_CURRENT = Query(
    """
    SELECT later.user_pk, later.username, later.last_seen_at, current.last_seen_at AS current_at
    FROM usernames AS later JOIN users ON users.pk = later.user_pk
    JOIN usernames AS current ON current.user_pk = users.pk AND current.username = users.username
    WHERE later.username <> users.username AND later.last_seen_at >= current.last_seen_at
    ORDER BY later.user_pk, later.last_seen_at, later.first_seen_at
    """,
    _LaterName,
)
_DATE_NAME = Command("UPDATE usernames SET last_seen_at = :at WHERE user_pk = :user AND username = :name")
_SEE_NAME = """
    INSERT INTO usernames (user_pk, username, first_seen_at, last_seen_at)
    VALUES (:user, :name, :seen_at, :seen_at)
    ON CONFLICT (user_pk, username) DO UPDATE SET last_seen_at = excluded.last_seen_at
"""
_SEE_NAME_NOW = Command(_SEE_NAME)
_SEE_NAME_EARLIER = Command(f"{_SEE_NAME} WHERE usernames.last_seen_at < excluded.last_seen_at")
_BIND = Command(
    """
    INSERT INTO targets (text, user_pk, bound_at) VALUES (:entry, :user, :now) ON CONFLICT DO NOTHING
    """
)
_END_BINDINGS = Command("DELETE FROM targets WHERE text IN :names")


def record_user(connection: Connection, run_id: int, user: User, now: datetime) -> None:
    """Record an account as an answer shows it, which proves that it exists.

    Values that the answer lacks stay as they were.
    """
    upsert_user(connection, run_id, user, now)


def upsert_user(
    connection: Connection,
    run_id: int,
    user: User,
    now: datetime,
    *,
    is_shown: bool = True,
    seen_at: datetime | None = None,
    columns: Mapping[str, object] = MappingProxyType({}),
) -> StoredRow | None:
    """Record an account as ``record_user`` does, and set more ``columns`` (of ``_OF_TRAY``).

    Return its row as it was before; None if it is new. ``is_shown``: whether the answer shows the account
    itself. If not (an empty tray), the account only gets a row. ``seen_at``: when the answer came, if that is
    not ``now``. An answer that is older than what is recorded about the account only adds what is not known
    yet: it cannot show that a private account has become public, or that a gone one has returned.
    """
    is_own_answer = seen_at is None  # a tray or a look; a page only comes with its account
    seen_at = seen_at or now
    before = _BY_PK.first(connection, user=user.pk)
    answer = {field: getattr(user, field) for field in _FIELDS}
    if before is not None and changes.is_outdated(seen_at, now, *(before[date] for date in _DATES)):
        is_shown, answer = False, {field: value for field, value in answer.items() if before[field] is None}
    if before is None:
        _INSERT.run(
            connection, pk=user.pk, seen_at=seen_at, **answer, **{**dict.fromkeys(_OF_TRAY), **columns}
        )
    else:
        values = changes.find_new_values(before, answer)
        found = changes.find_edits(Subject.USER, user.pk, before, values, _FIELDS)
        if is_shown:
            values["last_seen_at"] = seen_at
        if is_shown and before["gone_at"] is not None:
            values["gone_at"] = None
            found.append(changes.presence_change(Subject.USER, user.pk, "returned"))
        update_row(connection, tables.users, user.pk, {**values, **columns})
        changes.write(connection, run_id, now, found)
    if user.username:
        is_renamed = before is None or before["username"] != user.username
        see_name = _SEE_NAME_NOW if seen_at == now else _SEE_NAME_EARLIER
        see_name.run(connection, user=user.pk, name=user.username, seen_at=seen_at)
        if seen_at == now and (is_own_answer or is_renamed):
            _make_last(connection, user.pk, user.username, now)
    if is_shown and is_own_answer:
        stored_files.show_pictures(connection, now, Subject.USER, [user.pk])
    return before


def _make_last(connection: Connection, user_pk: Pk, username: str, now: datetime) -> None:
    """Make this name the last of its account, and this account the last that has the name."""
    named = _NAMED.all(connection, name=username.lower(), user=user_pk)
    for pk, at in dates_before(named, now):
        update_row(connection, tables.users, pk, {"last_seen_at": at})
    later = _LATER_NAMES.all(connection, user=user_pk, name=username, now=now)
    _set_dates(connection, dates_before(later, now))


def order_names(connection: Connection) -> None:
    """Make the current name of each account the last of its names."""
    for _, group in groupby(_LATER_THAN_CURRENT.all(connection), key=lambda row: row.user_pk):
        names = list(group)
        later = [((row.user_pk, row.username), row.last_seen_at) for row in names]
        _set_dates(connection, dates_before(later, names[0].current_at))


def _set_dates(connection: Connection, dates: Iterable[tuple[tuple[Pk, str], datetime]]) -> None:
    _DATE_NAME.run_each(connection, ({"user": pk, "name": name, "at": at} for (pk, name), at in dates))


def bind_target(connection: Connection, text: str, user_pk: Pk, now: datetime) -> None:
    """Bind an entry of the configuration to the account that it first meant; a later call changes nothing."""
    _BIND.run(connection, entry=text, user=user_pk, now=now)


def end_bindings(connection: Connection, names: Collection[str]) -> None:
    """Forget which accounts these entries of the configuration meant; added again, they may mean others."""
    _END_BINDINGS.run(connection, names=names)


def verdict(connection: Connection, run_id: int, user_pk: Pk, reason: Reason | None, now: datetime) -> None:
    """Record why an account shows nothing (private, gone, empty), and when to check again.

    A ``reason`` of None means that it shows something. If the verdict is the same again, the next check is
    later (``retry.next_check``). An account that was never seen before gets a row. A private account exists,
    and is recorded as private.
    """
    before = _BY_PK.first(connection, user=user_pk)
    if reason is None:
        if before is not None and before["verdict"] is not None:
            shown = {"verdict": None, "verdict_checks": 0, "verdict_at": None, "verdict_due_at": None}
            update_row(connection, tables.users, user_pk, shown)
        return
    is_private = reason is Reason.PRIVATE
    if before is None or is_private:
        account = User(user_pk, is_private=True if is_private else None)
        upsert_user(connection, run_id, account, now, is_shown=is_private)
    is_repeated = before is not None and before["verdict"] == reason
    checks = before["verdict_checks"] + 1 if before is not None and is_repeated else 1
    check = {
        "verdict": reason,
        "verdict_checks": checks,
        "verdict_at": now,
        "verdict_due_at": retry.next_check(checks, now),
    }
    update_row(connection, tables.users, user_pk, check)
    if reason is Reason.GONE and (before is None or before["gone_at"] is None):
        update_row(connection, tables.users, user_pk, {"gone_at": now})
        if before is not None:
            gone = changes.presence_change(Subject.USER, user_pk, "gone")
            changes.write(connection, run_id, now, [gone])
