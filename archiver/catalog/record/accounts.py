"""Accounts: their names and facts, why an account shows nothing, and its tray."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from archiver import retry
from archiver.catalog import tables
from archiver.catalog.record import changes, stored_files
from archiver.catalog.record.changes import Change, StoredRow, dates_before, find_moved, update_row
from archiver.catalog.sql import Command, Query
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import Highlight, Tray, User


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
        update_row(connection, "users", user.pk, {**values, **columns})
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
        update_row(connection, "users", pk, {"last_seen_at": at})
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


def record_verdict(
    connection: Connection, run_id: int, user_pk: Pk, reason: Reason | None, now: datetime
) -> None:
    """Record why an account shows nothing (private, gone, empty), and when to check again.

    A ``reason`` of None means that it shows something. If the verdict is the same again, the next check is
    later (``retry.next_check``). An account that was never seen before gets a row. A private account exists,
    and is recorded as private.
    """
    before = _BY_PK.first(connection, user=user_pk)
    if reason is None:
        if before is not None and before["verdict"] is not None:
            shown = {"verdict": None, "verdict_checks": 0, "verdict_at": None, "verdict_due_at": None}
            update_row(connection, "users", user_pk, shown)
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
    update_row(connection, "users", user_pk, check)
    if reason is Reason.GONE and (before is None or before["gone_at"] is None):
        update_row(connection, "users", user_pk, {"gone_at": now})
        if before is not None:
            gone = changes.presence_change(Subject.USER, user_pk, "gone")
            changes.write(connection, run_id, now, [gone])


# --- its tray

_REPORTED = ("user_pk", "title", "is_pinned", "cover_name")  # a new value of any of these is a change
_TRAY_FIELDS = (*_REPORTED, "position", "created_at", "latest_reel_media", "media_count")
_STATE = ("gone_at", "first_seen_at", "source")
_TRAY_COLUMNS = ("pk", *_TRAY_FIELDS, *_STATE, "listed_at")
_BEFORE = Query(
    f"SELECT {', '.join(_TRAY_COLUMNS)} FROM highlights WHERE pk IN :pks", changes.as_row(*_TRAY_COLUMNS)
)
_HIGHLIGHT_COLUMNS = tables.highlights.columns.keys()
_NEW_HIGHLIGHT = f"""
    INSERT INTO highlights ({", ".join(_HIGHLIGHT_COLUMNS)})
    VALUES ({", ".join(f":{name}" for name in _HIGHLIGHT_COLUMNS)})
"""
_INSERT_HIGHLIGHT = Command(_NEW_HIGHLIGHT)
_INSERT_UNKNOWN_HIGHLIGHT = Command(f"{_NEW_HIGHLIGHT} ON CONFLICT DO NOTHING")
_ALTER = Command(
    f"""
    UPDATE highlights SET {", ".join(f"{name} = :{name}" for name in (*_TRAY_FIELDS, *_STATE))} WHERE pk = :pk
    """
)
_LIST_AGAIN = Command("UPDATE highlights SET last_seen_at = :now, listed_at = :now WHERE pk IN :pks")
_USE_AGAIN = (
    Command(
        """
        UPDATE highlights SET listed_at = :now
        WHERE user_pk = :user AND listed_at = (SELECT listed_at FROM users WHERE pk = :user)
        """
    ),
    Command("UPDATE users SET listed_at = :now WHERE pk = :user"),
)
_PRESENT = Query("SELECT pk FROM highlights WHERE pk IN :pks AND gone_at IS NULL ORDER BY position", Pk)
_LEAVE = Command("UPDATE highlights SET gone_at = :now WHERE pk IN :pks")
_LENGTHEN = Command("UPDATE users SET tray_longest = :length WHERE pk = :user")


def record_tray(
    connection: Connection,
    run_id: int,
    user_pk: Pk,
    tray: Tray,
    now: datetime,
    *,
    gone: tuple[Pk, ...] = (),
    shrunk_to: str | None = None,
    endpoint: str | None = None,
    is_whole: bool = False,
    are_pages_paid: bool = False,
    unseen: Collection[Pk] = (),
) -> bool:
    """Record a tray; return whether it changed any highlight.

    ``gone``: highlights that are gone because the tray lacks them; others that it lacks stay as they were.
    ``shrunk_to`` is stored as given: the fingerprint of a tray that lost more than half and is not believed
    until a second one confirms it. ``endpoint``: the path by which the account is listed from now on (None:
    as before). ``is_whole``: the tray was read page by page to its end; only a tray in a single answer counts
    for ``tray_longest``. ``are_pages_paid``: its pages were paid for; if the tray is not whole, they could
    not be read. ``unseen``: highlights that existed before but that no tray could show, so they did not
    appear now. A highlight that belonged to another account becomes this account's.
    """
    listed: dict[Pk, Highlight] = {}
    for highlight in tray.highlights:
        listed.setdefault(highlight.pk, highlight)
    also = changes.loss_columns(run_id, shrunk_to)
    if endpoint is not None:
        also["tray_endpoint"] = endpoint
    if are_pages_paid:
        also |= {"paged_at": now, "pages_failed_at": None if is_whole else now}
    listed_before = _record_owner(connection, run_id, user_pk, tray, now, is_whole, also)
    before = {row["pk"]: row for row in _BEFORE.all_of(connection, "pks", listed)}
    found: list[Change] = []
    altered: list[dict[str, object]] = []
    new: list[dict[str, object]] = []
    for position, highlight in enumerate(listed.values()):
        row, values = before.get(highlight.pk), _values(user_pk, highlight, position)
        is_first = row is None or row["source"] is not None
        if is_first and listed_before is not None and highlight.pk not in unseen:
            found.append(changes.presence_change(Subject.HIGHLIGHT, highlight.pk, "appeared"))
        if row is None:
            new.append({"pk": highlight.pk, **values})
            continue
        after = changes.find_new_values(row, values)
        if is_first:  # so far, only another tool has seen it
            altered.append(_all_fields(row, after | changes.shown_first(now)))
            continue
        if row["gone_at"] is not None:
            after["gone_at"] = None
            found.append(changes.presence_change(Subject.HIGHLIGHT, highlight.pk, "returned"))
        if after:
            altered.append(_all_fields(row, after))
        found += changes.find_edits(Subject.HIGHLIGHT, highlight.pk, row, after, _REPORTED)
    own = {pk: row for pk, row in before.items() if row["user_pk"] == user_pk}
    found += _moves(own, list(listed), listed_before)
    _store(connection, new, altered, list(before), now)
    stored_files.show_pictures(connection, now, Subject.HIGHLIGHT, list(before))
    found += mark_gone(connection, gone, now)
    changes.write(connection, run_id, now, found)
    return bool(new or altered or gone)


def record_tray_use(connection: Connection, user_pk: Pk, now: datetime) -> None:
    """Record that a run uses the tray that was listed last, in place of a new one: it is listed then."""
    for statement in _USE_AGAIN:
        statement.run(connection, user=user_pk, now=now)


def mark_gone(connection: Connection, pks: Sequence[Pk], now: datetime) -> list[Change]:
    """Mark highlights as gone, and return the changes."""
    if not pks:
        return []
    present = _PRESENT.all(connection, pks=pks)
    if present:
        _LEAVE.run(connection, pks=present, now=now)
    return [changes.presence_change(Subject.HIGHLIGHT, pk, "gone") for pk in present]


def _record_owner(
    connection: Connection,
    run_id: int,
    user_pk: Pk,
    tray: Tray,
    now: datetime,
    is_whole: bool,
    also: Mapping[str, object],
) -> datetime | None:
    """Record the owner of the tray; return when the previous tray was listed, None if this is the first."""
    before = upsert_user(
        connection,
        run_id,
        tray.user or User(user_pk),
        now,
        is_shown=tray.user is not None,
        columns={"listed_at": now, "tray_length": tray.length, **also},
    )
    longest = before["tray_longest"] if before is not None else None
    if not is_whole and (longest is None or longest < tray.length):
        _LENGTHEN.run(connection, user=user_pk, length=tray.length)
    return before["listed_at"] if before is not None else None


def _values(user_pk: Pk, highlight: Highlight, position: int) -> dict[str, object]:
    return {
        "user_pk": user_pk,  # it belongs to the account that lists it
        "title": highlight.title,
        "is_pinned": highlight.is_pinned,
        "cover_name": highlight.cover_name,
        "position": position,
        "created_at": highlight.created_at,
        "latest_reel_media": highlight.numbers.latest_reel_media,
        "media_count": highlight.numbers.media_count,
    }


def _all_fields(row: StoredRow, after: Mapping[str, object]) -> dict[str, object]:
    kept = {field: row[field] for field in (*_TRAY_FIELDS, *_STATE)}
    return {"pk": row["pk"], **kept, **after}


def _moves(before: Mapping[Pk, StoredRow], listed: list[Pk], listed_before: datetime | None) -> list[Change]:
    """Return the changes of ``position`` of highlights that are on both this tray and the last one."""
    last = [row for row in before.values() if listed_before is not None and row["listed_at"] == listed_before]
    order = [row["pk"] for row in sorted(last, key=lambda row: int(row["position"]))]
    elsewhere = find_moved(order, listed)
    return [
        Change(Subject.HIGHLIGHT, pk, "position", str(before[pk]["position"]), str(position))
        for position, pk in enumerate(listed)
        if pk in elsewhere
    ]


def _store(
    connection: Connection,
    new: list[dict[str, object]],
    altered: list[dict[str, object]],
    listed_again: list[Pk],
    now: datetime,
) -> None:
    _ALTER.run_each(connection, altered)
    _LIST_AGAIN.run_for(connection, "pks", listed_again, now=now)
    seen = dict.fromkeys(("first_seen_at", "last_seen_at", "listed_at"), now)
    insert_highlights(connection, ({**row, **seen} for row in new))


def insert_highlights(connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert rows of highlights, none of which exists. A column that is not given is NULL."""
    _INSERT_HIGHLIGHT.run_each(connection, ({**dict.fromkeys(_HIGHLIGHT_COLUMNS), **row} for row in rows))


def insert_unknown_highlight(connection: Connection, row: Mapping[str, object]) -> None:
    """Insert the row of a highlight; one that exists stays as it is. A column that is not given is NULL."""
    _INSERT_UNKNOWN_HIGHLIGHT.run(connection, **{**dict.fromkeys(_HIGHLIGHT_COLUMNS), **row})
