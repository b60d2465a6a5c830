"""What a visit does next, and at what price; which pictures it downloads, and which blobs it looks for.

Pure: no clock, no database, no network. ``archiver run`` and ``archiver plan`` both follow these decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from archiver import retry
from archiver.catalog.query.account_state import AccountState, HighlightState
from archiver.errors import Reason
from archiver.hiker import endpoints
from archiver.model.api_calls import Call
from archiver.model.archived import Failure, Owner
from archiver.model.identity import Pk, Role, Subject
from archiver.model.upstream import Tray, TrayNumbers
from archiver.model.values import replace
from archiver.runner.absence import Doubt
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.downloads import Download
from archiver.runner.due_highlights import Job, Why, is_sweep_due, is_title_wanted, why_fetch
from archiver.runner.visit import Visit

_PAGES_RETRY_DAYS = 30  # used while the sweep is off, for accounts that must be listed page by page
_DIGITS = "0123456789abcdef"
DAYS = len(_DIGITS)
"""After so many days, every blob of an account has been looked for."""


class StepWhy(StrEnum):
    """Why a step is taken. A look may also be taken because of a ``Doubt``."""

    NEW_ACCOUNT = "new_account"  # its tray was never listed
    ROUTINE = "routine"  # only the tray tells what is new
    LISTED_BY_PLAN = "listed_by_plan"  # ``plan --list`` has just paid for the tray
    PAGES_FULL = "pages_full"  # --full
    PAGES_NEEDED = "pages_needed"  # the tray in one answer is known to lack highlights
    PAGES_SWEPT = "pages_swept"  # the periodic listing page by page is due
    PAGES_FAILED = "pages_failed"  # the pages could not be read: the tray in one answer is used
    PAGES_TOO_DEAR = "pages_too_dear"  # the pages would cost all remaining units
    VERDICT_DUE = "verdict_due"  # private, gone or empty, and time to ask again
    FAILED_BEFORE = "failed_before"  # the target did not resolve the last time
    FEW_UNITS = "few_units"  # too few units are left for the usual steps
    DUE = "due"  # highlights are due, each for its own reason
    FREE = "free"  # files of a hidden account that a stored answer still offers
    HIDDEN = "hidden"  # private, gone or empty, or a target that does not exist
    DONE = "done"


class LookAtAccount(Struct, frozen=True):
    """Fetch the account itself, to find out whether it is public, private or gone."""

    call: Call
    why: StepWhy | Doubt

    @property
    def units(self) -> int:
        """Return the price of this step."""
        return self.call.units


class ListTray(Struct, frozen=True):
    """List the highlights of an account. If paged, ``call`` is page one, ``units`` the price of all pages.

    Nothing is called and paid for if it is LISTED_BY_PLAN.
    """

    call: Call
    units: int
    why: StepWhy
    is_paged: bool = False


class FetchHighlights(Struct, frozen=True):
    """Fetch these highlights, all of an account at once. ``may_pay``: calls may be made for them."""

    jobs: tuple[Job, ...]
    why: StepWhy
    may_pay: bool = True

    @property
    def units(self) -> int:
        """Return the price of this step."""
        return sum(job.units for job in self.jobs)


class Wait(Struct, frozen=True):
    """Leave the target alone until a date (UTC); None: until the next run."""

    until: datetime | None
    why: StepWhy
    units: int = 0


Step = LookAtAccount | ListTray | FetchHighlights


def decide(visit: Visit, options: RunOptions, units_left: int | None, now: datetime) -> Step | Wait:
    """Return what to do next for a target.

    ``units_left`` are neither spent nor promised to other accounts; None: no limit. They affect which step is
    chosen, but never cut a step short: the ledger refuses a call beyond the limit.
    """
    state = visit.state
    if is_hidden(visit, options, now):
        jobs = () if visit.is_done else jobs_while_hidden(visit, options, now)
        if jobs:
            return FetchHighlights(jobs, StepWhy.FREE, may_pay=False)
        return Wait(state.verdict_due_at, StepWhy.HIDDEN)
    if visit.is_done or (options.list_only and (visit.is_listed or state.target.highlight_pk is not None)):
        return Wait(None, StepWhy.DONE)
    if visit.doubt is not None:
        return _look(state, visit.doubt)
    if visit.is_listed or state.target.highlight_pk is not None:
        jobs = jobs_due(visit, options, now)
        return FetchHighlights(jobs, StepWhy.DUE) if jobs else Wait(None, StepWhy.DONE)
    if not state.is_archived:
        return _resolve(visit, options, units_left)
    if _is_look_due(visit, options, now):
        return _look(state, StepWhy.VERDICT_DUE)
    return _fetch_or_list(visit, options, units_left, now)


def is_hidden(visit: Visit, options: RunOptions, now: datetime) -> bool:
    """Return whether the target shows nothing, by this visit or by a stored verdict that is not due yet."""
    if visit.verdict is not None:
        return True
    has_asked = visit.has_looked or visit.is_listed or visit.doubt is not None
    if has_asked or options.is_asked_for or visit.state.verdict in (None, Reason.EMPTY):
        return False
    return not _is_verdict_due(visit.state, now)


def jobs_due(visit: Visit, options: RunOptions, now: datetime) -> tuple[Job, ...]:
    """Return the highlights to fetch, among those that the target wants, in the order of the tray.

    The tray is that of this visit, else the last one.
    """
    state = visit.state
    if state.target.highlight_pk is not None:
        stored = state.highlight(state.target.highlight_pk)
        title, numbers = (stored.title, stored.numbers) if stored is not None else (None, TrayNumbers())
        return (_job(state.target.highlight_pk, title, numbers, Why.ASKED, visit),)
    return tuple(
        _job(highlight.pk, highlight.title, highlight.numbers, why, visit)
        for highlight in _on_tray(visit)
        if is_title_wanted(highlight.title, state.target.highlights)
        and (why := why_fetch(highlight, options, now)) is not None
    )


def jobs_while_hidden(visit: Visit, options: RunOptions, now: datetime) -> tuple[Job, ...]:
    """Return the highlights of a hidden account whose missing files a stored answer still offers.

    Links stay valid when an account is hidden, and a setting may now allow a file that it refused.
    """
    found = incomplete_jobs(visit, options, now)
    return tuple(job for job in found if not job.units)


def incomplete_jobs(visit: Visit, options: RunOptions, now: datetime) -> tuple[Job, ...]:
    """Return the highlights of a hidden account that lack files, with or without a stored answer."""
    if (
        options.list_only
        or options.repair is not None
        or not visit.before.is_archived
        or visit.before.pk is None
    ):
        return ()
    target, unswept = visit.state.target, replace(options, sweep_days=0)
    return tuple(
        _job(highlight.pk, highlight.title, highlight.numbers, Why.INCOMPLETE, visit)
        for highlight in visit.state.highlights
        if highlight.gone_at is None
        and is_title_wanted(highlight.title, target.highlights)
        and why_fetch(highlight, unswept, now) is Why.INCOMPLETE
    )


def _on_tray(visit: Visit) -> Iterable[HighlightState]:
    """Return the stored highlights that the tray lists, each with the numbers that the tray states now."""
    if visit.listing is None:
        return visit.state.on_tray
    stored = {highlight.pk: highlight for highlight in visit.state.highlights}
    # If the tray lists a highlight twice, the first entry counts.
    entries = {entry.pk: entry for entry in reversed(visit.listing.tray.highlights)}
    listed = [entry for entry in visit.listing.tray.highlights if entries[entry.pk] is entry]
    return [
        highlight if highlight.numbers == entry.numbers else replace(highlight, numbers=entry.numbers)
        for entry in listed
        if (highlight := stored.get(entry.pk)) is not None
    ]


def _job(pk: Pk, title: str | None, numbers: TrayNumbers, why: Why, visit: Visit) -> Job:
    return Job(pk, title, numbers, why, 0 if pk in visit.free_pks else endpoints.HIGHLIGHT_UNITS)


def _resolve(visit: Visit, options: RunOptions, units_left: int | None) -> LookAtAccount | ListTray:
    """Return the step that resolves an account of which nothing is stored.

    If the target failed to resolve before, the account itself is fetched first. That costs no more, and
    distinguishes a private account from one that does not exist.
    """
    state = visit.state
    if state.pk is not None:
        if not visit.has_looked and state.verdict in (Reason.GONE, Reason.PRIVATE):
            return _look(state, StepWhy.FAILED_BEFORE)
        call = endpoints.tray_call(state.pk, privacy_check=options.privacy_check)
        return ListTray(call, call.units, StepWhy.NEW_ACCOUNT)
    if state.has_failed:
        return _look(state, StepWhy.FAILED_BEFORE)
    name = state.target.username or ""
    call = endpoints.tray_by_name_call(name, privacy_check=options.privacy_check)
    look = _look(state, StepWhy.FEW_UNITS)
    # An empty tray must be confirmed by a look. With so few units left, the tray would leave none for it.
    if units_left is not None and look.units <= units_left <= call.units:
        return look
    return ListTray(call, call.units, StepWhy.NEW_ACCOUNT)


def _is_look_due(visit: Visit, options: RunOptions, now: datetime) -> bool:
    """Return whether to fetch the account instead of its tray.

    A private or gone account costs nothing until its verdict is due, then one look. An empty one is listed
    every night, because a highlight may appear on any day. When its verdict is due, a look replaces the tray,
    unless the tray has not been listed since the last look, or must confirm a loss.
    """
    state = visit.state
    if visit.has_looked or state.verdict is None:
        return False
    if state.verdict is not Reason.EMPTY:
        return True  # it is not hidden, so its verdict is due
    must_list = options.is_asked_for or options.list_only or state.shrunk_to is not None
    return not must_list and state.is_listed_since_verdict and _is_verdict_due(state, now)


def _is_verdict_due(state: AccountState, now: datetime) -> bool:
    return state.verdict_due_at is None or retry.is_due(state.verdict_due_at, now)


def _fetch_or_list(
    visit: Visit, options: RunOptions, units_left: int | None, now: datetime
) -> FetchHighlights | ListTray:
    """Return the step that lists the tray or, if units are short, fetches what is left of the last tray.

    This way a run makes progress even under a limit below the price of one account.
    """
    state = visit.state
    assert state.pk is not None
    call = endpoints.tray_call(state.pk, privacy_check=options.privacy_check)
    if visit.stored_tray is not None:
        return ListTray(call, 0, StepWhy.LISTED_BY_PLAN)
    if visit.pages_failed:  # first: the payment for the pages is recorded only with a tray
        return ListTray(call, call.units, StepWhy.PAGES_FAILED)
    if is_short(units_left, state, options) and state.listed_at is not None and not options.list_only:
        jobs = jobs_due(visit, options, now)
        if jobs:
            return FetchHighlights(jobs, StepWhy.FEW_UNITS)
    why = _why_paged(state, options, now)
    if why is None:
        is_new = state.listed_at is None
        return ListTray(call, call.units, StepWhy.NEW_ACCOUNT if is_new else StepWhy.ROUTINE)
    # Otherwise every run with too few units for all pages would spend them on the first pages again.
    if units_left is not None and units_left <= state.pages_units:
        return ListTray(call, call.units, StepWhy.PAGES_TOO_DEAR)
    page = endpoints.tray_page_call(state.pk, privacy_check=options.privacy_check)
    return ListTray(page, max(page.units, state.pages_units), why, is_paged=True)


def is_short(units_left: int | None, state: AccountState, options: RunOptions) -> bool:
    """Return whether there are units left, but no more than a stored account's tray costs."""
    if state.pk is None or not units_left:
        return False
    return units_left <= endpoints.tray_call(state.pk, privacy_check=options.privacy_check).units


def _why_paged(state: AccountState, options: RunOptions, now: datetime) -> StepWhy | None:
    """Return why to list the tray page by page; None to list it in one answer, as on the first visit.

    Pages that were billed but could not be read are tried again at the next sweep.
    """
    if state.pk is None or state.listed_at is None:
        return None
    if options.full:
        return StepWhy.PAGES_FULL
    if state.needs_pages and state.pages_failed_at is None:
        return StepWhy.PAGES_NEEDED
    last = state.paged_at or state.first_seen_at or state.listed_at
    days = options.sweep_days or (_PAGES_RETRY_DAYS if state.needs_pages else 0)
    return StepWhy.PAGES_SWEPT if is_sweep_due(state.pk, last, timedelta(days=days), now) else None


def _look(state: AccountState, why: StepWhy | Doubt) -> LookAtAccount:
    if state.pk is not None:
        return LookAtAccount(endpoints.user_call(state.pk), why)
    return LookAtAccount(endpoints.user_by_name_call(state.target.username or ""), why)


# --- pictures and blobs


def pictures_to_download(state: AccountState, tray: Tray, options: RunOptions) -> list[Download]:
    """Return the pictures of an account to download now.

    A picture with the same file name is the same picture. One that failed waits for the next tray.
    """
    repair, target, pk = options.repair, state.target, state.pk
    stored = {highlight.pk: highlight.cover_name for highlight in state.highlights}
    pictures = [
        Download(Owner(Subject.HIGHLIGHT, entry.pk), entry.cover, None)
        for entry in tray.highlights
        if options.covers
        and entry.cover is not None
        and (repair is None or entry.pk in repair.covers)
        and is_title_wanted(entry.title, target.highlights)
        and entry.cover_name not in (None, stored.get(entry.pk))
    ]
    user = tray.user
    is_avatar_new = user is not None and user.avatar_name not in (None, state.avatar_name)
    is_avatar_wanted = options.avatars and (repair is None or pk in repair.avatars)
    if pk is not None and user is not None and user.avatar is not None and is_avatar_new and is_avatar_wanted:
        pictures.append(Download(Owner(Subject.USER, pk), user.avatar, None))
    return pictures


def pictures_not_offered(state: AccountState, tray: Tray, repair: RepairScope | None) -> list[Failure]:
    """Return a gap for each picture that a repair wants and the tray does not show.

    Once they are recorded, the next repair does not pay for these pictures again.
    """
    if repair is None or state.pk is None:
        return []
    offered = {entry.pk for entry in tray.highlights if entry.cover_name is not None}
    covers = repair.covers & {highlight.pk for highlight in state.highlights}
    lost = [(Subject.HIGHLIGHT, cover, Role.COVER) for cover in sorted(covers - offered)]
    if state.pk in repair.avatars and (tray.user is None or tray.user.avatar_name is None):
        lost.append((Subject.USER, state.pk, Role.AVATAR))
    return [Failure(*which, Reason.NOT_FOUND, f"lost, and the tray shows no {which[2]}") for which in lost]


def digits_due(listed_at: datetime | None, now: datetime) -> str | None:
    """Return the first digits of the digests to look for; None: all.

    Of an account's blobs, one sixteenth is looked for on each day. ``listed_at``: when the account was last
    listed, and its blobs looked for. Since missed days are made up for, no blob waits longer than ``DAYS``,
    or than until the account is next listed. All are due at the first listing, after ``DAYS``, and if a wrong
    clock has written a date in the future.
    """
    today = now.toordinal()
    last = listed_at.toordinal() if listed_at is not None else 0
    if not 0 <= today - last < DAYS:
        return None
    return "".join(_DIGITS[day % DAYS] for day in range(min(last + 1, today), today + 1))
