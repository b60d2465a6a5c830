"""What a run has done so far, counted by many threads; and its Summary."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.target import Target
from archiver.text_format import pluralize

_LISTED_FAILURES = 1_000
"""So many failures are listed in a summary; the rest are counted, and stand in the table: memory stays bounded."""


def files_not_downloaded(host: str, files: int) -> str:
    """Return the sentence for files whose host is not allowed: how many, which host, which setting."""
    return f"{pluralize(files, 'file')} not downloaded: host {host} is not in download.allowed_hosts"


class AccountEnd(StrEnum):
    """How a target ended tonight."""

    WELL = "well"  # listed, or known and rightly left alone
    HIDDEN = "hidden"  # private or gone, as was reported before
    ABSENT = "absent"  # found tonight to be private or gone
    UNRESOLVED = "unresolved"  # does not exist and never did: a name or an id that somebody must correct
    FAILED = "failed"  # could not be asked


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run. ``accounts`` of its ``targets`` were kept to their end; ``highlight_targets`` of
    these are highlights, which count as listed too. ``bytes_new`` are bytes of blobs that were not held
    before; ``balance_mismatch`` is how many units more than ``units`` the API's own balance fell by (None:
    not known); ``hosts_not_allowed``: hosts that are not in ``download.allowed_hosts``, each with how many
    files wait for it, most first; ``notes`` are facts that are no failures and that somebody should know;
    ``message``, ``hint`` and ``slug`` are those of the error that stopped it, or ''."""

    run_id: int
    command: str
    exit_code: int = 0
    outcome: str = "ok"
    units: int = 0
    api_calls: int = 0
    accounts: int = 0
    targets: int = 0
    highlight_targets: int = 0
    highlights_listed: int = 0
    highlights_fetched: int = 0
    items_new: int = 0
    files_new: int = 0
    bytes_new: int = 0
    files_failed: int = 0
    balance_mismatch: int | None = None
    failures: tuple[Failure, ...] = ()
    hosts_not_allowed: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    message: str = ""
    hint: str = ""
    slug: str = ""


class Tally:
    """Counts, thread-safe."""

    def __init__(self, run_id: int, command: str, targets: Sequence[Target]) -> None:
        self._lock = threading.Lock()
        highlights = sum(target.highlight_pk is not None for target in targets)
        self._summary = Summary(run_id, command, targets=len(targets), highlight_targets=highlights)
        self._failures: list[Failure] = []
        self._hosts: Counter[str] = Counter()
        self._refused: set[tuple[Subject, str, Role | None]] = set()
        self._notes: list[str] = []
        self._ends = dict.fromkeys(AccountEnd, 0)
        self._troubles = 0

    def add(
        self,
        *,
        units: int = 0,
        api_calls: int = 0,
        highlights_listed: int = 0,
        highlights_fetched: int = 0,
        items_new: int = 0,
        files_new: int = 0,
        bytes_new: int = 0,
    ) -> None:
        """Add to the counts of these names."""
        with self._lock:
            s = self._summary
            self._summary = replace(
                s,
                units=s.units + units,
                api_calls=s.api_calls + api_calls,
                highlights_listed=s.highlights_listed + highlights_listed,
                highlights_fetched=s.highlights_fetched + highlights_fetched,
                items_new=s.items_new + items_new,
                files_new=s.files_new + files_new,
                bytes_new=s.bytes_new + bytes_new,
            )

    def failed(self, failure: Failure, *, trouble: bool) -> None:
        """Note a failure; ``trouble`` says whether it makes the night a partial one (a fact such as «private» does not)."""
        with self._lock:
            if len(self._failures) < _LISTED_FAILURES:
                self._failures.append(failure)
            if failure.role is not None and trouble:
                self._summary = replace(self._summary, files_failed=self._summary.files_failed + 1)
            self._troubles += trouble

    def refused(self, failures: Sequence[Failure]) -> None:
        """Note files whose host is not allowed, each once: failures of every run, for as long as it is not."""
        with self._lock:
            failures = [f for f in failures if (f.subject, f.subject_pk, f.role) not in self._refused]
            self._refused.update((f.subject, f.subject_pk, f.role) for f in failures)
            self._failures += failures[: max(0, _LISTED_FAILURES - len(self._failures))]
            self._hosts.update(failure.host for failure in failures if failure.host is not None)
            self._summary = replace(self._summary, files_failed=self._summary.files_failed + len(failures))
            self._troubles += len(failures)

    def note(self, text: str) -> None:
        """Note a fact that is no failure and that somebody should know."""
        with self._lock:
            if len(self._notes) < _LISTED_FAILURES:
                self._notes.append(text)

    def ended(self, end: AccountEnd) -> None:
        """Note how one target ended."""
        with self._lock:
            self._ends[end] += 1
            self._summary = replace(self._summary, accounts=self._summary.accounts + 1)

    def nothing_failed(self) -> bool:
        """Whether everything that exists could be had; a target that does not exist is no failure of this
        kind."""
        with self._lock:
            return not (self._ends[AccountEnd.FAILED] or self._troubles)

    def summary(self) -> tuple[Summary, int]:
        """The counts so far, with the exit code that they alone amount to (7, 3, 6 or 0)."""
        with self._lock:
            hosts = tuple(self._hosts.most_common())
            summary = replace(
                self._summary,
                failures=tuple(self._failures),
                hosts_not_allowed=hosts,
                notes=tuple(self._notes),
            )
            return summary, self._code()

    def _code(self) -> int:
        ends, targets = self._ends, sum(self._ends.values())
        failed, unresolved = ends[AccountEnd.FAILED], ends[AccountEnd.UNRESOLVED]
        if failed and failed + unresolved == targets:
            return 7
        if failed or self._troubles:
            return 3
        if unresolved:
            return 6 if unresolved == targets else 3
        return 6 if ends[AccountEnd.ABSENT] and ends[AccountEnd.ABSENT] == targets else 0
