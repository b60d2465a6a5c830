"""The user's own SQL, for certain read-only, bounded in rows and in time.

On both sides the connection itself cannot write, and the statement is checked once more: SQLite asks an authorizer about every step
that a statement would take, PostgreSQL gets one statement (by the extended protocol, which takes no second one) that begins with a
word of a query. COPY would be allowed in its read-only transactions, and can start programs. What functions for superusers do
(``lo_export`` writes a file on the server) is for the server to forbid: archives belong to an ordinary role.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, cast

from archiver.catalog import engine as engines
from archiver.catalog.engine import Database
from archiver.catalog.faults import as_ours, told
from archiver.errors import QueryRefused
from archiver.model import Rows

if TYPE_CHECKING:
    import psycopg

_STEPS = 10_000  # of SQLite's machine between two looks at the clock: about a millisecond
_VALUE_BYTES = 64 << 20
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_SHAPE_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"}
_OF_FTS5 = {"data_version"}  # it asks for it before each search
_REFUSED_FUNCTIONS = {"load_extension"}
# Blanks, comments and parentheses before the first word, as PostgreSQL reads them: a carriage return ends a line too. Its comments
# may nest, which is not followed here: one with another inside is no comment, and so no query.
_BEFORE = re.compile(r"\A(?:[ \t\n\r\f\v(]+|--[^\n\r]*|/\*(?:(?!/\*).)*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[a-z]+\b", re.IGNORECASE)
_QUERY_WORDS = {"select", "with", "values", "table", "explain", "show"}


def ask(database: Database, sql: str, *, rows: int, seconds: float) -> Rows:
    """The first ``rows`` rows of a query. Raises QueryRefused if it would write, is not understood, or takes longer than ``seconds``;
    DatabaseError if the database itself fails."""
    with told(str(database)):
        if database.url is not None:
            return _ask_postgresql(database, sql, rows, seconds)
        return _ask_sqlite(database, sql, rows, seconds)


def _ask_sqlite(database: Database, sql: str, rows: int, seconds: float) -> Rows:
    deadline = time.monotonic() + seconds
    with closing(engines.open_for_reading(database)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            cursor = connection.execute(sql)
            found = cursor.fetchmany(rows + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as exc:
            if time.monotonic() > deadline:
                raise _too_slow(seconds) from exc
            raise _refused(exc, str(database)) from exc
        columns = tuple(column[0] for column in cursor.description or ())
    if not columns:
        raise QueryRefused("that is no query: it brings no columns")
    return Rows(columns, tuple(found[:rows]), truncated=len(found) > rows)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in _REFUSED_FUNCTIONS else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _SHAPE_PRAGMAS | _OF_FTS5:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _refused(exc: Exception, database: str) -> BaseException:
    code = getattr(exc, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_AUTH:
        return QueryRefused("the query is refused: only reading is allowed")
    if code is not None and code & 0xFF not in (
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_TOOBIG,
    ):
        return as_ours(exc, database)  # not the query's fault
    return QueryRefused(f"the query cannot be answered: {exc}")


def _too_slow(seconds: float) -> QueryRefused:
    return QueryRefused(
        f"the query took longer than {seconds:g} s", "give it more time, or a narrower question"
    )


def _ask_postgresql(database: Database, sql: str, rows: int, seconds: float) -> Rows:
    import psycopg

    word = _WORD.match(sql, _BEFORE.match(sql).end())  # type: ignore[union-attr]  # it matches nothing, too
    if word is None or word[0].lower() not in _QUERY_WORDS:
        raise QueryRefused("the query is refused: only reading is allowed", "begin it with SELECT or WITH")
    engine = engines.reader(database)
    try:
        with engine.connect() as held:
            connection = cast("psycopg.Connection[tuple[object, ...]]", held.connection.driver_connection)
            connection.execute(f"SET statement_timeout = {max(1, int(seconds * 1000))}")
            connection.commit()
            connection.read_only = True
            cursor = connection.cursor()
            found = list(islice(cursor.stream(sql), rows + 1))
            columns = tuple(column.name for column in cursor.description or ()) or _columns(connection, sql)
            connection.rollback()
    except psycopg.errors.QueryCanceled as exc:
        raise _too_slow(seconds) from exc
    except psycopg.OperationalError as exc:
        raise as_ours(exc, str(database)) from exc
    except psycopg.Error as exc:
        raise QueryRefused(f"the query cannot be answered: {str(exc).partition(chr(10))[0]}") from exc
    finally:
        engine.dispose()
    plain = tuple(tuple(_plain(value) for value in row) for row in found[:rows])
    return Rows(columns, plain, truncated=len(found) > rows)


def _columns(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> tuple[str, ...]:
    """The names that a query without rows would have had: streaming does not tell them."""
    from psycopg import generators

    # Not by ``prepare`` and ``describe_prepared``: psycopg's connections do not block, and there those may wait for ever.
    server = connection.pgconn
    server.send_prepare(b"", sql.encode())
    connection.wait(generators.execute(server))
    server.send_describe_prepared(b"")
    (described,) = connection.wait(generators.execute(server))
    return tuple((described.fname(index) or b"").decode() for index in range(described.nfields))


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, int, float, bytes, datetime, dict, list)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, date) else str(value)
