"""The rows of the journaled tables: all of them, as a snapshot of the journal holds them; and the journal's
changes, applied to a database at whatever revision its schema is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    Table,
    Text,
    func,
    inspect,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from archiver.catalog.column_types import CheckedNumber, UtcTime, time_text, to_finite
from archiver.catalog.dialects import dialect_of
from archiver.catalog.tables import JOURNALED
from archiver.errors import JournalDamaged
from archiver.model.journal_entries import RowChange, RowKey, RowValue

DumpedRow = tuple[RowKey, Mapping[str, RowValue]]

_NAMES = {table.name for table in JOURNALED}
_INT64 = range(-(2**63), 2**63)


def _fits(column: Column[Any]) -> Callable[[object], bool]:
    """Return a test of whether a value, not NULL, can be in the column. Other programs write there too."""
    if isinstance(column.type, Boolean):
        return lambda value: type(value) is bool
    if isinstance(column.type, Integer | Float):
        return _is_number
    return _is_time if isinstance(column.type, UtcTime) else lambda value: type(value) is str


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and value in _INT64)


def _is_time(value: object) -> bool:
    if type(value) is not str:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_FITS = {table.name: {column.name: _fits(column) for column in table.columns} for table in JOURNALED}


class ChangeApplier:
    """Applies changes exactly as the journal records them, in its order. No rule of the program is applied.

    The names of tables and columns come from the schema of the database, never from the journal.
    """

    def __init__(self, connection: Connection) -> None:
        """Use a connection with an open transaction. Make a new one after each migration."""
        self._connection = connection
        self._dialect = dialect_of(connection)
        inspector = inspect(connection)
        present = set(inspector.get_table_names())
        self._columns = {
            name: [str(column["name"]) for column in inspector.get_columns(name)]
            for name in _order(_NAMES & present)
        }
        self._keys = {
            name: list(inspector.get_pk_constraint(name)["constrained_columns"]) for name in self._columns
        }
        self._places = {name: place for place, name in enumerate(self._columns)}

    def apply(self, changes: Sequence[RowChange]) -> None:
        """Apply the changes of one transaction. Raises JournalDamaged if they do not fit the rows.

        Removals come first, children before parents; then the other changes, parents before children.
        """
        for change in changes:
            self._check(change)
        removed = sorted(
            (change for change in changes if change.values is None), key=self._place, reverse=True
        )
        written = sorted((change for change in changes if change.values is not None), key=self._place)
        for table, group in groupby(removed, key=lambda change: change.table):
            statement = f"DELETE FROM {table} WHERE {self._where(table)}"
            # A row that one transaction added and removed is recorded only as removed: it need not exist.
            self._run(table, statement, [change.key for change in group], may_miss=True)
        for (table, names), group in groupby(written, key=lambda c: (c.table, tuple(c.values or ()))):
            self._write(table, names, list(group))

    def clear(self) -> None:
        """Remove all rows, children before parents."""
        for table in reversed(self._columns):
            self._connection.exec_driver_sql(f"DELETE FROM {table}")

    def _check(self, change: RowChange) -> None:
        """Raise JournalDamaged unless table and key are right and the columns can have the values."""
        name, values = change.table, change.values
        if name not in self._columns:
            raise JournalDamaged(f"the journal names a table that does not exist: {name!r}")
        keys, fits = self._keys[name], _FITS[name]
        is_sound = len(change.key) == len(keys) and values != {}
        for column, value in [*zip(keys, change.key, strict=False), *(values or {}).items()]:
            if value is not None and column in fits and not fits[column](value):
                raise JournalDamaged(f"the journal has a value that {name}.{column} cannot have")
        if values is not None and keys[0] in values:
            is_sound &= tuple(values.get(key) for key in keys) == change.key
        if not is_sound:
            raise JournalDamaged(
                f"the journal has a change of {name} whose key and values do not fit together"
            )

    def _place(self, change: RowChange) -> int:
        return self._places[change.table]

    def _write(self, table: str, names: tuple[str, ...], changes: Sequence[RowChange]) -> None:
        columns, key = self._columns[table], self._keys[table]
        unknown = set(names) - set(columns)
        if unknown:
            raise JournalDamaged(f"the journal names a column that does not exist: {table}.{min(unknown)}")
        if set(key) <= set(names):
            others = [name for name in names if name not in key]
            update = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
            marks = ", ".join([self._dialect.mark] * len(names))
            self._run(
                table,
                f"INSERT INTO {table} ({_quote_names(names)}) VALUES ({marks})"
                f" ON CONFLICT ({_quote_names(key)}) DO {f'UPDATE SET {update}' if update else 'NOTHING'}",
                [_values(change, names) for change in changes],
            )
            return
        assignments = ", ".join(f'"{name}" = {self._dialect.mark}' for name in names)
        self._run(
            table,
            f"UPDATE {table} SET {assignments} WHERE {self._where(table)}",
            [(*_values(change, names), *change.key) for change in changes],
        )

    def _where(self, table: str) -> str:
        return " AND ".join(f'"{name}" = {self._dialect.mark}' for name in self._keys[table])

    def _run(
        self, table: str, statement: str, rows: Sequence[tuple[RowValue, ...]], *, may_miss: bool = False
    ) -> None:
        try:
            result = self._connection.exec_driver_sql(statement, list(rows))
        except DBAPIError as error:
            if not self._dialect.is_refused(error):
                raise
            raise JournalDamaged(f"the journal has a change of {table} that the database refuses") from error
        if not may_miss and result.rowcount not in (-1, len(rows)):
            raise JournalDamaged(
                f"the journal changes a row of {table} that does not exist: an earlier entry is missing"
            )


def _order(names: Iterable[str]) -> list[str]:
    present = set(names)
    return [table.name for table in JOURNALED if table.name in present]


def _quote_names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _values(change: RowChange, names: Sequence[str]) -> tuple[RowValue, ...]:
    values: Mapping[str, RowValue] = change.values or {}
    return tuple(values[name] for name in names)


def all_rows(connection: Connection, at_once: int) -> Iterator[tuple[str, list[DumpedRow]]]:
    """Yield the rows of each table by ascending key, at most ``at_once`` at a time."""
    for table in JOURNALED:
        for rows in table_rows(connection, table, at_once):
            yield table.name, rows


def count_rows(connection: Connection) -> int:
    """Return how many rows ``all_rows`` yields."""
    return sum(connection.scalar(select(func.count()).select_from(table)) or 0 for table in JOURNALED)


def table_rows(connection: Connection, table: Table, at_once: int) -> Iterator[list[DumpedRow]]:
    """Yield the rows of a table by ascending key, at most ``at_once`` at a time."""
    sort_by_bytes = dialect_of(connection).sort_by_bytes
    order = [
        sort_by_bytes(column) if isinstance(column.type, Text) else column for column in table.primary_key
    ]
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key]
    times = [place for place, column in enumerate(table.columns) if isinstance(column.type, UtcTime)]
    numbers = [
        place for place, column in enumerate(table.columns) if isinstance(column.type, Float | Integer)
    ]
    stored = [  # odd values too: verify names the row in which one is
        type_coerce(column, NullType()) if isinstance(column.type, CheckedNumber) else column
        for column in table.columns
    ]
    result = connection.execution_options(yield_per=at_once).execute(select(*stored).order_by(*order))
    for rows in result.partitions():
        values = [list(row) for row in rows]
        for place in times:
            for row in values:
                row[place] = None if row[place] is None else time_text(row[place])
        for place in numbers:
            for row in values:
                if isinstance(row[place], float):
                    row[place] = to_finite(row[place])
        yield [(tuple(row[place] for place in keys), dict(zip(names, row, strict=True))) for row in values]


def sequences(connection: Connection) -> dict[str, int]:
    """Return the greatest id that each table with ascending ids has ever assigned, even to removed rows."""
    greatest: dict[str, int] = {}
    for table in _tables_with_ids():
        greatest[table.name] = connection.scalar(select(func.max(table.c.id))) or 0
    for name, last in dialect_of(connection).given_ids(connection, tuple(greatest)):
        greatest[name] = max(greatest[name], last or 0)
    return {name: last for name, last in sorted(greatest.items()) if last}


def set_sequences(connection: Connection, greatest: Mapping[str, int]) -> None:
    """Make every table assign new ids above all that it has or had. ``greatest``: as from ``sequences``."""
    present = sequences(connection)  # an older copy may have assigned ids whose rows were removed since
    for table in _tables_with_ids():
        last = max(greatest.get(table.name, 0), present.get(table.name, 0))
        dialect_of(connection).set_last_id(connection, table, last)


def _tables_with_ids() -> list[Table]:
    return [
        table
        for table in JOURNALED
        if [column.name for column in table.primary_key] == ["id"] and table.name != "archive"
    ]
