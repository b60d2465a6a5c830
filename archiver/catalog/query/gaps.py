"""Gaps: what the archive knows to be missing, and why. The query is in ``gaps.sql``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Pk, Role, Subject

_AT_MOST = 1000
_GAP_REASONS = frozenset(reason.value for reason in GapReason)
_GAPS = Query(
    Path(__file__).with_name("gaps.sql").read_text(encoding="utf-8"),
    lambda reason, subject, subject_pk, role, *facts: Gap(
        GapReason(reason) if reason in _GAP_REASONS else Reason(reason),
        Subject(subject),
        subject_pk,
        Role(role) if role is not None else None,
        *facts,
    ),
)
_NEXT_ACCOUNTS = Query(
    """
    SELECT users.pk, coalesce(account_totals.items, 0)
    FROM users LEFT JOIN account_totals ON account_totals.user_pk = users.pk
    WHERE users.pk > :after ORDER BY users.pk LIMIT :limit
    """,
    lambda pk, items: (pk, items),
)


def gaps(connection: Connection) -> Iterator[Gap]:
    """Yield every gap, account after account. Streamed: read it with ``Catalog.stream``.

    A file that was lost and could not be fetched again is two gaps, one as lost and one as failed. Highlights
    that were listed but never fetched are gaps, whether a configuration selects them or not.
    """
    return _GAPS.iterate(connection, of_accounts=None)


def gaps_of(connection: Connection, user_pks: Collection[Pk], *, with_targets: bool) -> Iterator[Gap]:
    """Yield the gaps of these accounts as ``gaps`` does; ``with_targets``: and of the names of no account.

    It reads only the rows of these accounts, and the failures and losses of all.
    """
    return _GAPS.iterate(connection, of_accounts=True, user_pks=user_pks, with_targets=int(with_targets))


def next_accounts(connection: Connection, after: Pk, max_items: int) -> tuple[Pk, ...]:
    """Return the accounts that follow by pk: as many as have at most ``max_items`` items, at least one."""
    pks: list[Pk] = []
    left = max_items
    for pk, items in _NEXT_ACCOUNTS.all(connection, after=after, limit=_AT_MOST):
        left -= items
        if left < 0 and pks:
            break
        pks.append(pk)
    return tuple(pks)
