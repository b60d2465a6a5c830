"""What a visit records and reports beside what answers say: failures, notices and refused files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from archiver.catalog import record
from archiver.catalog.query.account_state import (
    AccountState,
    files_refused_for_host,
    former_pks,
    open_failure,
)
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.events import Notice
from archiver.model.identity import Pk, Role, Subject
from archiver.model.run_status import MissingTarget
from archiver.model.target import Target
from archiver.model.upstream import RejectedEntry, Tray, User
from archiver.runner.context import RunContext, RunOptions
from archiver.runner.downloads import Download
from archiver.runner.due_highlights import is_title_wanted, unmatched_globs
from archiver.runner.tally import AccountEnd, files_not_downloaded

NO_SUCH_HIGHLIGHT = "no such highlight: correct or remove it"
"""What is recorded and reported of a highlight that nobody has seen and whose page does not exist."""

_RefusedFile = tuple[str | None, Failure]
"""The title of a highlight that shows the file, and the failure."""


class AccountReporter:
    """Records failures of one target of a run, and reports what a person should know."""

    def __init__(self, context: RunContext, target: Target) -> None:
        self._context, self._work = context, context.work
        self._options = context.options
        self._catalog = context.catalog
        self._target = target

    def report_duplicate(self, first: Target) -> None:
        """Report that another target of this run names the same account."""
        is_other = self._target.highlights != first.highlights
        what = f", with the highlights that {first.text} asks for" if is_other else ""
        text = f"{self._target.text} is the same account as {first.text}: archived once{what}"
        self._work.observe(Notice(text, is_loud=is_other))

    def report_hidden(self, verdict: Reason, before: AccountState) -> None:
        """Report an account that shows nothing. A target that has never existed is a failure.

        It is reported once, and whenever a person names the account.
        """
        end, what = end_of_hidden(verdict, before, self._options), f"the account is {verdict.value}"
        if end is AccountEnd.UNRESOLVED:
            self.fail_unresolved()
            return
        if verdict is not Reason.EMPTY and not before.is_archived:
            is_silent = end is AccountEnd.HIDDEN
            self.fail_target(verdict, what, is_trouble=False, is_silent=is_silent)
        if end is AccountEnd.ABSENT:
            self._work.observe(Notice(f"{self._target.text}: {what}", is_loud=True))

    def fail_unresolved(self) -> AccountEnd:
        """Record and report that the API says that the target does not exist, and never did.

        After ``backup NAME`` it is in the history only, unless a run of the list has left it open: no run
        tries it again. A plan that has listed trays needs it, to state the price.
        """
        failure = _unresolved_failure(self._target)
        self._work.observe(Notice(f"{self._target.text}: {failure.detail}"))
        if failure.subject is not Subject.HIGHLIGHT:  # that was recorded when its page was read
            self._catalog.write(record.record_failure, failure, self._work.clock())
            self._context.report_failure(failure, is_trouble=False)
        if not (self._options.from_config or self._options.list_only):
            self._resolve_new(failure)
        return AccountEnd.UNRESOLVED

    def _resolve_new(self, failure: Failure) -> None:
        """Leave a failure that was just recorded in the history only, unless it was open before."""
        key = (failure.subject, failure.subject_pk, failure.role)
        recorded = self._catalog.read(open_failure, *key)
        if recorded is not None and recorded.attempts == 1:
            self._catalog.write(record.resolve_failure, *key, self._work.clock())

    def report_missing(self) -> AccountEnd:
        """Report a target that does not exist, as an earlier run found; its next try is not due."""
        failure = _unresolved_failure(self._target)
        self._work.observe(Notice(f"{self._target.text}: {failure.detail}"))
        recorded = self._catalog.read(open_failure, failure.subject, failure.subject_pk, None)
        since = recorded.first_at if recorded is not None else self._work.clock()
        self._context.tally.add_missing(MissingTarget(failure.subject_pk, since))
        return AccountEnd.MISSING

    def fail_target(self, reason: Reason, detail: str, *, is_trouble: bool, is_silent: bool = False) -> None:
        """Record a failure of the target, and report it unless ``is_silent``."""
        failure = Failure(Subject.TARGET, self._target.key, None, reason, detail)
        self._catalog.write(record.record_failure, failure, self._work.clock())
        if not is_silent:
            self._context.report_failure(failure, is_trouble=is_trouble)

    def report_tray(self, pk: Pk, tray: Tray, before: AccountState) -> None:
        """Report new names, and entries of the tray that get no row."""
        self._report_name(pk, before, tray.user)
        self._report_left_out(pk, tray)

    def report_unmatched_globs(self, state: AccountState, tray: Tray) -> None:
        """Report the title patterns of the target that match no highlight of the tray."""
        stored = {highlight.pk: highlight.title for highlight in state.highlights}
        titles = [stored.get(highlight.pk, highlight.title) for highlight in tray.highlights]
        for glob, near in unmatched_globs(self._target.highlights, titles).items():
            case = f": matching is case-sensitive; did you mean '{near}'?" if near is not None else ""
            self._context.note(f"{self._target.text}: no highlight matches '{glob}'{case}")

    def resolve_or_report_refused(
        self,
        *,
        user_pk: Pk | None = None,
        highlight_pk: Pk | None = None,
        offered: Sequence[Download] | None = None,
    ) -> None:
        """Count the files whose host is not in ``download.allowed_hosts``, whichever run recorded that.

        ``offered``: the missing covers and avatars that the tray offers; the failures of any others are
        resolved. None if no tray was listed.
        """
        stored: Iterable[_RefusedFile]
        stored = self._catalog.read(files_refused_for_host, user_pk=user_pk, highlight_pk=highlight_pk)
        if offered is not None:
            stored = self._resolve_unoffered(stored, offered)
        waiting = {
            (failure.subject, failure.subject_pk, failure.role): failure
            for title, failure in stored
            if self._is_wanted(title, failure)
        }
        self._context.tally.count_refused(tuple(waiting.values()))
        for host, files in Counter(failure.host for failure in waiting.values()).items():
            self._work.observe(Notice(f"{self._target.text}: {files_not_downloaded(host or '', files)}"))

    def _is_wanted(self, title: str | None, failure: Failure) -> bool:
        """Return whether the options ask for a refused file, and its host is still not allowed."""
        options = self._options
        if (failure.role is Role.COVER and not options.covers) or (
            failure.role is Role.AVATAR and not options.avatars
        ):
            return False
        if failure.role is not Role.AVATAR and not is_title_wanted(title, self._target.highlights):
            return False
        return options.rules is None or not options.rules.allows(failure.host, None)

    def _resolve_unoffered(
        self, stored: Iterable[_RefusedFile], offered: Iterable[Download]
    ) -> list[_RefusedFile]:
        """Resolve refused pictures that are no longer offered, or are stored; return all other failures."""
        wanted = {(download.owner.subject, download.owner.pk, download.link.role) for download in offered}
        left = []
        for title, failure in stored:
            what = (failure.subject, failure.subject_pk, failure.role)
            if failure.subject is Subject.ITEM or what in wanted:
                left.append((title, failure))
            else:
                self._catalog.write(record.resolve_failure, *what, self._work.clock())
        return left

    def _report_name(self, pk: Pk, before: AccountState, user: User | None) -> None:
        """Report a rename, or, once, that somebody else has taken a freed name.

        A target that is an outdated name is reported at each tray; one that is an id, when the name changes.
        """
        name = self._target.username
        known_as = name or before.username
        called = (user.username if user is not None else None) or before.username or known_as
        if called != known_as and known_as is not None:
            self._work.observe(Notice(f"{known_as} is now called {called}"))
            return
        if name is None or (before.username == name and not self._options.is_asked_for):
            return
        others = [other for other in self._catalog.read(former_pks, name) if other != pk]
        if others:
            text = f"{name} is now account {pk}; account {others[-1]} had that name before"
            self._work.observe(Notice(text, is_loud=True))

    def _report_left_out(self, pk: Pk, tray: Tray) -> None:
        """Record the entries of a tray that get no row.

        Entries that cannot be read are one failure of the account, in each run. Entries of an unsupported
        kind are one gap, reported once.
        """
        if not tray.has_left_out:
            return
        before = self._catalog.read(open_failure, Subject.USER, pk, None)
        now = self._work.clock()
        if tray.rejected:
            detail = describe_rejected(tray.rejected, "entry")
            failure = Failure(Subject.USER, pk, None, Reason.MALFORMED, detail)
            self._catalog.write(record.record_failure, failure, now)
            self._context.report_failure(failure, is_trouble=True)
        else:
            detail = _describe_unsupported(tray.unsupported)
            failure = Failure(Subject.USER, pk, None, Reason.UNSUPPORTED, detail)
            self._catalog.write(record.record_failure, failure, now)
            if before is None or before.detail != failure.detail:
                self._context.report_failure(failure, is_trouble=False)


def end_of_hidden(verdict: Reason, before: AccountState, options: RunOptions) -> AccountEnd:
    """Return how a target ends if an answer of this visit says that its account shows nothing.

    ``before``: what was stored when the visit began.
    """
    if verdict is Reason.EMPTY:
        return AccountEnd.WELL
    if verdict is Reason.GONE and not before.is_archived:
        return AccountEnd.UNRESOLVED
    is_news = before.verdict is not verdict or options.is_asked_for
    return AccountEnd.ABSENT if is_news else AccountEnd.HIDDEN


def describe_rejected(rejected: Sequence[RejectedEntry], noun: str) -> str:
    """Return one line about the elements of an answer that could not be read; there is at least one.

    ``noun``: what one of them is called.
    """
    number, first = sum(one.count for one in rejected), rejected[0]
    why = f"{first.pk}: {first.detail}" if first.pk else first.detail
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    count = f"{number:,} {noun if number == 1 else plural} cannot be read"
    return f"{count}: {why}" if len(rejected) == 1 else f"{count}; the first: {why}"


def _unresolved_failure(target: Target) -> Failure:
    """Return the failure of a target that does not exist."""
    if target.highlight_pk is not None:
        return Failure(Subject.HIGHLIGHT, target.highlight_pk, None, Reason.NOT_FOUND, NO_SUCH_HIGHLIGHT)
    kind = "name" if target.username is not None else "id"
    what = f"no account has this {kind}: correct or remove it"
    return Failure(Subject.TARGET, target.key, None, Reason.GONE, what)


def _describe_unsupported(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return f"the tray lists {ids[0]}, which holds products, not stories: it is not archived"
    listed = ", ".join(ids[:3]) + ("…" if len(ids) > 3 else "")
    return (
        f"the tray lists {len(ids):,} highlights of products, not stories, which are not archived: {listed}"
    )
