"""The Summary of a run, for people and as the object of ``--json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields

from archiver.cli import show
from archiver.cli.options import Given
from archiver.cli.words import cause
from archiver.model import Failure
from archiver.runner.tally import Summary

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
_SHOWN = 20
"""Failures named one by one for people; the rest are in the table and in ``--json``."""

_MEANINGS = {
    3: "something failed tonight",
    6: "nothing that was asked for exists or is public",
    7: "no account could be asked",
}
"""What an exit code of a run that came to its end means."""

NOTHING: Mapping[str, object] = {"run_id": None, **dict.fromkeys(_COUNTS, 0), "failures": []}
"""What ``--json`` says of a run that never began."""


def finish(given: Given, summary: Summary) -> int:
    """Tell how the run ended, and return its exit code."""
    if summary.exit_code:
        why = summary.message or _MEANINGS.get(summary.exit_code, summary.outcome)
        hint = f" ({summary.hint})" if summary.hint else ""
        mark = f" [{summary.slug}]" if given.verbose and summary.slug else ""
        show.say(f"archiver: {summary.command}: {why}{hint}{mark}")
    if given.talkative:
        show.say(*counted(summary))
    if given.talkative or summary.exit_code:
        show.say(*failed(summary))
    if given.blank is not None:
        show.document(fields_of(summary))
    return summary.exit_code


def fields_of(summary: Summary) -> dict[str, object]:
    """The object of ``--json``; ``error`` only where something stopped the run."""
    known = {f.name: getattr(summary, f.name) for f in fields(summary)}
    document: dict[str, object] = {
        name: known[name] for name in ("exit_code", "outcome", "run_id", "command", *_COUNTS)
    }
    document["failures"] = [_failure(failure) for failure in summary.failures]
    if summary.message:
        document["error"] = {"slug": summary.slug, "message": summary.message, "hint": summary.hint}
    return document


def counted(summary: Summary) -> Iterator[str]:
    """What was looked at, what is new, and what it cost."""
    s = summary
    read = f"{s.highlights_fetched:,} of {show.count(s.highlights_listed, 'highlight')} read"
    yield f"{show.count(s.accounts, 'account')}, {read}, {show.count(s.units, 'unit')} spent"
    if s.items_new or s.files_new:
        yield f"new: {show.count(s.items_new, 'item')}, {show.count(s.files_new, 'file')}, {show.size(s.bytes_new)}"
    elif s.command not in ("repair", "plan"):  # what comes back is not new, and a plan keeps nothing
        yield "nothing new"


def failed(summary: Summary) -> Iterator[str]:
    """What failed, by reason and then by name."""
    if not summary.failures:
        return
    reasons = Counter(failure.reason.value for failure in summary.failures)
    by_reason = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    again = " (recorded, and tried again in later runs)" if summary.command == "run" else ""
    yield f"failed: {by_reason}{again}"
    for failure in summary.failures[:_SHOWN]:
        yield f"  {cause(failure)}"
    if len(summary.failures) > _SHOWN:
        yield f"  and {len(summary.failures) - _SHOWN:,} more, in the table failures"


def _failure(failure: Failure) -> dict[str, object]:
    return {
        "subject": failure.subject.value,
        "subject_pk": failure.subject_pk,
        "role": failure.role.value if failure.role is not None else None,
        "reason": failure.reason.value,
        "detail": failure.detail,
    }
