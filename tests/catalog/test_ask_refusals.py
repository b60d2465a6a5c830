"""Whose fault it is that a query is not answered: its own, told as usage, or the database's."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from archiver.catalog import Catalog
from archiver.errors import DatabaseError, QueryRefused
from tests.support.catalog_samples import rows


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nowhere", sqlite3.SQLITE_ERROR),
        ("SELECT json('{')", sqlite3.SQLITE_ERROR),
        ("SELECT abs(-9223372036854775808)", sqlite3.SQLITE_ERROR),
        ("SELECT rowid FROM search_index WHERE search_index MATCH '\"'", sqlite3.SQLITE_ERROR),
        ("SELECT zeroblob(100000000)", sqlite3.SQLITE_TOOBIG),
        ("SELECT id FROM runs LIMIT 'ten'", sqlite3.SQLITE_MISMATCH),
        ("SELECT id FROM runs LIMIT :ten", sqlite3.SQLITE_MISMATCH),
        ("DELETE FROM runs", sqlite3.SQLITE_AUTH),
    ],
)
def test_what_sqlite_refuses_is_the_querys_fault(sqlite_template: Path, sql: str, code: int) -> None:
    """Whichever way it says so, before the first row or at it: usage, code 2, not a database that cannot be
    used.
    """
    with Catalog.open(sqlite_template, write=False) as catalog, pytest.raises(QueryRefused) as raised:
        catalog.run_query(sql, rows=10, seconds=10, parameters={"ten": "ten"} if ":ten" in sql else {})
    assert isinstance(raised.value.__cause__, sqlite3.Error)
    assert raised.value.__cause__.sqlite_errorcode & 0xFF == code


def test_a_number_that_sqlite_cannot_hold_is_the_querys_fault(sqlite_template: Path) -> None:
    """Its integers end before 2⁶³: more is a mistake, and no bug."""
    with Catalog.open(sqlite_template, write=False) as catalog:
        assert catalog.run_query("SELECT :n AS n", rows=1, seconds=10, parameters={"n": 2**63 - 1}).rows == (
            (2**63 - 1,),
        )
        with pytest.raises(QueryRefused, match="too large"):
            catalog.run_query("SELECT :n", rows=1, seconds=10, parameters={"n": 2**63})


def test_a_database_that_is_damaged_is_not_the_querys_fault(tmp_path: Path, sqlite_template: Path) -> None:
    """What was answered before, and will be again once the file is restored."""
    database = tmp_path / "archive.db"
    database.write_bytes(sqlite_template.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'")
        ((size,),) = connection.execute("PRAGMA page_size")
    with Catalog.open(database, write=False) as catalog:
        assert rows(catalog, "SELECT command FROM runs") == []
        with database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        with pytest.raises(DatabaseError, match="is damaged"):
            catalog.run_query("SELECT command FROM runs", rows=1, seconds=10)


@pytest.fixture
def raising(postgres_archive: str) -> Iterator[str]:
    """A PostgreSQL archive with a function of somebody's own, ``scold()``, that raises."""
    with psycopg.connect(postgres_archive.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION scold() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE 'shame on you'; END $$"
        )
        yield postgres_archive
        connection.execute("DROP FUNCTION scold()")


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("SELECT 1 / 0", "22012"),
        ("SELECT 1 / (5 - i) FROM generate_series(1, 5) AS i", "22012"),  # at the last row
        ("SELECT id FROM runs WHERE id = 'ten'", "22P02"),
        ("SELECT id FROM runs LIMIT :ten", "22P02"),
        ("SELECT 'a' ~ '('", "2201B"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT pk FROM items WHERE pk > 5", "42883"),
        ("SELECT FROM WHERE", "42601"),
        ("SELECT scold()", "P0001"),
        ("SELECT repeat('x', 2000000000)", "54000"),
        (f"SELECT {', '.join(['1'] * 1700)}", "54011"),
        ("SELECT * FROM runs FOR UPDATE", "25006"),
    ],
)
def test_what_postgresql_refuses_is_the_querys_fault(raising: str, sql: str, state: str) -> None:
    """Data, names, RAISE and limits, before the first row or at the last: usage, code 2, told in one line."""
    with Catalog.open(raising, write=False) as catalog, pytest.raises(QueryRefused) as raised:
        catalog.run_query(sql, rows=10, seconds=10, parameters={"ten": "ten"} if ":ten" in sql else {})
    assert isinstance(raised.value.__cause__, psycopg.Error)
    assert raised.value.__cause__.sqlstate == state
    assert "\n" not in str(raised.value)


def test_a_connection_that_ends_is_not_the_querys_fault(postgres_archive: str) -> None:
    """Somebody at the server has ended it, as a restart would."""
    with Catalog.open(postgres_archive, write=False) as catalog, pytest.raises(DatabaseError):
        catalog.run_query("SELECT pg_terminate_backend(pg_backend_pid())", rows=1, seconds=10)


@pytest.mark.parametrize(("seconds", "ends"), [(0.0, False), (-1.0, False), (math.nan, False), (1e300, True)])
def test_a_time_is_above_none(catalog: Catalog, seconds: float, ends: bool) -> None:
    """And as long as anybody likes; what is no time would be a query without an end."""
    if ends:
        assert catalog.run_query("SELECT 1 AS one", rows=1, seconds=seconds).rows == ((1,),)
        return
    with pytest.raises(QueryRefused, match="invalid time limit"):
        catalog.run_query("SELECT 1", rows=1, seconds=seconds)
