"""Lists of highlights that ``plan --list`` has just paid for, and no run has used yet."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, exists, select

from archiver.catalog import tables
from archiver.model.api_calls import AnswerLocation
from archiver.model.identity import Digest

_calls, _answers, _runs = tables.api_calls, tables.answers, tables.runs

PLAN = "plan"
"""The command of a run that only lists, in ``runs.command``."""

_PLANS = select(_runs.c.id).where(_runs.c.command == PLAN, _runs.c.started_at > bindparam("since"))
_LISTED = (
    select(_answers, _calls.c.path, _calls.c.run_id, _calls.c.started_at, _calls.c.finished_at)
    .join(_calls, _calls.c.id == _answers.c.api_call_id)
    .where(
        _calls.c.subject.in_(bindparam("subjects", expanding=True)),
        _calls.c.path.in_(bindparam("paths", expanding=True)),
        # An expression: no database starts from all calls of a plan, for each account.
        (_calls.c.run_id + 0).in_(bindparam("plans", expanding=True)),
        _calls.c.status == 200,
    )
    .order_by(_calls.c.id)
)
_HAS_LATER_RUN = select(
    exists().where(_runs.c.id > bindparam("run"), _runs.c.started_at <= bindparam("listed_at"))
)


def plans_since(connection: Connection, since: datetime) -> frozenset[int]:
    """Return the runs of ``plan --list`` that have begun since then."""
    return frozenset(connection.scalars(_PLANS, {"since": since}))


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
    calls = {"subjects": list(subjects), "paths": list(paths), "plans": list(plans)}
    rows = connection.execute(_LISTED, calls).all()
    if not rows:
        return None
    last = rows[-1]
    pages = [row for row in rows if (row.run_id, row.path) == (last.run_id, last.path)]
    is_recorded = last.finished_at is not None and last.finished_at <= listed_at
    is_recent = all(since < row.started_at <= until for row in pages)
    later = {"run": last.run_id, "listed_at": listed_at}
    if not (is_recorded and is_recent) or connection.scalar(_HAS_LATER_RUN, later):
        return None
    locations = (AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256)) for row in pages)
    return last.path, tuple(locations)
