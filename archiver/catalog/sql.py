"""Statements written in SQL: a constant beside the function that runs it.

Values are bound by name (``:user``); a name after IN takes a collection. The columns of a result have the
types of the schema by their names: ``at``, ``…_at`` and ``…_until`` are aware times, ``is_…`` and ``has_…``
are bools. A row becomes a value by ``row(*columns)``, so the columns stand in the order of its fields:
tests/catalog/test_sql.py prepares every statement on each database that it is for, and compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from inspect import isclass
from typing import Any, Generic, TypeVar, cast

from msgspec import Struct
from sqlalchemy import Boolean, Connection, Dialect, Executable, bindparam, text
from sqlalchemy.types import NullType

from archiver.catalog.column_types import UtcTime, bind_time, to_struct
from archiver.queries.parameters import parameter_names

T = TypeVar("T")

DATABASES = ("sqlite", "postgresql")
"""The names of both, as SQLAlchemy has them."""

_TIME_COLUMN = re.compile(r"\b(?:at|\w+_(?:at|until))\b")
_BOOL_COLUMN = re.compile(r"\b(?:is|has)_\w+\b")
_COLLECTION = re.compile(r"\b(NOT )?IN :(\w+)")

STATEMENTS: list[Statement] = []
"""Every statement of the modules that are imported, for the test that prepares them."""


class _Value(NullType):
    """Any value that is bound: a time as this database stores it, all else as it is."""

    def bind_processor(self, dialect: Dialect) -> Callable[[object], object]:
        name = dialect.name
        return lambda value: bind_time(value, name) if isinstance(value, datetime) else value


class Statement:
    """A statement in SQL: ``sql`` is one text for both databases, or a text for each that it is for."""

    def __init__(self, sql: str | Mapping[str, str]) -> None:
        texts = dict.fromkeys(DATABASES, sql) if isinstance(sql, str) else dict(sql)
        if "postgresql" in texts:  # an array is one value: one plan serves any number of them, also none
            texts["postgresql"] = _COLLECTION.sub(_as_array, texts["postgresql"])
        self.texts: Mapping[str, str] = texts
        STATEMENTS.append(self)

    @cached_property
    def _executables(self) -> dict[str, Executable]:
        return {name: _with_types(sql, name) for name, sql in self.texts.items()}

    def on(self, connection: Connection) -> Executable:
        """Return what SQLAlchemy runs on this database."""
        return self._executables[connection.dialect.name]


class Query(Statement, Generic[T]):
    """A SELECT, or a statement with RETURNING; ``row`` makes a value of the columns of each row.

    If it is a struct, each column must have the type of its field: in SQLite a column can hold anything.
    Reading raises ValueError otherwise.
    """

    def __init__(self, sql: str | Mapping[str, str], row: Callable[..., T]) -> None:
        super().__init__(sql)
        self.row = row
        self._struct = cast("type[T]", row) if isclass(row) and issubclass(row, Struct) else None

    def all(self, connection: Connection, /, **values: object) -> list[T]:
        """Return the value of each row."""
        return [self._value(columns) for columns in connection.execute(self.on(connection), values)]

    def iterate(self, connection: Connection, /, **values: object) -> Iterator[T]:
        """Yield the value of each row, which is read when it is asked for."""
        for columns in connection.execute(self.on(connection), values):
            yield self._value(columns)

    def first(self, connection: Connection, /, **values: object) -> T | None:
        """Return the value of the first row; None if there is no row."""
        columns = connection.execute(self.on(connection), values).first()
        return None if columns is None else self._value(columns)

    def one(self, connection: Connection, /, **values: object) -> T:
        """Return the value of the only row."""
        return self._value(connection.execute(self.on(connection), values).one())

    def _value(self, columns: Sequence[Any]) -> T:
        return self.row(*columns) if self._struct is None else to_struct(self._struct, columns)


class Command(Statement):
    """A statement that changes rows."""

    def run(self, connection: Connection, /, **values: object) -> int:
        """Return how many rows it changed."""
        return connection.execute(self.on(connection), values).rowcount

    def run_each(self, connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
        """Run it once for each mapping of values."""
        given = list(rows)
        if given:
            connection.execute(self.on(connection), given)


def _as_array(collection: re.Match[str]) -> str:
    return f"<> ALL(:{collection[2]})" if collection[1] else f"= ANY(:{collection[2]})"


def _with_types(sql: str, database: str) -> Executable:
    collections = {name for _, name in _COLLECTION.findall(sql)}
    names = parameter_names(sql, postgresql=database == "postgresql")
    bound: list[Any] = [bindparam(name, type_=_Value(), expanding=name in collections) for name in names]
    types: dict[str, Any] = dict.fromkeys(_TIME_COLUMN.findall(sql), UtcTime())
    types |= dict.fromkeys(_BOOL_COLUMN.findall(sql), Boolean())
    return text(sql).bindparams(*bound).columns(**types)
