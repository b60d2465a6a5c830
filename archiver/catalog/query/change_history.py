"""Change history: the rows of ``changes``, with current usernames and titles; and former names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Select, bindparam, func, select, union

from archiver.catalog import tables
from archiver.model.archived import NamedChange
from archiver.model.identity import Pk, Subject

_changes, _users = tables.changes, tables.users
_highlights, _members = tables.highlights, tables.highlight_items

_BATCH = 1000
_PKS: BindParameter[Any] = bindparam("pks", expanding=True)
_TITLES = select(_highlights.c.pk, _highlights.c.user_pk, _highlights.c.title).where(
    _highlights.c.pk.in_(_PKS)
)
# An item belongs to the account whose highlight shows it; the item itself may name somebody else.
_ITEM_ACCOUNTS = (
    select(_members.c.item_pk, func.min(_highlights.c.user_pk).label("user_pk"))
    .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
    .where(_members.c.item_pk.in_(_PKS))
    .group_by(_members.c.item_pk)
)
_NAMES = select(_users.c.pk, _users.c.username).where(_users.c.pk.in_(_PKS))
_USERNAMES = select(_users.c.username).where(_users.c.username.is_not(None)).order_by(_users.c.username)


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
    query = select(_changes).order_by(_changes.c.id)
    if since is not None:
        # Ids ascend with time, unless a clock was wrong. So rows before the first id need not be read.
        first = select(func.min(_changes.c.id)).where(_changes.c.at >= since).scalar_subquery()
        query = query.where(_changes.c.id >= first, _changes.c.at >= since)
    if run_id is not None:
        query = query.where(_changes.c.run_id == run_id)
    if user_pks:
        own = _change_ids(list(user_pks))
        query = query.join(own, own.c.id == _changes.c.id)
    for rows in connection.execution_options(yield_per=_BATCH).execute(query).partitions():
        yield from _with_names(connection, rows)


def changes_back(
    connection: Connection, limit: int, *, before: int | None = None, after: int | None = None
) -> tuple[NamedChange, ...]:
    """Return changes, the latest first.

    ``before``: only those with a lower id. ``after``: the first ones with a higher id.
    """
    query = select(_changes).limit(limit)
    if after is not None:
        rows = connection.execute(query.where(_changes.c.id > after).order_by(_changes.c.id)).all()[::-1]
    else:
        earlier = query if before is None else query.where(_changes.c.id < before)
        rows = connection.execute(earlier.order_by(_changes.c.id.desc())).all()
    return tuple(_with_names(connection, rows))


def run_starts(connection: Connection, run_ids: Collection[int]) -> dict[int, datetime]:
    """Return when these runs began."""
    runs = tables.runs
    query = select(runs.c.id, runs.c.started_at).where(runs.c.id.in_(bindparam("ids", expanding=True)))
    return {row.id: row.started_at for row in connection.execute(query, {"ids": list(run_ids)})}


def first_change(connection: Connection, run_id: int) -> int | None:
    """Return the lowest id of the changes that a run saw; None if it saw none."""
    # Of an expression: for the column PostgreSQL would read the changes of all runs, from the first.
    lowest = select(func.min(_changes.c.id + 0)).where(_changes.c.run_id == run_id)
    found: int | None = connection.scalar(lowest)
    return found


def last_run(connection: Connection) -> int | None:
    """Return the id of the latest run. Runs are numbered from 1, and none is ever deleted."""
    found: int | None = connection.scalar(select(func.max(tables.runs.c.id)))
    return found


def usernames(connection: Connection) -> Iterator[str]:
    """Yield the current usernames of the stored accounts. Streamed: read it with ``Catalog.stream``."""
    yield from connection.execution_options(yield_per=_BATCH).scalars(_USERNAMES)


def former_titles(connection: Connection, user_pk: Pk) -> dict[Pk, tuple[str, ...]]:
    """Return the former titles of each renamed highlight of an account, the latest first, each once."""
    # Not a condition on the joined table: then SQLite would read the changes of all highlights.
    own = select(_highlights.c.pk).where(_highlights.c.user_pk == user_pk)
    query = (
        select(_changes.c.subject_pk, _changes.c.old, _highlights.c.title)
        .join(_highlights, _highlights.c.pk == _changes.c.subject_pk)
        .where(_changes.c.subject == Subject.HIGHLIGHT, _changes.c.field == "title")
        .where(_changes.c.subject_pk.in_(own), _changes.c.old.is_not(None))
        .order_by(_changes.c.id.desc())
    )
    found: dict[Pk, dict[str, None]] = {}
    for pk, old, present in connection.execute(query):
        if old != present:
            found.setdefault(pk, {})[old] = None
    return {pk: tuple(titles) for pk, titles in found.items()}


def _change_ids(user_pks: list[Pk]) -> Any:
    """Return the ids of the changes in these accounts.

    There is a select for each subject, since only those use the index.
    """
    own = select(_changes.c.id).where(_changes.c.subject == Subject.USER, _changes.c.subject_pk.in_(user_pks))
    of_highlights = select(_highlights.c.pk).where(_highlights.c.user_pk.in_(user_pks))
    of_items = (
        select(_members.c.item_pk)
        .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
        .where(_highlights.c.user_pk.in_(user_pks))
    )
    return union(
        own, _change_ids_of(Subject.HIGHLIGHT, of_highlights), _change_ids_of(Subject.ITEM, of_items)
    ).subquery()


def _change_ids_of(subject: Subject, pks: Select[Any]) -> Select[Any]:
    return select(_changes.c.id).where(_changes.c.subject == subject, _changes.c.subject_pk.in_(pks))


def _with_names(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[NamedChange]:
    """Yield the rows with names, which are looked up for a thousand rows at a time.

    With a join, a database may sort and join all rows before it yields the first one.
    """
    pks = {subject: sorted({row.subject_pk for row in rows if row.subject == subject}) for subject in Subject}
    highlights = {row.pk: row for row in connection.execute(_TITLES, {"pks": pks[Subject.HIGHLIGHT]})}
    item_accounts = {
        row.item_pk: row.user_pk for row in connection.execute(_ITEM_ACCOUNTS, {"pks": pks[Subject.ITEM]})
    }
    users = {*pks[Subject.USER], *item_accounts.values(), *(row.user_pk for row in highlights.values())}
    names = {row.pk: row.username for row in connection.execute(_NAMES, {"pks": sorted(users)})}
    for row in rows:
        subject, title = Subject(row.subject), None
        owner = row.subject_pk if subject is Subject.USER else item_accounts.get(row.subject_pk)
        if subject is Subject.HIGHLIGHT and row.subject_pk in highlights:
            owner, title = highlights[row.subject_pk].user_pk, highlights[row.subject_pk].title
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
