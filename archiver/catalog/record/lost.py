"""What was lost: answers that cannot be read any more; and what came back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, update

from archiver.catalog import tables
from archiver.model.identity import Digest

_blobs, _answers = tables.blobs, tables.answers

_FIND_BLOB = update(_blobs).where(_blobs.c.sha256 == bindparam("digest")).values(lost_at=None)
_LOSE_ANSWER = (
    update(_answers)
    .where(_answers.c.id == bindparam("answer"), _answers.c.lost_at.is_(None))
    .values(lost_at=bindparam("now"))
)
_FIND_ANSWER = update(_answers).where(_answers.c.id == bindparam("answer")).values(lost_at=None)


def blobs_found(connection: Connection, digests: Iterable[Digest]) -> None:
    """Record that bytes which were lost lie under their name again, read and found right."""
    rows = [{"digest": digest} for digest in digests]
    if rows:
        connection.execute(_FIND_BLOB, rows)


def answers_lost(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Record that kept answers cannot be read any more: what came from them stays, they serve nobody again."""
    rows = [{"answer": answer, "now": now} for answer in ids]
    if rows:
        connection.execute(_LOSE_ANSWER, rows)


def answers_found(connection: Connection, ids: Iterable[int]) -> None:
    """Record that answers which were lost can be read again."""
    rows = [{"answer": answer} for answer in ids]
    if rows:
        connection.execute(_FIND_ANSWER, rows)
