"""One Job: its page from a kept answer or a paid one → rows → files → the watermark."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, holdings
from archiver.errors import AnswerMalformed, ArchiverError, CallFailed, Reason
from archiver.hiker.wire import ENTRIES_MAX
from archiver.model.archived import Failure
from archiver.model.billing import Meaning
from archiver.model.events import HighlightRead, Notice
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import HighlightPage, Item, RejectedEntry
from archiver.runner import plan
from archiver.runner.answer_cache import AnswerCache, PageAnswer
from archiver.runner.budget import Promise
from archiver.runner.context import RunContext
from archiver.runner.downloads import Claims, FailedDownload, FileDownloader
from archiver.runner.metered_api import MeteredApi, Reply
from archiver.runner.plan import Job


class HighlightSync:
    """Keeps one highlight at a time; many threads may."""

    def __init__(
        self,
        paid: MeteredApi,
        files: FileDownloader,
        catalog: Catalog,
        kept: AnswerCache,
        *,
        context: RunContext,
    ) -> None:
        self._paid = paid
        self._files = files
        self._catalog = catalog
        self._kept = kept
        self._context = context

    def keep(self, job: Job, claims: Claims, promise: Promise | None = None) -> Meaning:
        """Do one Job to its end. Returns how its page was answered; all that went wrong is recorded.

        A job of 0 units is served by a stored answer or not at all.

        ``promise`` is the Budget's to this job, and ends once its page is here or cannot be had. Raises what
        stops the run, or all paid calls of it.
        """
        try:
            found: PageAnswer | Meaning = (
                self._kept.page(job)
                or (Meaning.TRANSIENT if not job.units else None)  # its links have expired just now
                or self._fetched(job, claims, promise)
            )
        finally:
            self._paid.budget.release(promise)
        if isinstance(found, Meaning):
            return found
        self._context.tally.add(highlights_fetched=found.paid)
        held = self._catalog.read(account_state.highlight, job.pk)
        doubted = held.shrunk_to if held is not None else None
        if found.news:
            self._record(found, job, doubted)
        missing = self._kept.missing(found)
        self._context.observe(
            HighlightRead(
                job.pk,
                found.page.highlight.title or job.title,
                len(found.page.items),
                len(missing),
                found.paid,
            )
        )
        missed = self._files.keep(missing, claims)
        missed, found = self._renewed(job, found, missed, claims, doubted)
        for miss in missed:
            self._files.record_missed(miss, claims)
        # Last, the watermark: what the page offers is stored, or its failure is.
        lacking = {(m.wanted.owner.pk, m.wanted.link.role) for m in missed}
        is_whole = not found.page.rejected
        self._catalog.write(record.completion, job.pk, lacking, self._context.clock(), is_whole=is_whole)
        return Meaning.OK

    # --- the page

    def _fetched(self, job: Job, claims: Claims, promise: Promise | None = None) -> PageAnswer | Meaning:
        try:
            reply = self._paid.fetch_highlight(job.pk, job.facts, account=claims.account, promise=promise)
        except CallFailed as error:
            self._failed(job.pk, Reason.UPSTREAM, str(error), trouble=True)
            return Meaning.TRANSIENT
        return self._read(job.pk, reply)

    def _read(self, pk: Pk, reply: Reply[HighlightPage]) -> PageAnswer | Meaning:
        meaning = reply.verdict.meaning
        if meaning is Meaning.NOT_FOUND:
            # Listed and missing from its own page is a fact of Instagram's (HIKERAPI.md): recorded and passed over.
            self._failed(pk, Reason.NOT_FOUND, reply.verdict.detail, trouble=False)
            return meaning
        if meaning is not Meaning.OK:
            self._failed(pk, Reason.UPSTREAM, reply.verdict.detail or meaning.value, trouble=True)
            return meaning
        try:
            return PageAnswer(reply.content(), reply.answer_id, paid=True)
        except AnswerMalformed as error:
            self._failed(pk, Reason.MALFORMED, str(error), trouble=True)
            return Meaning.MALFORMED

    def _record(self, found: PageAnswer, job: Job, doubted: str | None) -> None:
        page, now = found.page, self._context.clock()
        gone, shrunk_to = self._absent(page, doubted)
        new = self._catalog.write(
            record.page,
            self._context.run_id,
            found.answer_id,
            page,
            job.facts,
            now,
            gone=gone,
            shrunk_to=shrunk_to,
            fetched_at=found.came_at,
        )
        self._context.tally.add(items_new=new)
        self._note_cut(page.items)
        if page.rejected:
            self._failed(job.pk, Reason.MALFORMED, describe_rejected(page.rejected, "item"), trouble=True)
        else:
            self._catalog.write(record.resolution, Subject.HIGHLIGHT, job.pk, None, now)

    def _note_cut(self, items: Sequence[Item]) -> None:
        """Record the items of which not everything has rows: reported once, and no reason to fetch them
        again."""
        for item in items:
            if not item.cut:
                continue
            lists = ", ".join(f"{ENTRIES_MAX:,} of {length:,} {name}" for name, length in item.cut)
            detail = f"{lists} have rows; the stored answer holds all of them"
            failure = Failure(Subject.ITEM, item.pk, None, Reason.TOO_MANY, detail)
            if self._catalog.write(record.failure, failure, self._context.clock()) == 1:
                self._context.report_failure(failure, trouble=False)

    def _absent(self, page: HighlightPage, doubted: str | None) -> tuple[tuple[Pk, ...], str | None]:
        """Items absent from a page are gone only if at least ``media_count`` came.

        ``doubted`` is the loss that an earlier run saw and did not believe; a page that is no evidence ends the doubt, which would
        be paid for each night.
        """
        count = page.highlight.facts.media_count
        if count is None or page.length < count or page.rejected:
            return (), None
        present = self._catalog.read(holdings.members, page.highlight.pk)
        return plan.believed_gone(present, [item.pk for item in page.items], doubted)

    # --- the files

    def _renewed(
        self, job: Job, found: PageAnswer, missed: list[FailedDownload], claims: Claims, doubted: str | None
    ) -> tuple[list[FailedDownload], PageAnswer]:
        """Links past their time are renewed once, by one paid call for all of them, and tried again.

        Returns what is missing then, and the page that counts from then on: all that the fresh one offers is wanted, not only what
        had expired, and what it offers no longer is not missing any more. It is no second look: that is another run's.
        """
        expired = [m for m in missed if m.error.reason is Reason.EXPIRED]
        if not expired or not job.units:
            return missed, found
        self._context.observe(
            Notice(f"{len(expired)} links of highlight {job.pk} have expired: renewing them")
        )
        try:
            fresh = self._fetched(job, claims)
        except ArchiverError as error:
            if error is not self._paid.closed:
                raise
            return missed, found  # nothing more is paid for tonight: recorded as expired, the next run renews
        if isinstance(fresh, Meaning):
            return missed, found
        self._record(fresh, job, doubted)
        failed = {
            (m.wanted.owner, m.wanted.link.role): m for m in missed if m.error.reason is not Reason.EXPIRED
        }
        offered = self._kept.missing(fresh)
        again = [w for w in offered if (w.owner, w.link.role) not in failed]
        still = [failed[key] for w in offered if (key := (w.owner, w.link.role)) in failed]
        return still + self._files.keep(again, claims, anew=True), fresh

    def _failed(self, pk: Pk, reason: Reason, detail: str, *, trouble: bool) -> None:
        failure = Failure(Subject.HIGHLIGHT, pk, None, reason, detail)
        self._catalog.write(record.failure, failure, self._context.clock())
        self._context.report_failure(failure, trouble=trouble)


def describe_rejected(rejected: Sequence[RejectedEntry], noun: str) -> str:
    """Return one line about all elements of an answer, at least one, that could not be read. ``noun``: one of
    them."""
    number, first = sum(one.count for one in rejected), rejected[0]
    why = f"{first.pk}: {first.detail}" if first.pk else first.detail
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    found = f"{number:,} {noun if number == 1 else plural} cannot be read"
    return f"{found}: {why}" if len(rejected) == 1 else f"{found}; the first: {why}"
