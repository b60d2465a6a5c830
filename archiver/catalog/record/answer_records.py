"""What happens to stored answers: they are lost, found again, recovered or dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, bindparam, delete, func, select, update

from archiver.catalog import ledger, tables
from archiver.catalog.sql import Command
from archiver.model.api_calls import Origin, UnrecordedAnswer

RECOVERED = "recovered"
"""Command and outcome of a run that is known only by its answers."""

_WITHOUT_ANSWERS = (RECOVERED, "reread")
_OPENING_TIME = timedelta(minutes=1)
"""A run opens its files within this time after its start."""

_runs, _calls, _answers = tables.runs, tables.api_calls, tables.answers

_LOSE = (
    update(_answers)
    .where(_answers.c.id == bindparam("answer"), _answers.c.lost_at.is_(None))
    .values(lost_at=bindparam("now"))
)
_FIND = update(_answers).where(_answers.c.id == bindparam("answer")).values(lost_at=None)
_SAME_ANSWER = (
    select(_answers.c.id, _answers.c.segment)
    .join(_calls, _calls.c.id == _answers.c.api_call_id)
    .where(_calls.c.subject == bindparam("subject"), _calls.c.path == bindparam("path"))
    .where(_calls.c.started_at <= bindparam("started_at"), _calls.c.finished_at >= bindparam("finished_at"))
    .where(_answers.c.sha256 == bindparam("sha256"), _answers.c.length == bindparam("length"))
)
"""The rows of an answer wherever it is stored: its bytes, and a call that lasted as long or longer."""

_COUNT_UNITS = Command(f"UPDATE runs SET units = {ledger.UNITS_OF_RUN} WHERE id = :run")


def lost_answers(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Record that stored answers are unreadable: they are not used again, and what came from them stays."""
    rows = [{"answer": answer, "now": now} for answer in ids]
    if rows:
        connection.execute(_LOSE, rows)


def found_answers(connection: Connection, ids: Iterable[int]) -> None:
    """Record that lost answers can be read again."""
    rows = [{"answer": answer} for answer in ids]
    if rows:
        connection.execute(_FIND, rows)


def drop_trays(connection: Connection, segment: str) -> None:
    """Delete the answers of a segment that is about to be removed.

    What came from them stays, without its ``answer_id``.
    """
    dropped = select(_answers.c.id).where(_answers.c.segment == segment)
    remove_references(connection, dropped)
    connection.execute(delete(_answers).where(_answers.c.segment == segment))


def remove_references(connection: Connection, answers: Select[tuple[int]] | Sequence[int]) -> None:
    """Remove the ids of answers that are about to be deleted from what came from them."""
    for table in (tables.files, tables.items):
        connection.execute(update(table).where(table.c.answer_id.in_(answers)).values(answer_id=None))


def recovered_answers(
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
    locations = {(answer.location.segment, answer.location.offset) for answer in answers}
    query = select(_answers.c.segment, _answers.c.offset).where(
        _answers.c.segment.in_({segment for segment, _ in locations})
    )
    recorded = {(row.segment, row.offset) for row in connection.execute(query)}
    without_row = [
        answer for answer in answers if (answer.location.segment, answer.location.offset) not in recorded
    ]
    new = [answer for answer in without_row if not _move(connection, answer, segments)]
    if not new:
        return 0, 0
    run_id = _find_run(connection, origin, segments) or _create_run(connection, origin)
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
    same_answer = {
        "subject": answer.call.subject,
        "path": answer.call.path,
        "started_at": answer.started_at,
        "finished_at": answer.finished_at,
        "sha256": place.sha256,
        "length": place.length,
    }
    for row in connection.execute(_SAME_ANSWER, same_answer):
        if row.segment not in segments:
            new_place = {"segment": place.segment, "offset": place.offset, "lost_at": None}
            connection.execute(update(_answers).where(_answers.c.id == row.id).values(new_place))
            return True
    return False


def _find_run(connection: Connection, origin: Origin, segments: Sequence[str]) -> int | None:
    run_of_segments = (
        select(_calls.c.run_id)
        .join(_answers, _answers.c.api_call_id == _calls.c.id)
        .where(_answers.c.segment.in_(segments))
        .limit(1)
    )
    run_id = connection.scalar(run_of_segments)
    if run_id is not None:
        return int(run_id)
    started_at = connection.scalar(
        select(_runs.c.started_at).where(
            _runs.c.id == origin.run_id, _runs.c.command.not_in(_WITHOUT_ANSWERS)
        )
    )
    if started_at is None:
        return None
    delay = origin.started_at - started_at.replace(microsecond=0)
    return origin.run_id if timedelta() <= delay <= _OPENING_TIME else None


def _create_run(connection: Connection, origin: Origin) -> int:
    row = _runs.insert().values(command=RECOVERED, started_at=origin.started_at, outcome=RECOVERED, units=0)
    return int(connection.execute(row.returning(_runs.c.id)).scalar_one())


def _find_call(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int | None:
    """Return the row of the answered call: reserved before it was sent, settled after the answer came."""
    call = answer.call
    rows = connection.execute(
        select(_calls.c.id, _calls.c.finished_at)
        .outerjoin(_answers, _answers.c.api_call_id == _calls.c.id)
        .where(_calls.c.run_id == run_id, _calls.c.path == call.path, _calls.c.subject == call.subject)
        .where(_calls.c.started_at <= answer.started_at, _answers.c.id.is_(None))
        .order_by(_calls.c.id)
    )
    for row in rows:
        if row.finished_at is None:
            ledger.settle(connection, row.id, answer.status, answer.units, answer.finished_at)
            return int(row.id)
        if row.finished_at >= answer.finished_at:
            return int(row.id)
    return None


def _create_call(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int:
    row = _calls.insert().values(
        run_id=run_id,
        path=answer.call.path,
        subject=answer.call.subject,
        status=answer.status,
        units=answer.units,
        started_at=answer.started_at,
        finished_at=answer.finished_at,
    )
    return int(connection.execute(row.returning(_calls.c.id)).scalar_one())


def _finish_run(connection: Connection, run_id: int) -> None:
    """Set the run's units to the sum of its calls. A recovered run ended with its last call."""
    _COUNT_UNITS.run(connection, run=run_id)
    last = select(func.max(_calls.c.finished_at)).where(_calls.c.run_id == run_id).scalar_subquery()
    recovered_run = update(_runs).where(_runs.c.id == run_id, _runs.c.command == RECOVERED)
    connection.execute(recovered_run.values(finished_at=last))
