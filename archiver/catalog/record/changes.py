"""What was otherwise before: rows of ``changes``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from archiver.catalog import tables
from archiver.catalog.columns import time_text
from archiver.model.identity import Pk, Subject

Held = Mapping[Any, Any]
"""A row as it was before, by column."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a subject that a later look showed otherwise; ``field`` may be ``presence``, ``items`` or ``item_order`` too."""

    subject: Subject
    subject_pk: Pk
    field: str
    old: str | None
    new: str | None


def write(connection: Connection, run_id: int, now: datetime, changes: Iterable[Change]) -> None:
    """Add a row for each change."""
    rows = [
        {
            "run_id": run_id,
            "at": now,
            "subject": change.subject,
            "subject_pk": change.subject_pk,
            "field": change.field,
            "old": change.old,
            "new": change.new,
        }
        for change in changes
    ]
    if rows:
        connection.execute(tables.changes.insert(), rows)


def richer(before: Held, said: Mapping[str, object]) -> dict[str, object]:
    """What ``said`` adds to the row ``before`` or alters in it: None and '' are «not said», and overwrite nothing. Pure."""
    return {
        field: value
        for field, value in said.items()
        if value is not None and value != "" and value != before[field]
    }


def edits(
    subject: Subject, pk: Pk, before: Held, after: Mapping[str, object], fields: Iterable[str]
) -> list[Change]:
    """A Change for each of ``fields`` that ``after`` alters. What was not known before is learnt, not changed. Pure."""
    return [
        Change(subject, pk, field, in_words(before[field]), in_words(after[field]))
        for field in fields
        if field in after and before[field] is not None
    ]


def presence(subject: Subject, pk: Pk, what: str) -> Change:
    """``what``: ``appeared``, ``gone`` or ``returned``."""
    return Change(subject, pk, "presence", None, what)


def in_words(value: object) -> str | None:
    """A column's value as the text of ``old`` and ``new``, the same on both databases."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return time_text(value) if isinstance(value, datetime) else str(value)
