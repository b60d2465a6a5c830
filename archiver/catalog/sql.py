"""Statements written in SQL: a constant beside the function that runs it.

Values are bound by name (``:user``); a name after IN takes a collection. A line that ends with ``-- if NAME``
belongs to the statement only if that value is given: it is neither None nor empty; ``-- if not NAME`` if it
is not. The columns of a result have the types of the schema by their names: ``at``, ``…_at`` and ``…_until``
are aware times, ``is_…`` and ``has_…`` are bools, and NUMBERS are numbers. A row becomes a value by
``row(*columns)``, so the columns stand in the order of its fields: tests/catalog/test_sql.py prepares every
statement on each database that it is for, and compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from datetime import datetime
from functools import partial
from inspect import isclass
from itertools import starmap
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Struct
from sqlalchemy import (
    Boolean,
    Connection,
    CursorResult,
    Dialect,
    Executable,
    TextClause,
    bindparam,
    column,
    text,
)
from sqlalchemy.types import NullType, TypeEngine

from archiver.catalog.column_types import LargeNumber, UtcTime
from archiver.catalog.dialects import dialect_called
from archiver.queries.parameters import parameter_names

T = TypeVar("T")

DATABASES = ("sqlite", "postgresql")
"""The names of both, as SQLAlchemy has them."""

NUMBERS = frozenset({
    "answer_id", "attempts", "balance_after", "balance_before", "blobs", "bytes", "entry_bytes", "exit_code",
    "fetched_latest_reel_media", "fetched_media_count", "files", "format", "height", "items", "lat",
    "latest_reel_media", "length", "lng", "media_count", "media_type", "offset", "per_second", "position",
    "rotation", "run_id", "seq", "shrunk_run_id", "size", "snapshot_bytes", "status", "tray_length",
    "tray_longest", "txn", "units", "verdict_checks", "video_duration", "width", "x", "y",
})  # fmt: skip
"""The columns that are numbers in each table that has them: reading another value is a ValueError."""

_AT_ONCE = 1000
"""How many rows are read at a time, and how many values of a collection are bound."""

_STREAMED = {"yield_per": _AT_ONCE}

_WORD = re.compile(r"\w+")
_TIME_COLUMN = re.compile(r"at|\w+_(?:at|until)")
_BOOL_COLUMN = re.compile(r"(?:is|has)_\w+")
_COLLECTION = re.compile(r"\b(NOT )?IN :(\w+)")
_OPTIONAL = re.compile(r"^(.*?) *-- if (not )?(\w+)$", re.MULTILINE)

STATEMENTS: list[Statement] = []
"""Every statement of the modules that are imported, for the test that prepares them."""


class _Value(NullType):
    """Any value that is bound: a time as this database stores it, all else as it is."""

    def bind_processor(self, dialect: Dialect) -> Callable[[object], object]:
        bind_time = dialect_called(dialect.name).bind_time
        return lambda value: bind_time(value) if isinstance(value, datetime) else value


class Statement:
    """A statement in SQL: ``sql`` is one text for both databases, or a text for each that it is for."""

    def __init__(self, sql: str | Mapping[str, str]) -> None:
        texts = dict.fromkeys(DATABASES, sql) if isinstance(sql, str) else dict(sql)
        found = [match for each in set(texts.values()) for match in _COLLECTION.finditer(each)]
        self._collections = frozenset(match[2] for match in found)
        self._optional = frozenset(match[3] for each in texts.values() for match in _OPTIONAL.finditer(each))
        if "postgresql" in texts:  # an array is one value: one plan serves any number of them, also none
            texts["postgresql"] = _COLLECTION.sub(_as_array, texts["postgresql"])
        self._texts: Mapping[str, str] = texts
        self._executables: dict[tuple[str, frozenset[str]], Executable] = {}
        STATEMENTS.append(self)

    def variants(self, database: str) -> Iterator[str]:
        """Yield its texts on a database: with all optional values, with each of them alone, and with none.

        Nothing, if it is not for this database.
        """
        if database in self._texts:
            each = (frozenset([name]) for name in self._optional)
            for given in {self._optional, *each, frozenset[str]()}:
                yield self._text(database, given)

    def _text(self, database: str, given: frozenset[str]) -> str:
        return _OPTIONAL.sub(
            lambda line: line[1] if (line[3] in given) is (line[2] is None) else "", self._texts[database]
        )

    def _bind(self, values: dict[str, Any]) -> frozenset[str]:
        """Make the values those that are bound, and return the names of the optional ones that are given."""
        given = self._optional
        if given:
            given = frozenset(name for name in given if _is_given(values[name]))
            for name in self._optional - given:
                del values[name]
        for name in self._collections:
            if name in values:
                values[name] = list(values[name])
        return given

    def _bound_text(self, database: str, given: frozenset[str]) -> TextClause:
        sql = self._text(database, given)
        expanding = {match[2] for match in _COLLECTION.finditer(sql)}
        names = parameter_names(sql, postgresql=database == "postgresql")
        bound: list[Any] = [bindparam(name, type_=_Value(), expanding=name in expanding) for name in names]
        return text(sql).bindparams(*bound)


class Query(Statement, Generic[T]):
    """A SELECT, or a statement with RETURNING; ``row`` makes a value of the columns of each row.

    If it is a struct, each column must have the type of its field: in SQLite a column can hold anything.
    Reading raises ValueError otherwise.
    """

    def __init__(self, sql: str | Mapping[str, str], row: Callable[..., T]) -> None:
        super().__init__(sql)
        self.row = row
        self._has_one_column = False
        is_struct = isclass(row) and issubclass(row, Struct)
        self._to_struct = partial(_to_struct, cast("type[T]", row)) if is_struct else None

    def all(self, connection: Connection, /, **values: object) -> list[T]:
        """Return the value of each row."""
        result = self._execute(connection, values)
        if self._has_one_column:  # without a tuple for each row
            return list(map(self.row, result.scalars()))
        return list(self._values(result))

    def all_of(
        self, connection: Connection, name: str, collection: Iterable[object], /, **values: object
    ) -> list[T]:
        """Return the value of each row, for a collection of any size: some of it is bound at a time."""
        all_values = list(collection)
        found: list[T] = []
        for start in range(0, len(all_values), _AT_ONCE):
            found += self.all(connection, **{name: all_values[start : start + _AT_ONCE]}, **values)
        return found

    def iterate(self, connection: Connection, /, **values: object) -> Iterator[T]:
        """Yield the value of each row. Streamed: read it with ``Catalog.stream``."""
        with self._execute(connection, values, _STREAMED) as rows:
            for page in rows.partitions():
                yield from self._values(page)

    def pages(self, connection: Connection, /, **values: object) -> Iterator[list[T]]:
        """Yield the values of the rows, a thousand at a time, read as needed. Streamed.

        The cursor is closed with the iterator.
        """
        with self._execute(connection, values, _STREAMED) as rows:
            for page in rows.partitions():
                yield list(self._values(page))

    def first(self, connection: Connection, /, **values: object) -> T | None:
        """Return the value of the first row; None if there is no row."""
        columns = self._execute(connection, values).first()
        return None if columns is None else next(self._values([columns]))

    def one(self, connection: Connection, /, **values: object) -> T:
        """Return the value of the only row."""
        return next(self._values([self._execute(connection, values).one()]))

    def _execute(
        self, connection: Connection, values: dict[str, Any], options: Mapping[str, Any] = {}
    ) -> CursorResult[Any]:
        key = connection.dialect.name, self._bind(values)
        if (executable := self._executables.get(key)) is not None:
            return connection.execute(executable, values, execution_options=options)
        bound = self._bound_text(*key)
        types = {word: kind for word in _WORD.findall(bound.text) if (kind := self._type(word)) is not None}
        result = connection.execute(bound.columns(**types), values, execution_options=options)
        # If SQLAlchemy does not know all columns in their order, it looks them up by name in each result.
        columns = [column(name, self._type(name)) for name in list(result.keys())]
        self._has_one_column = len(columns) == 1 and self._to_struct is None
        self._executables[key] = bound.columns(*columns)
        return result

    def _type(self, name: str) -> TypeEngine[Any] | None:
        """Return the type of a column by its name; None if it is read as it is."""
        if _TIME_COLUMN.fullmatch(name):
            return UtcTime()
        if _BOOL_COLUMN.fullmatch(name):
            return Boolean()
        return LargeNumber() if name in NUMBERS and self._to_struct is None else None

    def _values(self, rows: Iterable[Sequence[Any]]) -> Iterator[T]:
        return map(self._to_struct, rows) if self._to_struct is not None else starmap(self.row, rows)


class Command(Statement):
    """A statement that changes rows."""

    def run(self, connection: Connection, /, **values: object) -> int:
        """Return how many rows it changed."""
        given = self._bind(values)
        return connection.execute(self._executable(connection, given), values).rowcount

    def run_for(
        self, connection: Connection, name: str, collection: Iterable[object], /, **values: object
    ) -> None:
        """Run it for a collection of any size: some of it is bound at a time."""
        all_values = list(collection)
        for start in range(0, len(all_values), _AT_ONCE):
            self.run(connection, **{name: all_values[start : start + _AT_ONCE]}, **values)

    def run_each(self, connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
        """Run it once for each mapping of values: each has all of them, also the optional ones."""
        given = list(rows)
        if given:
            connection.execute(self._executable(connection, self._optional), given)

    def _executable(self, connection: Connection, given: frozenset[str]) -> Executable:
        key = connection.dialect.name, given
        if key not in self._executables:
            self._executables[key] = self._bound_text(*key)
        return self._executables[key]


def _is_given(value: object) -> bool:
    return value is not None and not (isinstance(value, Sized) and len(value) == 0)


def _as_array(collection: re.Match[str]) -> str:
    return f"<> ALL(:{collection[2]})" if collection[1] else f"= ANY(:{collection[2]})"


def _to_struct(kind: type[T], row: Sequence[object]) -> T:
    """Return the value of a row whose columns are the fields of ``kind``, a struct, in order.

    Raises ValueError for a value of another type: in SQLite, a column can hold anything.
    """
    names: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    return msgspec.convert(dict(zip(names, row, strict=True)), kind, dec_hook=_to_text_type)


def _to_text_type(kind: type[T], value: object) -> T:
    """Return a value of a class that is made of a text, such as ``Digest``."""
    return kind(value)  # type: ignore[call-arg]
