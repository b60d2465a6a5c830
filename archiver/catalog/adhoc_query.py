"""The user's own SQL, for certain read-only, bounded in rows and in time.

On both sides the connection itself cannot write, and the statement is checked once more: SQLite asks an authorizer about every step
that a statement would take, PostgreSQL gets one statement (by the extended protocol, which takes no second one) that begins with a
word of a query. COPY would be allowed in its read-only transactions, and can start programs. What functions for superusers do
(``lo_export`` writes a file on the server) is for the server to forbid: archives belong to an ordinary role.
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

from archiver.catalog import engine as engines
from archiver.catalog import tables
from archiver.catalog.engine import Database
from archiver.catalog.error_mapping import as_ours, told
from archiver.errors import QueryRefused
from archiver.model.archived import Rows, RowStream, Value
from archiver.queries.parameters import marked, names

if TYPE_CHECKING:
    import psycopg

_Found = Generator[tuple[object, ...], None, None]
"""The names of the columns, then the rows. What goes wrong where they are used is not raised in here."""
_STEPS = 10_000  # of SQLite's machine between two looks at the clock: about a millisecond
_PAUSE = 0.1
"""Seconds between two rows from which on somebody reads in a pager. Less is the work of writing rows, which
counts: an endless query would else be written for many times as long as it may take."""
_VALUE_BYTES = 64 << 20
_ROWS_BYTES = 1 << 30
_HEAP_BYTES = 1 << 30
"""What SQLite may take for sorting and the like. Once set it holds for the whole process: a PRAGMA may lower it only."""
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_SHAPE_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"}
_OF_FTS5 = {"data_version"}  # it asks for it before each search
_REFUSED_FUNCTIONS = {"load_extension"}
_QUERYS_FAULT = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,  # LIMIT 'a'
}
_TOO_LARGE_FOR_POSTGRESQL = (
    "54"  # an OperationalError of psycopg's, but of the query: too many columns, too deep, too long a text
)
_LONGEST_MS = 2**31 - 1
"""What PostgreSQL takes for a timeout: 24 days."""
# Blanks, comments and parentheses before the first word, as PostgreSQL reads them: a carriage return ends a line too. Its comments
# may nest, which is not followed here: one with another inside is no comment, and so no query.
_BEFORE = re.compile(r"\A(?:[ \t\n\r\f\v(]+|--[^\n\r]*|/\*(?:(?!/\*).)*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[a-z]+\b", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"no such (?P<what>table|column): (?P<name>\S+)"
    r"|(?P<what_>relation|column) \"?(?P<name_>[^\s\"]+)\"? does not exist"
)
_SEVERAL = re.compile("one statement at a time|multiple commands")
_QUERY_WORDS = {"select", "with", "values", "table", "explain", "show"}


def ask(
    database: Database,
    sql: str,
    *,
    rows: int,
    seconds: float,
    parameters: Mapping[str, Value] | None = None,
    own_process: bool = True,
) -> Rows:
    """The first ``rows`` rows of a query; ``parameters`` are bound where it says ``:name``.

    Raises QueryRefused if it would write, is not understood, has a value that the database cannot take, takes longer than ``seconds`` or more memory than a query may, lacks a
    parameter or has no use for one; DatabaseError if the database itself fails. Without ``own_process`` what SQLite itself takes of
    memory has no bound: it would hold for everything that the process does with SQLite, for ever.
    """
    with asking(database, sql, seconds=seconds, parameters=parameters, own_process=own_process) as found:
        held = _bounded(found.rows, rows)
    return Rows(found.columns, tuple(held[:rows]), truncated=len(held) > rows)


@contextmanager
def asking(
    database: Database,
    sql: str,
    *,
    seconds: float,
    parameters: Mapping[str, Value] | None = None,
    own_process: bool = True,
) -> Iterator[RowStream]:
    """As ``ask``, with the rows as they are read, none of them held; the connection is open until the end of the ``with`` block.

    What ``ask`` raises may come after some rows. Of ``seconds`` (``math.inf``: no limit) SQLite does not
    count when a reader pauses, PostgreSQL does.
    """
    parameters = parameters or {}
    if not seconds > 0:
        raise QueryRefused(f"a query cannot take {seconds:g} s", "give it a number of seconds above 0")
    _require(names(sql, postgresql=database.url is not None), parameters)
    found = (
        _of_postgresql(database, sql, seconds, parameters)
        if database.url is not None
        else _of_sqlite(database, sql, seconds, parameters, _HEAP_BYTES if own_process else None)
    )
    with closing(_told(found, str(database))) as told_of:
        columns = tuple(map(str, next(told_of)))
        yield RowStream(columns, told_of)


def _told(found: _Found, database: str) -> _Found:
    with told(database), closing(found):
        yield from found


def _require(asked: tuple[str, ...], given: Mapping[str, Value]) -> None:
    unused = [name for name in given if name not in asked]
    if unused:
        has = _listed(asked) or "none"
        raise QueryRefused(f"the query has no parameter {_listed(unused)}; it has {has}")
    lacking = [name for name in asked if name not in given]
    if lacking:
        how = " ".join(f"-p {name}=VALUE" for name in lacking)
        raise QueryRefused(f"the query has no value for {_listed(lacking)}", f"give it: {how}")


def _listed(parameters: Sequence[str]) -> str:
    return ", ".join(f":{name}" for name in parameters)


def _bounded(found: Iterable[tuple[object, ...]], rows: int) -> list[tuple[object, ...]]:
    """One row more than ``rows``, if there are so many. Raises QueryRefused if they are too much to hold."""
    held: list[tuple[object, ...]] = []
    size = 0
    for row in islice(found, rows + 1):
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > _ROWS_BYTES:
            raise _too_large()
        held.append(row)
    return held


def _of_sqlite(
    database: Database, sql: str, seconds: float, parameters: Mapping[str, Value], heap: int | None
) -> _Found:
    deadline = time.monotonic() + seconds
    with closing(engines.open_for_reading(database)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        if heap is not None:
            connection.execute(f"PRAGMA hard_heap_limit = {heap}").close()
        connection.execute("PRAGMA temp_store = MEMORY").close()  # else a sort may fill the disk
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            cursor = connection.execute(sql, parameters)
            columns = tuple(column[0] for column in cursor.description or ())
            if not columns:
                raise QueryRefused("that is no query: it brings no columns")
            yield columns
            for row in cursor:
                since = time.monotonic()
                yield row
                away = time.monotonic() - since
                if away > _PAUSE:
                    deadline += away
        except MemoryError as exc:
            raise _too_large() from exc
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as exc:
            if time.monotonic() > deadline:
                raise _too_slow(seconds) from exc
            raise _refused(exc, str(database)) from exc


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
    if code is not None and code & 0xFF not in _QUERYS_FAULT:
        return as_ours(exc, database)  # not the query's fault
    return _unanswered(str(exc))


def _unanswered(why: str) -> QueryRefused:
    """With the next step: near names of tables and columns, or where they are told."""
    hint = "docs/schema.md tells tables and columns; archiver query --list shows queries by name"
    unknown = _UNKNOWN.search(why)
    if unknown is not None:
        import difflib  # for a mistake only

        name = unknown["name"] or unknown["name_"]
        known = {table.name for table in tables.metadata.tables.values()}
        if "column" in (unknown["what"], unknown["what_"]):
            known = {column.name for table in tables.metadata.tables.values() for column in table.columns}
        near = difflib.get_close_matches(name.rpartition(".")[2].lower(), sorted(known), n=2)
        hint = f"did you mean {' or '.join(near)}? {hint}" if near else hint
    elif _SEVERAL.search(why):
        hint = "give one statement at a time"
    return QueryRefused(f"the query cannot be answered: {why}", hint)


def _too_slow(seconds: float) -> QueryRefused:
    return QueryRefused(
        f"the query took longer than {seconds:g} s",
        "narrow it, or give it more time: --timeout SECONDS, 0 for no limit",
    )


def _too_large() -> QueryRefused:
    return QueryRefused("the query takes more memory than a query may", "ask for fewer rows, or columns")


def _of_postgresql(database: Database, sql: str, seconds: float, parameters: Mapping[str, Value]) -> _Found:
    import psycopg

    word = _WORD.match(sql, _BEFORE.match(sql).end())  # type: ignore[union-attr]  # it matches nothing, too
    if word is None or word[0].lower() not in _QUERY_WORDS:
        raise QueryRefused("the query is refused: only reading is allowed", "begin it with SELECT or WITH")
    engine = engines.reader(database)
    try:
        with engine.connect() as held:
            connection = cast("psycopg.Connection[tuple[object, ...]]", held.connection.driver_connection)
            most = 0 if math.isinf(seconds) else max(1, int(min(seconds * 1000, _LONGEST_MS)))
            connection.execute(f"SET statement_timeout = {most}")
            connection.commit()
            connection.read_only = True
            cursor = connection.cursor()
            asked: tuple[bytes, Mapping[str, Value] | None] = sql.encode(), None
            if parameters:
                ours = marked(sql, lambda name: f"%({name})s", lambda text: text.replace("%", "%%"))
                asked = ours.encode(), parameters
            # A stream that is left before its end holds the connection until it is closed.
            stream = cast("Generator[tuple[object, ...], None, None]", cursor.stream(*asked))
            with closing(stream):
                first = next(stream, None)
                yield tuple(column.name for column in cursor.description or ()) or _columns(connection, sql)
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
        if isinstance(exc, psycopg.OperationalError) and not state.startswith(_TOO_LARGE_FOR_POSTGRESQL):
            raise as_ours(exc, str(database)) from exc
        raise _unanswered(str(exc).partition("\n")[0]) from exc
    finally:
        engine.dispose()


def _columns(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> tuple[str, ...]:
    """The names that a query without rows would have had: streaming does not tell them."""
    from psycopg import generators

    # Not by ``prepare`` and ``describe_prepared``: psycopg's connections do not block, and there those may wait for ever.
    server, order = connection.pgconn, names(sql, postgresql=True)
    server.send_prepare(b"", marked(sql, lambda name: f"${order.index(name) + 1}").encode())
    connection.wait(generators.execute(server))
    server.send_describe_prepared(b"")
    (described,) = connection.wait(generators.execute(server))
    return tuple((described.fname(index) or b"").decode() for index in range(described.nfields))


def _plain_row(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(map(_plain, row))


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, int, float, bytes, datetime, dict, list)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, date) else str(value)
