"""What has changed: the rows of ``changes``, how an answer differs from a stored row, and what was seen last.

What was seen last is current, whatever the clocks said: ``last_seen_at`` has that order. A stored date may be
later than the present time, because one of the two clocks was wrong, and nothing says which. Then only the
order is kept: later dates are set to just before the present time. The journal keeps what they were.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection

from archiver.catalog.column_types import time_text
from archiver.catalog.sql import Command
from archiver.model.identity import Pk, Subject

_INSERT = Command(
    """
    INSERT INTO changes (run_id, at, subject, subject_pk, field, old, new)
    VALUES (:run_id, :at, :subject, :subject_pk, :field, :old, :new)
    """
)
T = TypeVar("T")
StoredRow = Mapping[str, Any]
"""A row as it was before, by column."""
JUST_BEFORE = timedelta(microseconds=1)


class Change(Struct, frozen=True):
    """A change of one field of a subject. ``field`` may also be ``presence``, ``items`` or ``item_order``."""

    subject: Subject
    subject_pk: Pk
    field: str
    old: str | None
    new: str | None


def as_row(*columns: str) -> Callable[..., StoredRow]:
    """Return a function that makes a row of the values of these columns."""
    return lambda *values: dict(zip(columns, values, strict=True))


def update_row(connection: Connection, table: str, pk: Pk, values: Mapping[str, object]) -> None:
    """Set columns of the row with this ``pk``, and no others: another process may write those meanwhile."""
    if values:
        update_statement(table, ("pk",), tuple(values)).run(connection, key_pk=pk, **values)


@cache
def update_statement(table: str, key: tuple[str, ...], columns: tuple[str, ...]) -> Command:
    """Return the UPDATE of these columns of a row. The values of its key are called ``key_COLUMN``."""
    return Command(
        f"""
        UPDATE {table} SET {", ".join(f"{name} = :{name}" for name in columns)}
        WHERE {" AND ".join(f"{name} = :key_{name}" for name in key)}
        """
    )


def write(connection: Connection, run_id: int, now: datetime, changes: Iterable[Change]) -> None:
    """Write a row for each change."""
    _INSERT.run_each(connection, ({"run_id": run_id, "at": now, **asdict(change)} for change in changes))


def loss_columns(run_id: int, shrunk_to: str | None) -> dict[str, object]:
    """Return the columns of ``users`` or ``highlights`` about a loss that is not believed yet. Pure.

    ``shrunk_to``: the fingerprint of the loss; None if there is none.
    """
    return {"shrunk_to": shrunk_to, "shrunk_run_id": None if shrunk_to is None else run_id}


def shown_first(at: datetime) -> dict[str, object]:
    """Return the columns of a row that another tool is the source of, when an answer first shows it. Pure."""
    return {"gone_at": None, "first_seen_at": at, "source": None}


def find_new_values(before: StoredRow, answer: Mapping[str, object]) -> dict[str, object]:
    """Return the values of an answer that differ from the row ``before``. Pure.

    None and '' mean that the answer lacks the value: they overwrite nothing.
    """
    return {
        field: value
        for field, value in answer.items()
        if value is not None and value != "" and value != before[field]
    }


def find_edits(
    subject: Subject, pk: Pk, before: StoredRow, after: Mapping[str, object], fields: Iterable[str]
) -> list[Change]:
    """Return a Change for each of ``fields`` in ``after``, unless its value was unknown before. Pure."""
    return [
        Change(subject, pk, field, value_text(before[field]), value_text(after[field]))
        for field in fields
        if field in after and before[field] is not None
    ]


def presence_change(subject: Subject, pk: Pk, what: str) -> Change:
    """Return the Change for ``what``: ``appeared``, ``gone`` or ``returned``."""
    return Change(subject, pk, "presence", None, what)


def is_outdated(seen_at: datetime, now: datetime, *known_since: datetime | None) -> bool:
    """Return whether an answer is older than what is known. Pure.

    ``seen_at``: when the answer came; ``known_since``: the times of what is known. An answer that has just
    come (``seen_at`` is ``now``) is never outdated, even if the clock was set back.
    """
    return seen_at != now and any(since is not None and seen_at < since for since in known_since)


def value_text(value: object) -> str | None:
    """Return a column's value as the text of ``old`` and ``new``, the same on both databases."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return time_text(value) if isinstance(value, datetime) else str(value)


def find_moved(before: Sequence[str], after: Sequence[str]) -> frozenset[str]:
    """Return the fewest names that must move to turn the order ``before`` into ``after``. Pure.

    Only names in both lists count. Each list has a name at most once.
    """
    rank = {name: position for position, name in enumerate(before)}
    common = [name for name in after if name in rank]
    unmoved = _longest_rising([rank[name] for name in common])
    return frozenset(name for position, name in enumerate(common) if position not in unmoved)


def _longest_rising(ranks: Sequence[int]) -> set[int]:
    """Return the positions of one longest rising subsequence, by patience sorting."""
    tops: list[int] = []  # the lowest rank that ends a rising sequence of each length, and its position
    top_positions: list[int] = []
    previous: list[int] = []
    for position, rank in enumerate(ranks):
        length = bisect_left(tops, rank)
        tops[length : length + 1] = [rank]
        top_positions[length : length + 1] = [position]
        previous.append(top_positions[length - 1] if length else -1)
    rising: set[int] = set()
    position = top_positions[-1] if top_positions else -1
    while position >= 0:
        rising.add(position)
        position = previous[position]
    return rising


def dates_before(seen: Sequence[tuple[T, datetime]], now: datetime) -> list[tuple[T, datetime]]:
    """Return the new dates of what was seen before ``now``, and is dated ``now`` or later. Pure.

    ``seen``: in their order, with their dates; they keep it. The newest comes first in the result.
    """
    earlier: list[tuple[T, datetime]] = []
    for what, at in reversed(seen):
        if at < now:
            break
        now -= JUST_BEFORE
        earlier.append((what, now))
    return earlier
