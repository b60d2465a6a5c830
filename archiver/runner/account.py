"""One target from resolve to its last file: tray → rows → plan → jobs, covers and avatar."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from archiver.blobs import BlobStore
from archiver.catalog import Catalog, query, record
from archiver.errors import AnswerMalformed, ArchiverError, CallFailed, Reason
from archiver.hiker import wire
from archiver.model import (
    Digest,
    Failure,
    Highlight,
    Meaning,
    Owner,
    Pk,
    Subject,
    Target,
    Tray,
    TrayFacts,
    User,
)
from archiver.runner import plan
from archiver.runner.events import AccountDone, AccountListed, Noted
from archiver.runner.files import Claims, Files, Wanted
from archiver.runner.highlight import Highlights
from archiver.runner.night import Night
from archiver.runner.paid import Paid, Reply
from archiver.runner.plan import Job, Policy, Sought, Why
from archiver.runner.standing import Account, Standing, hidden
from archiver.runner.tally import AccountEnd


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run goes about its accounts. ``bound``: targets are entries of the configuration; ``insist``: a person asked now, so
    a back-off does not hold; ``covers`` and ``avatars``: whether those are kept; ``only``: a repair, of this alone."""

    sweep_days: int = 30
    full: bool = False
    bound: bool = True
    insist: bool = False
    covers: bool = True
    avatars: bool = True
    only: Sought | None = None


class Accounts:
    """Keeps one target at a time; many threads may."""

    def __init__(
        self,
        paid: Paid,
        highlights: Highlights,
        files: Files,
        catalog: Catalog,
        store: BlobStore,
        *,
        jobs: ThreadPoolExecutor,
        manner: Manner,
        night: Night,
    ) -> None:
        self._paid = paid
        self._highlights = highlights
        self._files = files
        self._catalog = catalog
        self._store = store
        self._standing = Standing(paid, catalog, night=night, insist=manner.insist)
        self._jobs = jobs
        self._manner = manner
        self._night = night
        self._longest = catalog.read(query.longest_tray)
        self._lock = threading.Lock()
        self._taken: dict[Pk, Target] = {}

    def keep(self, target: Target) -> None:
        """Do everything for one target. Its failures are recorded; raises only what stops the run."""
        try:
            end = self._highlight(target) if target.highlight_pk is not None else self._account(target)
        except (CallFailed, AnswerMalformed) as error:
            reason = Reason.UPSTREAM if isinstance(error, CallFailed) else Reason.MALFORMED
            self._failed(target, reason, str(error), trouble=True)
            end = AccountEnd.FAILED
        except ArchiverError as error:
            if error is not self._paid.closed:
                raise
            return  # nothing more is paid for tonight: this target waits for the next run
        self._night.tally.ended(end)
        self._night.observe(AccountDone(target.text))

    def _highlight(self, target: Target) -> AccountEnd:
        """A highlight target is one job without a tray."""
        pk = target.highlight_pk
        assert pk is not None
        if self._standing.waits(Subject.HIGHLIGHT, pk):
            return AccountEnd.WELL
        self._note_lost(f"highlight {pk}", self._catalog.read(query.digests_of_highlight, pk))
        held = self._catalog.read(query.highlight, pk)
        job = Job(pk, held.title if held else None, held.facts if held else TrayFacts(), Why.ASKED)
        return _END.get(self._highlights.keep(job, Claims(pk)), AccountEnd.FAILED)

    def _account(self, target: Target) -> AccountEnd:
        account = self._standing.resolve(target, bound=self._manner.bound)
        if account.pk is None:
            return self._new_name(account)
        if self._kept_as_another(target, account.pk):
            return AccountEnd.WELL
        verdict = self._standing.stands(account)
        if verdict is not None:
            return self._unseen(account, verdict)
        return self._listed(account, self._paid.list_highlights(account.pk))

    def _kept_as_another(self, target: Target, pk: Pk) -> bool:
        """Whether this account is kept already tonight under another target (its name and its id, say): it is not paid for twice."""
        with self._lock:
            first = self._taken.setdefault(pk, target)
        if first is target:
            return False
        other = target.highlights != first.highlights
        what = f", with the highlights that {first.text} asks for" if other else ""
        self._night.observe(
            Noted(f"{target.text} is the same account as {first.text}: kept once{what}", loud=other)
        )
        return True

    def _new_name(self, account: Account) -> AccountEnd:
        name = account.target.username
        assert name is not None
        if self._standing.waits(Subject.TARGET, name):
            return AccountEnd.WELL
        if not self._standing.asked_before(name):
            return self._listed(account, self._paid.list_highlights_by_username(name))
        seen = self._standing.look(account)
        if seen.user is not None and seen.verdict is not None:
            self._standing.record(seen.user.pk, seen.verdict)
        if seen.user is None or seen.verdict is not None:
            return self._unseen(account, seen.verdict or Reason.GONE)
        account = replace(account, pk=seen.user.pk)
        return self._listed(account, self._paid.list_highlights(seen.user.pk))

    def _listed(self, account: Account, reply: Reply) -> AccountEnd:
        verdict = hidden(reply)
        if verdict is not None:
            if account.held is not None:
                self._standing.record(account.held.pk, verdict)
            return self._unseen(account, verdict)
        tray = wire.tray(reply.answer, account.pk)
        pk, verdict = self._standing.of_tray(account, tray)
        if pk is not None:
            self._standing.record(pk, verdict)
        if pk is None or verdict in (Reason.PRIVATE, Reason.GONE):
            return self._unseen(account, verdict or Reason.GONE)
        if self._kept_as_another(account.target, pk):
            return AccountEnd.WELL
        self._record(account, pk, tray)
        return self._keep_highlights(account.target, pk, tray)

    def _unseen(self, account: Account, verdict: Reason) -> AccountEnd:
        """Private, gone or empty: a fact, noted; told as the end of this target only when it is news, or was asked for now."""
        if verdict is Reason.EMPTY:
            return AccountEnd.WELL
        news = account.held is None or account.held.verdict is not verdict
        if not news and not self._manner.insist:
            return AccountEnd.WELL
        what = f"the account is {verdict.value}"
        if account.held is None and verdict is Reason.GONE:
            what = "no account is called that (misspelled, or renamed?)"
        self._night.observe(Noted(f"{account.target.text}: {what}", loud=True))
        if account.held is None:
            self._failed(account.target, verdict, what, trouble=False)
        return AccountEnd.ABSENT

    def _record(self, account: Account, pk: Pk, tray: Tray) -> None:
        held = {h.pk: h for h in self._catalog.read(query.held, pk)}
        present = [h.pk for h in held.values() if h.gone_at is None]
        gone: tuple[Pk, ...] = ()
        shrunk_to = None
        if tray.length < self._longest and not tray.rejected:
            # Shorter than the longest tray ever seen: not cut at its first page, so absence is evidence.
            before = account.held.shrunk_to if account.held is not None else None
            gone, shrunk_to = plan.believed_gone(present, [h.pk for h in tray.highlights], before)
        self._longest = max(self._longest, tray.length)
        now = self._night.clock()
        self._catalog.write(record.tray, self._night.run_id, pk, tray, now, gone=gone, shrunk_to=shrunk_to)
        self._catalog.write(record.resolved, Subject.TARGET, _key(account.target), None, now)
        name = account.target.username
        if name is not None:
            if self._manner.bound:
                self._catalog.write(record.bind_target, name, pk, now)
            self._note_name(name, pk, tray.user)
        for rejected in tray.rejected:
            self._reject(pk, rejected.pk, rejected.detail)

    def _note_name(self, name: str, pk: Pk, user: User | None) -> None:
        """Tell when a name and an account have parted: a rename, or a freed name that somebody else took."""
        if user is not None and user.username not in (None, name):
            self._night.observe(Noted(f"{name} is now called {user.username}"))
            return
        before = [other for other in self._catalog.read(query.once_called, name) if other != pk]
        if before:
            self._night.observe(
                Noted(f"{name} is now account {pk}; account {before[-1]} had that name before", loud=True)
            )

    def _reject(self, user_pk: Pk, pk: str, detail: str) -> None:
        failure = (
            Failure(Subject.HIGHLIGHT, pk, None, Reason.MALFORMED, detail)
            if pk
            else Failure(Subject.USER, user_pk, None, Reason.MALFORMED, detail)
        )
        self._catalog.write(record.failure, failure, self._night.clock())
        self._night.failed(failure, trouble=True)

    def _keep_highlights(self, target: Target, pk: Pk, tray: Tray) -> AccountEnd:
        self._note_lost(f"account {pk}", self._catalog.read(query.held_digests, pk))
        held = {h.pk: h for h in self._catalog.read(query.held, pk)}
        policy = Policy(self._manner.sweep_days, self._manner.full, target.highlights, self._manner.only)
        jobs = plan.make(tray.highlights, held, policy, self._night.clock())
        if tray.highlights and not any(plan.matches(h.title, target.highlights) for h in tray.highlights):
            self._night.observe(
                Noted(f"{target.text}: none of its highlights matches {', '.join(target.highlights)}")
            )
        self._night.tally.add(highlights_listed=tray.length)
        name = tray.user.username if tray.user is not None else None
        self._night.observe(AccountListed(pk, name, tray.length, len(jobs)))
        claims = Claims(pk)
        pictures = self._files.begin(self._pictures(target, tray, pk), claims)
        begun: list[Future[Meaning]] = [self._jobs.submit(self._highlights.keep, job, claims) for job in jobs]
        self._end(begun)
        for picture in pictures:
            if (missed := picture.result()) is not None:
                self._files.record_missed(missed, claims)
        return AccountEnd.WELL

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
            self._night.observe(
                Noted(f"{len(lost)} files of {whose} are gone from the store: fetching them again")
            )
            self._catalog.write(record.blobs_lost, tuple(lost), self._night.clock())

    def _pictures(self, target: Target, tray: Tray, pk: Pk) -> list[Wanted]:
        """Covers and the avatar whose name is not the one held. A failure waits for the next tray and causes no fetch."""
        only = self._manner.only
        held = {h.pk: h for h in self._catalog.read(query.held, pk)}
        wanted = [
            Wanted(Owner(Subject.HIGHLIGHT, h.pk), h.cover, None)
            for h in tray.highlights
            if self._manner.covers
            and h.cover is not None
            and (only is None or h.pk in only.covers)
            and self._wants_cover(h, held[h.pk].cover_name if h.pk in held else None, target)
        ]
        user, account = tray.user, self._catalog.read(query.user, pk)
        held_name = account.avatar_name if account is not None else None
        face = self._manner.avatars and (only is None or pk in only.avatars)
        if face and user is not None and plan.new_picture(user.avatar_name, held_name):
            assert user.avatar is not None
            wanted.append(Wanted(Owner(Subject.USER, pk), user.avatar, None))
        return wanted

    def _wants_cover(self, highlight: Highlight, held_name: str | None, target: Target) -> bool:
        return plan.matches(highlight.title, target.highlights) and plan.new_picture(
            highlight.cover_name, held_name
        )

    def _failed(self, target: Target, reason: Reason, detail: str, *, trouble: bool) -> None:
        failure = Failure(Subject.TARGET, _key(target), None, reason, detail)
        self._catalog.write(record.failure, failure, self._night.clock())
        self._night.failed(failure, trouble=trouble)


def _key(target: Target) -> str:
    """Under which its failures stand in the table."""
    return target.username or target.user_pk or target.highlight_pk or target.text


_END = {Meaning.OK: AccountEnd.WELL, Meaning.NOT_FOUND: AccountEnd.ABSENT}
