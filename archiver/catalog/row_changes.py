"""Applying the journal's changes to the rows of a database, at whatever revision its schema is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Float, Integer, inspect
from sqlalchemy.exc import DBAPIError

from archiver.catalog.column_types import UtcTime
from archiver.catalog.dialects import dialect_of
from archiver.catalog.tables import JOURNALED
from archiver.errors import JournalDamaged
from archiver.model.journal_entries import RowChange, RowValue

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
