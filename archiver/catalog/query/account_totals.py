"""Each stored account with its sums, as the view ``accounts`` has them, and the targets that failed."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject


class AccountTotals(Struct, frozen=True):
    """A stored account. ``looked_at``: when an answer last said what it shows. Lost files do not count."""

    pk: Pk
    username: str | None
    is_private: bool
    is_gone: bool
    looked_at: datetime | None
    highlights: int
    items: int
    bytes: int


class FailedTarget(Struct, frozen=True):
    """An open failure of an account's name or of a single highlight."""

    reason: Reason
    at: datetime


class SingleHighlight(Struct, frozen=True):
    """A highlight that is followed by itself. ``looked_at``: when it was last listed or fetched."""

    user_pk: Pk
    looked_at: datetime | None
    is_gone: bool


_ACCOUNTS = Query(
    """
    SELECT a.user_pk, a.username, a.is_private, a.verdict, a.gone_at, a.listed_at, u.verdict_at,
        a.highlights, a.items, CAST(coalesce(a.bytes, 0) AS BIGINT) AS bytes
    FROM accounts a JOIN users u ON u.pk = a.user_pk
    ORDER BY lower(a.username), a.user_pk
    """,
    lambda pk, username, is_private, verdict, gone_at, listed_at, verdict_at, *sums: AccountTotals(
        pk,
        username,
        bool(is_private) or verdict == Reason.PRIVATE,
        gone_at is not None or verdict == Reason.GONE,
        max(filter(None, (listed_at, verdict_at)), default=None),
        *sums,
    ),
)
_FAILED_TARGETS = Query(
    """
    SELECT subject, subject_pk, reason, last_at FROM failures
    WHERE subject IN ('target', 'highlight') AND role IS NULL AND resolved_at IS NULL
    """,
    lambda subject, pk, reason, last_at: ((Subject(subject), pk), FailedTarget(Reason(reason), last_at)),
)
_OWNER = Query(
    "SELECT user_pk, listed_at, fetched_at, gone_at IS NOT NULL AS is_gone FROM highlights WHERE pk = :pk",
    lambda user_pk, listed_at, fetched_at, is_gone: SingleHighlight(
        user_pk, max(filter(None, (listed_at, fetched_at)), default=None), is_gone
    ),
)


def account_totals(connection: Connection) -> tuple[AccountTotals, ...]:
    """Return every account, by name."""
    return tuple(_ACCOUNTS.all(connection))


def failed_targets(connection: Connection) -> dict[tuple[Subject, str], FailedTarget]:
    """Return the open failures of names and of highlights' pages."""
    return dict(_FAILED_TARGETS.all(connection))


def single_highlight(connection: Connection, pk: Pk) -> SingleHighlight | None:
    """Return whose this highlight is, and when it was last seen; None if it is not stored."""
    return _OWNER.first(connection, pk=pk)
