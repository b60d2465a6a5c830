"""A run that a command makes, with progress and log, and its report.

The report has at most ten lines; with ``--json`` it is an object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from archiver import wording
from archiver.cli import advice, output, progress, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.log_file import LogObserver
from archiver.cli.options import GlobalOptions
from archiver.cli.progress import describe_failure
from archiver.errors import GAPS, Reason
from archiver.exit_codes import NOT_FOUND, PARTIAL, UPSTREAM
from archiver.model.archived import Failure
from archiver.model.values import replace
from archiver.runner.tally import Summary, files_not_downloaded
from archiver.text_format import format_size, pluralize
from archiver.work import StopFlag

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions

_COUNTS = (
    "units",
    "api_calls",
    "accounts",
    "highlights_listed",
    "highlights_fetched",
    "items_new",
    "files_new",
    "bytes_new",
    "files_failed",
)
_MAX_LINES = 10  # the tables and ``--json`` have the rest
_MAX_NOTES = 3
_MAX_HOSTS = 3  # links in an answer can name any number of hosts

_GAP_WORDS = {
    Reason.TOO_LARGE: "over download.max_file_size",
    Reason.REFUSED: "with a malformed or unsafe link",
    Reason.TOO_MANY: "with more entries than are recorded",
    Reason.UNSUPPORTED: "of a kind that cannot be fetched",
}
"""What the program does not download by its own rules."""

_CODE_MESSAGES = {
    PARTIAL: "not everything could be archived",
    NOT_FOUND: "none of the targets exists or is public",
    UPSTREAM: "no account could be reached",
}
"""Exit codes of runs that did not end with an error."""

_NETWORK = "check the network and the state of the API"

_NO_CHANGES = RunChanges()

RESUME = "run it again: it continues where it stopped"


def print_report(
    options: GlobalOptions, summary: Summary, changes: RunChanges = _NO_CHANGES, *, is_product: bool = False
) -> int:
    """Print how a run ended, and return its exit code.

    ``is_product``: the report is the output of the command, printed even without a terminal.
    """
    output.print_messages(*report_messages(options, summary, changes, is_product=is_product))
    if options.blank is not None:
        output.print_json(json_fields(summary, changes))
    return summary.exit_code


def report_messages(
    options: GlobalOptions, summary: Summary, changes: RunChanges = _NO_CHANGES, *, is_product: bool = False
) -> list[str]:
    """Return how a run ended, as far as these options ask for it; the arguments are those of print_report."""
    if options.is_watched or (is_product and options.wants_summary):
        return report_lines(summary, changes, show_slug=options.verbose)
    if not summary.exit_code:
        return []
    head = [*outcome_lines(summary, show_slug=options.verbose), *note_lines(summary)]
    last = list(wording.missing_targets(summary.missing_targets))
    return [*head, *failure_lines(summary, _MAX_LINES - len(head) - len(last)), *last]


def report_lines(
    summary: Summary, changes: RunChanges = _NO_CHANGES, *, show_slug: bool = False
) -> list[str]:
    """Return the report in at most ten lines: outcome, counts, notes, changes, failures, missing targets."""
    head = [*outcome_lines(summary, show_slug=show_slug), *count_lines(summary), *note_lines(summary)]
    last = list(wording.missing_targets(summary.missing_targets))
    room = _MAX_LINES - len(head) - len(last)
    failure_count = len(list(failure_lines(summary, room)))
    lines = list(change_lines(summary.run_id, changes, max(room - failure_count, room // 2)))
    return [*head, *lines, *failure_lines(summary, room - len(lines)), *last]


def outcome_lines(summary: Summary, *, show_slug: bool = False) -> Iterator[str]:
    """Yield a line if the run ended badly, and one for each host that is not allowed."""
    hosts = summary.hosts_not_allowed
    has_other_cause = summary.exit_code != PARTIAL or any(_listed_failures(summary))
    if summary.exit_code and (has_other_cause or not hosts):
        message = summary.message or _code_message(summary)
        is_network = summary.exit_code == UPSTREAM and not summary.message
        reason = summary.hint or (_NETWORK if is_network else "")
        hint = f" ({reason})" if reason else ""
        slug = f" [{summary.slug}]" if show_slug and summary.slug else ""
        yield f"archiver: {summary.command}: {message}{hint}{slug}"
    for host, files in hosts[:_MAX_HOSTS]:
        yield f"archiver: {summary.command}: {files_not_downloaded(host, files)}"
    if len(hosts) > _MAX_HOSTS:
        files = sum(number for _, number in hosts[_MAX_HOSTS:])
        more = pluralize(len(hosts) - _MAX_HOSTS, "other host")
        gaps = advice.command_line("gaps")
        yield f"archiver: {summary.command}: {files:,} more not downloaded from {more} ({gaps})"


def _code_message(summary: Summary) -> str:
    if summary.command == "plan" and summary.exit_code == PARTIAL:
        return "not everything could be listed"
    return _CODE_MESSAGES.get(summary.exit_code, summary.outcome)


def count_lines(summary: Summary) -> Iterator[str]:
    """Yield what was read, what is new, what it cost, and whether the API's balance disagrees."""
    s = summary
    read = f"{s.highlights_fetched:,} of {pluralize(s.highlights_listed, 'highlight')} read"
    kind = "target" if s.highlight_targets else "account"
    targets = pluralize(s.accounts, kind)
    if s.accounts < s.targets:
        targets = f"{s.accounts:,} of {pluralize(s.targets, kind)}"
    yield f"{targets}, {read}, {pluralize(s.units, 'unit')} spent"
    if s.items_new or s.files_new:
        items, files = pluralize(s.items_new, "item"), pluralize(s.files_new, "file")
        yield f"new: {items}, {files}, {format_size(s.bytes_new)}"
    elif s.command not in ("repair", "plan"):  # a repaired file is not new, and a plan archives nothing
        yield "nothing new"
    if s.balance_mismatch:
        yield wording.describe_mismatch(s.units, s.balance_mismatch)


def note_lines(summary: Summary) -> Iterator[str]:
    """Yield up to three lines about things that are not failures but worth knowing."""
    gaps = Counter(failure.reason for failure in summary.failures if failure.reason in GAPS)
    if gaps:
        parts = ", ".join(f"{number:,} {_GAP_WORDS[reason]}" for reason, number in gaps.most_common())
        yield f"left out: {parts} ({advice.command_line('gaps')})"
    yield from _limit_lines(summary.notes, _MAX_NOTES - bool(gaps), "notes: the log and --json have all")


def change_lines(run_id: int, changes: RunChanges, room: int) -> Iterator[str]:
    """Yield what the run saw change, in at most ``room`` lines: the counts, then each change."""
    if changes.error:
        yield f"changes are unknown: {changes.error}"
    elif changes.summary.total:
        yield f"changed: {changes.summary.headline()}"
        lines = [f"  {line}" for line in changes.summary.lines()]
        yield from _limit_lines(lines, room - 1, f"more ({advice.command_line(f'changes --run {run_id}')})")


def failure_lines(summary: Summary, room: int = _MAX_LINES) -> Iterator[str]:
    """Yield what failed, in at most ``room`` lines: the number for each reason, then each failure."""
    failures = list(_listed_failures(summary))
    if not failures:
        return
    reasons = Counter(wording.reason_word(failure.subject, failure.reason) for failure in failures)
    by_reason = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    retry = " (recorded, and tried again in later runs)" if summary.command == "run" else ""
    yield f"failed: {by_reason}{retry}"
    lines = [f"  {describe_failure(failure)}" for failure in failures]
    yield from _limit_lines(lines, room - 1, f"more: {advice.command_line('gaps')}")


def empty_fields() -> dict[str, object]:
    """Return the object of ``--json`` for a run that never began, besides exit_code and outcome."""
    fields = json_fields(Summary(0, "")) | {"run_id": None}
    return {name: fields[name] for name in fields if name not in ("exit_code", "outcome", "command")}


def json_fields(summary: Summary, changes: RunChanges = _NO_CHANGES) -> dict[str, object]:
    """Return the object of ``--json``. It has an ``error`` only if one ended the run."""
    fields: dict[str, object] = {
        name: getattr(summary, name) for name in ("exit_code", "outcome", "run_id", "command", *_COUNTS)
    }
    fields["balance_mismatch"] = summary.balance_mismatch
    fields["hosts_not_allowed"] = [{"host": host, "files": n} for host, n in summary.hosts_not_allowed]
    fields["missing_targets"] = list(summary.missing_targets)
    fields["failures"] = [
        {name: getattr(failure, name) for name in ("subject", "subject_pk", "role", "reason", "detail")}
        for failure in summary.failures
    ]
    fields["notes"] = list(summary.notes)
    fields["changes_total"] = changes.summary.total
    fields["changes"] = changes.changes
    if summary.message:
        fields["error"] = {"slug": summary.slug, "message": summary.message, "hint": summary.hint}
    return fields


def _listed_failures(summary: Summary) -> Iterator[Failure]:
    """Yield the failures, without gaps and files of hosts not allowed, which have lines of their own."""
    own_lines = GAPS | {Reason.HOST_NOT_ALLOWED}
    return (failure for failure in summary.failures if failure.reason not in own_lines)


def _limit_lines(lines: Sequence[str], room: int, rest: str) -> Sequence[str]:
    """Return the lines that fit into ``room``; if some do not, the last one says how many, and ``rest``."""
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], f"  and {len(lines) - room + 1:,} {rest}"] if room > 0 else []


@contextmanager
def observe_events(options: GlobalOptions, last_line: str) -> Iterator[LogObserver]:
    """Yield what shows each event of a run to the user, and writes it into the log of the archive.

    ``last_line``: the last line of the log, unless it is changed before the end.
    """
    archive = options.settings.archive
    with progress.show_events(options) as show:
        observer = LogObserver(
            archive.directory, group_readable=archive.group_readable, last_line=last_line, show=show
        )
        try:
            yield observer
        finally:
            observer.close()


def make_run(
    options: GlobalOptions,
    archive: Archive,
    targets: Sequence[Target],
    *,
    command: str,
    run_options: RunOptions,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    changes: RunChanges | None = None,
    stop: StopFlag | None = None,
) -> Summary:
    """Archive the targets, with progress and log. Raises the errors of ``Archive.run``.

    ``create_missing``: make the archive if it is not there. ``changes`` collects what the run saw change.
    ``stop``: the flag of a caller that handles signals already.
    """
    handles_signals = stop is None
    stop = stop or StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint=RESUME) if handles_signals else nullcontext(),
        observe_events(options, "the run ended with an error") as observer,
    ):
        if create_missing:
            from archiver.archive.creation import create_for_run

            create_for_run(options.settings)
        summary = archive.run(
            targets,
            options=run_options,
            max_units=max_units,
            wait=wait,
            command=command,
            observe=observer,
            stop=stop,
            on_changes=None if changes is None else changes.read,
        )
        counts = "; ".join(count_lines(summary))
        observer.last_line = f"run {summary.run_id} ended: {summary.outcome}; {counts}"
    return replace(summary, hint=options.complete_hint(summary.slug, summary.hint))
