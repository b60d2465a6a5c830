"""Answers that lie on the disk and have no row: a restored database does not know them, and a kill may have come between the two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, select, update

from archiver.catalog import ledger, tables
from archiver.catalog.record.runs import units_of_calls
from archiver.model.billing import Origin, UnrecordedAnswer
from archiver.model.identity import Digest

RECOVERED = "recovered"
"""Command and outcome of a run that only its answers tell of."""

_PAYS_NOTHING = (RECOVERED, "reread")
_BEGINNING = timedelta(minutes=1)
"""Within which a run that has begun opens its files."""

_runs, _calls, _answers = tables.runs, tables.api_calls, tables.answers


def recovered_answers(
    connection: Connection, origin: Origin, segments: Sequence[str], found: Sequence[UnrecordedAnswer]
) -> tuple[int, int]:
    """Record answers of one run, in the order in which they came, with their calls where those have no row either.

    ``segments`` are all that hold answers of that run. Answers that have a row by now are left as they are; returns how many were
    recorded, and the units of the calls that had no row. The run is that of the other answers in those files, or that of the name if it began just then (a restored database
    gives the same id to another one); else it gets a row of its own.
    """
    at = {(answer.location.segment, answer.location.offset) for answer in found}
    known = select(_answers.c.segment, _answers.c.offset).where(_answers.c.segment.in_({s for s, _ in at}))
    there = {(row.segment, row.offset) for row in connection.execute(known)}
    new = [answer for answer in found if (answer.location.segment, answer.location.offset) not in there]
    if not new:
        return 0, 0
    run_id = _run_of(connection, origin, segments) or _new_run(connection, origin)
    units = 0
    for answer in new:
        call_id = _call_of(connection, run_id, answer)
        if call_id is None:
            call_id = _new_call(connection, run_id, answer)
            units += answer.units
        ledger.record_answer(connection, call_id, answer.location, answer.facts)
    _sum_up(connection, run_id)
    return len(new), units


def _run_of(connection: Connection, origin: Origin, segments: Sequence[str]) -> int | None:
    beside = (
        select(_calls.c.run_id)
        .join(_answers, _answers.c.api_call_id == _calls.c.id)
        .where(_answers.c.segment.in_(segments))
        .limit(1)
    )
    run_id = connection.scalar(beside)
    if run_id is not None:
        return int(run_id)
    began = connection.scalar(
        select(_runs.c.started_at).where(_runs.c.id == origin.run_id, _runs.c.command.not_in(_PAYS_NOTHING))
    )
    if began is None:
        return None
    waited = origin.started_at - began.replace(microsecond=0)
    return origin.run_id if timedelta() <= waited <= _BEGINNING else None


def _new_run(connection: Connection, origin: Origin) -> int:
    row = _runs.insert().values(command=RECOVERED, started_at=origin.started_at, outcome=RECOVERED, units=0)
    return int(connection.execute(row.returning(_runs.c.id)).scalar_one())


def _call_of(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int | None:
    """The row of the call that this answers, if it has one: reserved before it was sent, not over before the answer came."""
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


def _new_call(connection: Connection, run_id: int, answer: UnrecordedAnswer) -> int:
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


def _sum_up(connection: Connection, run_id: int) -> None:
    """The run's units are those of its calls; one that only its answers tell of ended with the last of them."""
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(units=units_of_calls))
    last = select(func.max(_calls.c.finished_at)).where(_calls.c.run_id == run_id).scalar_subquery()
    ended = update(_runs).where(_runs.c.id == run_id, _runs.c.command == RECOVERED)
    connection.execute(ended.values(finished_at=last))


def drop_trays(connection: Connection, segment: str) -> None:
    """Forget the answers of a segment that is about to be removed; what was read from them stays, and names no answer any more."""
    dropped = select(_answers.c.id).where(_answers.c.segment == segment)
    for table in (tables.files, tables.items):
        connection.execute(update(table).where(table.c.answer_id.in_(dropped)).values(answer_id=None))
    connection.execute(delete(_answers).where(_answers.c.segment == segment))


_blobs = tables.blobs

_FIND_BLOB = update(_blobs).where(_blobs.c.sha256 == bindparam("digest")).values(lost_at=None)
_LOSE_ANSWER = (
    update(_answers)
    .where(_answers.c.id == bindparam("answer"), _answers.c.lost_at.is_(None))
    .values(lost_at=bindparam("now"))
)
_FIND_ANSWER = update(_answers).where(_answers.c.id == bindparam("answer")).values(lost_at=None)


def found_blobs(connection: Connection, digests: Iterable[Digest]) -> None:
    """Record that bytes which were lost lie under their name again, read and found right."""
    rows = [{"digest": digest} for digest in digests]
    if rows:
        connection.execute(_FIND_BLOB, rows)


def lost_answers(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Record that kept answers cannot be read any more: what came from them stays, they serve nobody again."""
    rows = [{"answer": answer, "now": now} for answer in ids]
    if rows:
        connection.execute(_LOSE_ANSWER, rows)


def found_answers(connection: Connection, ids: Iterable[int]) -> None:
    """Record that answers which were lost can be read again."""
    rows = [{"answer": answer} for answer in ids]
    if rows:
        connection.execute(_FIND_ANSWER, rows)
