"""Runs: when they began, how they ended, and what becomes of the answers that they paid for.

Stored answers are lost, found again, recovered or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog import counters, ledger
from archiver.catalog.counters import UNITS_OF_RUN
from archiver.catalog.sql import Command, Query
from archiver.model.api_calls import Origin, UnrecordedAnswer

KILLED = "killed"

_END_KILLED = Command(
    f"""
    UPDATE runs SET outcome = '{KILLED}', units = {UNITS_OF_RUN}
    WHERE finished_at IS NULL AND outcome IS NULL
    """
)
_START = Query("INSERT INTO runs (command, started_at, units) VALUES (:command, :now, 0) RETURNING id", int)
_BALANCE_BEFORE = Command("UPDATE runs SET balance_before = :units WHERE id = :run")
_BALANCE_AFTER = Command("UPDATE runs SET balance_after = :units WHERE id = :run")
_FINISH = Command(
    f"""
    UPDATE runs SET finished_at = :now, outcome = :outcome, exit_code = :exit_code, units = {UNITS_OF_RUN}
    WHERE id = :run
    """
)


def start_run(connection: Connection, command: str, now: datetime) -> int:
    """Record that a run begins; return its id. Runs that never ended get the outcome ``killed``."""
    _END_KILLED.run(connection)
    return _START.one(connection, command=command, now=now)


def record_balance_before(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports before the first paid call, or alongside the first ones."""
    _BALANCE_BEFORE.run(connection, run=run_id, units=units)


def record_balance_after(connection: Connection, run_id: int, units: int) -> None:
    """Record the units that the API reports after the run has paid for everything."""
    _BALANCE_AFTER.run(connection, run=run_id, units=units)


def finish_run(connection: Connection, run_id: int, now: datetime, outcome: str, exit_code: int) -> None:
    """Record how the run ended; its units are the sum of its calls."""
    _FINISH.run(connection, run=run_id, now=now, outcome=outcome, exit_code=exit_code)


_SET_STORAGE = Command("UPDATE archive SET storage = :place")


def record_storage(connection: Connection, place: str | None) -> None:
    """Record where blobs, answers and journal are, as in ``archive.storage``; None: in the directory."""
    _SET_STORAGE.run(connection, place=place)


# --- stored answers

RECOVERED = "recovered"
"""Command and outcome of a run that is known only by its answers."""

_OPENING_TIME = timedelta(minutes=1)
"""A run opens its files within this time after its start."""


class _Call(NamedTuple):
    id: int
    is_settled: bool


_LOSE = Command("UPDATE answers SET lost_at = :now WHERE id = :answer AND lost_at IS NULL")
_FIND = Command("UPDATE answers SET lost_at = NULL WHERE id = :answer")
_MOVE = Command(
    'UPDATE answers SET segment = :segment, "offset" = :offset, lost_at = NULL WHERE id = :answer'
)
_SAME_ANSWER = Query(  # wherever it is stored: its bytes, and a call that lasted as long or longer
    """
    SELECT answers.id, segment FROM answers JOIN api_calls ON api_calls.id = api_call_id
    WHERE subject = :subject AND path = :path AND sha256 = :sha256 AND length = :length
        AND started_at <= :started_at AND finished_at >= :finished_at
    """,
    lambda answer_id, segment: (answer_id, segment),
)
_DELETE = (
    *(
        Command(f"UPDATE {table} SET answer_id = NULL WHERE answer_id IN :answers")
        for table in ("files", "items")
    ),
    Command("DELETE FROM answers WHERE id IN :answers"),
)
_OF_SEGMENT = Query("SELECT id FROM answers WHERE segment = :segment", int)
_RECORDED = Query(
    'SELECT segment, "offset" FROM answers WHERE segment IN :segments',
    lambda segment, offset: (segment, offset),
)
_RUN_OF_SEGMENTS = Query(
    """
    SELECT run_id FROM api_calls JOIN answers ON api_call_id = api_calls.id WHERE segment IN :segments
    LIMIT 1
    """,
    int,
)
_STARTED_AT = Query(  # of a run whose answers are stored
    f"SELECT started_at FROM runs WHERE id = :run AND command NOT IN ('{RECOVERED}', 'reread')",
    lambda started_at: started_at,
)
_CREATE_RUN = Query(
    f"""
    INSERT INTO runs (command, started_at, outcome, units)
    VALUES ('{RECOVERED}', :started_at, '{RECOVERED}', 0) RETURNING id
    """,
    int,
)
_ANSWERED_CALL = Query(
    """
    SELECT api_calls.id, finished_at IS NOT NULL AS is_settled
    FROM api_calls LEFT JOIN answers ON api_call_id = api_calls.id
    WHERE run_id = :run AND path = :path AND subject = :subject AND answers.id IS NULL
        AND started_at <= :started_at AND (finished_at IS NULL OR finished_at >= :finished_at)
    ORDER BY api_calls.id LIMIT 1
    """,
    _Call,
)
_CREATE_CALL = Query(
    """
    INSERT INTO api_calls (run_id, path, subject, status, units, started_at, finished_at)
    VALUES (:run, :path, :subject, :status, :units, :started_at, :finished_at) RETURNING id
    """,
    int,
)
_COUNT_UNITS = Command(f"UPDATE runs SET units = {counters.UNITS_OF_RUN} WHERE id = :run")
_END_RECOVERED = Command(
    f"""
    UPDATE runs SET finished_at = (SELECT max(finished_at) FROM api_calls WHERE run_id = :run)
    WHERE id = :run AND command = '{RECOVERED}'
    """
)


def record_lost_answers(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Record that stored answers are unreadable: they are not used again, and what came from them stays."""
    _LOSE.run_each(connection, ({"answer": answer, "now": now} for answer in ids))


def record_found_answers(connection: Connection, ids: Iterable[int]) -> None:
    """Record that lost answers can be read again."""
    _FIND.run_each(connection, ({"answer": answer} for answer in ids))


def drop_trays(connection: Connection, segment: str) -> None:
    """Delete the answers of a segment that is about to be removed.

    What came from them stays, without its ``answer_id``.
    """
    delete_answers(connection, _OF_SEGMENT.all(connection, segment=segment))


def delete_answers(connection: Connection, ids: Sequence[int]) -> None:
    """Delete answers. What came from them and stays loses its ``answer_id``."""
    for statement in _DELETE:
        statement.run_for(connection, "answers", ids)


def record_recovered_answers(
    connection: Connection, origin: Origin, segments: Sequence[str], answers: Sequence[UnrecordedAnswer]
) -> tuple[int, int]:
    """Record answers of one run that are on the disk but have no row, and their calls if those have none.

    An older database may have been restored, or a kill may have come between file and row. ``answers`` are in
    the order in which they arrived; ``segments`` are all that hold answers of that run. Answers that have a
    row by now stay as they are; one whose row names a segment that is gone gets its new place, as
    ``archiver forget`` writes segments again. The run is that of other answers in those segments; or else the
    one with the same id, if it started at that time (in a restored database another run may have that id); or
    else a new row. Return how many answers were recorded, and the units of the calls that had no row.
    """
    recorded = set(_RECORDED.all_of(connection, "segments", {answer.location.segment for answer in answers}))
    without_row = [
        answer for answer in answers if (answer.location.segment, answer.location.offset) not in recorded
    ]
    new = [answer for answer in without_row if not _move(connection, answer, segments)]
    if not new:
        return 0, 0
    run_id = _find_run(connection, origin, segments) or _CREATE_RUN.one(
        connection, started_at=origin.started_at
    )
    units = 0
    for answer in new:
        call_id = _find_call(connection, run_id, answer)
        if call_id is None:
            call_id = _create_call(connection, run_id, answer)
            units += answer.units
        ledger.record_answer(connection, call_id, answer.location, answer.numbers)
    _finish_run(connection, run_id)
    return len(new), units


def _move(connection: Connection, answer: UnrecordedAnswer, segments: Sequence[str]) -> bool:
    """Record the new place of an answer whose row names none of these segments; return whether it has one."""
    place = answer.location
    same_answer = _SAME_ANSWER.all(
        connection,
        subject=answer.call.subject,
        path=answer.call.path,
        started_at=answer.started_at,
        finished_at=answer.finished_at,
        sha256=place.sha256,
        length=place.length,
    )
    for answer_id, segment in same_answer:
        if segment not in segments:
            _MOVE.run(connection, answer=answer_id, segment=place.segment, offset=place.offset)
            return True
    return False


def _find_run(connection: Connection, origin: Origin, segments: Sequence[str]) -> int | None:
    run_id = _RUN_OF_SEGMENTS.first(connection, segments=segments)
    if run_id is not None:
        return run_id
    started_at = _STARTED_AT.first(connection, run=origin.run_id)
    if started_at is None:
        return None
    delay = origin.started_at - started_at.replace(microsecond=0)
    return origin.run_id if timedelta() <= delay <= _OPENING_TIME else None


def _find_call(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int | None:
    """Return the row of the answered call: reserved before it was sent, settled after the answer came."""
    found = _ANSWERED_CALL.first(
        connection,
        run=run_id,
        path=answer.call.path,
        subject=answer.call.subject,
        started_at=answer.started_at,
        finished_at=answer.finished_at,
    )
    if found is None:
        return None
    if not found.is_settled:
        ledger.settle(connection, found.id, answer.status, answer.units, answer.finished_at)
    return found.id


def _create_call(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int:
    return _CREATE_CALL.one(
        connection,
        run=run_id,
        path=answer.call.path,
        subject=answer.call.subject,
        status=answer.status,
        units=answer.units,
        started_at=answer.started_at,
        finished_at=answer.finished_at,
    )


def _finish_run(connection: Connection, run_id: int) -> None:
    """Set the run's units to the sum of its calls. A recovered run ended with its last call."""
    _COUNT_UNITS.run(connection, run=run_id)
    _END_RECOVERED.run(connection, run=run_id)
