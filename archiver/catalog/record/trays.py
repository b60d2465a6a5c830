"""A tray: the account, its highlights, their order, and which are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from archiver.catalog.record import changes, stored_files, users
from archiver.catalog.record.changes import Change, StoredRow, find_moved
from archiver.catalog.sql import Command, Query
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import Highlight, Tray, User

_REPORTED = ("user_pk", "title", "is_pinned", "cover_name")  # a new value of any of these is a change
_FIELDS = (*_REPORTED, "position", "created_at", "latest_reel_media", "media_count")
_STATE = ("gone_at", "first_seen_at", "source")
_COLUMNS = ("pk", *_FIELDS, *_STATE, "listed_at")
_BEFORE = Query(f"SELECT {', '.join(_COLUMNS)} FROM highlights WHERE pk IN :pks", changes.as_row(*_COLUMNS))
_INSERT = Command(
    f"""
    INSERT INTO highlights (pk, {", ".join(_FIELDS)}, first_seen_at, last_seen_at, listed_at)
    VALUES (:pk, {", ".join(f":{name}" for name in _FIELDS)}, :now, :now, :now)
    """
)
_ALTER = Command(
    f"""
    UPDATE highlights SET {", ".join(f"{name} = :{name}" for name in (*_FIELDS, *_STATE))} WHERE pk = :pk
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


def tray_use(connection: Connection, user_pk: Pk, now: datetime) -> None:
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
    before = users.upsert_user(
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
    kept = {field: row[field] for field in (*_FIELDS, *_STATE)}
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
    _INSERT.run_each(connection, ({**row, "now": now} for row in new))
