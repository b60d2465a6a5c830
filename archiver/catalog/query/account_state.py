"""The stored state that decides what a visit to an account does next; which account a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from difflib import get_close_matches

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.sql import Query
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

    id: int
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

# --- which account

_BOUND = Query("SELECT user_pk FROM targets WHERE text = :entry", Pk)
_BOUND_NAMES = Query("SELECT text FROM targets WHERE user_pk = :pk OR text = :entry ORDER BY text", str)
_BY_NAME = Query(  # two may claim a name that was freed: the one seen last has it
    "SELECT pk FROM users WHERE lower(username) = :name ORDER BY last_seen_at DESC LIMIT 1", Pk
)
_FORMER = Query(  # one may have had it in upper and in lower case
    """
    SELECT user_pk FROM usernames WHERE lower(username) = :name
    GROUP BY user_pk ORDER BY min(first_seen_at), user_pk
    """,
    Pk,
)
_USERNAMES = Query("SELECT username FROM users WHERE username IS NOT NULL", str)
_ENTRIES = Query("SELECT text, user_pk FROM targets", lambda entry, pk: (entry, pk))
_CURRENT_NAMES = Query(  # in the order of _BY_NAME
    "SELECT lower(username), pk FROM users WHERE username IS NOT NULL ORDER BY last_seen_at",
    lambda name, pk: (name, pk),
)


def resolve(connection: Connection, target: Target, *, from_config: bool) -> Pk | None:
    """Return the pk of the account that a target names; None if it is not known.

    An entry of the configuration (``from_config``) stays bound to the account that it first meant. Any other
    name means the account that has it now, ignoring case; if two accounts claim it, the one seen last.
    """
    return _pk_of(
        target,
        (lambda name: _BOUND.first(connection, entry=name)) if from_config else None,
        lambda name: _BY_NAME.first(connection, name=name.lower()),
    )


def archived_pks(connection: Connection, target: Target) -> tuple[Pk, ...]:
    """Return the stored accounts that a person means by a target.

    This is the account with that pk or current name, or else all that had the name before, the earliest
    first. Empty for a highlight.
    """
    pk = resolve(connection, target, from_config=False)
    if pk is not None and _USER.first(connection, pk=pk, path="") is not None:
        return (pk,)
    return former_pks(connection, target.username) if target.username is not None else ()


def former_pks(connection: Connection, username: str) -> tuple[Pk, ...]:
    """Return the stored accounts that ever had this name, ignoring case, the earliest first."""
    return tuple(_FORMER.all(connection, name=username.lower()))


def bound_names(connection: Connection, pk: Pk | None, username: str | None) -> tuple[str, ...]:
    """Return the entries of the configuration that are bound to this account, or that are this name."""
    return tuple(_BOUND_NAMES.all(connection, pk=pk, entry=username))


def similar_usernames(connection: Connection, username: str) -> list[str]:
    """Return the stored usernames, at most two, that a person may have meant."""
    return get_close_matches(username, _USERNAMES.all(connection), n=2)


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


class _User(Struct, frozen=True):
    """What is read of an account. ``pages_units``: the cost of all pages of its list, the last time."""

    username: str | None
    is_private: bool | None
    first_seen_at: datetime
    gone_at: datetime | None
    listed_at: datetime | None
    tray_length: int | None
    tray_endpoint: str | None
    shrunk_to: str | None
    shrunk_run_id: int | None
    paged_at: datetime | None
    pages_failed_at: datetime | None
    pages_units: int
    avatar_held: str | None
    verdict: Reason | None
    verdict_at: datetime | None
    verdict_due_at: datetime | None


class _Highlight(Struct, frozen=True):
    """What is read of a highlight, with the dates of its items.

    ``is_short``: whether it has fewer items than the tray counted.
    """

    pk: Pk
    title: str | None
    latest_reel_media: int | None
    media_count: int | None
    fetched_latest_reel_media: int | None
    fetched_media_count: int | None
    created_at: datetime | None
    listed_at: datetime | None
    fetched_at: datetime | None
    completed_at: datetime | None
    tried_at: datetime | None
    gone_at: datetime | None
    shrunk_to: str | None
    shrunk_run_id: int | None
    cover_held: str | None
    last_taken_at: datetime | None
    first_added_at: datetime | None
    last_added_at: datetime | None
    last_gone_at: datetime | None
    is_short: bool


_USER = Query(
    """
    SELECT username, is_private, first_seen_at, gone_at, listed_at, tray_length, tray_endpoint, shrunk_to,
        shrunk_run_id, paged_at, pages_failed_at,
        (
            SELECT CAST(coalesce(sum(units), 0) AS BIGINT) FROM api_calls
            WHERE subject = :pk AND path = :path AND run_id = (
                SELECT max(run_id) FROM api_calls WHERE subject = :pk AND path = :path AND units > 0
            )
        ) AS pages_units,
        avatar_held, verdict, verdict_at, verdict_due_at
    FROM users WHERE pk = :pk
    """,
    _User,
)
_OF_USER, _ONE = "highlights.user_pk = :pk", "highlights.pk = :pk"


def _highlights(which: str) -> Query[_Highlight]:
    # What only another tool has seen is no sign of a change.
    return Query(
        f"""
        SELECT pk, title, latest_reel_media, media_count, fetched_latest_reel_media, fetched_media_count,
            created_at, listed_at, fetched_at, completed_at, tried_at, gone_at, shrunk_to, shrunk_run_id,
            cover_held, last_taken_at, first_added_at, last_added_at, last_gone_at,
            coalesce(coalesce(item_count, 0) < coalesce(fetched_media_count, media_count), false) AS is_short
        FROM highlights LEFT JOIN (
            SELECT highlight_pk, max(items.taken_at) AS last_taken_at,
                min(member.first_seen_at) AS first_added_at, max(member.first_seen_at) AS last_added_at,
                max(member.gone_at) AS last_gone_at, count(*) - count(member.gone_at) AS item_count
            FROM highlight_items AS member JOIN highlights ON highlights.pk = highlight_pk
            JOIN items ON items.pk = item_pk
            WHERE {which} AND member.source IS NULL GROUP BY highlight_pk
        ) AS of_items ON highlight_pk = pk
        WHERE {which} ORDER BY position, pk
        """,
        _Highlight,
    )


def _is_of_highlights(which: str) -> str:
    """Return the condition that a failure is one of these highlights.

    Without it, SQLite begins with all open failures of the archive, for each account.
    """
    return f"""
        failures.subject = 'highlight'
        AND failures.subject_pk IN (SELECT highlights.pk FROM highlights WHERE {which})
    """


def _is_of_items(which: str) -> str:
    """Return the condition that a failure is one of these highlights' items; see ``_is_of_highlights``."""
    return f"""
        failures.subject = 'item' AND failures.subject_pk IN (
            SELECT item_pk FROM highlight_items JOIN highlights ON highlights.pk = highlight_pk WHERE {which}
        )
    """


def _open_failures(which: str) -> Query[tuple[Pk, FailureState]]:
    """Return the query for the open failures of highlights' pages and of their items' files.

    Failures of covers are left out: a cover is tried again at the next tray, and its failure is not a reason
    to fetch a highlight.
    """
    columns = "highlights.pk, role, reason, next_try_at, host, size"
    return Query(
        f"""
        SELECT {columns} FROM highlights JOIN failures ON failures.subject_pk = highlights.pk
        WHERE {which} AND resolved_at IS NULL AND {_is_of_highlights(which)} AND role IS NULL
        UNION ALL
        SELECT {columns} FROM highlights JOIN highlight_items AS member ON highlight_pk = highlights.pk
        JOIN failures ON failures.subject_pk = item_pk
        WHERE {which} AND resolved_at IS NULL AND {_is_of_items(which)} AND role IS NOT NULL
            AND member.gone_at IS NULL
        """,
        lambda pk, role, reason, *rest: (
            pk,
            FailureState(None if role is None else Role(role), Reason(reason), *rest),
        ),
    )


_HIGHLIGHTS_OF_USER, _HIGHLIGHT = _highlights(_OF_USER), _highlights(_ONE)
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
    user = _USER.first(connection, pk=pk, path=paged_tray) if pk else None
    if pk is None or user is None:
        failure = open_failure(connection, Subject.TARGET, target.key, None)
        return _unresolved_state(target, pk, failure, ())
    return AccountState(
        target,
        pk,
        username=user.username,
        is_private=user.is_private,
        first_seen_at=user.first_seen_at,
        gone_at=user.gone_at,
        listed_at=user.listed_at,
        tray_length=user.tray_length,
        shrunk_to=loss_to_confirm(user.shrunk_to, user.shrunk_run_id, run_id),
        needs_pages=user.tray_endpoint == paged_tray,
        paged_at=user.paged_at,
        pages_failed_at=user.pages_failed_at,
        pages_units=user.pages_units,
        avatar_name=user.avatar_held,
        verdict=user.verdict,
        verdict_at=user.verdict_at,
        verdict_due_at=user.verdict_due_at,
        highlights=(
            _highlight_states(connection, _HIGHLIGHTS_OF_USER, _FAILURES_OF_USER, pk, run_id)
            if known is None
            else known
        ),
    )


def highlight_state(connection: Connection, pk: Pk) -> HighlightState | None:
    """Read what is stored of one highlight."""
    return next(iter(_highlight_states(connection, _HIGHLIGHT, _FAILURES_OF_ONE, pk)), None)


def loss_to_confirm(shrunk_to: str | None, shrunk_run_id: int | None, run_id: int | None) -> str | None:
    """Return the fingerprint of a loss that waits for a second look.

    None if this run itself has seen the loss: a visit that is repeated within a run confirms nothing.
    ``shrunk_to`` and ``shrunk_run_id`` are columns of ``users`` and of ``highlights``. ``run_id`` None: no
    run decides by it.
    """
    return None if run_id is not None and shrunk_run_id == run_id else shrunk_to


def _state_of_highlight(connection: Connection, target: Target, pk: Pk, run_id: int | None) -> AccountState:
    highlights = _highlight_states(connection, _HIGHLIGHT, _FAILURES_OF_ONE, pk, run_id)
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
    highlights: Query[_Highlight],
    failures: Query[tuple[Pk, FailureState]],
    pk: Pk,
    run_id: int | None = None,
) -> tuple[HighlightState, ...]:
    rows = highlights.all(connection, pk=pk)
    if not rows:
        return ()
    by_highlight: dict[Pk, list[FailureState]] = {}
    for highlight_pk, failure in failures.all(connection, pk=pk):
        by_highlight.setdefault(highlight_pk, []).append(failure)
    return tuple(_highlight_state(row, by_highlight.get(row.pk, ()), run_id) for row in rows)


def _highlight_state(row: _Highlight, failures: Iterable[FailureState], run_id: int | None) -> HighlightState:
    # The items of the first page are no change, whenever it was read.
    added_at = row.last_added_at if row.last_added_at != row.first_added_at else None
    return HighlightState(
        pk=row.pk,
        title=row.title,
        numbers=TrayNumbers(row.latest_reel_media, row.media_count),
        fetched_numbers=TrayNumbers(row.fetched_latest_reel_media, row.fetched_media_count),
        created_at=row.created_at,
        listed_at=row.listed_at,
        fetched_at=row.fetched_at,
        completed_at=row.completed_at,
        tried_at=row.tried_at,
        gone_at=row.gone_at,
        failures=tuple(failures),
        shrunk_to=loss_to_confirm(row.shrunk_to, row.shrunk_run_id, run_id),
        cover_name=row.cover_held,
        changed_at=max((at for at in (row.last_taken_at, added_at, row.last_gone_at) if at), default=None),
        lacks_items=row.is_short,
    )


# --- what is open

_OPEN = Query(
    """
    SELECT id, reason, detail, attempts, first_at, last_at, next_try_at FROM failures
    WHERE subject = :subject AND subject_pk = :pk AND resolved_at IS NULL
        AND role = :role -- if role
        AND role IS NULL -- if not role
    """,
    OpenFailure,
)
_IS_REFUSED = "reason = 'host_not_allowed' AND role IS NOT NULL AND resolved_at IS NULL"
_REFUSED = "failures.id, subject, subject_pk, role, reason, detail, host"


def _refused_items(which: str) -> str:
    return f"""
        SELECT title, {_REFUSED} FROM highlights
        JOIN highlight_items AS member ON highlight_pk = highlights.pk
        JOIN failures ON failures.subject_pk = item_pk
        WHERE {which} AND {_IS_REFUSED} AND {_is_of_items(which)}
            AND member.gone_at IS NULL AND highlights.gone_at IS NULL
    """


def _refused_files(select: str) -> Query[tuple[str | None, Failure]]:
    return Query(
        f"""
        SELECT title, subject, subject_pk, role, reason, detail, host FROM ({select}) AS refused ORDER BY id
        """,
        lambda title, subject, pk, role, reason, detail, host: (
            title,
            Failure(Subject(subject), pk, Role(role), Reason(reason), detail, host),
        ),
    )


_REFUSED_OF_ONE = _refused_files(_refused_items(_ONE))
_REFUSED_OF_USER = _refused_files(
    f"""
    {_refused_items(_OF_USER)}
    UNION ALL
    SELECT title, {_REFUSED} FROM highlights JOIN failures ON failures.subject_pk = highlights.pk
    WHERE {_OF_USER} AND {_IS_REFUSED} AND {_is_of_highlights(_OF_USER)} AND highlights.gone_at IS NULL
    UNION ALL
    SELECT NULL, {_REFUSED} FROM failures WHERE subject = 'user' AND subject_pk = :pk AND {_IS_REFUSED}
    """
)


def files_refused_for_host(
    connection: Connection, *, user_pk: Pk | None = None, highlight_pk: Pk | None = None
) -> tuple[tuple[str | None, Failure], ...]:
    """Return the files of an account, or of a highlight's items, that were refused because of their host.

    Each comes with the title of a highlight that shows it, None for an avatar. A file that several highlights
    show is returned once for each.
    """
    if user_pk is None:
        return tuple(_REFUSED_OF_ONE.all(connection, pk=highlight_pk))
    return tuple(_REFUSED_OF_USER.all(connection, pk=user_pk))


def open_failure(
    connection: Connection, subject: Subject, subject_pk: str, role: Role | None
) -> OpenFailure | None:
    """Return the open failure of a subject, or of its file in this role; None if there is none."""
    return _OPEN.first(connection, subject=subject, pk=subject_pk, role=role)


# --- all accounts

_LISTED = Query(
    "SELECT pk, listed_at FROM users WHERE listed_at IS NOT NULL", lambda pk, listed_at: (pk, listed_at)
)
_UNFINISHED = Query(
    """
    SELECT DISTINCT user_pk FROM highlights WHERE gone_at IS NULL AND (
        completed_at IS NULL
        OR latest_reel_media <> fetched_latest_reel_media
        OR media_count <> fetched_media_count
    )
    """,
    Pk,
)
_LONGEST = Query("SELECT coalesce(max(tray_longest), 0) FROM users", int)


def progress(connection: Connection) -> Progress:
    """Return how far each stored account has been archived."""
    return Progress(
        bound=dict(_ENTRIES.all(connection)),
        current=dict(_CURRENT_NAMES.all(connection)),
        listed_at=dict(_LISTED.all(connection)),
        unfinished=frozenset(_UNFINISHED.all(connection)),
    )


def longest_tray(connection: Connection) -> int:
    """Return the length of the longest tray in one answer that any account ever had.

    A shorter tray was not cut off at its first page.
    """
    return _LONGEST.one(connection)
