"""Events and failures of a run as text, not yet safe for a terminal."""

from __future__ import annotations

from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.events import (
    AccountDone,
    AccountListed,
    Event,
    FailureRecorded,
    FileStored,
    HighlightRead,
    Notice,
    Pause,
    RunStarted,
    UnitsSpent,
)
from archiver.model.identity import Subject
from archiver.text_format import format_size, pluralize


def describe_event(event: Event) -> str:
    """Return an event as one line."""
    match event:
        case RunStarted(run_id, command, accounts):
            return f"run {run_id} started: {command}, {pluralize(accounts, 'account')}"
        case AccountListed(user_pk, username, highlights, jobs):
            return f"{username or user_pk}: {pluralize(highlights, 'highlight')} listed, {jobs:,} to read"
        case AccountDone(target):
            return f"{target}: done"
        case UnitsSpent(units):
            return f"{pluralize(units, 'unit')} spent"
        case HighlightRead(pk, title, items, missing, is_paid):
            source = "" if is_paid else " from a stored answer"
            read, files = pluralize(items, "item"), pluralize(missing, "file")
            return f"highlight {pk} {title or ''}: {read} read{source}, {files} to download"
        case FileStored(owner, role, size, is_new):
            duplicate = "" if is_new else " (already stored)"
            return f"stored the {role} of {owner.subject} {owner.pk}, {format_size(size)}{duplicate}"
        case FailureRecorded(failure):
            return f"failed: {describe_failure(failure)}"
        case Notice(text):
            return text
        case Pause(seconds, why):
            return f"waiting {seconds:.0f} s: {why}"


def describe_failure(failure: Failure) -> str:
    """Return a failure as one line: what failed, the reason, the detail."""
    if failure.subject is Subject.TARGET and failure.reason is Reason.GONE:
        return f"{failure.subject_pk}: {failure.detail or 'no such account'}"
    role = "" if failure.role is None else f"{failure.role} of "
    detail = f" ({failure.detail})" if failure.detail else ""
    return f"{role}{failure.subject} {failure.subject_pk}: {failure.reason}{detail}"
