"""Kept answers in the order in which they were paid for."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, exists, func, select

from archiver.catalog import tables
from archiver.model.billing import AnswerLocation, DatedAnswer
from archiver.model.identity import Digest

_calls, _answers = tables.api_calls, tables.answers

_AT_ONCE = 1000
_IN_ORDER = (
    select(_answers, _calls.c.finished_at)
    .join(_calls, _calls.c.id == _answers.c.api_call_id)
    .where(_answers.c.lost_at.is_(None))
    .order_by(_calls.c.finished_at, _answers.c.id)
)


def paid_answers(connection: Connection) -> Iterator[DatedAnswer]:
    """Every kept answer that is not recorded as lost, in the order in which they came; streamed, so ask by ``Catalog.stream``.

    By time, not by id: one that was recorded later than it came (see ``record.recovered``) stands where it belongs.
    """
    with connection.execution_options(yield_per=_AT_ONCE).execute(_IN_ORDER) as rows:
        for row in rows:
            kept = AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256))
            yield DatedAnswer(row.id, kept, row.finished_at)


def answer_counts(connection: Connection) -> tuple[int, int]:
    """How many kept answers have a row, and how many of those are recorded as lost."""
    row = connection.execute(select(func.count(), func.count(_answers.c.lost_at)).select_from(_answers)).one()
    return int(row[0]), int(row[1])


def has_segment(connection: Connection, segment: str) -> bool:
    """Whether a row names this segment."""
    return bool(connection.scalar(select(exists().where(_answers.c.segment == segment))))


def lengths_by_offset(connection: Connection, segment: str) -> dict[int, int]:
    """The answers of a segment that have a row: their lengths by their offsets."""
    rows = connection.execute(
        select(_answers.c.offset, _answers.c.length).where(_answers.c.segment == segment)
    )
    return {row.offset: row.length for row in rows}
