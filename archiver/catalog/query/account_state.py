"""What is known of accounts, their highlights, and what could not be had of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    bindparam,
    func,
    null,
    or_,
    select,
    union_all,
)

from archiver.catalog import tables
from archiver.errors import Reason
from archiver.model.archived import Failure, HeldFailure, HeldHighlight, HeldUser
from archiver.model.identity import Pk, Role, Subject
from archiver.model.upstream import TrayFacts

_users, _highlights = tables.users, tables.highlights
_members, _failures = tables.highlight_items, tables.failures

_USER = select(_users).where(_users.c.pk == bindparam("pk"))
_BOUND = select(tables.targets.c.user_pk).where(tables.targets.c.text == bindparam("entry"))
_BY_NAME = (
    select(_users.c.pk)
    .where(func.lower(_users.c.username) == bindparam("name"))
    .order_by(_users.c.last_seen_at.desc())  # two may claim a name that was freed: the one seen last has it
    .limit(1)
)
_OF_USER = _highlights.c.user_pk == bindparam("pk")
_ONE = _highlights.c.pk == bindparam("pk")
_OF_A_HOST = (
    _failures.c.reason == Reason.HOST_NOT_ALLOWED,
    _failures.c.role.is_not(None),
    _failures.c.resolved_at.is_(None),
)
_ITEMS_OF_HOSTS = (
    select(_highlights.c.title, _failures)
    .join(_members, _members.c.highlight_pk == _highlights.c.pk)
    .join(_failures, _failures.c.subject_pk == _members.c.item_pk)
    .where(_failures.c.subject == Subject.ITEM, *_OF_A_HOST)
    .where(_members.c.gone_at.is_(None), _highlights.c.gone_at.is_(None))
)
_COVERS_OF_HOSTS = (
    select(_highlights.c.title, _failures)
    .join(_failures, _failures.c.subject_pk == _highlights.c.pk)
    .where(_failures.c.subject == Subject.HIGHLIGHT, *_OF_A_HOST)
    .where(_highlights.c.gone_at.is_(None))
)
_AVATAR_OF_HOST = select(null().label("title"), _failures).where(
    _failures.c.subject == Subject.USER, *_OF_A_HOST
)


@dataclass(frozen=True, slots=True)
class OpenFailure:
    """The open failure of a thing: how many times in a row, and when it is due again (None: a gap, at the sweep)."""

    reason: Reason
    detail: str
    attempts: int
    first_at: datetime
    last_at: datetime
    next_try_at: datetime | None


def user(connection: Connection, pk: Pk) -> HeldUser | None:
    """The stored account of that pk."""
    row = connection.execute(_USER, {"pk": pk}).mappings().first()
    if row is None:
        return None
    return HeldUser(
        pk=pk,
        username=row["username"],
        is_private=row["is_private"],
        first_seen_at=row["first_seen_at"],
        listed_at=row["listed_at"],
        tray_length=row["tray_length"],
        tray_endpoint=row["tray_endpoint"],
        paged_at=row["paged_at"],
        pages_failed_at=row["pages_failed_at"],
        gone_at=row["gone_at"],
        verdict=Reason(row["verdict"]) if row["verdict"] is not None else None,
        verdict_at=row["verdict_at"],
        verdict_due_at=row["verdict_due_at"],
        shrunk_to=row["shrunk_to"],
        avatar_name=row["avatar_held"],
    )


def bound(connection: Connection, text: str) -> Pk | None:
    """The account that an entry of the configuration is bound to."""
    return connection.scalar(_BOUND, {"entry": text})


def user_pk_by_name(connection: Connection, username: str) -> Pk | None:
    """The stored account whose *current* name that is, in any case; a name it had before does not count."""
    return connection.scalar(_BY_NAME, {"name": username.lower()})


def once_called(connection: Connection, username: str) -> tuple[Pk, ...]:
    """The stored accounts that bore this name at any time, in any case."""
    names = tables.usernames
    bearers = select(names.c.user_pk).where(func.lower(names.c.username) == username.lower())
    return tuple(connection.scalars(bearers.order_by(names.c.first_seen_at)))


def held(connection: Connection, user_pk: Pk) -> tuple[HeldHighlight, ...]:
    """All highlights ever seen of an account, gone ones too, in the order of their trays."""
    query = select(_highlights).where(_OF_USER).order_by(_highlights.c.position, _highlights.c.pk)
    return _with_failures(connection, query, _FAILED_OF_USER, user_pk)


def highlight(connection: Connection, pk: Pk) -> HeldHighlight | None:
    """The stored highlight of that pk."""
    found = _with_failures(connection, select(_highlights).where(_ONE), _FAILED_OF_ONE, pk)
    return found[0] if found else None


def files_of_hosts(
    connection: Connection, *, user_pk: Pk | None = None, highlight_pk: Pk | None = None
) -> tuple[tuple[str | None, Failure], ...]:
    """Return the files of an account, or the item files of a highlight, that were refused because of their host.

    Each comes with the title of a highlight that shows it (an avatar without one); one that several show comes once
    for each.
    """
    if user_pk is None:
        queries = [_ITEMS_OF_HOSTS.where(_highlights.c.pk == highlight_pk)]
    else:
        own = _highlights.c.user_pk == user_pk
        avatar = _AVATAR_OF_HOST.where(_failures.c.subject_pk == user_pk)
        queries = [_ITEMS_OF_HOSTS.where(own), _COVERS_OF_HOSTS.where(own), avatar]
    return tuple(
        (
            row.title,
            Failure(
                Subject(row.subject), row.subject_pk, Role(row.role), Reason(row.reason), row.detail, row.host
            ),
        )
        for query in queries
        for row in connection.execute(query.order_by(_failures.c.id))
    )


def longest_tray(connection: Connection) -> int:
    """The length of the longest v1 tray ever seen of any account: one that is shorter was not cut at its first page."""
    return connection.scalar(select(func.max(_users.c.tray_longest))) or 0


def open_failure(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None
) -> OpenFailure | None:
    """The failure of a thing that is not resolved."""
    query = select(_failures).where(*is_open(subject, subject_pk, role))
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return OpenFailure(
        Reason(row["reason"]),
        row["detail"],
        row["attempts"],
        row["first_at"],
        row["last_at"],
        row["next_try_at"],
    )


def _failed(which: Any) -> Select[Any]:
    """The open failures of a highlight's page and of its items' files; not of its cover, which waits for the next tray."""
    is_open = _failures.c.resolved_at.is_(None)
    facts = [_failures.c[name] for name in ("role", "reason", "next_try_at", "host", "size")]
    of_page = (
        select(_highlights.c.pk, *facts)
        .join(_failures, _failures.c.subject_pk == _highlights.c.pk)
        .where(which, is_open, _failures.c.subject == Subject.HIGHLIGHT, _failures.c.role.is_(None))
    )
    of_files = (
        select(_highlights.c.pk, *facts)
        .join(_members, _members.c.highlight_pk == _highlights.c.pk)
        .join(_failures, _failures.c.subject_pk == _members.c.item_pk)
        .where(which, is_open, _failures.c.subject == Subject.ITEM, _failures.c.role.is_not(None))
        .where(_members.c.gone_at.is_(None))
    )
    return select(union_all(of_page, of_files).subquery())


_FAILED_OF_USER, _FAILED_OF_ONE = _failed(_OF_USER), _failed(_ONE)


def _with_failures(
    connection: Connection, highlights: Select[Any], failures: Select[Any], pk: Pk
) -> tuple[HeldHighlight, ...]:
    rows = connection.execute(highlights, {"pk": pk}).mappings().all()
    if not rows:
        return ()
    failed: dict[Pk, list[RowMapping]] = {}
    for row in connection.execute(failures, {"pk": pk}).mappings():
        failed.setdefault(row["pk"], []).append(row)
    return tuple(_highlight(row, failed.get(row["pk"], ())) for row in rows)


def _highlight(row: RowMapping, failed: Iterable[RowMapping]) -> HeldHighlight:
    return HeldHighlight(
        pk=row["pk"],
        title=row["title"],
        facts=TrayFacts(row["latest_reel_media"], row["media_count"]),
        fetched_facts=TrayFacts(row["fetched_latest_reel_media"], row["fetched_media_count"]),
        created_at=row["created_at"],
        listed_at=row["listed_at"],
        fetched_at=row["fetched_at"],
        completed_at=row["completed_at"],
        tried_at=row["tried_at"],
        gone_at=row["gone_at"],
        failures=tuple(
            HeldFailure(
                role=Role(failure["role"]) if failure["role"] is not None else None,
                reason=Reason(failure["reason"]),
                next_try_at=failure["next_try_at"],
                host=failure["host"],
                size=failure["size"],
            )
            for failure in failed
        ),
        shrunk_to=row["shrunk_to"],
        cover_name=row["cover_held"],
    )


def is_open(subject: Subject, subject_pk: str, role: Role | None) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the one open row of a thing."""
    return (
        _failures.c.subject == subject,
        _failures.c.subject_pk == subject_pk,
        _failures.c.role.is_(None) if role is None else _failures.c.role == role,
        _failures.c.resolved_at.is_(None),
    )


_calls = tables.api_calls

_LISTED = select(_users.c.pk, _users.c.listed_at).where(_users.c.listed_at.is_not(None))
_NAMED = (
    select(func.lower(_users.c.username), _users.c.pk)
    .where(_users.c.username.is_not(None))
    .order_by(
        _users.c.last_seen_at
    )  # as in user_pk_by_name: of two that claim a name, the one seen last has it
)
_LACKING = (
    select(_highlights.c.user_pk)
    .where(
        _highlights.c.gone_at.is_(None),
        or_(
            _highlights.c.completed_at.is_(None),
            _highlights.c.latest_reel_media != _highlights.c.fetched_latest_reel_media,
            _highlights.c.media_count != _highlights.c.fetched_media_count,
        ),
    )
    .distinct()
)


_LAST_PAGED = select(func.max(_calls.c.run_id)).where(
    _calls.c.subject == bindparam("pk"), _calls.c.path == bindparam("endpoint"), _calls.c.units > 0
)
_PAGED = select(func.coalesce(func.sum(_calls.c.units), 0)).where(
    _calls.c.subject == bindparam("pk"),
    _calls.c.path == bindparam("endpoint"),
    _calls.c.run_id == _LAST_PAGED.scalar_subquery(),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """``bound``: entries of the configuration, ``named``: current names in lower case, each with its pk. ``listed_at``: the last tray of
    each account that was ever listed. ``lacking``: accounts with a highlight that may have something to be had."""

    bound: dict[str, Pk]
    named: dict[str, Pk]
    listed_at: dict[Pk, datetime]
    lacking: frozenset[Pk]


def progress(connection: Connection) -> Progress:
    """How far every stored account has come."""
    targets = tables.targets
    entries = connection.execute(select(targets.c.text, targets.c.user_pk))
    return Progress(
        bound={text: pk for text, pk in entries},  # noqa: C416  # rows are no pairs to mypy
        named={name: pk for name, pk in connection.execute(_NAMED)},  # noqa: C416
        listed_at={pk: at for pk, at in connection.execute(_LISTED) if at is not None},
        lacking=frozenset(connection.scalars(_LACKING)),
    )


def units_of_pages(connection: Connection, user_pk: Pk, path: str) -> int:
    """The units of all pages when the tray of an account was last asked for page by page, by the calls of this path; 0 if it never was."""
    return int(connection.scalar(_PAGED, {"pk": user_pk, "endpoint": path}) or 0)
