"""Events and failures in a person's words. Pure."""

from __future__ import annotations

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
from archiver.text_format import format_size, pluralize


def describe_event(event: Event) -> str:
    """One event as one line; not yet safe for a terminal."""
    match event:
        case RunStarted(run_id, command, accounts):
            return f"run {run_id} started: {command}" + (
                f", {pluralize(accounts, 'account')}" if accounts is not None else ""
            )
        case AccountListed(user_pk, username, highlights, jobs):
            return f"{username or user_pk}: {pluralize(highlights, 'highlight')} listed, {jobs:,} to read"
        case AccountDone(target):
            return f"{target}: done"
        case UnitsSpent(units):
            return f"{pluralize(units, 'unit')} spent"
        case HighlightRead(pk, title, items, missing, paid):
            source = "" if paid else " from a kept answer"
            return f"highlight {pk} {title or ''}: {pluralize(items, 'item')} read{source}, {pluralize(missing, 'file')} to download"
        case FileStored(owner, role, bytes_, new_bytes):
            return f"kept the {role} of {owner.subject} {owner.pk}, {format_size(bytes_)}" + (
                "" if new_bytes else " (held already)"
            )
        case FailureRecorded(failure):
            return f"failed: {describe_failure(failure)}"
        case Notice(text):
            return text
        case Pause(seconds, why):
            return f"waiting {seconds:.0f} s: {why}"


def describe_failure(failure: Failure) -> str:
    """A failure as one line: what, why, and the detail that came with it."""
    what = f"{failure.subject} {failure.subject_pk}"
    what = f"{failure.role} of {what}" if failure.role is not None else what
    return f"{what}: {failure.reason}" + (f" ({failure.detail})" if failure.detail else "")
