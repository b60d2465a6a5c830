"""The outbox of the journal: changes that are committed and not yet in a file of the journal.

Triggers (see ``tables.JOURNALED``) write the changes of a transaction. Its last statement, ``seal``, gives
the transaction its position: one given earlier might put it before a transaction on which it depends.
``advance`` numbers the committed transactions for the journal and returns them. Called again with the new end
of the journal, it deletes what was written. The outbox is read from its table, never from memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection

from archiver.catalog.dialects import Dialect, dialect_of
from archiver.catalog.journaled_rows import ChangeApplier
from archiver.catalog.query.totals import read_head as read_head  # one name for what writers use
from archiver.catalog.sql import Command, Query
from archiver.catalog.tables import JOURNALED
from archiver.model.journal_entries import Entry, JournalHead, RowChange, RowValue
from archiver.model.values import replace

MAX_CHANGES = 20_000
"""Changes that ``advance`` returns at a time; the transaction of the last one is returned whole."""

_NUMBER = Command(
    """
    UPDATE journal_commits SET seq = n.seq FROM (
        SELECT position, coalesce((SELECT max(seq) FROM journal_commits), :last)
            + row_number() OVER (ORDER BY position) AS seq
        FROM journal_commits WHERE seq IS NULL
    ) AS n WHERE n.position = journal_commits.position
    """
)
# Numbers follow the journal's end without a gap: another one, or one of no change, is of another program.
_UNNUMBER_ODD = Command(
    "UPDATE journal_commits SET seq = NULL WHERE seq > :last + (SELECT count(*) FROM journal_commits)"
)
_REMOVE_ODD = Command(
    """
    DELETE FROM journal_commits WHERE seq IS NULL
        AND NOT EXISTS (SELECT 1 FROM journal_outbox WHERE journal_outbox.txn = journal_commits.txn)
    """
)
# Neither waits for a worker that has just taken the lease or ended it: that waits for everything else in its
# transaction. (ON CONFLICT alone would wait for the row.)
_NEW_LEASE = Command(
    """
    INSERT INTO journal_lease (id) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM journal_lease)
    ON CONFLICT (id) DO NOTHING
    """
)
_TAKE_LEASE = Command(
    {
        "postgresql": """
        UPDATE journal_lease SET worker_id = :worker_id WHERE worker_id = :worker_id OR id = (
            SELECT id FROM journal_lease WHERE worker_id IS NULL AND (
                shipped_at IS NULL
                OR shipped_at + :rest_seconds * interval '1 second' <= clock_timestamp()
            ) FOR UPDATE SKIP LOCKED
        )
    """
    }
)
_END_LEASE = Command(
    {
        "postgresql": """
        UPDATE journal_lease SET worker_id = NULL, shipped_at = clock_timestamp()
        WHERE id = 1 AND worker_id = :worker_id
    """
    }
)


class _OutboxRow(NamedTuple):
    """A change in the outbox. What another program wrote may be of any type, so ``time`` is read as it is."""

    seq: int | None
    place: int | None
    time: object
    run: object
    id: int
    table_name: str
    row_key: str
    row_values: str | None


def _rows_in_order(condition: str = "true", end: str = "") -> Query[_OutboxRow]:
    """Return the query for changes in the outbox, in the order of the journal.

    Those with a number are first: a worker may commit later than another that got a higher position, and
    after that one was numbered. Those that are not sealed yet come last.
    """
    return Query(
        f"""
        SELECT seq, position AS place, at AS time, run_id AS run, journal_outbox.id, table_name, row_key,
            row_values
        FROM journal_outbox LEFT JOIN journal_commits ON journal_commits.txn = journal_outbox.txn
        WHERE {condition} ORDER BY seq NULLS LAST, position NULLS LAST, journal_outbox.id {end}
        """,
        _OutboxRow,
    )


_ALL = _rows_in_order()
_NUMBERED_AFTER = _rows_in_order("seq > :last", "LIMIT :limit")
_REST_OF = _rows_in_order("seq = :seq AND journal_outbox.id > :id")
_PENDING = _rows_in_order("position IS NOT NULL")
_UNSHIPPED = Query(
    "SELECT txn, max(id) AS last FROM journal_outbox GROUP BY txn", lambda txn, last: (txn, last)
)
_SIZE = Query("SELECT CAST(coalesce(sum(length(row_values)), 0) AS BIGINT) FROM journal_outbox", int)
_DELETE_WRITTEN = (
    Command("DELETE FROM journal_outbox WHERE txn IN (SELECT txn FROM journal_commits WHERE seq <= :last)"),
    Command("DELETE FROM journal_commits WHERE seq <= :last"),
)
_DELETE_INCLUDED = (
    Command("DELETE FROM journal_outbox WHERE txn = :of AND id <= :last"),
    Command(
        """
        DELETE FROM journal_commits
        WHERE txn = :of AND NOT EXISTS (SELECT 1 FROM journal_outbox WHERE txn = :of)
        """
    ),
)
_DELETE_ALL = tuple(Command(f"DELETE FROM {table}") for table in ("journal_outbox", "journal_commits"))
_DELETE_HEAD = Command("DELETE FROM journal_head")
_INSERT_HEAD = Command(
    """
    INSERT INTO journal_head (seq, hash, file, length, snapshot_bytes, entry_bytes)
    VALUES (:seq, :hash, :file, :length, :snapshot_bytes, :entry_bytes)
    """
)
_MOVE_HEAD = Command(
    """
    UPDATE journal_head
    SET seq = :seq, hash = :hash, file = :file, length = :length, entry_bytes = :entry_bytes
    """
)
_TABLES = {table.name: table for table in JOURNALED}


def seal(connection: Connection, at: datetime) -> bool:
    """Give the changes of this transaction their position; return whether it has any changes.

    Must be its last statement before the commit. ``at``: the time of its entry.
    """
    return dialect_of(connection).seal_changes(connection, at)


def advance(
    connection: Connection, written: JournalHead | None, at: datetime
) -> tuple[JournalHead | None, tuple[Entry, ...]]:
    """Return where the journal ends (None if it has not begun), and the transactions to write next.

    ``written``: the new end of the journal; everything up to there is deleted from the outbox. If it is None,
    the same transactions are returned again. ``at``: the time for the entries of other programs. Stops after
    ``MAX_CHANGES`` changes, but never within a transaction. The caller must commit before it uses the result.
    """
    head = read_head(connection) if written is None else confirm(connection, written)
    if head is None:
        return None, ()
    dialect_of(connection).seal_changes_of_others(connection, at)
    _UNNUMBER_ODD.run(connection, last=head.seq)
    _REMOVE_ODD.run(connection)
    _NUMBER.run(connection, last=head.seq)
    rows = _NUMBERED_AFTER.all(connection, last=head.seq, limit=MAX_CHANGES)
    if len(rows) == MAX_CHANGES:
        rows += _REST_OF.all(connection, seq=rows[-1].seq, id=rows[-1].id)
    return head, tuple(_entries(connection, rows))


def advance_with_lease(
    connection: Connection, worker_id: str, written: JournalHead | None, at: datetime, *, rest_seconds: float
) -> tuple[JournalHead | None, tuple[Entry, ...]] | None:
    """Do what ``advance`` does if this worker has the lease to ship, or gets it; return None if not.

    One worker ships at a time. Its lease of the journal begins with a first call, at least ``rest_seconds``
    after the last one has ended, and ends with a call that returns nothing to write, or with the worker's own
    lease. While another takes it or ends it, this does not wait: it returns None.
    """
    _NEW_LEASE.run(connection)
    if not _TAKE_LEASE.run(connection, worker_id=worker_id, rest_seconds=rest_seconds):
        return None
    head, entries = advance(connection, written, at)
    if not entries:
        end_lease(connection, worker_id)
    return head, entries


def end_lease(connection: Connection, worker_id: str) -> None:
    """End the lease of the journal, if this worker has it. Another writes the rest, as the same lines."""
    _END_LEASE.run(connection, worker_id=worker_id)


def begin(connection: Connection, head: JournalHead, included: Mapping[int, int] | None = None) -> None:
    """Record that the journal ends with a snapshot of all rows.

    ``included``: the changes in the outbox that the snapshot contains, from ``read_unshipped``; None for all.
    They are deleted.
    """
    if included is None:
        clear(connection)
    elif included:
        rows = [{"of": txn, "last": last} for txn, last in included.items()]
        for statement in _DELETE_INCLUDED:
            statement.run_each(connection, rows)
    _DELETE_HEAD.run(connection)
    _INSERT_HEAD.run(connection, **asdict(head))


def clear(connection: Connection) -> None:
    """Delete all changes: the journal is begun again with all rows."""
    for statement in _DELETE_ALL:
        statement.run(connection)


def read_unshipped(connection: Connection) -> dict[int, int]:
    """Return the transactions in the outbox, those of other programs included, and their last changes' ids.

    On SQLite later changes of other programs can get the same transaction number; on PostgreSQL a transaction
    is seen whole.
    """
    return dict(_UNSHIPPED.all(connection))


def read_pending(connection: Connection, head: JournalHead) -> tuple[Entry, ...]:
    """Return the sealed entries in the outbox, with the numbers that they have or will get in the journal.

    A process may have written some of them before it was killed. ``head``: where the journal ends.
    """
    entries = _entries(connection, _PENDING.all(connection))
    return tuple(replace(entry, seq=head.seq + number) for number, entry in enumerate(entries, 1))


def size(connection: Connection) -> int:
    """Return about how many bytes the committed changes have that are not in the journal's files."""
    return _SIZE.one(connection)


def unshipped_changes(connection: Connection) -> tuple[RowChange, ...]:
    """Return the committed changes that are not in the journal's files, in their order.

    Those of other programs are last: they get their position with the next transaction of ours.
    """
    return _changes(connection, _ALL.all(connection))


def restore(connection: Connection, changes: Sequence[RowChange]) -> None:
    """Write rows that the journal has and the database has lost."""
    ChangeApplier(connection).apply(changes)


def confirm(connection: Connection, written: JournalHead) -> JournalHead:
    """Record the new end of the journal, and delete from the outbox what was written.

    Return the end as recorded: ``snapshot_bytes`` stays as the database has it.
    """
    for statement in _DELETE_WRITTEN:
        statement.run(connection, last=written.seq)
    end = asdict(written)
    del end["snapshot_bytes"]
    _MOVE_HEAD.run(connection, **end)
    head = read_head(connection)
    assert head is not None
    return head


def _entries(connection: Connection, rows: Iterable[_OutboxRow]) -> Iterator[Entry]:
    """Yield the transactions of these rows, which are in the order of the journal.

    Their number is 0 if they have none yet. What no trigger writes is left out: another program has put it
    there, and no row has changed.
    """
    for _, group in groupby(rows, key=itemgetter(1)):
        found = list(group)
        first = found[0]
        run_id = first.run if isinstance(first.run, int) else None
        yield Entry(first.seq or 0, _read_time(first.time), run_id, _changes(connection, found))


def _read_time(at: object) -> datetime:
    """Return the time of a commit; the beginning of time for what is none, which another program wrote."""
    try:
        time = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _changes(connection: Connection, rows: Iterable[_OutboxRow]) -> tuple[RowChange, ...]:
    dialect = dialect_of(connection)
    found = [_change(dialect, row) for row in rows]
    return tuple([change for change in found if change is not None])


def _change(dialect: Dialect, row: _OutboxRow) -> RowChange | None:
    """Return a change with its columns in the order of the table, and the same values on both databases.

    None if no trigger writes it so.
    """
    name, text_of_values = row.table_name, row.row_values
    raw_key = _decode(row.row_key)
    if name not in _TABLES or not isinstance(raw_key, list):
        return None
    row_key = tuple(raw_key)  # of texts and numbers
    if text_of_values is None:
        return RowChange(name, row_key, None)
    raw = _decode(text_of_values)
    if not isinstance(raw, dict):
        return None
    columns, converters = _reading(dialect, name)
    values = raw if columns is None else {column: raw[column] for column in columns if column in raw}
    for column, convert in converters:
        if values.get(column) is not None:
            values[column] = convert(values[column])
    return RowChange(name, row_key, values)


def _decode(text: str) -> Any:
    """Return what a trigger wrote as JSON, with None for an infinite number, which JSON does not have.

    Another program wrote that number. None too for what is no JSON.
    """
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, TypeError):
        pass
    try:
        return _decode_json(_TEXT_OR_INFINITY.sub(lambda found: found[1] or "null", text))
    except (msgspec.DecodeError, TypeError):
        return None


_decode_json = msgspec.json.Decoder().decode
# printf of SQLite writes Inf, its json_quote 9.0e+999.
_TEXT_OR_INFINITY = re.compile(r'("(?:[^"\\]|\\.)*")|-?(?:Inf|9\.0e\+999)')


@cache
def _reading(
    dialect: Dialect, name: str
) -> tuple[list[str] | None, list[tuple[str, Callable[[Any], RowValue]]]]:
    """Return the columns of a table, and how to convert those that its database's JSON has differently.

    None instead of the columns if the triggers of the database write them in order already.
    """
    columns = _TABLES[name].columns
    found = [(column.name, dialect.journal_converter(column.type)) for column in columns]
    converters = [(name, convert) for name, convert in found if convert]
    return None if dialect.journals_columns_in_order else [column.name for column in columns], converters
