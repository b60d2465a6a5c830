"""Change history: the rows of ``changes``, with current usernames and titles; and former names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.model.archived import DatedUsername, NameChange, NamedChange
from archiver.model.identity import Pk, Subject


class _Change(NamedTuple):
    id: int
    run_id: int
    at: datetime
    subject: str
    subject_pk: Pk
    field: str
    old: str | None
    new: str | None


# The view ``named_changes`` joins and sorts all changes before the first one is read, which takes fourteen
# times as long for a page, and it repeats an item's change for each account that shows it.
_COLUMNS = "SELECT id, run_id, at, subject, subject_pk, field, old, new FROM changes"
# Ids ascend with time, unless a clock was wrong: so rows before the first id need not be read. Those of
# accounts are selected by subject, since only such selects use the index.
_CHANGES = Query(
    f"""
    {_COLUMNS} WHERE true
        AND id >= (SELECT min(id) FROM changes WHERE at >= :since) AND at >= :since -- if since
        AND run_id = :run -- if run
        AND id IN ( -- if user_pks
            SELECT id FROM changes WHERE subject = 'user' AND subject_pk IN :user_pks -- if user_pks
            UNION -- if user_pks
            SELECT id FROM changes WHERE subject = 'highlight' AND subject_pk IN ( -- if user_pks
                SELECT pk FROM highlights WHERE user_pk IN :user_pks -- if user_pks
            ) -- if user_pks
            UNION -- if user_pks
            SELECT id FROM changes WHERE subject = 'item' AND subject_pk IN ( -- if user_pks
                SELECT item_pk FROM highlight_items JOIN highlights ON pk = highlight_pk -- if user_pks
                WHERE user_pk IN :user_pks -- if user_pks
            ) -- if user_pks
        ) -- if user_pks
    ORDER BY id
    """,
    _Change,
)
_LATER = Query(f"{_COLUMNS} WHERE id > :after ORDER BY id LIMIT :limit", _Change)
_EARLIER = Query(
    f"""
    {_COLUMNS}
    WHERE id < :before -- if before
    ORDER BY id DESC LIMIT :limit
    """,
    _Change,
)
_TITLES = Query(
    "SELECT pk, user_pk, title FROM highlights WHERE pk IN :pks",
    lambda pk, user_pk, title: (pk, (user_pk, title)),
)
# An item belongs to the account whose highlight shows it; the item itself may name somebody else.
_ITEM_ACCOUNTS = Query(
    """
    SELECT item_pk, min(user_pk) FROM highlight_items JOIN highlights ON pk = highlight_pk
    WHERE item_pk IN :pks GROUP BY item_pk
    """,
    lambda item_pk, user_pk: (item_pk, user_pk),
)
_NAMES = Query("SELECT pk, username FROM users WHERE pk IN :pks", lambda pk, username: (pk, username))
_RUN_STARTS = Query(
    "SELECT id, started_at FROM runs WHERE id IN :ids", lambda run_id, started_at: (run_id, started_at)
)
# Of an expression: for the column PostgreSQL would read the changes of all runs, from the first.
_FIRST_CHANGE = Query("SELECT min(id + 0) FROM changes WHERE run_id = :run HAVING count(*) > 0", int)
_LAST_RUN = Query("SELECT id FROM runs ORDER BY id DESC LIMIT 1", int)
_DATED_NAMES = Query(
    """
    SELECT username, first_seen_at, last_seen_at FROM usernames WHERE user_pk = :user
    ORDER BY last_seen_at DESC, first_seen_at DESC
    """,
    DatedUsername,
)
_NAME_CHANGES = Query(
    """
    SELECT at, field, old, new FROM changes
    WHERE subject = :subject AND subject_pk = :pk AND field IN ('username', 'full_name', 'title')
    ORDER BY id DESC
    """,
    NameChange,
)
# Not a condition on the joined table: then SQLite would read the changes of all highlights.
_FORMER_TITLES = Query(
    """
    SELECT subject_pk, old, title FROM changes JOIN highlights ON pk = subject_pk
    WHERE subject = 'highlight' AND field = 'title' AND old IS NOT NULL
        AND subject_pk IN (SELECT pk FROM highlights WHERE user_pk = :user)
    ORDER BY id DESC
    """,
    lambda pk, old, present: (pk, old, present),
)


def changes(
    connection: Connection,
    *,
    since: datetime | None = None,
    run_id: int | None = None,
    user_pks: Collection[Pk] = (),
) -> Iterator[NamedChange]:
    """Yield the changes in the order in which they were seen.

    Optionally only those since a time, of one run, or of these accounts. Streamed: read it with
    ``Catalog.stream``.
    """
    for rows in _CHANGES.pages(connection, since=since, run=run_id, user_pks=user_pks):
        yield from _with_names(connection, rows)


def changes_back(
    connection: Connection, limit: int, *, before: int | None = None, after: int | None = None
) -> tuple[NamedChange, ...]:
    """Return changes, the latest first.

    ``before``: only those with a lower id. ``after``: the first ones with a higher id.
    """
    if after is not None:
        rows = _LATER.all(connection, after=after, limit=limit)[::-1]
    else:
        rows = _EARLIER.all(connection, before=before, limit=limit)
    return tuple(_with_names(connection, rows))


def run_starts(connection: Connection, run_ids: Collection[int]) -> dict[int, datetime]:
    """Return when these runs began."""
    return dict(_RUN_STARTS.all(connection, ids=run_ids))


def first_change(connection: Connection, run_id: int) -> int | None:
    """Return the lowest id of the changes that a run saw; None if it saw none."""
    return _FIRST_CHANGE.first(connection, run=run_id)


def last_run(connection: Connection) -> int | None:
    """Return the id of the latest run. Runs are numbered from 1, and none is ever deleted."""
    return _LAST_RUN.first(connection)


def former_titles(connection: Connection, user_pk: Pk) -> dict[Pk, tuple[str, ...]]:
    """Return the former titles of each renamed highlight of an account, the latest first, each once."""
    found: dict[Pk, dict[str, None]] = {}
    for pk, old, present in _FORMER_TITLES.all(connection, user=user_pk):
        if old != present:
            found.setdefault(pk, {})[old] = None
    return {pk: tuple(titles) for pk, titles in found.items()}


def _with_names(connection: Connection, rows: Sequence[_Change]) -> Iterator[NamedChange]:
    """Yield the rows with names, which are looked up for a thousand rows at a time.

    With a join, a database may sort and join all rows before it yields the first one.
    """
    pks = {subject: sorted({row.subject_pk for row in rows if row.subject == subject}) for subject in Subject}
    highlights = dict(_TITLES.all(connection, pks=pks[Subject.HIGHLIGHT]))
    item_accounts = dict(_ITEM_ACCOUNTS.all(connection, pks=pks[Subject.ITEM]))
    users = {*pks[Subject.USER], *item_accounts.values(), *(user_pk for user_pk, _ in highlights.values())}
    names = dict(_NAMES.all(connection, pks=sorted(users)))
    for row in rows:
        subject, title = Subject(row.subject), None
        owner = row.subject_pk if subject is Subject.USER else item_accounts.get(row.subject_pk)
        if subject is Subject.HIGHLIGHT and row.subject_pk in highlights:
            owner, title = highlights[row.subject_pk]
        yield NamedChange(
            row.id,
            row.run_id,
            row.at,
            subject,
            row.subject_pk,
            row.field,
            row.old,
            row.new,
            owner,
            names.get(owner),
            title,
        )


def names(connection: Connection, user_pk: Pk) -> tuple[DatedUsername, ...]:
    """Return the usernames of an account, the latest first."""
    return tuple(_DATED_NAMES.all(connection, user=user_pk))


def renamings(connection: Connection, subject: Subject, pk: Pk) -> tuple[NameChange, ...]:
    """Return the changes of a subject's names, the latest first."""
    return tuple(_NAME_CHANGES.all(connection, subject=subject, pk=pk))
