"""What the archive knows to be missing, and why; and which accounts may still show what was lost.

The query of the gaps is in ``gaps.sql``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from archiver import retry
from archiver.catalog.sql import Query
from archiver.errors import NOT_RETRIED, Reason
from archiver.model.archived import Gap, GapReason, Loss
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


# --- what may be fetched again


def _has_other_file(owner: str, and_is: str = "true") -> str:
    """Return the condition that the owner has another file in the same role that is not lost."""
    return f"""
        EXISTS (
            SELECT 1 FROM files AS other, blobs AS other_blob
            WHERE other.{owner} = files.{owner} AND other.role = files.role
                AND other_blob.sha256 = other.sha256 AND other_blob.lost_at IS NULL AND {and_is}
        )
    """


def _has_open_failure(subject: str, pk: str, role: str | None, and_is: str = "true") -> str:
    return f"""
        EXISTS (
            SELECT 1 FROM failures WHERE subject = '{subject}' AND subject_pk = {pk} AND resolved_at IS NULL
                AND {"failures.role IS NULL" if role is None else f"failures.role = {role}"} AND {and_is}
        )
    """


# What a call cannot resolve now: the thing was not found and is not due again (``retry.is_due``), or our own
# rules refuse it.
_IS_HOPELESS = """
    (
        reason = 'not_found'
        AND (next_try_at IS NULL OR (next_try_at > :now AND next_try_at <= :furthest))
        OR reason IN :not_retried
    )
"""
_FILES = "files JOIN blobs ON blobs.sha256 = files.sha256"
_IS_NEWER = "other.last_seen_at >= files.last_seen_at"
_PAGE, _FILE = ("highlight", "highlights.pk", None), ("item", "files.item_pk", "files.role")
# One highlight for each lost file, so that an item in several highlights is paid for once. A highlight whose
# page did not fail is preferred.
_HIGHLIGHTS_OF_ITEMS = Query(
    f"""
    SELECT min(CASE WHEN {_has_open_failure(*_PAGE)} THEN '1' ELSE '0' END || highlights.pk)
    FROM {_FILES} JOIN highlight_items AS member ON member.item_pk = files.item_pk
    JOIN highlights ON highlights.pk = member.highlight_pk
    WHERE blobs.lost_at IS NOT NULL AND NOT {_has_other_file("item_pk")} AND member.gone_at IS NULL
        AND highlights.gone_at IS NULL AND highlights.completed_at IS NULL
        AND NOT {_has_open_failure(*_PAGE, _IS_HOPELESS)}
        AND (highlights.tried_at IS NULL OR {_has_open_failure(*_FILE)})
        AND NOT {_has_open_failure(*_FILE, _IS_HOPELESS)}
    GROUP BY files.id
    """,
    lambda choice: Pk(choice[1:]),
)
# A picture that was replaced is not shown any more: only the last one can be fetched again.
_COVERS = Query(
    f"""
    SELECT DISTINCT highlights.pk FROM {_FILES} JOIN highlights ON highlights.pk = files.highlight_pk
    WHERE blobs.lost_at IS NOT NULL AND highlights.cover_held IS NULL AND highlights.gone_at IS NULL
        AND NOT {_has_other_file("highlight_pk", _IS_NEWER)}
        AND NOT {_has_open_failure("highlight", "files.highlight_pk", "files.role", _IS_HOPELESS)}
    """,
    Pk,
)
# An account that is private, gone or empty shows nothing until a run finds it changed.
_IS_SHOWN = "users.verdict IS NULL AND users.gone_at IS NULL"
# One account for each picture: the placeholder of accounts without a picture is the avatar of many.
_AVATARS = Query(
    f"""
    SELECT min(users.pk) FROM {_FILES} JOIN users ON users.pk = files.user_pk
    WHERE blobs.lost_at IS NOT NULL AND users.avatar_held IS NULL AND {_IS_SHOWN}
        AND NOT {_has_other_file("user_pk", _IS_NEWER)}
        AND NOT {_has_open_failure("user", "files.user_pk", "files.role", _IS_HOPELESS)}
    GROUP BY files.sha256
    """,
    Pk,
)
_OWNERS = Query("SELECT pk, user_pk FROM highlights WHERE pk IN :pks", lambda pk, user_pk: (pk, user_pk))
_SHOWN_ACCOUNTS = Query(
    f"SELECT pk, listed_at FROM users WHERE pk IN :pks AND {_IS_SHOWN}",
    lambda pk, listed_at: (pk, listed_at),
)


def losses(connection: Connection, now: datetime, *, covers: bool, avatars: bool) -> tuple[Loss, ...]:
    """Return the accounts that may still show what was lost, in the order of their pks.

    A highlight counts if it has been incomplete since the loss and still shows the item. It does not count if
    the file is no longer offered or is refused by our own rules, or if its page or the file was not found and
    is not due again. ``covers`` and ``avatars``: whether to include those.
    """
    when = {"now": now, "furthest": now + retry.LONGEST_BACKOFF, "not_retried": NOT_RETRIED}
    by_items = _by_owner(connection, _HIGHLIGHTS_OF_ITEMS.all(connection, **when))
    by_covers = _by_owner(connection, _COVERS.all(connection, **when) if covers else ())
    avatar_accounts = set(_AVATARS.all(connection, **when) if avatars else ())
    pks = by_items.keys() | by_covers.keys() | avatar_accounts
    return tuple(
        Loss(
            user_pk=pk,
            highlights=frozenset(by_items.get(pk, ())),
            covers=frozenset(by_covers.get(pk, ())),
            is_avatar_lost=pk in avatar_accounts,
            was_listed=listed_at is not None,
        )
        for pk, listed_at in sorted(_SHOWN_ACCOUNTS.all_of(connection, "pks", pks))
    )


def _by_owner(connection: Connection, highlights: Iterable[Pk]) -> dict[Pk, set[Pk]]:
    owners: dict[Pk, set[Pk]] = {}
    for pk, user_pk in _OWNERS.all_of(connection, "pks", set(highlights)):
        owners.setdefault(user_pk, set()).add(pk)
    return owners
