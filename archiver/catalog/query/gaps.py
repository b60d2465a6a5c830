"""Gaps: what the archive knows to be missing, and why. The query is in ``gaps.sql``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, Connection, Text, TextualSelect, bindparam, func, select, text

from archiver.catalog import tables
from archiver.catalog.column_types import UtcTime
from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Pk, Role, Subject

_BATCH = 1000
_OF_ACCOUNTS, _OF_ALL = "--accounts: ", "--all"
_GAP_REASONS = frozenset(reason.value for reason in GapReason)


def gaps(connection: Connection) -> Iterator[Gap]:
    """Yield every gap, account after account. Streamed: read it with ``Catalog.stream``.

    A file that was lost and could not be fetched again is two gaps, one as lost and one as failed. Highlights
    that were listed but never fetched are gaps, whether a configuration selects them or not.
    """
    return _read(connection, _query(), {})


def gaps_of(connection: Connection, user_pks: Collection[Pk], *, with_targets: bool) -> Iterator[Gap]:
    """Yield the gaps of these accounts as ``gaps`` does; ``with_targets``: and of the names of no account.

    It reads only the rows of these accounts, and the failures and losses of all.
    """
    values = {"user_pks": list(user_pks), "with_targets": int(with_targets)}
    return _read(connection, _query_of_accounts(), values)


def next_accounts(connection: Connection, after: Pk, max_items: int) -> tuple[Pk, ...]:
    """Return the accounts that follow by pk: as many as have at most ``max_items`` items, at least one."""
    users, totals = tables.users, tables.account_totals
    query = (
        select(users.c.pk, func.coalesce(totals.c["items"], 0).label("held"))
        .outerjoin(totals, totals.c.user_pk == users.c.pk)
        .where(users.c.pk > after)
        .order_by(users.c.pk)
        .limit(_BATCH)
    )
    pks: list[Pk] = []
    left = max_items
    for row in connection.execute(query):
        left -= row.held
        if left < 0 and pks:
            break
        pks.append(row.pk)
    return tuple(pks)


def _read(connection: Connection, query: TextualSelect, values: Mapping[str, Any]) -> Iterator[Gap]:
    # Closed at once if the reader stops before its end: else the cursor stays open on the server.
    with connection.execution_options(yield_per=_BATCH).execute(query, values) as rows:
        for row in rows.mappings():
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


_DATES = {"first_at": UtcTime, "last_at": UtcTime, "next_try_at": UtcTime}


@cache
def _query() -> TextualSelect:
    lines = _sql().splitlines()
    return text("\n".join(line for line in lines if _OF_ACCOUNTS not in line)).columns(**_DATES)


@cache
def _query_of_accounts() -> TextualSelect:
    pks: BindParameter[Any] = bindparam("user_pks", type_=Text(), expanding=True)
    lines = _sql().replace(_OF_ACCOUNTS, "").splitlines()
    sql = "\n".join(line for line in lines if not line.endswith(_OF_ALL))
    return text(sql).bindparams(pks).columns(**_DATES)


def _sql() -> str:
    return Path(__file__).with_name("gaps.sql").read_text(encoding="utf-8")
