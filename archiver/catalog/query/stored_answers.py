"""The stored answers: where they are, which are lost, and when they arrived."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, or_, select

from archiver.catalog import tables
from archiver.model.api_calls import AnswerLocation, DatedAnswer
from archiver.model.archived import StoredAnswer
from archiver.model.identity import Digest

_calls, _answers = tables.api_calls, tables.answers

_BATCH = 1000
_IN_PAGE = 10_000
"""Each page sorts the answers of its first segment again, and on a disk a segment may have many."""
_IN_SEGMENTS = select(_answers).order_by(_answers.c.segment, _answers.c.offset).limit(_IN_PAGE)
_FOLLOWING = _IN_SEGMENTS.where(
    _answers.c.segment >= bindparam("segment"),  # the index has the segment only
    or_(_answers.c.segment > bindparam("segment"), _answers.c.offset > bindparam("offset")),
)
_BY_ARRIVAL = (
    select(_answers, _calls.c.finished_at, _calls.c.run_id)
    .join(_calls, _calls.c.id == _answers.c.api_call_id)
    .where(_answers.c.lost_at.is_(None))
    .order_by(_calls.c.run_id, _answers.c.id)
    .limit(_IN_PAGE)
)
_LATER = _BY_ARRIVAL.where(
    _calls.c.run_id >= bindparam("run"),  # so PostgreSQL joins only the rows of these calls
    or_(_calls.c.run_id > bindparam("run"), _answers.c.id > bindparam("id")),
)
_OF_SEGMENT = select(_answers).where(_answers.c.segment == bindparam("segment"))
_EXISTING = select(_answers.c.id).where(_answers.c.id.in_(bindparam("ids", expanding=True)))


def answers_after(connection: Connection, last: StoredAnswer | None) -> list[StoredAnswer]:
    """Return the next stored answers, segment by segment; for ``Catalog.read_pages``."""
    if last is None:
        rows = connection.execute(_IN_SEGMENTS)
    else:
        rows = connection.execute(
            _FOLLOWING, {"segment": last.location.segment, "offset": last.location.offset}
        )
    return list(map(_answer, rows))


def segments(connection: Connection) -> tuple[str, ...]:
    """Return the segments that rows name."""
    return tuple(connection.scalars(select(_answers.c.segment).distinct()))


def answers_of_segment(connection: Connection, segment: str) -> tuple[StoredAnswer, ...]:
    """Return the stored answers of a segment."""
    rows = connection.execute(_OF_SEGMENT, {"segment": segment})
    return tuple(map(_answer, rows))


def paid_answers_after(connection: Connection, last: DatedAnswer | None) -> list[DatedAnswer]:
    """Return the next answers that are not lost, in the order of their arrival; for ``Catalog.read_pages``.

    The order is by run, then by id: an answer may be recorded long after its run
    (``record.recovered_answers``). The times do not count: a clock may have been wrong.
    """
    if last is None:
        rows = connection.execute(_BY_ARRIVAL)
    else:
        rows = connection.execute(_LATER, {"run": last.run_id, "id": last.answer_id})
    return [DatedAnswer(row.run_id, row.id, _location(row), row.finished_at) for row in rows]


def existing_ids(connection: Connection, ids: Collection[int]) -> frozenset[int]:
    """Return which of these answers still have a row: a run may drop trays (``keep_answers = "fetched"``)."""
    existing: set[int] = set()
    all_ids = list(ids)
    for start in range(0, len(all_ids), _BATCH):
        existing.update(connection.scalars(_EXISTING, {"ids": all_ids[start : start + _BATCH]}))
    return frozenset(existing)


def answer_counts(connection: Connection) -> tuple[int, int]:
    """Return how many stored answers have a row, and how many of those are lost."""
    row = connection.execute(select(func.count(), func.count(_answers.c.lost_at)).select_from(_answers)).one()
    return int(row[0]), int(row[1])


def has_segment(connection: Connection, segment: str) -> bool:
    """Return whether a row names this segment."""
    return bool(connection.scalar(select(exists().where(_answers.c.segment == segment))))


def lengths_by_offset(connection: Connection, segment: str) -> dict[int, int]:
    """Return the length of each answer of a segment that has a row, by its offset."""
    rows = connection.execute(
        select(_answers.c.offset, _answers.c.length).where(_answers.c.segment == segment)
    )
    return {row.offset: row.length for row in rows}


def _answer(row: Row[Any]) -> StoredAnswer:
    return StoredAnswer(row.id, _location(row), row.lost_at is not None)


def _location(row: Row[Any]) -> AnswerLocation:
    return AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256))
