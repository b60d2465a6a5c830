"""The user's own SQL: read-only, and limited in rows and in time.

On both databases the connection itself cannot write, and the statement is checked as well. SQLite asks an
authorizer about every step of a statement. PostgreSQL gets a single statement (the extended protocol takes
only one) that begins with the keyword of a query: COPY is allowed in read-only transactions, and can start
programs. Functions for superusers (``lo_export`` writes a file on the server) must be forbidden by the
server: an archive should belong to an ordinary role.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, cast

from archiver.catalog import tables
from archiver.catalog.dialects import Database, map_errors, to_archiver_error
from archiver.errors import QueryRefused
from archiver.model.query_results import Rows, RowStream, Value
from archiver.queries.parameters import parameter_names, replace_parameters

if TYPE_CHECKING:
    import psycopg

    from archiver.catalog import postgresql, sqlite

RawRows = Generator[tuple[object, ...], None, None]
"""The names of the columns, then the rows."""
_STEPS = 10_000  # SQLite instructions between two checks of the clock: about a millisecond
_READER_PAUSE = 0.1
"""Seconds between two rows. A longer pause is a person reading in a pager, and does not count as time of the
query. A shorter pause is the work of writing rows, and counts: otherwise an endless query could take many
times its limit.
"""
_MAX_VALUE_BYTES = 64 << 20
_MAX_ROWS_BYTES = 1 << 30
_MAX_HEAP_BYTES = 1 << 30
"""The memory that SQLite may use for sorting and the like, in the whole process: a PRAGMA can only lower it.
"""
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_ALLOWED_PRAGMAS = {
    *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"),
    "data_version",  # FTS5 reads it before each search
}
_REFUSED_FUNCTIONS = {"load_extension"}
_ERRORS_OF_QUERY = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,  # LIMIT 'a'
}
_PG_LIMIT_EXCEEDED = "54"
"""Errors of the query that psycopg raises as OperationalError: too many columns, too deep, too long a text.
"""
_PG_MAX_TIMEOUT_MS = 2**31 - 1  # 24 days
# Blanks, comments and parentheses before the first word, as PostgreSQL reads them (a carriage return ends a
# line, too). Its comments may nest. This pattern does not support that: a query that begins with a nested
# comment is refused.
_BEFORE_WORD = re.compile(r"\A(?:[ \t\n\r\f\v(]+|--[^\n\r]*|/\*(?:(?!/\*).)*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[a-z]+\b", re.IGNORECASE)
_UNKNOWN_NAME = re.compile(
    r"no such (?P<what>table|column): (?P<name>\S+)"
    r"|(?P<what_>relation|column) \"?(?P<name_>[^\s\"]+)\"? does not exist"
)
_SEVERAL_STATEMENTS = re.compile("one statement at a time|multiple commands")
_QUERY_WORDS = {"select", "with", "values", "table", "explain", "show"}


def run_query(
    database: Database,
    sql: str,
    *,
    rows: int,
    seconds: float,
    parameters: Mapping[str, Value] | None = None,
    own_process: bool = True,
) -> Rows:
    """Return the first ``rows`` rows of a query. ``parameters`` are bound to each ``:name``.

    Raises QueryRefused if the query would write, is not understood, takes longer than ``seconds`` or too much
    memory, has a parameter without a value or a value without a parameter, or has a value that the database
    cannot take; DatabaseError if the database itself fails. Without ``own_process`` SQLite's memory is not
    limited: the limit would apply to everything else that the process does with SQLite.
    """
    with stream_query(
        database, sql, seconds=seconds, parameters=parameters, own_process=own_process
    ) as stream:
        result = _read_rows(stream.rows, rows + 1)
    return Rows(stream.columns, tuple(result[:rows]), truncated=len(result) > rows)


@contextmanager
def stream_query(
    database: Database,
    sql: str,
    *,
    seconds: float,
    parameters: Mapping[str, Value] | None = None,
    own_process: bool = True,
) -> Iterator[RowStream]:
    """Open the rows of a query as a stream; the connection is open until the ``with`` block ends.

    Raises the errors of ``run_query``, possibly after some rows. ``seconds``: ``math.inf`` for no limit. Time
    in which the reader pauses does not count on SQLite, but does on PostgreSQL.
    """
    parameters = parameters or {}
    if not seconds > 0:
        raise QueryRefused(f"invalid time limit {seconds:g} s", "use a number of seconds above 0")
    _check_parameters(database.parameter_names(sql), parameters)
    raw_rows = database.query_rows(sql, parameters, seconds=seconds, own_process=own_process)
    # Errors are mapped inside this generator: those of the caller's with block are not the database's.
    with closing(_with_mapped_errors(raw_rows, database)) as stream:
        columns = tuple(map(str, next(stream)))
        yield RowStream(columns, stream)


def _with_mapped_errors(raw_rows: RawRows, database: Database) -> RawRows:
    with map_errors(database), closing(raw_rows):
        yield from raw_rows


def _check_parameters(expected: tuple[str, ...], values: Mapping[str, Value]) -> None:
    unused = [name for name in values if name not in expected]
    if unused:
        has = _join(expected) or "none"
        raise QueryRefused(f"the query has no parameter {_join(unused)}; it has {has}")
    missing = [name for name in expected if name not in values]
    if missing:
        options = " ".join(f"-p {name}=VALUE" for name in missing)
        raise QueryRefused(f"the query has no value for {_join(missing)}", f"add {options}")


def _join(parameters: Sequence[str]) -> str:
    return ", ".join(f":{name}" for name in parameters)


def _read_rows(stream: Iterable[tuple[object, ...]], limit: int) -> list[tuple[object, ...]]:
    """Return at most ``limit`` rows. Raises QueryRefused if they need too much memory."""
    rows: list[tuple[object, ...]] = []
    size = 0
    for row in islice(stream, limit):
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > _MAX_ROWS_BYTES:
            raise _too_large()
        rows.append(row)
    return rows


def query_sqlite(
    database: sqlite.Database,
    sql: str,
    parameters: Mapping[str, Value],
    *,
    seconds: float,
    own_process: bool,
) -> RawRows:
    """Yield the names of the columns, then the rows. Raises QueryRefused, DatabaseError."""
    deadline = time.monotonic() + seconds
    with closing(database.open_for_reading()) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        if own_process:
            connection.execute(f"PRAGMA hard_heap_limit = {_MAX_HEAP_BYTES}").close()
        connection.execute("PRAGMA temp_store = MEMORY").close()  # otherwise a sort may fill the disk
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            cursor = connection.execute(sql, parameters)
            columns = tuple(column[0] for column in cursor.description or ())
            if not columns:
                raise QueryRefused("not a query: the statement returns no columns")
            yield columns
            for row in cursor:
                yielded_at = time.monotonic()
                yield row
                pause = time.monotonic() - yielded_at
                if pause > _READER_PAUSE:
                    deadline += pause
            connection.require_unchanged()
        except MemoryError as exc:
            raise _too_large() from exc
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as exc:
            if time.monotonic() > deadline:
                raise _too_slow(seconds) from exc
            connection.require_unchanged()
            raise _map_sqlite_error(exc, database) from exc


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    is_allowed = (
        action in _ALLOWED
        or (action == sqlite3.SQLITE_FUNCTION and second not in _REFUSED_FUNCTIONS)
        or (action == sqlite3.SQLITE_PRAGMA and first in _ALLOWED_PRAGMAS)
    )
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _map_sqlite_error(exc: Exception, database: Database) -> BaseException:
    code = getattr(exc, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_AUTH:
        return QueryRefused("the query is refused: it may only read")
    if code is not None and code & 0xFF not in _ERRORS_OF_QUERY:
        return to_archiver_error(exc, database)
    return _not_understood(str(exc))


def _not_understood(why: str) -> QueryRefused:
    """Return the error with a hint: similar names of tables and columns, or where those are documented."""
    hint = "archiver query --schema lists tables and columns, archiver query --list the queries by name"
    unknown = _UNKNOWN_NAME.search(why)
    if unknown is not None:
        import difflib  # only needed after a mistake

        name = unknown["name"] or unknown["name_"]
        known = {table.name for table in tables.metadata.tables.values()}
        if "column" in (unknown["what"], unknown["what_"]):
            known = {column.name for table in tables.metadata.tables.values() for column in table.columns}
        similar = difflib.get_close_matches(name.rpartition(".")[2].lower(), sorted(known), n=2)
        hint = f"did you mean {' or '.join(similar)}? {hint}" if similar else hint
    elif _SEVERAL_STATEMENTS.search(why):
        hint = "give one statement at a time"
    return QueryRefused(f"the query failed: {why}", hint)


def _too_slow(seconds: float) -> QueryRefused:
    return QueryRefused(
        f"the query took longer than {seconds:g} s",
        "narrow it, or give it more time: --timeout SECONDS, 0 for no limit",
    )


def _too_large() -> QueryRefused:
    return QueryRefused("the query needs more memory than is allowed", "select fewer rows, or fewer columns")


def query_postgresql(
    database: postgresql.Database, sql: str, parameters: Mapping[str, Value], *, seconds: float
) -> RawRows:
    """Yield the names of the columns, then the rows. Raises QueryRefused, DatabaseError."""
    import psycopg

    before = _BEFORE_WORD.match(sql)
    assert before is not None  # it also matches an empty text
    word = _WORD.match(sql, before.end())
    if word is None or word[0].lower() not in _QUERY_WORDS:
        raise QueryRefused("the query is refused: it may only read", "begin it with SELECT or WITH")
    engine = database.create_reader()
    try:
        with engine.connect() as pooled:
            connection = cast("psycopg.Connection[tuple[object, ...]]", pooled.connection.driver_connection)
            limit = 0 if math.isinf(seconds) else max(1, int(min(seconds * 1000, _PG_MAX_TIMEOUT_MS)))
            connection.execute(f"SET statement_timeout = {limit}")
            connection.commit()
            connection.read_only = True
            cursor = connection.cursor()
            statement: tuple[bytes, Mapping[str, Value] | None] = sql.encode(), None
            if parameters:
                pyformat = replace_parameters(
                    sql, lambda name: f"%({name})s", lambda text: text.replace("%", "%%")
                )
                statement = pyformat.encode(), parameters
            # A stream that is not read to its end holds the connection until it is closed.
            stream = cast("Generator[tuple[object, ...], None, None]", cursor.stream(*statement))
            with closing(stream):
                first = next(stream, None)
                columns = tuple(column.name for column in cursor.description or ())
                yield columns or _describe_columns(connection, sql)
                if first is not None:
                    yield _plain_row(first)
                    yield from map(_plain_row, stream)
            connection.rollback()
    except MemoryError as exc:
        raise _too_large() from exc
    except psycopg.errors.QueryCanceled as exc:
        raise _too_slow(seconds) from exc
    except (psycopg.Error, ValueError) as exc:
        state = getattr(exc, "sqlstate", None) or ""
        if isinstance(exc, psycopg.OperationalError) and not state.startswith(_PG_LIMIT_EXCEEDED):
            raise to_archiver_error(exc, database) from exc
        raise _not_understood(str(exc).partition("\n")[0]) from exc
    finally:
        engine.dispose()


def _describe_columns(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> tuple[str, ...]:
    """Return the column names of a query without rows, which a stream does not report."""
    from psycopg import generators

    # ``prepare`` and ``describe_prepared`` are not used: they may never return, as psycopg's connections do
    # not block.
    server, order = connection.pgconn, parameter_names(sql, postgresql=True)
    server.send_prepare(b"", replace_parameters(sql, lambda name: f"${order.index(name) + 1}").encode())
    connection.wait(generators.execute(server))
    server.send_describe_prepared(b"")
    (result,) = connection.wait(generators.execute(server))
    return tuple((result.fname(index) or b"").decode() for index in range(result.nfields))


def _plain_row(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(map(_plain_value, row))


def _plain_value(value: object) -> object:
    if value is None or isinstance(value, (str, int, float, bytes, datetime, dict, list)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, date) else str(value)
