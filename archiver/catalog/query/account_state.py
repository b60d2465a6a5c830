"""The stored state that decides what a visit to an account does next; which account a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from msgspec import Struct
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
from archiver.model.archived import Failure
from archiver.model.identity import Pk, Role, Subject
from archiver.model.target import Target
from archiver.model.upstream import TrayNumbers


class FailureState(Struct, frozen=True):
    """An open failure of a highlight's page (``role`` None) or of a file of its items.

    ``host`` and ``size`` are those of a file that the settings refused.
    """

    role: Role | None
    reason: Reason
    next_try_at: datetime | None = None
    host: str | None = None
    size: int | None = None


class HighlightState(Struct, frozen=True):
    """A stored highlight.

    ``numbers`` are those of the tray now, ``fetched_numbers`` those at the last fetch. ``listed_at``: when it
    was last on a tray. ``completed_at``: when nothing that its last page offers was missing. ``tried_at``:
    when every file of that page had been tried; each missing file has a failure. ``shrunk_to``: as in
    AccountState. ``cover_name``: the file name of the stored cover, None if its bytes are lost.
    ``changed_at``: the newest sign of a change: an item was posted, was added after the first ones, or is
    gone; None if there is no item with a date. ``lacks_items``: it has fewer items than the tray counted.
    """

    pk: Pk
    title: str | None
    numbers: TrayNumbers
    fetched_numbers: TrayNumbers
    created_at: datetime | None = None
    listed_at: datetime | None = None
    fetched_at: datetime | None = None
    completed_at: datetime | None = None
    tried_at: datetime | None = None
    gone_at: datetime | None = None
    failures: tuple[FailureState, ...] = ()
    shrunk_to: str | None = None
    cover_name: str | None = None
    changed_at: datetime | None = None
    lacks_items: bool = False

    @property
    def page_retry_at(self) -> datetime | None:
        """Return when to request its page again if it was not found; None if it was found."""
        missing = (f.next_try_at for f in self.failures if f.role is None and f.reason is Reason.NOT_FOUND)
        return next(missing, None)


class AccountState(Struct, frozen=True):
    """What is stored of the account, or of the single highlight, that a target names.

    ``pk`` is None for a name that never resolved, and for a highlight. ``first_seen_at`` is None for an
    account that was never seen. ``verdict`` is why the account shows nothing (private, gone or empty), or why
    the target did not resolve. ``has_failed``: the target was looked up and did not resolve, with or without
    a verdict. ``shrunk_to`` identifies a tray that lost more than half of its entries; the loss is believed
    once a tray of another run shows it. ``needs_pages``: the tray in one answer is known to lack highlights.
    ``paged_at``: when all its pages were last paid for; ``pages_failed_at``: since when the pages are billed
    but cannot be read; ``pages_units``: the cost of all pages the last time. ``highlights``: all that were
    ever seen, in the order of their trays.
    """

    target: Target
    pk: Pk | None = None
    username: str | None = None
    is_private: bool | None = None
    first_seen_at: datetime | None = None
    gone_at: datetime | None = None
    listed_at: datetime | None = None
    tray_length: int | None = None
    shrunk_to: str | None = None
    needs_pages: bool = False
    paged_at: datetime | None = None
    pages_failed_at: datetime | None = None
    pages_units: int = 0
    avatar_name: str | None = None
    has_failed: bool = False
    verdict: Reason | None = None
    verdict_at: datetime | None = None
    verdict_due_at: datetime | None = None
    highlights: tuple[HighlightState, ...] = ()

    @property
    def is_archived(self) -> bool:
        """Return whether anything of the account, or of the highlight, is stored."""
        return self.first_seen_at is not None or (self.pk is None and bool(self.highlights))

    @property
    def is_listed_since_verdict(self) -> bool:
        """Return whether its tray was listed after the check that gave the verdict, or by it."""
        return self.verdict_at is None or self.listed_at is None or self.listed_at >= self.verdict_at

    @property
    def on_tray(self) -> tuple[HighlightState, ...]:
        """Return the highlights that the last tray listed.

        If no tray was ever listed, return all that are not gone.
        """
        return tuple(
            h for h in self.highlights if h.gone_at is None and self.listed_at in (None, h.listed_at)
        )

    def highlight(self, pk: Pk) -> HighlightState | None:
        """Return a stored highlight of this account."""
        return next((highlight for highlight in self.highlights if highlight.pk == pk), None)


class OpenFailure(Struct, frozen=True):
    """A failure that is not resolved.

    ``attempts``: how many times in a row. ``next_try_at``: None for a gap, which waits for the sweep.
    """

    reason: Reason
    detail: str
    attempts: int
    first_at: datetime
    last_at: datetime
    next_try_at: datetime | None


class Progress(Struct, frozen=True):
    """How far each stored account has been archived.

    ``bound``: the pks of entries of the configuration. ``current``: the pks of usernames in lower case.
    ``listed_at``: the last tray of each account that was ever listed. ``unfinished``: accounts with a
    highlight that may have something left to fetch.
    """

    bound: dict[str, Pk]
    current: dict[str, Pk]
    listed_at: dict[Pk, datetime]
    unfinished: frozenset[Pk]

    def pk_of(self, target: Target, *, from_config: bool) -> Pk | None:
        """Return the account that a target names, as ``resolve`` does."""
        return _pk_of(target, self.bound.get if from_config else None, self.current.get)


_UNRESOLVED = (Reason.GONE, Reason.PRIVATE, Reason.NOT_FOUND)
"""Reasons that are verdicts about a target. An error of the API is not a verdict, and delays nothing."""

_targets, _users, _names = tables.targets, tables.users, tables.usernames
_highlights, _items, _members = tables.highlights, tables.items, tables.highlight_items
_failures = tables.failures
_calls = tables.api_calls

# --- which account

_BOUND = select(_targets.c.user_pk).where(_targets.c.text == bindparam("entry"))
_BOUND_NAMES = (
    select(_targets.c.text)
    .where(or_(_targets.c.user_pk == bindparam("pk"), _targets.c.text == bindparam("entry")))
    .order_by(_targets.c.text)
)
_BY_NAME = (
    select(_users.c.pk)
    .where(func.lower(_users.c.username) == bindparam("name"))
    .order_by(_users.c.last_seen_at.desc())  # two may claim a name that was freed: the one seen last has it
    .limit(1)
)
_FORMER = (
    select(_names.c.user_pk)
    .where(func.lower(_names.c.username) == bindparam("name"))
    .order_by(_names.c.first_seen_at)
)
_ENTRIES = select(_targets.c.text, _targets.c.user_pk)
_CURRENT_NAMES = (
    select(func.lower(_users.c.username).label("name"), _users.c.pk)
    .where(_users.c.username.is_not(None))
    .order_by(_users.c.last_seen_at)  # as in _BY_NAME: of two that claim a name, the one seen last has it
)


def resolve(connection: Connection, target: Target, *, from_config: bool) -> Pk | None:
    """Return the pk of the account that a target names; None if it is not known.

    An entry of the configuration (``from_config``) stays bound to the account that it first meant. Any other
    name means the account that has it now, ignoring case; if two accounts claim it, the one seen last.
    """
    return _pk_of(
        target,
        (lambda name: connection.scalar(_BOUND, {"entry": name})) if from_config else None,
        lambda name: connection.scalar(_BY_NAME, {"name": name.lower()}),
    )


def archived_pks(connection: Connection, target: Target) -> tuple[Pk, ...]:
    """Return the stored accounts that a person means by a target.

    This is the account with that pk or current name, or else all that had the name before, the earliest
    first. Empty for a highlight.
    """
    pk = resolve(connection, target, from_config=False)
    if pk is not None and connection.execute(_USER, {"pk": pk, "path": ""}).first() is not None:
        return (pk,)
    return former_pks(connection, target.username) if target.username is not None else ()


def former_pks(connection: Connection, username: str) -> tuple[Pk, ...]:
    """Return the stored accounts that ever had this name, ignoring case, the earliest first."""
    return tuple(connection.scalars(_FORMER, {"name": username.lower()}))


def bound_names(connection: Connection, pk: Pk | None, username: str | None) -> tuple[str, ...]:
    """Return the entries of the configuration that are bound to this account, or that are this name."""
    return tuple(connection.scalars(_BOUND_NAMES, {"pk": pk, "entry": username}))


def similar_usernames(connection: Connection, username: str) -> list[str]:
    """Return the stored usernames, at most two, that a person may have meant."""
    names = connection.scalars(select(_users.c.username).where(_users.c.username.is_not(None)))
    return get_close_matches(username, names, n=2)


def _pk_of(
    target: Target,
    bound: Callable[[str], Pk | None] | None,
    current: Callable[[str], Pk | None],
) -> Pk | None:
    """Resolve a target: ``bound`` looks up an entry of the configuration, ``current`` a current name."""
    if target.user_pk is not None or target.username is None:
        return target.user_pk
    return (bound(target.username) if bound is not None else None) or current(target.username)


# --- its state

_LAST_PAGED_RUN = select(func.max(_calls.c.run_id)).where(
    _calls.c.subject == bindparam("pk"), _calls.c.path == bindparam("path"), _calls.c.units > 0
)
_PAGES_UNITS = select(func.coalesce(func.sum(_calls.c.units), 0)).where(
    _calls.c.subject == bindparam("pk"),
    _calls.c.path == bindparam("path"),
    _calls.c.run_id == _LAST_PAGED_RUN.scalar_subquery(),
)
_USER = select(_users, _PAGES_UNITS.scalar_subquery().label("pages_units")).where(
    _users.c.pk == bindparam("pk")
)
_OF_USER = _highlights.c.user_pk == bindparam("pk")
_ONE = _highlights.c.pk == bindparam("pk")


def _with_items(which: ColumnElement[bool]) -> Select[Any]:
    """Select highlights, each with the dates of its items, and whether it has fewer than the tray counted.

    What only another tool has seen is no sign of a change.
    """
    of_items = (
        select(
            _members.c.highlight_pk,
            func.max(_items.c.taken_at).label("last_taken_at"),
            func.min(_members.c.first_seen_at).label("items_since"),
            func.max(_members.c.first_seen_at).label("last_added_at"),
            func.max(_members.c.gone_at).label("last_gone_at"),
            (func.count() - func.count(_members.c.gone_at)).label("item_count"),
        )
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .join(_items, _items.c.pk == _members.c.item_pk)
        .where(which, _members.c.source.is_(None))
        .group_by(_members.c.highlight_pk)
        .subquery()
    )
    counted = func.coalesce(_highlights.c.fetched_media_count, _highlights.c.media_count)
    return (
        select(
            _highlights,
            of_items.c.last_taken_at,
            of_items.c.items_since,
            of_items.c.last_added_at,
            of_items.c.last_gone_at,
            (func.coalesce(of_items.c.item_count, 0) < counted).label("lacks_items"),
        )
        .outerjoin(of_items, of_items.c.highlight_pk == _highlights.c.pk)
        .where(which)
    )


_ALL_OF_USER = _with_items(_OF_USER).order_by(_highlights.c.position, _highlights.c.pk)
_SINGLE = _with_items(_ONE)


def _is_of_highlights(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a failure is one of these highlights.

    Without it, SQLite begins with all open failures of the archive, for each account.
    """
    pks = select(_highlights.c.pk).where(which).correlate(None)
    return (_failures.c.subject == Subject.HIGHLIGHT) & _failures.c.subject_pk.in_(pks)


def _is_of_items(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a failure is one of these highlights' items; see ``_is_of_highlights``."""
    pks = select(_members.c.item_pk).join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
    return (_failures.c.subject == Subject.ITEM) & _failures.c.subject_pk.in_(
        pks.where(which).correlate(None)
    )


def _open_failures(which: ColumnElement[bool]) -> Select[Any]:
    """Select the open failures of highlights' pages and of their items' files.

    Failures of covers are left out: a cover is tried again at the next tray, and its failure is not a reason
    to fetch a highlight.
    """
    is_unresolved = _failures.c.resolved_at.is_(None)
    facts = [_failures.c[name] for name in ("role", "reason", "next_try_at", "host", "size")]
    of_page = (
        select(_highlights.c.pk, *facts)
        .join(_failures, _failures.c.subject_pk == _highlights.c.pk)
        .where(which, is_unresolved, _is_of_highlights(which), _failures.c.role.is_(None))
    )
    of_files = (
        select(_highlights.c.pk, *facts)
        .join(_members, _members.c.highlight_pk == _highlights.c.pk)
        .join(_failures, _failures.c.subject_pk == _members.c.item_pk)
        .where(which, is_unresolved, _is_of_items(which), _failures.c.role.is_not(None))
        .where(_members.c.gone_at.is_(None))
    )
    return select(union_all(of_page, of_files).subquery())


_FAILURES_OF_USER, _FAILURES_OF_ONE = _open_failures(_OF_USER), _open_failures(_ONE)


def account_state(
    connection: Connection,
    target: Target,
    pk: Pk | None = None,
    *,
    from_config: bool = False,
    paged_tray: str = "",
    known: tuple[HighlightState, ...] | None = None,
    run_id: int | None = None,
) -> AccountState:
    """Read what is stored of a target, in at most five statements.

    Pass ``pk`` once the visit knows it: if a first tray did not contain the name, the name does not lead to
    the account. ``from_config``: as in ``resolve``. ``paged_tray`` is the path of the paged tray; only the
    package ``hiker`` knows paths. ``known``: the highlights of the account, if they need not be read.
    ``run_id``: as in ``loss_to_confirm``.
    """
    if target.highlight_pk is not None:
        return _state_of_highlight(connection, target, target.highlight_pk, run_id)
    pk = pk or resolve(connection, target, from_config=from_config)
    user = connection.execute(_USER, {"pk": pk, "path": paged_tray}).mappings().first() if pk else None
    if pk is None or user is None:
        failure = open_failure(connection, Subject.TARGET, target.key, None)
        return _unresolved_state(target, pk, failure, ())
    return AccountState(
        target,
        pk,
        username=user["username"],
        is_private=user["is_private"],
        first_seen_at=user["first_seen_at"],
        gone_at=user["gone_at"],
        listed_at=user["listed_at"],
        tray_length=user["tray_length"],
        shrunk_to=loss_to_confirm(user, run_id),
        needs_pages=user["tray_endpoint"] == paged_tray,
        paged_at=user["paged_at"],
        pages_failed_at=user["pages_failed_at"],
        pages_units=int(user["pages_units"]),
        avatar_name=user["avatar_held"],
        verdict=Reason(user["verdict"]) if user["verdict"] is not None else None,
        verdict_at=user["verdict_at"],
        verdict_due_at=user["verdict_due_at"],
        highlights=(
            _highlight_states(connection, _ALL_OF_USER, _FAILURES_OF_USER, pk, run_id)
            if known is None
            else known
        ),
    )


def highlight_state(connection: Connection, pk: Pk) -> HighlightState | None:
    """Read what is stored of one highlight."""
    return next(iter(_highlight_states(connection, _SINGLE, _FAILURES_OF_ONE, pk)), None)


def loss_to_confirm(row: RowMapping, run_id: int | None) -> str | None:
    """Return the fingerprint of a loss that waits for a second look.

    None if this run itself has seen the loss: a visit that is repeated within a run confirms nothing. The row
    is one of ``users`` or ``highlights``; ``run_id`` None: no run decides by it.
    """
    return None if run_id is not None and row["shrunk_run_id"] == run_id else row["shrunk_to"]


def _state_of_highlight(connection: Connection, target: Target, pk: Pk, run_id: int | None) -> AccountState:
    highlights = _highlight_states(connection, _SINGLE, _FAILURES_OF_ONE, pk, run_id)
    failure = open_failure(connection, Subject.HIGHLIGHT, pk, None)
    return _unresolved_state(target, None, failure, highlights)


def _unresolved_state(
    target: Target, pk: Pk | None, failure: OpenFailure | None, highlights: tuple[HighlightState, ...]
) -> AccountState:
    if failure is None or failure.reason not in _UNRESOLVED:
        return AccountState(target, pk, has_failed=failure is not None, highlights=highlights)
    return AccountState(
        target,
        pk,
        has_failed=True,
        verdict=failure.reason,
        verdict_at=failure.last_at,
        verdict_due_at=failure.next_try_at,
        highlights=highlights,
    )


def _highlight_states(
    connection: Connection,
    highlights: Select[Any],
    failures: Select[Any],
    pk: Pk,
    run_id: int | None = None,
) -> tuple[HighlightState, ...]:
    rows = connection.execute(highlights, {"pk": pk}).mappings().all()
    if not rows:
        return ()
    by_highlight: dict[Pk, list[RowMapping]] = {}
    for row in connection.execute(failures, {"pk": pk}).mappings():
        by_highlight.setdefault(row["pk"], []).append(row)
    return tuple(_highlight_state(row, by_highlight.get(row["pk"], ()), run_id) for row in rows)


def _highlight_state(row: RowMapping, failures: Iterable[RowMapping], run_id: int | None) -> HighlightState:
    return HighlightState(
        pk=row["pk"],
        title=row["title"],
        numbers=TrayNumbers(row["latest_reel_media"], row["media_count"]),
        fetched_numbers=TrayNumbers(row["fetched_latest_reel_media"], row["fetched_media_count"]),
        created_at=row["created_at"],
        listed_at=row["listed_at"],
        fetched_at=row["fetched_at"],
        completed_at=row["completed_at"],
        tried_at=row["tried_at"],
        gone_at=row["gone_at"],
        failures=tuple(
            FailureState(
                role=Role(failure["role"]) if failure["role"] is not None else None,
                reason=Reason(failure["reason"]),
                next_try_at=failure["next_try_at"],
                host=failure["host"],
                size=failure["size"],
            )
            for failure in failures
        ),
        shrunk_to=loss_to_confirm(row, run_id),
        cover_name=row["cover_held"],
        changed_at=_changed_at(row),
        lacks_items=bool(row["lacks_items"]),
    )


def _changed_at(row: RowMapping) -> datetime | None:
    # The items of the first page are no change, whenever it was read.
    added_at = row["last_added_at"] if row["last_added_at"] != row["items_since"] else None
    return max((at for at in (row["last_taken_at"], added_at, row["last_gone_at"]) if at), default=None)


# --- what is open

_OPEN = select(_failures).where(
    _failures.c.subject == bindparam("of_subject"),
    _failures.c.subject_pk == bindparam("of_pk"),
    _failures.c.resolved_at.is_(None),
)
_OPEN_WHOLE, _OPEN_IN_ROLE = (
    _OPEN.where(_failures.c.role.is_(None)),
    _OPEN.where(_failures.c.role == bindparam("in_role")),
)

_REFUSED_FOR_HOST = (
    _failures.c.reason == Reason.HOST_NOT_ALLOWED,
    _failures.c.role.is_not(None),
    _failures.c.resolved_at.is_(None),
)


def _refused_items(which: ColumnElement[bool]) -> Select[Any]:
    return (
        select(_highlights.c.title, _failures)
        .join(_members, _members.c.highlight_pk == _highlights.c.pk)
        .join(_failures, _failures.c.subject_pk == _members.c.item_pk)
        .where(which, *_REFUSED_FOR_HOST, _is_of_items(which))
        .where(_members.c.gone_at.is_(None), _highlights.c.gone_at.is_(None))
    )


_REFUSED_COVERS = (
    select(_highlights.c.title, _failures)
    .join(_failures, _failures.c.subject_pk == _highlights.c.pk)
    .where(_OF_USER, *_REFUSED_FOR_HOST, _is_of_highlights(_OF_USER))
    .where(_highlights.c.gone_at.is_(None))
)
_REFUSED_AVATAR = select(null().label("title"), _failures).where(
    _failures.c.subject == Subject.USER, _failures.c.subject_pk == bindparam("pk"), *_REFUSED_FOR_HOST
)
_REFUSED_OF_USER = union_all(_refused_items(_OF_USER), _REFUSED_COVERS, _REFUSED_AVATAR).order_by("id")
_REFUSED_OF_ONE = _refused_items(_ONE).order_by(_failures.c.id)


def files_refused_for_host(
    connection: Connection, *, user_pk: Pk | None = None, highlight_pk: Pk | None = None
) -> tuple[tuple[str | None, Failure], ...]:
    """Return the files of an account, or of a highlight's items, that were refused because of their host.

    Each comes with the title of a highlight that shows it, None for an avatar. A file that several highlights
    show is returned once for each.
    """
    query = _REFUSED_OF_ONE if user_pk is None else _REFUSED_OF_USER
    return tuple(
        (
            row.title,
            Failure(
                Subject(row.subject), row.subject_pk, Role(row.role), Reason(row.reason), row.detail, row.host
            ),
        )
        for row in connection.execute(query, {"pk": highlight_pk if user_pk is None else user_pk})
    )


def open_failure(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None
) -> OpenFailure | None:
    """Return the open failure of a subject, or of its file in this role; None if there is none."""
    row = find_open(connection, subject, subject_pk, role)
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


def find_open(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None
) -> RowMapping | None:
    """Return the row of the open failure of a subject, or of its file in this role; None if there is none."""
    which = {"of_subject": subject, "of_pk": subject_pk}
    if role is None:
        return connection.execute(_OPEN_WHOLE, which).mappings().first()
    return connection.execute(_OPEN_IN_ROLE, {**which, "in_role": role}).mappings().first()


# --- all accounts

_LISTED = select(_users.c.pk, _users.c.listed_at).where(_users.c.listed_at.is_not(None))
_UNFINISHED = (
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


def progress(connection: Connection) -> Progress:
    """Return how far each stored account has been archived."""
    return Progress(
        bound={row.text: row.user_pk for row in connection.execute(_ENTRIES)},
        current={row.name: row.pk for row in connection.execute(_CURRENT_NAMES)},
        listed_at={pk: at for pk, at in connection.execute(_LISTED) if at is not None},
        unfinished=frozenset(connection.scalars(_UNFINISHED)),
    )


def longest_tray(connection: Connection) -> int:
    """Return the length of the longest tray in one answer that any account ever had.

    A shorter tray was not cut off at its first page.
    """
    return connection.scalar(select(func.max(_users.c.tray_longest))) or 0
