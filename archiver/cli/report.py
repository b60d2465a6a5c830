"""The Summary of a run, for people and as the object of ``--json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields

from archiver.cli import advice, show
from archiver.cli.news import News
from archiver.cli.news import fields_of as fields_of_change
from archiver.cli.options import Given
from archiver.cli.words import cause
from archiver.errors import GAPS, Reason
from archiver.model.archived import Failure
from archiver.runner.tally import Summary, files_not_downloaded

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
_MOST = 10
"""Lines of a report for people; the rest is in the tables and in ``--json``."""

_MOST_HOSTS = 3
"""Hosts that get a line of their own: whoever can put a link into an answer can name any number of them."""

_LEFT_OUT = {
    Reason.TOO_LARGE: "over download.max_file_size",
    Reason.REFUSED: "with a malformed or unsafe link",
    Reason.TOO_MANY: "with more entries than are recorded",
    Reason.UNSUPPORTED: "of a kind that cannot be fetched",
}
"""What the program leaves out by its own rules, by reason."""

_MEANINGS = {
    3: "something failed tonight",
    6: "nothing that was asked for exists or is public",
    7: "no account could be asked",
}
"""What an exit code of a run that came to its end means."""

NOTHING: Mapping[str, object] = {
    "run_id": None,
    **dict.fromkeys(_COUNTS, 0),
    "balance_mismatch": None,
    "hosts_not_allowed": [],
    "failures": [],
    "notes": [],
    "changes_total": 0,
    "changes": [],
}
"""What ``--json`` says of a run that never began."""

_NO_NEWS = News()


def finish(given: Given, summary: Summary, news: News = _NO_NEWS, *, answers: bool = False) -> int:
    """Tell how the run ended, and return its exit code. ``answers``: what was done is printed off a terminal too."""
    if given.talkative:
        show.say(*morning(summary, news, mark=given.verbose))
    elif summary.exit_code:
        done = counted(summary) if answers and given.wants_summary else ()
        head = [*ended(summary, mark=given.verbose), *done, *noted(summary)]
        show.say(*head, *failed(summary, _MOST - len(head)))
    elif answers and given.wants_summary:
        show.say(*counted(summary), *noted(summary))
    if given.blank is not None:
        show.document(fields_of(summary, news))
    return summary.exit_code


def morning(summary: Summary, news: News = _NO_NEWS, *, mark: bool = False) -> list[str]:
    """The night in at most ten lines: how it ended if not well, what was looked at and is new, what changed or is gone, what failed."""
    head = [*ended(summary, mark=mark), *counted(summary), *noted(summary)]
    room = _MOST - len(head)
    some = len(list(failed(summary, room)))
    told = list(changed(summary.run_id, news, max(room - some, room // 2)))
    return [*head, *told, *failed(summary, room - len(told))]


def ended(summary: Summary, *, mark: bool = False) -> Iterator[str]:
    """Yield a line if the run did not end well, and one for each host that is not allowed. ``mark`` adds the kind of error."""
    hosts = summary.hosts_not_allowed
    others = summary.exit_code != 3 or len(list(_other_failures(summary))) > 0
    if summary.exit_code and (others or not hosts):
        why = summary.message or _MEANINGS.get(summary.exit_code, summary.outcome)
        hint = f" ({summary.hint})" if summary.hint else ""
        slug = f" [{summary.slug}]" if mark and summary.slug else ""
        yield f"archiver: {summary.command}: {why}{hint}{slug}"
    for host, files in hosts[:_MOST_HOSTS]:
        yield f"archiver: {summary.command}: {files_not_downloaded(host, files)}"
    if len(hosts) > _MOST_HOSTS:
        files = sum(number for _, number in hosts[_MOST_HOSTS:])
        more = show.count(len(hosts) - _MOST_HOSTS, "other host")
        gaps = advice.command("gaps")
        yield f"archiver: {summary.command}: {files:,} more not downloaded from {more} ({gaps})"


def fields_of(summary: Summary, news: News = _NO_NEWS) -> dict[str, object]:
    """The object of ``--json``; ``error`` only where something stopped the run."""
    known = {f.name: getattr(summary, f.name) for f in fields(summary)}
    document: dict[str, object] = {
        name: known[name] for name in ("exit_code", "outcome", "run_id", "command", *_COUNTS)
    }
    document["balance_mismatch"] = summary.balance_mismatch
    document["hosts_not_allowed"] = [{"host": host, "files": n} for host, n in summary.hosts_not_allowed]
    document["failures"] = [_failure(failure) for failure in summary.failures]
    document["notes"] = list(summary.notes)
    document["changes_total"] = news.story.total
    document["changes"] = [fields_of_change(change) for change in news.changes]
    if summary.message:
        document["error"] = {"slug": summary.slug, "message": summary.message, "hint": summary.hint}
    return document


def counted(summary: Summary) -> Iterator[str]:
    """What was looked at, what is new, and what it cost."""
    s = summary
    read = f"{s.highlights_fetched:,} of {show.count(s.highlights_listed, 'highlight')} read"
    kind = "target" if s.highlight_targets else "account"
    reached = show.count(s.accounts, kind)
    if s.accounts < s.targets:
        reached = f"{s.accounts:,} of {show.count(s.targets, kind)}"
    yield f"{reached}, {read}, {show.count(s.units, 'unit')} spent"
    if s.items_new or s.files_new:
        yield f"new: {show.count(s.items_new, 'item')}, {show.count(s.files_new, 'file')}, {show.size(s.bytes_new)}"
    elif s.command not in ("repair", "plan"):  # what comes back is not new, and a plan keeps nothing
        yield "nothing new"
    if s.balance_mismatch:
        yield mismatch(s.units, s.balance_mismatch)


def mismatch(units: int, more: int) -> str:
    """That the API's own balance fell by another number than the units counted here. It need not be an error of either."""
    apart = f"{abs(more):,} {'more' if more > 0 else 'less'} than counted here"
    return f"the balance at the API fell by {units + more:,}, {apart} (another program with the same key, or a top-up?)"


def changed(run_id: int, news: News, room: int) -> Iterator[str]:
    """What the run saw that was otherwise before, in at most so many lines: counted, then told."""
    if news.unknown:
        yield f"what changed cannot be told: {news.unknown}"
    elif news.story.total:
        yield f"changed: {news.story.headline()}"
        lines = [f"  {line}" for line in news.story.lines()]
        yield from _fitted(lines, room - 1, f"more ({advice.command(f'changes --run {run_id}')})")


def failed(summary: Summary, room: int = _MOST) -> Iterator[str]:
    """What failed, in at most so many lines: by reason, then by name."""
    failures = list(_other_failures(summary))
    if not failures:
        return
    reasons = Counter(failure.reason.value for failure in failures)
    by_reason = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    again = " (recorded, and tried again in later runs)" if summary.command == "run" else ""
    yield f"failed: {by_reason}{again}"
    causes = [f"  {cause(failure)}" for failure in failures]
    yield from _fitted(causes, room - 1, f"more: {advice.command('gaps')}")


def _other_failures(summary: Summary) -> Iterator[Failure]:
    """Yield the failures that have no line of their own: not hosts that are not allowed, and not gaps."""
    own = GAPS | {Reason.HOST_NOT_ALLOWED}
    return (failure for failure in summary.failures if failure.reason not in own)


def noted(summary: Summary, room: int = 3) -> Iterator[str]:
    """Yield what is no failure and somebody should know, in at most so many lines."""
    gaps = Counter(failure.reason for failure in summary.failures if failure.reason in GAPS)
    if gaps:
        parts = ", ".join(f"{number:,} {_LEFT_OUT[reason]}" for reason, number in gaps.most_common())
        yield f"left out: {parts} ({advice.command('gaps')})"
    yield from _fitted(list(summary.notes), room - bool(gaps), "notes: the log and --json have them")


def _fitted(lines: list[str], room: int, rest: str) -> list[str]:
    """The lines that there is room for; where some are left out, the last one says how many."""
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], f"  and {len(lines) - room + 1:,} {rest}"] if room > 0 else []


def _failure(failure: Failure) -> dict[str, object]:
    return {
        "subject": failure.subject.value,
        "subject_pk": failure.subject_pk,
        "role": failure.role.value if failure.role is not None else None,
        "reason": failure.reason.value,
        "detail": failure.detail,
    }
