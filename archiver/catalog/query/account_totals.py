"""Each stored account with its sums, as the view ``accounts`` has them, and the targets that failed."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, text

from archiver.catalog.column_types import UtcTime
from archiver.errors import Reason
from archiver.model.identity import Pk, Subject

_ACCOUNTS = text("""
SELECT a.user_pk, a.username, a.is_private, a.verdict, a.gone_at, a.listed_at, u.verdict_at,
  a.highlights, a.items, a.bytes
FROM accounts a JOIN users u ON u.pk = a.user_pk
ORDER BY lower(a.username), a.user_pk
""").columns(gone_at=UtcTime, listed_at=UtcTime, verdict_at=UtcTime)
_FAILED_TARGETS = text("""
SELECT subject, subject_pk, reason, last_at FROM failures
WHERE subject IN ('target', 'highlight') AND role IS NULL AND resolved_at IS NULL
""").columns(last_at=UtcTime)
_OWNERS = text("SELECT pk, user_pk, listed_at, fetched_at, gone_at FROM highlights WHERE pk = :pk").columns(
    listed_at=UtcTime, fetched_at=UtcTime, gone_at=UtcTime
)


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


def account_totals(connection: Connection) -> tuple[AccountTotals, ...]:
    """Return every account, by name."""
    return tuple(
        AccountTotals(
            row.user_pk,
            row.username,
            is_private=bool(row.is_private) or row.verdict == Reason.PRIVATE,
            is_gone=row.gone_at is not None or row.verdict == Reason.GONE,
            looked_at=max(filter(None, (row.listed_at, row.verdict_at)), default=None),
            highlights=row.highlights,
            items=row.items,
            bytes=int(row.bytes or 0),
        )
        for row in connection.execute(_ACCOUNTS)
    )


def failed_targets(connection: Connection) -> dict[tuple[Subject, str], FailedTarget]:
    """Return the open failures of names and of highlights' pages."""
    return {
        (Subject(row.subject), row.subject_pk): FailedTarget(Reason(row.reason), row.last_at)
        for row in connection.execute(_FAILED_TARGETS)
    }


def single_highlight(connection: Connection, pk: Pk) -> SingleHighlight | None:
    """Return whose this highlight is, and when it was last seen; None if it is not stored."""
    row = connection.execute(_OWNERS, {"pk": pk}).first()
    if row is None:
        return None
    looked_at = max(filter(None, (row.listed_at, row.fetched_at)), default=None)
    return SingleHighlight(row.user_pk, looked_at, row.gone_at is not None)
