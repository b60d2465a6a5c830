"""Gaps: what the archive knows to be missing, and why. The query is in ``gaps.sql``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, TextualSelect, text

from archiver.catalog.column_types import UtcTime
from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Role, Subject

_BATCH = 1000
_GAP_REASONS = frozenset(reason.value for reason in GapReason)


def gaps(connection: Connection) -> Iterator[Gap]:
    """Yield every gap, account after account. Streamed: read it with ``Catalog.stream``.

    A file that was lost and could not be fetched again is two gaps, one as lost and one as failed. Highlights
    that were listed but never fetched are gaps, whether a configuration selects them or not.
    """
    for row in connection.execution_options(yield_per=_BATCH).execute(_query()).mappings():
        reason = row["reason"]
        yield Gap(
            **{
                **row,
                "reason": GapReason(reason) if reason in _GAP_REASONS else Reason(reason),
                "subject": Subject(row["subject"]),
                "role": Role(row["role"]) if row["role"] is not None else None,
                "gone": bool(row["gone"]),
            }
        )


@cache
def _query() -> TextualSelect:
    sql = Path(__file__).with_name("gaps.sql").read_text(encoding="utf-8")
    return text(sql).columns(first_at=UtcTime, last_at=UtcTime, next_try_at=UtcTime)
