"""Accounts: their names and facts, and why an account shows nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cache
from itertools import groupby
from types import MappingProxyType

from sqlalchemy import Connection, Insert, RowMapping, and_, bindparam, delete, func, or_, select, update

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.record import changes, stored_files
from archiver.catalog.record.observation_order import dates_before
from archiver.catalog.statements import insert, insert_if_new, update_row
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import User

_users, _usernames = tables.users, tables.usernames
_other_name = _usernames.alias()
_FIELDS = ("username", "full_name", "is_private", "is_verified", "avatar_name")
_DATES = ("last_seen_at", "gone_at", "verdict_at")
"""When an answer last said something about the account itself."""
_INSERT = _users.insert()
_NAMED = (
    select(_users.c.pk, _users.c.last_seen_at)
    .where(func.lower(_users.c.username) == bindparam("name"), _users.c.pk != bindparam("user_pk"))
    .order_by(_users.c.last_seen_at)
)
_LATER_NAMES = (
    select(_usernames.c.user_pk, _usernames.c.username, _usernames.c.last_seen_at)
    .where(
        _usernames.c.last_seen_at >= bindparam("now"),
        or_(
            and_(_usernames.c.user_pk == bindparam("user_pk"), _usernames.c.username != bindparam("name")),
            _usernames.c.user_pk.in_(
                select(_other_name.c.user_pk).where(
                    _other_name.c.username == bindparam("name"), _other_name.c.user_pk != bindparam("user_pk")
                )
            ),
        ),
    )
    .order_by(_usernames.c.last_seen_at, _usernames.c.first_seen_at)
)
_LATER_THAN_CURRENT = (
    select(_usernames.c.user_pk, _usernames.c.username, _usernames.c.last_seen_at)
    .add_columns(_other_name.c.last_seen_at.label("current_at"))
    .join(_users, _users.c.pk == _usernames.c.user_pk)
    .join(
        _other_name,
        and_(_other_name.c.user_pk == _users.c.pk, _other_name.c.username == _users.c.username),
    )
    .where(
        _usernames.c.username != _users.c.username, _usernames.c.last_seen_at >= _other_name.c.last_seen_at
    )
    .order_by(_usernames.c.user_pk, _usernames.c.last_seen_at, _usernames.c.first_seen_at)
)
_DATE_NAME = (
    update(_usernames)
    .where(_usernames.c.user_pk == bindparam("of_user"), _usernames.c.username == bindparam("of_name"))
    .values(last_seen_at=bindparam("seen_at"))
)
_BIND = insert_if_new(tables.targets, "text", "user_pk", "bound_at")
_END_BINDINGS = delete(tables.targets).where(tables.targets.c.text.in_(bindparam("names", expanding=True)))
_BY_PK = select(_users).where(_users.c.pk == bindparam("user_pk"))


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
) -> RowMapping | None:
    """Record an account as ``record_user`` does, and set more ``columns``.

    Return its row as it was before; None if it is new. ``is_shown``: whether the answer shows the account
    itself. If not (an empty tray), the account only gets a row. ``seen_at``: when the answer came, if that is
    not ``now``. An answer that is older than what is recorded about the account only adds what is not known
    yet: it cannot show that a private account has become public, or that a gone one has returned.
    """
    is_own_answer = seen_at is None  # a tray or a look; a page only comes with its account
    seen_at = seen_at or now
    before = connection.execute(_BY_PK, {"user_pk": user.pk}).mappings().first()
    answer = {field: getattr(user, field) for field in _FIELDS}
    if before is not None and changes.is_outdated(seen_at, now, *(before[date] for date in _DATES)):
        is_shown, answer = False, {field: value for field, value in answer.items() if before[field] is None}
    if before is None:
        row = {"pk": user.pk, "first_seen_at": seen_at, "last_seen_at": seen_at, **answer, **columns}
        connection.execute(_INSERT, row)
    else:
        values = changes.find_new_values(before, answer)
        found = changes.find_edits(Subject.USER, user.pk, before, values, _FIELDS)
        if is_shown:
            values["last_seen_at"] = seen_at
        if is_shown and before["gone_at"] is not None:
            values["gone_at"] = None
            found.append(changes.presence_change(Subject.USER, user.pk, "returned"))
        update_row(connection, _users, user.pk, {**values, **columns})
        changes.write(connection, run_id, now, found)
    if user.username:
        is_renamed = before is None or before["username"] != user.username
        _write_username(connection, user.pk, user.username, seen_at, now)
        if seen_at == now and (is_own_answer or is_renamed):
            _make_last(connection, user.pk, user.username, now)
    if is_shown and is_own_answer:
        stored_files.show_pictures(connection, now, Subject.USER, [user.pk])
    return before


def _write_username(
    connection: Connection, user_pk: Pk, username: str, seen_at: datetime, now: datetime
) -> None:
    seen = {"first_seen_at": seen_at, "last_seen_at": seen_at}
    row = {"user_pk": user_pk, "username": username, **seen}
    connection.execute(_see_username(connection.dialect.name, seen_at == now), row)


def _make_last(connection: Connection, user_pk: Pk, username: str, now: datetime) -> None:
    """Make this name the last of its account, and this account the last that has the name."""
    this = {"user_pk": user_pk, "name": username}
    named = connection.execute(_NAMED, {**this, "name": username.lower()})
    for pk, at in dates_before([(row.pk, row.last_seen_at) for row in named], now):
        update_row(connection, _users, pk, {"last_seen_at": at})
    names = connection.execute(_LATER_NAMES, {**this, "now": now})
    later = [((row.user_pk, row.username), row.last_seen_at) for row in names]
    _set_dates(connection, dates_before(later, now))


def order_names(connection: Connection) -> None:
    """Make the current name of each account the last of its names."""
    rows = connection.execute(_LATER_THAN_CURRENT).all()
    for _, group in groupby(rows, key=lambda row: str(row.user_pk)):
        names = list(group)
        later = [((row.user_pk, row.username), row.last_seen_at) for row in names]
        _set_dates(connection, dates_before(later, names[0].current_at))


def _set_dates(connection: Connection, dates: Iterable[tuple[tuple[Pk, str], datetime]]) -> None:
    for (pk, name), at in dates:
        connection.execute(_DATE_NAME, {"of_user": pk, "of_name": name, "seen_at": at})


@cache
def _see_username(dialect: str, is_newest: bool) -> Insert:
    upsert = insert(dialect, _usernames)
    return upsert.on_conflict_do_update(
        index_elements=["user_pk", "username"],
        set_={"last_seen_at": upsert.excluded.last_seen_at},
        where=None if is_newest else _usernames.c.last_seen_at < upsert.excluded.last_seen_at,
    )


def bind_target(connection: Connection, text: str, user_pk: Pk, now: datetime) -> None:
    """Bind an entry of the configuration to the account that it first meant; a later call changes nothing."""
    row = {"text": text, "user_pk": user_pk, "bound_at": now}
    connection.execute(_BIND(connection.dialect.name), row)


def end_bindings(connection: Connection, names: Collection[str]) -> None:
    """Forget which accounts these entries of the configuration meant; added again, they may mean others."""
    connection.execute(_END_BINDINGS, {"names": list(names)})


def verdict(connection: Connection, run_id: int, user_pk: Pk, reason: Reason | None, now: datetime) -> None:
    """Record why an account shows nothing (private, gone, empty), and when to check again.

    A ``reason`` of None means that it shows something. If the verdict is the same again, the next check is
    later (``retry.next_check``). An account that was never seen before gets a row. A private account exists,
    and is recorded as private.
    """
    before = connection.execute(_BY_PK, {"user_pk": user_pk}).mappings().first()
    if reason is None:
        if before is not None and before["verdict"] is not None:
            shown = {"verdict": None, "verdict_checks": 0, "verdict_at": None, "verdict_due_at": None}
            update_row(connection, _users, user_pk, shown)
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
    update_row(connection, _users, user_pk, check)
    if reason is Reason.GONE and (before is None or before["gone_at"] is None):
        update_row(connection, _users, user_pk, {"gone_at": now})
        if before is not None:
            gone = changes.presence_change(Subject.USER, user_pk, "gone")
            changes.write(connection, run_id, now, [gone])
