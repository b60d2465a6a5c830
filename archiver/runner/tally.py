"""What a run has done so far, counted by many threads; and its summary."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from archiver.exit_codes import NOT_FOUND, PARTIAL, UPSTREAM, outcome
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.run_status import MissingTarget
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.text_format import pluralize

_LISTED_FAILURES = 1_000
"""How many failures, and how many missing targets, a summary lists, so that memory stays bounded.

All are in the table ``failures``.
"""


def files_not_downloaded(host: str, files: int) -> str:
    """Return the sentence for files whose host is not allowed: how many, which host, which setting."""
    return f"{pluralize(files, 'file')} not downloaded: host {host} is not in download.allowed_hosts"


class AccountEnd(StrEnum):
    """How a target ended in this run."""

    WELL = "well"  # listed, or known and not due
    HIDDEN = "hidden"  # found again to be private or gone, as reported before
    NOT_ASKED = "not_asked"  # known to be private or gone, and not due: no call was made
    ABSENT = "absent"  # found in this run to be private or gone
    UNRESOLVED = "unresolved"  # does not exist and never did: a name or an id that somebody must correct
    MISSING = "missing"  # the same, as an earlier run found: no call was made
    FAILED = "failed"  # no usable answer came


class Summary(Struct, frozen=True):
    """The result of a run.

    ``accounts``: how many of the ``targets`` were visited to the end. ``highlight_targets``: how many targets
    are highlights, which also count as listed. ``bytes_new`` are bytes of blobs that were not stored before.
    ``balance_mismatch``: how many units more than ``units`` the balance of the API fell by (None: not known).
    ``hosts_not_allowed``: hosts that are not in ``download.allowed_hosts``, each with the number of files
    that wait for it, most first. ``missing_targets``: targets that do not exist, as earlier runs found;
    this run did not ask for them again. ``notes`` are facts that are not failures. ``message``, ``hint`` and
    ``slug`` are those of the error that stopped the run, or ''.
    """

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
    missing_targets: tuple[MissingTarget, ...] = ()
    notes: tuple[str, ...] = ()
    message: str = ""
    hint: str = ""
    slug: str = ""


class TallyState(Struct, frozen=True):
    """The counts of a Tally at one moment. ``ends``: how many targets ended in which way."""

    summary: Summary
    ends: dict[AccountEnd, int]
    troubles: int


_ADDED = (
    "units",
    "api_calls",
    "highlights_listed",
    "highlights_fetched",
    "items_new",
    "files_new",
    "bytes_new",
)
"""The counts of a summary that ``Tally.add`` takes."""


class Tally:
    """The counts of a run; thread-safe."""

    def __init__(self, run_id: int, command: str, targets: Sequence[Target]) -> None:
        self._lock = threading.Lock()
        highlights = sum(target.highlight_pk is not None for target in targets)
        self._summary = Summary(run_id, command, targets=len(targets), highlight_targets=highlights)
        self._failures: list[Failure] = []
        self._hosts: Counter[str] = Counter()
        self._refused: set[tuple[Subject, str, Role | None]] = set()
        self._missing: list[MissingTarget] = []
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
        """Add to these counts."""
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

    def count_failure(self, failure: Failure, *, is_trouble: bool) -> None:
        """Count a failure.

        ``is_trouble``: the run did not fully succeed. A private account is not trouble.
        """
        with self._lock:
            if len(self._failures) < _LISTED_FAILURES:
                self._failures.append(failure)
            if failure.role is not None and is_trouble:
                self._summary = replace(self._summary, files_failed=self._summary.files_failed + 1)
            self._troubles += is_trouble

    def count_refused(self, failures: Sequence[Failure]) -> None:
        """Count files whose host is not allowed, each once. Until it is, they are failures of every run."""
        with self._lock:
            failures = [f for f in failures if (f.subject, f.subject_pk, f.role) not in self._refused]
            self._refused.update((f.subject, f.subject_pk, f.role) for f in failures)
            self._failures += failures[: max(0, _LISTED_FAILURES - len(self._failures))]
            self._hosts.update(failure.host for failure in failures if failure.host is not None)
            self._summary = replace(self._summary, files_failed=self._summary.files_failed + len(failures))
            self._troubles += len(failures)

    def add_missing(self, missing: MissingTarget) -> None:
        """Add a target that does not exist, as an earlier run found."""
        with self._lock:
            if len(self._missing) < _LISTED_FAILURES:
                self._missing.append(missing)

    def note(self, text: str, *, is_trouble: bool = False) -> None:
        """Add a fact to the summary. ``is_trouble``: the run did not fully succeed."""
        with self._lock:
            self._troubles += is_trouble
            if len(self._notes) < _LISTED_FAILURES:
                self._notes.append(text)

    def count_end(self, end: AccountEnd) -> None:
        """Count how one target ended."""
        with self._lock:
            self._ends[end] += 1
            self._summary = replace(self._summary, accounts=self._summary.accounts + 1)

    def state(self) -> TallyState:
        """Return the counts so far."""
        summary = self.summary()
        with self._lock:
            return TallyState(summary, dict(self._ends), self._troubles)

    def add_state(self, state: TallyState) -> None:
        """Add the counts of another process that visits targets of the same run."""
        other = state.summary
        self.add(**{name: getattr(other, name) for name in _ADDED})
        for note in other.notes:
            self.note(note)
        with self._lock:
            self._failures += other.failures[: max(0, _LISTED_FAILURES - len(self._failures))]
            self._hosts.update(dict(other.hosts_not_allowed))
            self._missing += other.missing_targets[: max(0, _LISTED_FAILURES - len(self._missing))]
            self._troubles += state.troubles
            for end, count in state.ends.items():
                self._ends[end] += count
            own = self._summary
            self._summary = replace(
                own,
                accounts=own.accounts + other.accounts,
                files_failed=own.files_failed + other.files_failed,
            )

    def has_succeeded(self) -> bool:
        """Return whether everything that exists could be archived.

        A target that does not exist is not a failure here.
        """
        with self._lock:
            return not (self._ends[AccountEnd.FAILED] or self._troubles)

    def summary(self) -> Summary:
        """Return the counts so far, with the exit code that follows from them alone (7, 3, 6 or 0)."""
        with self._lock:
            code = self._code()
            return replace(
                self._summary,
                exit_code=code,
                outcome=outcome(code),
                failures=tuple(self._failures),
                hosts_not_allowed=tuple(self._hosts.most_common()),
                missing_targets=tuple(self._missing),
                notes=tuple(self._notes),
            )

    def _code(self) -> int:
        ends, targets = self._ends, sum(self._ends.values())
        failed, unresolved = ends[AccountEnd.FAILED], ends[AccountEnd.UNRESOLVED]
        do_not_exist = unresolved + ends[AccountEnd.MISSING]
        if failed and failed + do_not_exist + ends[AccountEnd.NOT_ASKED] == targets:
            return UPSTREAM  # nobody knows whether the API would have answered for those that were not asked
        if failed or self._troubles:
            return PARTIAL
        if do_not_exist and do_not_exist == targets:
            return NOT_FOUND
        if unresolved:
            return PARTIAL
        return NOT_FOUND if ends[AccountEnd.ABSENT] and ends[AccountEnd.ABSENT] == targets else 0
