"""A SQLite file from a stranger: views and triggers that archiver did not make are refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from archiver.catalog import Catalog, own_schema
from archiver.errors import DatabaseForeign
from tests.support.databases import ARCHIVE_ID, NOW

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS pk FROM n"
PLANTED = {
    "a view in place of a table": f"ALTER TABLE users RENAME TO u; CREATE VIEW users AS {ENDLESS}",
    "a view that is read first": f"ALTER TABLE runs RENAME TO r; CREATE VIEW runs AS {ENDLESS}",
    "another view": f"DROP VIEW accounts; CREATE VIEW accounts AS {ENDLESS}",
    "a trigger": "CREATE TRIGGER mine AFTER INSERT ON runs BEGIN DELETE FROM files; END",
    "a trigger of the search": (
        "DROP TRIGGER search_added_items;"
        " CREATE TRIGGER search_added_items AFTER INSERT ON items BEGIN DELETE FROM files; END"
    ),
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a new database."""
    path = tmp_path / "archive.db"
    Catalog.create(path, ARCHIVE_ID, NOW).close()
    return path


def execute(database: Path, script: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(script)


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("write", [False, True])
def test_fault_k75_a_view_or_trigger_of_a_stranger_is_refused(
    database: Path, planted: str, write: bool
) -> None:
    """Before it is read: one that has no end would hang every command."""
    execute(database, PLANTED[planted])
    with pytest.raises(DatabaseForeign, match="has a view or trigger that archiver did not make"):
        Catalog.open(database, write=write).close()


def test_views_of_ones_own_are_no_harm(database: Path) -> None:
    """Nor are tables with triggers of their own."""
    execute(
        database,
        "CREATE VIEW mine AS SELECT pk FROM items; CREATE TABLE notes (text TEXT);"
        "CREATE TRIGGER noted AFTER INSERT ON notes BEGIN DELETE FROM notes; END",
    )
    for write in (False, True):
        Catalog.open(database, write=write).close()


def test_the_names_are_those_of_a_new_database(database: Path) -> None:
    """All its tables and views, but the internal ones of SQLite and of its search index."""
    engine = create_engine(f"sqlite:///{database}")
    found = inspect(engine)
    internal = {"search_index_config", "search_index_data", "search_index_idx"}
    assert {*found.get_table_names()} - internal == own_schema.TABLES
    assert {*found.get_view_names()} == own_schema.VIEWS
    with engine.connect() as connection:
        assert own_schema.digest(connection) == own_schema.DIGEST
    engine.dispose()
