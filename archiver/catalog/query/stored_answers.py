"""The stored answers: where they are, which are lost, when they arrived, and which lists no run has used."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.model.api_calls import AnswerLocation, DatedAnswer
from archiver.model.archived import StoredAnswer
from archiver.model.identity import Digest

PLAN = "plan"
"""The command of a run that only lists, in ``runs.command``."""

_IN_PAGE = 10_000
"""Each page sorts the answers of its first segment again, and on a disk a segment may have many."""
_LOCATION = 'segment, "offset", length, sha256'

_SEGMENTS = Query("SELECT DISTINCT segment FROM answers", str)


def _location(segment: str, offset: int, length: int, sha256: str) -> AnswerLocation:
    return AnswerLocation(segment, offset, length, Digest(sha256))


def _stored_answer(answer_id: int, is_lost: bool, *location: Any) -> StoredAnswer:
    return StoredAnswer(answer_id, _location(*location), is_lost)


_STORED = f"SELECT id, lost_at IS NOT NULL AS is_lost, {_LOCATION} FROM answers"
_IN_SEGMENTS = Query(
    f"""
    {_STORED} WHERE true
        -- The index has the segment only.
        AND segment >= :segment AND (segment > :segment OR "offset" > :offset) -- if segment
    ORDER BY segment, "offset" LIMIT :limit
    """,
    _stored_answer,
)
_OF_SEGMENT = Query(f"{_STORED} WHERE segment = :segment", _stored_answer)
_BY_ARRIVAL = Query(
    f"""
    SELECT run_id, answers.id, finished_at, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id WHERE lost_at IS NULL
        -- Two conditions on the run: so PostgreSQL joins only the rows of these calls.
        AND run_id >= :run AND (run_id > :run OR answers.id > :after) -- if run
    ORDER BY run_id, answers.id LIMIT :limit
    """,
    lambda run_id, answer_id, finished_at, *location: DatedAnswer(
        run_id, answer_id, _location(*location), finished_at
    ),
)
_EXISTING = Query("SELECT id FROM answers WHERE id IN :ids", int)
_COUNTS = Query("SELECT count(*), count(lost_at) FROM answers", lambda rows, lost: (rows, lost))
_HAS_SEGMENT = Query("SELECT EXISTS (SELECT 1 FROM answers WHERE segment = :segment)", bool)
_LENGTHS = Query(
    'SELECT "offset", length FROM answers WHERE segment = :segment', lambda offset, length: (offset, length)
)
_PLANS = Query("SELECT id FROM runs WHERE command = :command AND started_at > :since", int)


class _ListAnswer(NamedTuple):
    path: str
    run_id: int
    started_at: datetime
    finished_at: datetime | None
    segment: str
    offset: int
    length: int
    sha256: str


_LISTED = Query(
    f"""
    SELECT path, run_id, started_at, finished_at, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id
    WHERE subject IN :subjects AND path IN :paths AND status = 200
        -- An expression: no database starts from all calls of a plan, for each account.
        AND (run_id + 0) IN :plans
    ORDER BY api_calls.id
    """,
    _ListAnswer,
)
_HAS_LATER_RUN = Query(
    "SELECT EXISTS (SELECT 1 FROM runs WHERE id > :run AND started_at <= :listed_at)", bool
)


def answers_after(connection: Connection, last: StoredAnswer | None) -> list[StoredAnswer]:
    """Return the next stored answers, segment by segment; for ``Catalog.read_pages``."""
    segment, offset = (None, None) if last is None else (last.location.segment, last.location.offset)
    return _IN_SEGMENTS.all(connection, segment=segment, offset=offset, limit=_IN_PAGE)


def segments(connection: Connection) -> tuple[str, ...]:
    """Return the segments that rows name."""
    return tuple(_SEGMENTS.all(connection))


def answers_of_segment(connection: Connection, segment: str) -> tuple[StoredAnswer, ...]:
    """Return the stored answers of a segment."""
    return tuple(_OF_SEGMENT.all(connection, segment=segment))


def paid_answers_after(connection: Connection, last: DatedAnswer | None) -> list[DatedAnswer]:
    """Return the next answers that are not lost, in the order of their arrival; for ``Catalog.read_pages``.

    The order is by run, then by id: an answer may be recorded long after its run
    (``record.recovered_answers``). The times do not count: a clock may have been wrong.
    """
    run_id, after = (None, None) if last is None else (last.run_id, last.answer_id)
    return _BY_ARRIVAL.all(connection, run=run_id, after=after, limit=_IN_PAGE)


def existing_ids(connection: Connection, ids: Collection[int]) -> frozenset[int]:
    """Return which of these answers still have a row: a run may drop trays (``keep_answers = "fetched"``)."""
    return frozenset(_EXISTING.all_of(connection, "ids", ids))


def answer_counts(connection: Connection) -> tuple[int, int]:
    """Return how many stored answers have a row, and how many of those are lost."""
    return _COUNTS.one(connection)


def has_segment(connection: Connection, segment: str) -> bool:
    """Return whether a row names this segment."""
    return _HAS_SEGMENT.one(connection, segment=segment)


def lengths_by_offset(connection: Connection, segment: str) -> dict[int, int]:
    """Return the length of each answer of a segment that has a row, by its offset."""
    return dict(_LENGTHS.all(connection, segment=segment))


def plans_since(connection: Connection, since: datetime) -> frozenset[int]:
    """Return the runs of ``plan --list`` that have begun since then."""
    return frozenset(_PLANS.all(connection, command=PLAN, since=since))


def unused_list(
    connection: Connection,
    subjects: Collection[str],
    paths: Collection[str],
    plans: Collection[int],
    *,
    listed_at: datetime,
    since: datetime,
    until: datetime,
) -> tuple[str, tuple[AnswerLocation, ...]] | None:
    """Return the path and the answers of the list that a run can use for an account; None if there is none.

    It was paid for by one of ``plans``, between ``since`` and ``until``, and no run has listed the account
    or used the list since. Only the last call counts; if it is one of several pages, so do the pages before
    it. ``subjects``: the account, as its calls may name it. ``paths``: those that list an account.
    ``listed_at``: when the account was last listed.
    """
    rows = _LISTED.all(connection, subjects=subjects, paths=paths, plans=plans)
    if not rows:
        return None
    last = rows[-1]
    pages = [row for row in rows if (row.run_id, row.path) == (last.run_id, last.path)]
    is_recorded = last.finished_at is not None and last.finished_at <= listed_at
    is_recent = all(since < row.started_at <= until for row in pages)
    if not (is_recorded and is_recent):
        return None
    if _HAS_LATER_RUN.one(connection, run=last.run_id, listed_at=listed_at):
        return None
    locations = (_location(row.segment, row.offset, row.length, row.sha256) for row in pages)
    return last.path, tuple(locations)
