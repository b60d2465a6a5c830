"""One highlight in a run: page (from a stored answer or a call) → rows → files → watermark."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.catalog import record
from archiver.catalog.query.account_state import highlight_state
from archiver.catalog.query.holdings import PageBefore, page_before
from archiver.errors import AnswerMalformed, CallFailed, PayingEnded, Reason
from archiver.hiker.wire import ENTRIES_MAX
from archiver.model.api_calls import Meaning
from archiver.model.archived import Failure
from archiver.model.events import HighlightRead, Notice
from archiver.model.identity import Pk, Subject
from archiver.model.upstream import HighlightPage, Item
from archiver.runner.absence import believed_gone
from archiver.runner.account_report import NO_SUCH_HIGHLIGHT, describe_rejected
from archiver.runner.answer_cache import AnswerCache, PageAnswer
from archiver.runner.context import RunContext
from archiver.runner.downloads import Claims, Download, FailedDownload, FileDownloader, missing_downloads
from archiver.runner.due_highlights import Job, Why
from archiver.runner.metered_api import MeteredApi
from archiver.runner.promises import Promise
from archiver.runner.threads import OneAtATime


class HighlightSync:
    """Fetches highlights and downloads their files; used by many threads."""

    def __init__(
        self,
        context: RunContext,
        api: MeteredApi,
        downloads: FileDownloader,
        answers: AnswerCache,
    ) -> None:
        self._context, self._work = context, context.work
        self._catalog = context.catalog
        self._api = api
        self._downloads = downloads
        self._answers = answers
        self._one_at_a_time = OneAtATime()

    def sync(
        self,
        job: Job,
        claims: Claims,
        *,
        account: str,
        promise: Promise | None = None,
        may_pay: bool = True,
    ) -> Meaning:
        """Fetch a highlight and all its files. Return how its page was answered; failures are recorded.

        If this highlight is a target and its account is one too, the later call waits, and uses the page of
        the earlier. ``account``: as in ``MeteredApi.fetch_highlight``. ``promise``: the unit set aside for
        this job, released once the page is read or has failed. ``may_pay``: if False, only a stored answer is
        used. Raises errors that stop the run, and PayingEnded.
        """
        with self._one_at_a_time.work_on(job.pk):
            try:
                answer: PageAnswer | Meaning | None = self._answers.find(job)
                if answer is None and not may_pay:
                    answer = Meaning.TRANSIENT  # its links have just expired
                if answer is None:
                    answer = self._fetch(job, account, promise)
            finally:
                self._api.budget.release(promise)
            if isinstance(answer, Meaning):
                return answer
            self._context.tally.add(highlights_fetched=answer.is_paid)
            if answer.is_news:
                self._record(answer, job)
            missing = self._find_missing(answer, job)
            title, items = answer.page.highlight.title or job.title, len(answer.page.items)
            self._work.observe(HighlightRead(job.pk, title, items, len(missing), answer.is_paid))
            failed = self._downloads.download_all(missing, claims)
            if may_pay:
                failed, answer = self._renew(job, answer, failed, claims, account=account)
            for one in failed:
                self._downloads.record_failed(one, claims)
            # Last, the watermark: each file of the page is stored, or its failure is recorded.
            lacking = {(one.download.owner.pk, one.download.link.role) for one in failed}
            is_whole = not answer.page.rejected
            self._catalog.write(
                record.record_completion, job.pk, lacking, self._work.clock(), is_whole=is_whole
            )
            return Meaning.OK

    # --- the page

    def _fetch(self, job: Job, account: str, promise: Promise | None = None) -> PageAnswer | Meaning:
        """Pay for the page. Return it, or why there is none: that is recorded as a failure."""
        reason = Reason.UPSTREAM
        try:
            reply = self._api.fetch_highlight(job.pk, job.numbers, account=account, promise=promise)
            meaning, detail = reply.outcome.meaning, reply.outcome.detail
            if meaning is Meaning.OK:
                return PageAnswer(reply.content(), reply.answer_id)
            if meaning is Meaning.NOT_FOUND:
                # Instagram lists some highlights that have no page (HIKERAPI.md): a fact, not trouble.
                reason = Reason.NOT_FOUND
                if self._catalog.read(highlight_state, job.pk) is None:
                    detail = NO_SUCH_HIGHLIGHT
            else:
                detail = detail or meaning.value
        except CallFailed as error:
            meaning, detail = Meaning.TRANSIENT, str(error)
        except AnswerMalformed as error:
            meaning, detail, reason = Meaning.MALFORMED, str(error), Reason.MALFORMED
        self._record_failure(job.pk, reason, detail, is_trouble=reason is not Reason.NOT_FOUND)
        return meaning

    def _record(self, answer: PageAnswer, job: Job) -> None:
        page, now = answer.page, self._work.clock()
        before = self._catalog.read(page_before, job.pk, self._context.run_id)
        gone, shrunk_to = _items_gone(page, before)
        resolved: list[record.Fact] = []
        if not page.rejected:
            resolved.append(lambda rows: record.resolve_failure(rows, Subject.HIGHLIGHT, job.pk, None, now))
        new = self._catalog.write(
            record.together,
            lambda rows: record.record_page(
                rows,
                self._context.run_id,
                answer.answer_id,
                page,
                job.numbers,
                now,
                gone=gone,
                shrunk_to=shrunk_to,
                fetched_at=answer.answered_at,
            ),
            *resolved,
        )
        self._context.tally.add(items_new=new)
        self._note_cut(page.items)
        if page.rejected:
            self._record_failure(
                job.pk, Reason.MALFORMED, describe_rejected(page.rejected, "item"), is_trouble=True
            )

    def _note_cut(self, items: Sequence[Item]) -> None:
        """Record items with more entries than get rows. Report each once; do not fetch it again for that."""
        for item in items:
            if not item.cut_lists:
                continue
            lists = ", ".join(f"{ENTRIES_MAX:,} of {length:,} {name}" for name, length in item.cut_lists)
            detail = f"{lists} have rows; the stored answer holds all of them"
            failure = Failure(Subject.ITEM, item.pk, None, Reason.TOO_MANY, detail)
            if self._catalog.write(record.record_failure, failure, self._work.clock()) == 1:
                self._context.report_failure(failure, is_trouble=False)

    # --- the files

    def _find_missing(self, answer: PageAnswer, job: Job) -> list[Download]:
        with_adopted = job.reason is Why.FULL
        return missing_downloads(self._catalog, answer.page, answer.answer_id, with_adopted=with_adopted)

    def _renew(
        self,
        job: Job,
        answer: PageAnswer,
        failed: list[FailedDownload],
        claims: Claims,
        *,
        account: str,
    ) -> tuple[list[FailedDownload], PageAnswer]:
        """Renew expired links once, with one call for all of them, and download again.

        Return the files that still failed, and the page that counts from now on: everything that the new page
        offers is wanted, and what it does not offer is no longer missing. The new page does not confirm that
        items are gone: that takes another run.
        """
        expired = [one for one in failed if one.error.reason is Reason.EXPIRED]
        if not expired:
            return failed, answer
        text = f"{len(expired)} links of highlight {job.pk} have expired: renewing them"
        self._work.observe(Notice(text))
        try:
            renewed = self._fetch(job, account)
        except PayingEnded:
            return failed, answer  # the failures are recorded as expired; the next run renews the links
        if isinstance(renewed, Meaning):
            return failed, answer
        self._record(renewed, job)
        others = {
            (one.download.owner, one.download.link.role): one
            for one in failed
            if one.error.reason is not Reason.EXPIRED
        }
        offered = self._find_missing(renewed, job)
        again = [d for d in offered if (d.owner, d.link.role) not in others]
        still = [others[key] for d in offered if (key := (d.owner, d.link.role)) in others]
        return still + self._downloads.download_all(again, claims, is_renewed=True), renewed

    def _record_failure(self, pk: Pk, reason: Reason, detail: str, *, is_trouble: bool) -> None:
        failure = Failure(Subject.HIGHLIGHT, pk, None, reason, detail)
        self._catalog.write(record.record_failure, failure, self._work.clock())
        self._context.report_failure(failure, is_trouble=is_trouble)


def _items_gone(page: HighlightPage, before: PageBefore) -> tuple[tuple[Pk, ...], str | None]:
    """Return the items that are gone, and the fingerprint of a loss to remember.

    Items absent from a page are gone only if it has at least ``media_count`` items. A page that proves
    nothing clears the fingerprint of an earlier one; otherwise the highlight would be paid for every night.
    """
    count = page.highlight.numbers.media_count
    if count is None or page.length < count or page.rejected:
        return (), None
    return believed_gone(before.items, [item.pk for item in page.items], before.shrunk_to)
