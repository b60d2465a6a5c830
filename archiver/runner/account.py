"""One visit to a target in a run: decide on a step, perform it, and repeat until nothing is left to do.

``forecast`` takes the same steps for ``archiver plan``, without any call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from datetime import datetime

from msgspec import Struct

from archiver.blobs.store import BlobStore
from archiver.catalog import record
from archiver.catalog.query.holdings import digests_of_account, digests_of_highlight
from archiver.errors import AnswerMalformed, CallFailed, PayingEnded, Reason
from archiver.hiker import endpoints
from archiver.model.api_calls import Meaning
from archiver.model.events import AccountDone, AccountListed, Notice
from archiver.model.identity import Digest, Pk, Subject
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.absence import Doubt, Listing, doubt_about, highlights_gone, missing_in_one_answer
from archiver.runner.account_report import AccountReporter, end_of_hidden
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunContext, RunOptions
from archiver.runner.decide import (
    FetchHighlights,
    ListTray,
    LookAtAccount,
    Step,
    StepWhy,
    Wait,
    decide,
    digits_due,
    incomplete_jobs,
    is_hidden,
    is_short,
    jobs_due,
    pictures_not_offered,
    pictures_to_download,
)
from archiver.runner.downloads import Claims, FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import MeteredApi
from archiver.runner.promises import Promise, Turn
from archiver.runner.tally import AccountEnd
from archiver.runner.threads import Pool
from archiver.runner.visit import AccountRegister, Visit, begin_visit, read_visit

OF_ONE_ACCOUNT = (CallFailed, AnswerMalformed)
"""Errors that concern only one account."""

_WHY_NOT_PAGED = {
    StepWhy.PAGES_FAILED: "the paged tray cannot be read: using the first page",
    StepWhy.PAGES_TOO_DEAR: "too few units for all pages of the list: reading the first page",
}
"""What is reported if the tray is listed in one answer although it should be listed page by page."""


def with_answers(visit: Visit, answers: AnswerCache, options: RunOptions, now: datetime) -> Visit:
    """Return the visit with the highlights that a stored answer can serve."""
    jobs = incomplete_jobs if is_hidden(visit, options, now) else jobs_due
    return replace(visit, free_pks=answers.find_usable(jobs(visit, options, now)))


class RunServices(Struct, frozen=True):
    """What a run works with, the same for all its visits in this process."""

    context: RunContext
    store: BlobStore
    api: MeteredApi
    answers: AnswerCache
    downloads: FileDownloader
    highlights: HighlightSync
    pool: Pool
    register: AccountRegister


class AccountSync:
    """The visit to one target. A call is reserved, sent, stored and settled; then its content is recorded.

    All that it learns is in ``Visit``.
    """

    def __init__(self, services: RunServices, target: Target, turn: Turn) -> None:
        """``turn``: the right to begin a target while few units are left.

        The turn ends once units are promised to the highlights to fetch.
        """
        self._services = services
        self._context, self._work = services.context, services.context.work
        self._options = services.context.options
        self._catalog = services.context.catalog
        self._api = services.api
        self._target = target
        self._turn = turn
        self._report = AccountReporter(services.context, target)
        self._claims = Claims()

    def sync(self) -> bool:
        """Do everything that is due for the target.

        Return False if the visit stopped because this run pays for nothing more. Failures are recorded; only
        errors that stop the run are raised.
        """
        try:
            end = self._visit()
        except OF_ONE_ACCOUNT as error:
            reason = Reason.UPSTREAM if isinstance(error, CallFailed) else Reason.MALFORMED
            self._report.fail_target(reason, str(error), is_trouble=True)
            end = AccountEnd.FAILED
        except PayingEnded:
            return False  # the target waits for the next run
        self._context.tally.count_end(end)
        self._work.observe(AccountDone(self._target.text))
        return True

    def _visit(self) -> AccountEnd:
        visit, options, clock = self._begin(), self._options, self._work.clock
        while not isinstance(step := decide(visit, options, self._units_left(visit), clock()), Wait):
            visit = self._perform(step, visit)
        self._turn.end()
        self._finish(visit, step)
        if visit.paying_ended is not None:
            raise visit.paying_ended
        return self._end_of(visit, step)

    def _perform(self, step: Step, visit: Visit) -> Visit:
        """Take a step and return what is known after it."""
        match step:
            case LookAtAccount():
                return self._look(step, visit)
            case ListTray():
                return self._list(step, visit)
            case FetchHighlights():
                return self._fetch(step, visit)

    def _end_of(self, visit: Visit, last: Wait) -> AccountEnd:
        """Return how the target ended. One that does not exist is recorded or reported."""
        is_highlight, is_archived = self._target.highlight_pk is not None, visit.before.is_archived
        if visit.is_duplicate:
            return AccountEnd.WELL
        if visit.verdict is not None:
            return end_of_hidden(visit.verdict, visit.before, self._options)
        if last.why is StepWhy.HIDDEN:
            if not is_archived and (is_highlight or visit.before.verdict is Reason.GONE):
                return self._report.report_missing()
            return AccountEnd.NOT_ASKED
        if not is_highlight or not visit.meanings or visit.meanings == (Meaning.OK,):
            return AccountEnd.WELL
        if visit.meanings == (Meaning.NOT_FOUND,):
            return AccountEnd.ABSENT if is_archived else self._report.fail_unresolved()
        return AccountEnd.FAILED

    def _begin(self) -> Visit:
        """Return a new visit; it is done if another target of this run has named the same account."""
        visit = begin_visit(
            self._catalog, self._services.answers, self._target, self._options, self._context.run_id
        )
        state = visit.state
        if state.pk is not None and not self._claim_account(state.pk):
            return replace(visit, is_duplicate=True)
        is_tight = self._turn.is_tight and not is_hidden(visit, self._options, self._work.clock())
        if (
            is_tight
            and state.pk is not None
            and is_short(self._api.budget.units_left(), state, self._options)
        ):
            # The highlights of the last tray may be fetched without a new tray, so find lost files now.
            visit = self._check_blobs(visit, state.pk, state.listed_at)
            visit = read_visit(visit, self._catalog)
        return self._with_needed_answers(visit)

    def _units_left(self, visit: Visit) -> int | None:
        """Return the units left until the tray is listed; None after that, when they affect no step."""
        return None if visit.is_listed or visit.is_done else self._api.budget.units_left()

    def _claim_account(self, pk: Pk) -> bool:
        """Claim an account for this target.

        Return False if another target of this run (a name and an id, say) has named it before; report that.
        """
        first = self._services.register.register(pk, self._target)
        if first is self._target:
            return True
        self._report.report_duplicate(first)
        return False

    # --- looking and listing

    def _look(self, step: LookAtAccount, visit: Visit) -> Visit:
        """Fetch the account, and record the verdict and the tray that waited for it."""
        state, listing, doubt = visit.state, visit.listing, visit.doubt
        owner = listing.tray.user if listing is not None else None
        expected_pk = owner.pk if owner is not None and doubt is Doubt.NAMELESS else state.pk
        verdict, user = self._api.fetch_account(step.call, expected_pk, self._target.username)
        if user is not None and state.pk is None and not self._claim_account(user.pk):
            return replace(visit, is_duplicate=True)
        if user is not None:
            self._catalog.write(record.record_user, self._context.run_id, user, self._work.clock())
        if verdict is None and doubt is Doubt.NOT_FOUND:
            raise _hidden_tray()
        is_empty = doubt is Doubt.EMPTY or (doubt is None and state.verdict is Reason.EMPTY)
        if verdict is None and is_empty:
            verdict = Reason.EMPTY
        pk = state.pk
        if pk is None and owner is not None and doubt is not Doubt.NAMELESS:
            pk = owner.pk
        if pk is None and user is not None:
            pk = user.pk
        visit = replace(visit, state=replace(state, pk=pk), has_looked=True, doubt=None)
        is_seen = user is not None and verdict is not None
        is_there = listing is not None and verdict is not Reason.GONE  # an id that does not exist gets no row
        if pk is not None and (visit.before.is_archived or is_seen or is_there):
            self._record_verdict(pk, verdict)
        if verdict in (Reason.PRIVATE, Reason.GONE) or (verdict is Reason.EMPTY and listing is None):
            return self._end_hidden(visit, verdict)
        if listing is not None:
            return self._record_tray(visit, listing)
        return read_visit(visit, self._catalog) if visit.before.is_archived else visit

    def _list(self, step: ListTray, visit: Visit) -> Visit:
        """List the tray and record it, unless a look at the account must confirm it first."""
        state = visit.state
        if (why := _WHY_NOT_PAGED.get(step.why)) is not None:
            self._work.observe(Notice(f"{self._target.text}: {why}"))
        # Look for missing blobs before the tray is paid for, since a failing disk ends the run; and before it
        # is recorded, since its date says that the shares of blobs up to today are done.
        if state.pk is not None and visit.blobs_checked is None:
            visit = self._check_blobs(visit, state.pk, state.listed_at)
        if step.why is StepWhy.LISTED_BY_PLAN:
            return self._use_stored_tray(visit)
        if step.is_paged:
            assert state.pk is not None
            pages, is_billed = self._api.list_pages(step.call, state.pk)
            if pages is None:
                return replace(visit, pages_failed=True, are_pages_paid=is_billed)
            listing = Listing(pages, is_whole=True)
        else:
            tray = self._api.list_tray(step.call, state.pk, self._target.username)
            if isinstance(tray, Reason):
                return self._end_unlisted(visit, tray)
            listing = Listing(tray, is_cut=state.needs_pages)
        doubt = doubt_about(listing, visit.before, state.pk)
        if doubt is not None and not visit.has_looked:
            return replace(visit, listing=listing, doubt=doubt)
        owner = listing.tray.user
        pk = state.pk or (owner.pk if owner is not None else None)
        assert pk is not None
        return self._record_tray(replace(visit, state=replace(state, pk=pk), doubt=doubt), listing)

    def _end_unlisted(self, visit: Visit, verdict: Reason) -> Visit:
        """End the visit to an account whose tray is not shown, unless a look must confirm that first.

        It is not documented how the API answers for the tray of a private account: "not found" does not
        prove that the account is gone.
        """
        if verdict is Reason.GONE and visit.has_looked:
            raise _hidden_tray()
        if verdict is Reason.GONE and visit.before.is_archived:
            return replace(visit, doubt=Doubt.NOT_FOUND)
        if visit.before.is_archived and visit.state.pk is not None:
            self._record_verdict(visit.state.pk, verdict)
        return self._end_hidden(visit, verdict)

    def _end_hidden(self, visit: Visit, verdict: Reason) -> Visit:
        """End the visit to an account that shows nothing; stored answers may still offer files."""
        self._report.report_hidden(verdict, visit.before)
        visit = replace(visit, verdict=verdict, listing=None)
        if not visit.before.is_archived:
            return visit
        return self._with_needed_answers(read_visit(visit, self._catalog))

    def _record_verdict(self, pk: Pk, verdict: Reason | None) -> None:
        self._catalog.write(record.record_verdict, self._context.run_id, pk, verdict, self._work.clock())

    def _record_tray(self, visit: Visit, listing: Listing) -> Visit:
        """Record the tray. Read the state again: the tray, and lost files, change what is due."""
        pk, before = visit.state.pk, visit.before
        assert pk is not None
        if not self._claim_account(pk):
            return replace(visit, is_duplicate=True)
        # The first tray may belong to an account that is stored under another name.
        stored = visit.state if before.is_archived else read_visit(visit, self._catalog).state
        register, tray = self._services.register, listing.tray
        gone, shrunk_to = highlights_gone(listing, stored, before.shrunk_to, register.longest_tray)
        if not listing.is_whole:
            register.longest_tray = max(register.longest_tray, tray.length)
        unseen = missing_in_one_answer(listing, visit.state)
        run_id, now = self._context.run_id, self._work.clock()
        if visit.blobs_checked != (pk, now.date()):  # it was unknown before, or midnight has passed
            visit = self._check_blobs(visit, pk, stored.listed_at)
        facts: list[record.Fact] = [
            lambda rows: record.resolve_failure(rows, Subject.TARGET, self._target.key, None, now)
        ]
        if visit.doubt is Doubt.EMPTY or tray.length > 0:
            verdict = Reason.EMPTY if visit.doubt is Doubt.EMPTY else None
            facts.append(lambda rows: record.record_verdict(rows, run_id, pk, verdict, now))
        if not tray.has_left_out:
            facts.append(lambda rows: record.resolve_failure(rows, Subject.USER, pk, None, now))
        name = self._target.username
        if name is not None and self._options.from_config:
            facts.append(lambda rows: record.bind_target(rows, name, pk, now))
        has_changed = self._catalog.write(
            record.together,
            lambda rows: record.record_tray(
                rows,
                run_id,
                pk,
                tray,
                now,
                gone=gone,
                shrunk_to=shrunk_to,
                endpoint=endpoints.PAGED_TRAY if unseen or before.needs_pages else endpoints.TRAY,
                is_whole=listing.is_whole,
                are_pages_paid=listing.is_whole or visit.are_pages_paid,
                unseen=unseen,
            ),
            *facts,
        )
        self._report.report_tray(pk, tray, before)
        # The highlights of an account that is stored under another name have not been read yet.
        are_unchanged = before.is_archived and not (has_changed or visit.has_lost_blobs)
        return self._go_on(visit, listing, highlights_unchanged=are_unchanged)

    def _use_stored_tray(self, visit: Visit) -> Visit:
        """Go on with the tray that ``plan --list`` has paid for and recorded; the next run lists again."""
        pk, tray, name, now = (
            visit.state.pk,
            visit.stored_tray,
            self._target.username,
            self._work.clock(),
        )
        assert pk is not None
        assert tray is not None
        facts: list[record.Fact] = []
        if name is not None and self._options.from_config:
            facts.append(lambda rows: record.bind_target(rows, name, pk, now))
        self._catalog.write(record.together, lambda rows: record.record_tray_use(rows, pk, now), *facts)
        return self._go_on(visit, Listing(tray), highlights_unchanged=not visit.has_lost_blobs)

    def _go_on(self, visit: Visit, listing: Listing, *, highlights_unchanged: bool) -> Visit:
        """Read the state again after the tray, which is recorded; report it, and start its pictures."""
        visit = replace(visit, listing=listing, doubt=None, is_listed=True)
        visit = read_visit(visit, self._catalog, highlights_unchanged=highlights_unchanged)
        visit = self._with_needed_answers(visit)
        self._report_listed(visit, listing)
        return visit if self._options.list_only else self._start_pictures(visit, listing)

    def _report_listed(self, visit: Visit, listing: Listing) -> None:
        tray = listing.tray
        self._report.report_unmatched_globs(visit.state, tray)
        self._context.tally.add(highlights_listed=tray.length)
        jobs = jobs_due(visit, self._options, self._work.clock())
        name = tray.user.username if tray.user is not None else None
        self._work.observe(AccountListed(visit.state.pk or "", name, tray.length, len(jobs)))

    def _with_needed_answers(self, visit: Visit) -> Visit:
        """Look up stored answers if they matter: under a limit, and for files of a hidden account."""
        now = self._work.clock()
        is_needed = self._api.budget.is_limited and not self._options.list_only
        if is_needed or is_hidden(visit, self._options, now):
            return with_answers(visit, self._services.answers, self._options, now)
        return visit

    def _check_blobs(self, visit: Visit, pk: Pk, listed_at: datetime | None) -> Visit:
        """Look for the blobs of the account, and record those that are missing.

        Those that are due are looked for, and all if one of them is missing. ``plan --list`` looks for all:
        otherwise its price would not be exact.
        """
        now = self._work.clock()
        digits = digits_due(listed_at, now)
        if self._options.full or self._options.list_only:
            digits = None
        missing = self._find_missing(self._catalog.read(digests_of_account, pk, digits))
        if missing and digits is not None:
            missing = self._find_missing(self._catalog.read(digests_of_account, pk))
        self._record_lost(f"account {pk}", missing)
        has_lost = visit.has_lost_blobs or bool(missing)
        return replace(visit, blobs_checked=(pk, now.date()), has_lost_blobs=has_lost)

    def _find_missing(self, digests: Collection[Digest]) -> tuple[Digest, ...]:
        return tuple(digest for digest in digests if not self._services.store.has(digest))

    def _record_lost(self, whose: str, missing: Collection[Digest]) -> None:
        """Record blobs that are missing from the store, so that their highlights are fetched again."""
        if missing:
            text = f"{len(missing)} files of {whose} are gone from the store: fetching them again"
            self._work.observe(Notice(text))
            self._catalog.write(record.record_lost_blobs, missing, self._work.clock())

    # --- fetching

    def _start_pictures(self, visit: Visit, listing: Listing) -> Visit:
        """Start downloading the covers and the avatar that the tray offers and the archive lacks."""
        pictures = pictures_to_download(visit.state, listing.tray, self._options)
        begun = self._services.downloads.start(pictures, self._claims)
        for gap in pictures_not_offered(visit.state, listing.tray, self._options.repair):
            self._catalog.write(record.record_failure, gap, self._work.clock(), is_gap=True)
            self._context.report_failure(gap, is_trouble=False)
        return replace(visit, pictures=tuple(pictures), picture_downloads=tuple(begun))

    def _fetch(self, step: FetchHighlights, visit: Visit) -> Visit:
        """Promise units to the highlights, let the next target begin, and fetch the highlights."""
        highlight_pk, budget = self._target.highlight_pk, self._api.budget
        if highlight_pk is not None:
            # Look for all: they are few, and no date says which are done.
            missing = self._find_missing(self._catalog.read(digests_of_highlight, highlight_pk))
            self._record_lost(f"highlight {highlight_pk}", missing)
        if highlight_pk is not None or step.why is StepWhy.FEW_UNITS:
            self._context.tally.add(highlights_listed=len(step.jobs))
        promises: Mapping[Pk, Promise] = {}
        if budget.is_limited and step.may_pay:
            promises = budget.promise([job.pk for job in step.jobs if job.units])
        self._turn.end()
        account = visit.state.pk or highlight_pk or ""
        futures = [
            self._services.pool.submit(
                self._services.highlights.sync,
                job,
                self._claims,
                account=account,
                promise=promises.get(job.pk),
                may_pay=step.may_pay,
            )
            for job in step.jobs
        ]
        visit = replace(visit, has_fetched=True)
        try:
            return replace(visit, meanings=tuple(join(futures)))
        except PayingEnded as ended:  # raised once the files that were missed are recorded
            return replace(visit, paying_ended=ended)

    def _finish(self, visit: Visit, last: Wait) -> None:
        """Record the pictures that could not be downloaded, and report files that a setting refuses."""
        for download in visit.picture_downloads:
            if (failed := download.result()) is not None:
                self._services.downloads.record_failed(failed, self._claims)
        if self._target.highlight_pk is not None:
            if visit.meanings:
                self._report.resolve_or_report_refused(highlight_pk=self._target.highlight_pk)
            return
        is_left_alone = last.why is StepWhy.HIDDEN and (
            not visit.before.is_archived or self._options.repair is not None
        )
        if not (self._options.list_only or visit.is_duplicate or is_left_alone):
            is_replaced = visit.listing is not None and self._options.repair is None
            self._report.resolve_or_report_refused(
                user_pk=visit.state.pk, offered=visit.pictures if is_replaced else None
            )


def join(futures: Sequence[Future[Meaning]]) -> list[Meaning]:
    """Wait for all highlights of a target, and return how their pages were answered.

    If several raise, an error that stops the run takes precedence over one that only ends paid calls.
    """
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()
    wait(futures)
    raised = [e for f in futures if not f.cancelled() and (e := f.exception()) is not None]
    if raised:
        raise next((e for e in raised if not isinstance(e, PayingEnded)), raised[0])
    return [future.result() for future in futures]


def _hidden_tray() -> CallFailed:
    return CallFailed("its tray was not found, although the account exists and is public", was_sent=True)
