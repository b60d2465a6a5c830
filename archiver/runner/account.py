"""One target from resolve to its last file: tray → rows → plan → jobs, covers and avatar."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, holdings
from archiver.errors import AnswerMalformed, ArchiverError, CallFailed, Reason
from archiver.model.archived import Failure, HeldUser
from archiver.model.billing import Meaning
from archiver.model.events import AccountDone, AccountListed, Notice
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.target import Target
from archiver.model.upstream import Tray, TrayFacts, User
from archiver.runner import plan
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.budget import Promise, Turn
from archiver.runner.context import RunContext, RunOptions
from archiver.runner.downloads import Claims, Download, FailedDownload, FileDownloader
from archiver.runner.highlight import HighlightSync, describe_rejected
from archiver.runner.metered_api import MeteredApi
from archiver.runner.pictures import not_offered, wanted
from archiver.runner.plan import Job, Why
from archiver.runner.standing import Account, Standing
from archiver.runner.tally import AccountEnd, files_not_downloaded
from archiver.runner.trays import Listing, Trays


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is left to do for an account. ``tray`` is None where its jobs follow from what is stored;
    ``promised``: what the Budget keeps back for them, by highlight; ``end``: how the account ends then."""

    target: Target
    pk: Pk
    tray: Tray | None
    jobs: tuple[Job, ...]
    promised: Mapping[Pk, Promise]
    end: AccountEnd = AccountEnd.WELL


class AccountSync:
    """Keeps one target at a time; many threads may."""

    def __init__(
        self,
        paid: MeteredApi,
        highlights: HighlightSync,
        files: FileDownloader,
        catalog: Catalog,
        store: BlobStore,
        kept: AnswerCache,
        *,
        jobs: ThreadPoolExecutor,
        options: RunOptions,
        context: RunContext,
    ) -> None:
        self._paid = paid
        self._highlights = highlights
        self._files = files
        self._catalog = catalog
        self._store = store
        self._kept = kept
        self._standing = Standing(
            paid, catalog, context=context, insist=options.ignore_backoff, lists=options.list_only
        )
        self._trays = Trays(paid, catalog, context=context, sweep_days=options.sweep_days, full=options.full)
        self._jobs = jobs
        self._options = options
        self._context = context
        self._lock = threading.Lock()
        self._taken: dict[Pk, Target] = {}

    def keep(self, target: Target, turn: Turn) -> None:
        """Do everything for one target. Its failures are recorded; raises only what stops the run. ``turn`` is ended once its jobs are
        promised their units."""
        try:
            end = (
                self._account(target, turn) if target.highlight_pk is None else self._highlight(target, turn)
            )
        except (CallFailed, AnswerMalformed) as error:
            reason = Reason.UPSTREAM if isinstance(error, CallFailed) else Reason.MALFORMED
            self._failed(target, reason, str(error), trouble=True)
            end = AccountEnd.FAILED
        except ArchiverError as error:
            if error is not self._paid.closed:
                raise
            return  # nothing more is paid for tonight: this target waits for the next run
        self._context.tally.ended(end)
        self._context.observe(AccountDone(target.text))

    def _highlight(self, target: Target, turn: Turn) -> AccountEnd:
        """A highlight target is one job without a tray."""
        pk = target.highlight_pk
        assert pk is not None
        held = self._catalog.read(account_state.highlight, pk)
        if self._standing.waits(Subject.HIGHLIGHT, pk):
            return AccountEnd.HIDDEN if held is not None else self._unresolved(target, asked=False)
        if self._options.list_only:
            return AccountEnd.WELL
        self._note_lost(f"highlight {pk}", self._catalog.read(holdings.digests_of_highlight, pk))
        job = Job(pk, held.title if held else None, held.facts if held else TrayFacts(), Why.ASKED)
        promise = self._promised((job,)).get(pk)
        turn.end()
        self._context.tally.add(highlights_listed=1)
        meaning = self._highlights.keep(job, Claims(pk), promise)
        self._report_hosts(target, self._catalog.read(account_state.files_of_hosts, highlight_pk=pk))
        if meaning is Meaning.NOT_FOUND:
            return AccountEnd.ABSENT if held is not None else self._unresolved(target, asked=True)
        return AccountEnd.WELL if meaning is Meaning.OK else AccountEnd.FAILED

    def _account(self, target: Target, turn: Turn) -> AccountEnd:
        account = self._standing.resolve(target, bound=self._options.from_config)
        found = self._begun(account)
        turn.end()
        return found if isinstance(found, AccountEnd) else self._finish(found)

    def _begun(self, account: Account) -> _Begun | AccountEnd:
        """Look at an account, record its tray, and promise its jobs their units."""
        if account.pk is None or account.held is None:
            return self._first_contact(account)
        if self._kept_as_another(account.target, account.pk):
            return AccountEnd.WELL
        verdict = self._standing.stands(account)
        if verdict is not None:
            return self._unseen(account, verdict)
        stored = self._from_stored(account)
        return stored if stored is not None else self._listed(account, self._trays.by_pk(account))

    def _from_stored(self, account: Account) -> _Begun | None:
        """The jobs that an earlier run left, without a new tray, where the units that are left would not pay for both: a limit that is
        lower than the price of one account makes progress all the same.
        """
        left, held = self._paid.budget.left(), account.held
        if not left or held is None or self._options.list_only or left > self._paid.price_of_tray(held.pk):
            return None
        jobs = self._plan(account.target, held.pk, None)
        if not jobs:
            return None
        self._context.tally.add(highlights_listed=len(jobs))
        return _Begun(account.target, held.pk, None, jobs, self._promised(jobs))

    def _kept_as_another(self, target: Target, pk: Pk) -> bool:
        """Whether this account is kept already tonight under another target (its name and its id, say): it is not paid for twice."""
        with self._lock:
            first = self._taken.setdefault(pk, target)
        if first is target:
            return False
        other = target.highlights != first.highlights
        what = f", with the highlights that {first.text} asks for" if other else ""
        self._context.observe(
            Notice(f"{target.text} is the same account as {first.text}: kept once{what}", loud=other)
        )
        return True

    def _first_contact(self, account: Account) -> _Begun | AccountEnd:
        """Look at a name or an id that was never resolved: nothing of its account is stored.

        Where it failed before, the account itself is asked for first, which costs no more, and tells a
        private account from one that does not exist.
        """
        target, failed = account.target, self._standing.failed_before(account)
        if account.pk is not None and self._kept_as_another(target, account.pk):
            return AccountEnd.WELL
        if self._standing.waits(Subject.TARGET, target.key):
            return self._unresolved(target, asked=False) if failed is Reason.GONE else AccountEnd.HIDDEN
        if account.pk is not None and failed not in (Reason.GONE, Reason.PRIVATE):
            return self._listed(account, self._trays.by_pk(account))
        name = target.username
        if account.pk is None and name is not None and not failed and not self._paid.lacks_room_for(name):
            return self._listed(account, self._trays.by_name(name))
        seen = self._standing.look(account)
        if seen.verdict is not None:
            if seen.user is not None:
                self._standing.record(seen.user.pk, seen.verdict)
            return self._unseen(account, seen.verdict)
        assert seen.user is not None
        account.pk = seen.user.pk
        return self._listed(account, self._trays.by_pk(account))

    def _listed(self, account: Account, listing: Listing | Reason) -> _Begun | AccountEnd:
        if isinstance(listing, Reason):
            hidden = self._standing.behind(account, listing)
            if account.held is not None:
                self._standing.record(account.held.pk, hidden)
            return self._unseen(account, hidden)
        tray = listing.tray
        pk, verdict = self._standing.of_tray(account, tray, cut=listing.cut)
        if verdict in (Reason.PRIVATE, Reason.GONE):
            return self._unseen(account, verdict)
        assert pk is not None
        if self._kept_as_another(account.target, pk):
            return AccountEnd.WELL
        self._record(account, pk, listing)
        jobs = self._plan(account.target, pk, tray)
        name = tray.user.username if tray.user is not None else None
        self._context.tally.add(highlights_listed=tray.length)
        self._context.observe(AccountListed(pk, name, tray.length, len(jobs)))
        if self._options.list_only:
            return AccountEnd.WELL
        return _Begun(account.target, pk, tray, jobs, self._promised(jobs))

    def _unseen(self, account: Account, verdict: Reason) -> _Begun | AccountEnd:
        """End the visit to an account that shows nothing: private, gone or empty. That is a fact, reported
        when it is news, or when a person asked for it now; but a target that does not exist and never did is
        a failure."""
        target, held = account.target, account.held
        if held is None and verdict is Reason.GONE:
            return self._unresolved(target, asked=True)
        before = held.verdict if held is not None else self._standing.failed_before(account)
        news = verdict is not Reason.EMPTY and (before is not verdict or self._options.ignore_backoff)
        what = f"the account is {verdict.value}"
        if held is None and verdict is not Reason.EMPTY:
            self._failed(target, verdict, what, trouble=False, silent=not news)
        if news:
            self._context.observe(Notice(f"{target.text}: {what}", loud=True))
        end = AccountEnd.ABSENT if news else AccountEnd.HIDDEN
        end = AccountEnd.WELL if verdict is Reason.EMPTY else end
        if held is None or self._options.list_only or self._options.repair is not None:
            return end
        return _Begun(target, held.pk, None, self._free_jobs(target, held.pk), {}, end)

    def _free_jobs(self, target: Target, pk: Pk) -> tuple[Job, ...]:
        """Return the highlights of an account that shows nothing now whose missing files a stored answer still offers.

        Its links are valid whatever the account shows, and what a setting refused may be allowed now.
        """
        held = {h.pk: h for h in self._catalog.read(account_state.held, pk) if h.gone_at is None}
        policy = replace(plan.Policy.of(self._options, target), sweep_days=0)
        due = plan.make(held.values(), held, policy, self._context.clock())
        return tuple(
            replace(job, units=0) for job in due if job.reason is Why.INCOMPLETE and self._kept.page(job)
        )

    def _unresolved(self, target: Target, *, asked: bool) -> AccountEnd:
        """Report a target that does not exist and never did, whether it was ``asked`` for now or waits for
        its next try: every run says so until somebody corrects it."""
        failure = _no_such(target)
        self._context.observe(Notice(f"{target.text}: {failure.detail}"))
        if asked and failure.subject is Subject.HIGHLIGHT:
            return AccountEnd.UNRESOLVED  # recorded and reported with what the API says
        if asked:
            self._catalog.write(record.failure, failure, self._context.clock())
        self._context.report_failure(failure, trouble=False)
        return AccountEnd.UNRESOLVED

    def _record(self, account: Account, pk: Pk, listing: Listing) -> None:
        self._trays.record(account, pk, listing)
        now = self._context.clock()
        self._catalog.write(record.resolution, Subject.TARGET, account.target.key, None, now)
        name = account.target.username
        if name is not None:
            if self._options.from_config:
                self._catalog.write(record.bind_target, name, pk, now)
            self._note_name(name, pk, account.held, listing.tray.user)
        self._note_left_out(pk, listing.tray)

    def _note_name(self, name: str, pk: Pk, held: HeldUser | None, user: User | None) -> None:
        """Tell when a name and an account have parted: a rename, or, once, a freed name that somebody else took."""
        stored = held.username if held is not None else None
        called = (user.username if user is not None else None) or stored or name
        if called != name:
            self._context.observe(Notice(f"{name} is now called {called}"))
            return
        before = [other for other in self._catalog.read(account_state.once_called, name) if other != pk]
        if before and (self._options.ignore_backoff or stored != name):
            self._context.observe(
                Notice(f"{name} is now account {pk}; account {before[-1]} had that name before", loud=True)
            )

    def _note_left_out(self, pk: Pk, tray: Tray) -> None:
        """Record what a tray lists and no row tells: in one failure of the account what cannot be read, each
        night; else in one gap, reported once, what nothing fetches."""
        before = self._catalog.read(account_state.open_failure, Subject.USER, pk, None)
        now = self._context.clock()
        if tray.rejected:
            failure = Failure(
                Subject.USER, pk, None, Reason.MALFORMED, describe_rejected(tray.rejected, "entry")
            )
            self._catalog.write(record.failure, failure, now)
            self._context.report_failure(failure, trouble=True)
        elif tray.unsupported:
            failure = Failure(Subject.USER, pk, None, Reason.UNSUPPORTED, _not_fetched(tray.unsupported))
            self._catalog.write(record.failure, failure, now)
            if before is None or before.detail != failure.detail:
                self._context.report_failure(failure, trouble=False)
        elif before is not None:
            self._catalog.write(record.resolution, Subject.USER, pk, None, now)

    def _plan(self, target: Target, pk: Pk, tray: Tray | None) -> tuple[Job, ...]:
        """The jobs of an account: by its tray, else by what its last one left."""
        self._note_lost(f"account {pk}", self._catalog.read(holdings.held_digests, pk))
        held = {h.pk: h for h in self._catalog.read(account_state.held, pk)}
        policy, now = plan.Policy.of(self._options, target), self._context.clock()
        if tray is None:
            account = self._catalog.read(account_state.user, pk)
            return plan.make(plan.last_listed(account, held.values()), held, policy, now)
        titles = [held[h.pk].title if h.pk in held else h.title for h in tray.highlights]
        for glob, near in plan.unmatched(target.highlights, titles).items():
            case = f": upper and lower case differ, and there is '{near}'" if near is not None else ""
            self._context.note(f"{target.text}: no highlight matches '{glob}'{case}")
        return plan.make(tray.highlights, held, policy, now)

    def _promised(self, jobs: Sequence[Job]) -> Mapping[Pk, Promise]:
        """Keep units back for the jobs that are to be paid for, as far as they go: those beyond find the limit reached."""
        budget = self._paid.budget
        if not budget.limited:
            return {}
        return budget.promise([job.pk for job in jobs if self._kept.page(job) is None])

    def _finish(self, begun: _Begun) -> AccountEnd:
        claims = Claims(begun.pk)
        pictures: list[Future[FailedDownload | None]] = []
        offered: list[Download] = []
        if begun.tray is not None:
            offered = wanted(self._catalog, self._options, begun.target, begun.pk, begun.tray)
            pictures = self._files.begin(offered, claims)
            for gap in not_offered(self._catalog, self._options.repair, begun.pk, begun.tray):
                self._catalog.write(record.failure, gap, self._context.clock(), gap=True)
                self._context.report_failure(gap, trouble=False)
        jobs = [
            self._jobs.submit(self._highlights.keep, job, claims, begun.promised.get(job.pk))
            for job in begun.jobs
        ]
        closed: ArchiverError | None = None
        try:
            self._end(jobs)
        except ArchiverError as error:
            if error is not self._paid.closed:
                raise
            closed = (
                error  # nothing more is paid for, but downloads are free: what they missed is recorded first
            )
        for picture in pictures:
            if (missed := picture.result()) is not None:
                self._files.record_missed(missed, claims)
        stored: Sequence[tuple[str | None, Failure]]
        stored = self._catalog.read(account_state.files_of_hosts, user_pk=begun.pk)
        if begun.tray is not None and self._options.repair is None:
            stored = self._drop_unoffered(stored, offered)
        self._report_hosts(begun.target, stored)
        if closed is not None:
            raise closed
        return begun.end

    def _drop_unoffered(
        self, stored: Iterable[tuple[str | None, Failure]], offered: Iterable[Download]
    ) -> list[tuple[str | None, Failure]]:
        """Resolve refused covers and avatars that the tray does not offer any more, or offers as they are stored."""
        wanted = {(w.owner.subject, w.owner.pk, w.link.role) for w in offered}
        left = []
        for title, failure in stored:
            what = (failure.subject, failure.subject_pk, failure.role)
            if failure.subject is Subject.ITEM or what in wanted:
                left.append((title, failure))
            else:
                self._catalog.write(record.resolution, *what, self._context.clock())
        return left

    def _report_hosts(self, target: Target, stored: Iterable[tuple[str | None, Failure]]) -> None:
        """Count the files that wait for ``download.allowed_hosts``, whichever run was refused them.

        ``stored``: ``query.files_of_hosts``, each with the title of its highlight.
        """
        rules = self._options.rules
        not_kept = {Role.COVER: not self._options.covers, Role.AVATAR: not self._options.avatars}
        waiting = {
            (failure.subject, failure.subject_pk, failure.role): failure
            for title, failure in stored
            if (failure.role is Role.AVATAR or plan.matches(title, target.highlights))
            and not not_kept.get(failure.role or Role.VIDEO, False)
            and (rules is None or not rules.allow(failure.host, None))
        }
        self._context.tally.refused(tuple(waiting.values()))
        for host, files in Counter(failure.host for failure in waiting.values()).items():
            self._context.observe(Notice(f"{target.text}: {files_not_downloaded(host or '', files)}"))

    def _end(self, begun: Collection[Future[Meaning]]) -> None:
        """Wait for all jobs of an account. Where several raise, what ends the run is heard before what merely ends the paying."""
        wait(begun, return_when=FIRST_EXCEPTION)
        for future in begun:
            future.cancel()
        wait(begun)
        raised = [e for f in begun if not f.cancelled() and (e := f.exception()) is not None]
        if raised:
            raise next((e for e in raised if e is not self._paid.closed), raised[0])

    def _note_lost(self, whose: str, held: Collection[Digest]) -> None:
        """Bytes that vanished from the store are noted as lost: their highlights are incomplete, and fetched again."""
        lost = [digest for digest in held if not self._store.has(digest)]
        if lost:
            self._context.observe(
                Notice(f"{len(lost)} files of {whose} are gone from the store: fetching them again")
            )
            self._catalog.write(record.lost_blobs, tuple(lost), self._context.clock())

    def _failed(
        self, target: Target, reason: Reason, detail: str, *, trouble: bool, silent: bool = False
    ) -> None:
        failure = Failure(Subject.TARGET, target.key, None, reason, detail)
        self._catalog.write(record.failure, failure, self._context.clock())
        if not silent:
            self._context.report_failure(failure, trouble=trouble)


def _no_such(target: Target) -> Failure:
    """The failure of a target that does not exist."""
    if target.highlight_pk is not None:
        what = "no such highlight: correct or remove it"
        return Failure(Subject.HIGHLIGHT, target.highlight_pk, None, Reason.NOT_FOUND, what)
    kind = "name" if target.username is not None else "id"
    what = f"no account has this {kind}: correct or remove it"
    return Failure(Subject.TARGET, target.key, None, Reason.GONE, what)


def _not_fetched(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return f"the tray lists {ids[0]}, which holds products, not stories: it is not archived"
    shown = ", ".join(ids[:3]) + ("…" if len(ids) > 3 else "")
    return f"the tray lists {len(ids):,} highlights of products, not stories, which are not archived: {shown}"
