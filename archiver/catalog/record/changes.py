"""What was otherwise before: rows of ``changes``."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from archiver.catalog import tables
from archiver.catalog.column_types import time_text
from archiver.model.identity import Pk, Subject

StoredRow = Mapping[Any, Any]
"""A row as it was before, by column."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a subject that a later look showed otherwise; ``field`` may be ``presence_change``, ``items`` or ``item_order`` too."""

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


def find_new_values(before: StoredRow, said: Mapping[str, object]) -> dict[str, object]:
    """What ``said`` adds to the row ``before`` or alters in it: None and '' are «not said», and overwrite nothing. Pure."""
    return {
        field: value
        for field, value in said.items()
        if value is not None and value != "" and value != before[field]
    }


def find_edits(
    subject: Subject, pk: Pk, before: StoredRow, after: Mapping[str, object], fields: Iterable[str]
) -> list[Change]:
    """A Change for each of ``fields`` that ``after`` alters. What was not known before is learnt, not changed. Pure."""
    return [
        Change(subject, pk, field, value_text(before[field]), value_text(after[field]))
        for field in fields
        if field in after and before[field] is not None
    ]


def presence_change(subject: Subject, pk: Pk, what: str) -> Change:
    """``what``: ``appeared``, ``gone`` or ``returned``."""
    return Change(subject, pk, "presence", None, what)


def value_text(value: object) -> str | None:
    """A column's value as the text of ``old`` and ``new``, the same on both databases."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return time_text(value) if isinstance(value, datetime) else str(value)


def find_moved(before: Sequence[str], after: Sequence[str]) -> frozenset[str]:
    """The smallest set of names to move so that those common to both lists stand in ``after`` as they did in ``before``.

    Names that only one list has count for nothing. Each list holds a name at most once.
    """
    rank = {name: position for position, name in enumerate(before)}
    common = [name for name in after if name in rank]
    stayed = _longest_rising([rank[name] for name in common])
    return frozenset(name for position, name in enumerate(common) if position not in stayed)


def _longest_rising(ranks: Sequence[int]) -> set[int]:
    """The positions of one longest rising subsequence, by patience sorting."""
    tops: list[int] = []  # the lowest rank that ends a rising run of each length, and the position it has
    at: list[int] = []
    before: list[int] = []
    for position, rank in enumerate(ranks):
        length = bisect_left(tops, rank)
        tops[length : length + 1] = [rank]
        at[length : length + 1] = [position]
        before.append(at[length - 1] if length else -1)
    kept: set[int] = set()
    position = at[-1] if at else -1
    while position >= 0:
        kept.add(position)
        position = before[position]
    return kept
