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
LOSS = "BEGIN DELETE FROM files; END"
PLANTED = {
    "view users": f"ALTER TABLE users RENAME TO u; CREATE VIEW users AS {ENDLESS}",
    "view RUNS": f"ALTER TABLE runs RENAME TO r; CREATE VIEW RUNS AS {ENDLESS}",
    "view accounts": f"DROP VIEW accounts; CREATE VIEW accounts AS {ENDLESS}",
    "trigger mine": f"CREATE TRIGGER mine AFTER INSERT ON runs {LOSS}",
    "trigger capitals": f"CREATE TRIGGER capitals AFTER INSERT ON RUNS {LOSS}",
    "trigger within": f"CREATE TRIGGER within AFTER INSERT ON search_index_data {LOSS}",
    "trigger search_added_items": (
        f"DROP TRIGGER search_added_items; CREATE TRIGGER search_added_items AFTER INSERT ON items {LOSS}"
    ),
    "table notes": (
        "CREATE TABLE notes (u INTEGER REFERENCES journal_outbox (id) ON DELETE CASCADE);"
        f" CREATE TRIGGER noted AFTER DELETE ON notes {LOSS}"
    ),
    "table marks": (
        'CREATE TABLE marks (u INTEGER, FOREIGN KEY (u) REFERENCES "Search_Index_Data" ON/**/DELETE CASCADE)'
    ),
    "table adopted": (
        "DROP TABLE adopted; CREATE TABLE adopted (id INTEGER REFERENCES files ON DELETE CASCADE)"
    ),
    "table hashtags": (
        "DROP TABLE hashtags; CREATE TABLE hashtags (item_pk TEXT, name TEXT UNIQUE ON CONFLICT REPLACE)"
    ),
    "table links": "DROP TABLE links; CREATE VIRTUAL TABLE links USING fts5 (item_pk)",
    "table search_index": "DROP TABLE search_index; CREATE VIRTUAL TABLE search_index USING fts5 (names)",
    "index once": "CREATE UNIQUE INDEX once ON files (role)",
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
def test_fault_k75_what_a_stranger_planted_is_refused(database: Path, planted: str, write: bool) -> None:
    """Before it is read: a view that has no end would hang every command, a trigger remove rows."""
    execute(database, PLANTED[planted])
    with pytest.raises(DatabaseForeign, match=rf"is not as archiver made it: {planted}$"):
        Catalog.open(database, write=write).close()


def test_fault_k75_a_repair_of_the_triggers_runs_none_of_a_stranger(database: Path) -> None:
    """Those with names of the journal and of the sums are replaced before the first row is written."""
    execute(
        database,
        "INSERT INTO journal_head VALUES (1, '', '', 0, 0, 0);"
        "DROP TRIGGER journal_added_runs; CREATE TRIGGER counter_mine AFTER DELETE ON journal_head"
        " BEGIN INSERT INTO deletions VALUES ('blobs'); END",
    )
    with Catalog.prepare(database) as opening:
        opening.finish(mend_triggers=True).close()
    with closing(sqlite3.connect(database)) as connection:
        assert not connection.execute("SELECT * FROM deletions").fetchall()


def test_views_of_ones_own_are_no_harm(database: Path) -> None:
    """Nor are tables with triggers and keys of their own, and indexes."""
    execute(
        database,
        "CREATE VIEW mine AS SELECT pk FROM items; CREATE TABLE notes (text TEXT PRIMARY KEY);"
        "CREATE TABLE replies (text TEXT REFERENCES notes ON DELETE CASCADE);"
        "CREATE INDEX quick ON items (code, pk);"
        "CREATE TRIGGER noted AFTER INSERT ON notes BEGIN DELETE FROM notes; END",
    )
    for write in (False, True):
        Catalog.open(database, write=write).close()


def test_the_names_are_those_of_a_new_database(database: Path) -> None:
    """All its tables and views, but the internal ones of SQLite."""
    engine = create_engine(f"sqlite:///{database}")
    found = inspect(engine)
    assert {*found.get_table_names()} == own_schema.TABLES
    assert {f"view {name}" for name in found.get_view_names()} < own_schema.DIGESTS.keys()
    with engine.connect() as connection:
        assert own_schema.digests(connection) == own_schema.DIGESTS
    engine.dispose()
