"""How a database comes to be, is recognised, refused and brought up to date."""

from __future__ import annotations

import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from archiver.catalog import Catalog, locate, schema, tables
from archiver.catalog.query import account_state
from archiver.errors import ArchiveTooOld, DatabaseError, DatabaseForeign, SchemaNew, SchemaOld
from tests.support.databases import (
    ARCHIVE_ID,
    NOW,
    OWN_SQLITE_EVERYDAY,
    PostgresServer,
    make_newer_migrations,
    make_too_old,
    postgres_when_whole,
)


@postgres_when_whole
def test_a_new_archive_stands_at_head_and_knows_its_id(nowhere: str | Path) -> None:
    """``create`` makes a database that opens again for reading and writing."""
    with Catalog.create(nowhere, ARCHIVE_ID, NOW) as made:
        assert made.archive_id == ARCHIVE_ID
    for write in (False, True):
        with Catalog.open(nowhere, write=write) as opened:
            assert opened.archive_id == ARCHIVE_ID
    assert schema.read_status(locate(nowhere)).revision == schema.head()


def test_the_tables_are_those_that_the_revisions_make(database: str | Path) -> None:
    """No column, index or constraint is in one and not in the other."""
    reader = locate(database).create_reader()
    with reader.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": tables.is_declared})
        with warnings.catch_warnings():  # SQLAlchemy does not see an index of an expression on SQLite
            warnings.filterwarnings("ignore", ".*expression-based index")
            assert compare_metadata(context, tables.metadata) == []
    reader.dispose()


def test_an_account_is_found_by_its_name_in_any_case_without_a_scan(own_database: str | Path) -> None:
    """A night looks up each account's name: with a scan, its time would grow with the square of their number.

    PostgreSQL scans tables that are as small as these, so only its indexes are looked for.
    """
    reader = locate(own_database).create_reader()
    with reader.connect() as connection:
        if connection.dialect.name == "postgresql":
            names = connection.exec_driver_sql("SELECT indexname FROM pg_indexes").scalars()
            assert {"ix_users_lower_username", "ix_usernames_lower_username"} <= set(names)
        else:
            for query in (account_state._BY_NAME, account_state._FORMER):
                (sql,) = query.variants("sqlite")
                plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", {"name": "x"}).all())
                assert "lower_username" in plan
                assert "SCAN" not in plan
    reader.dispose()


def test_the_revisions_are_numbered_as_alembic_chains_them() -> None:
    """The file names, which spare every start the import of alembic, say what the revisions say."""
    config = Config()
    config.set_main_option("script_location", str(schema.migrations()))
    chain = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
    assert schema.revisions() == tuple(reversed(chain))


def test_pks_sort_byte_by_byte_on_postgresql(postgres: PostgresServer, postgres_template: str) -> None:
    """Every pk column has the collation C, whatever the server's is."""
    everything = [column for table in tables.metadata.tables.values() for column in table.columns]
    pks = {f"{column.table.name}.{column.name}" for column in everything if column.name.endswith("pk")}
    with postgres.database(postgres_template) as url, Catalog.open(url, write=False) as catalog:
        found = catalog.run_query(
            "SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN "
            "pg_collation c ON c.oid = attcollation"
            " WHERE collname = 'C' AND attname LIKE '%pk'",
            rows=500,
            seconds=5,
        )
    assert pks - {str(row[0]) for row in found.rows} == set()


def test_create_refuses_what_is_there_already(database: str | Path) -> None:
    """Neither an archive nor a database of somebody else's is made into a new archive."""
    with pytest.raises(DatabaseError, match="already"):
        Catalog.create(database, "another", NOW)
    with Catalog.open(database, write=False) as catalog:
        assert catalog.archive_id == ARCHIVE_ID


def test_a_creation_that_was_killed_is_made_anew(tmp_path: Path) -> None:
    """Until a new database is whole its name is not there, and what is left of it is no obstacle."""
    (tmp_path / "archive.db.new").write_bytes(b"half")
    (tmp_path / "archive.db.new-wal").write_bytes(b"half")
    Catalog.create(tmp_path / "archive.db", ARCHIVE_ID, NOW).close()
    assert list(tmp_path.iterdir()) == [tmp_path / "archive.db"]


@pytest.mark.parametrize(("group", "mode"), [(False, 0o600), (True, 0o640)])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_reads_the_file_whatever_the_umask(
    tmp_path: Path, group: bool, mode: int, umask: int
) -> None:
    """The file and what SQLite puts beside it get their mode from us; the group reads only if it was asked
    for.
    """
    before = os.umask(umask)
    try:
        with Catalog.create(tmp_path / "archive.db", ARCHIVE_ID, NOW, group_readable=group) as catalog:
            catalog.write(lambda connection: None)
            files = list(tmp_path.iterdir())
            assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(mode)}
            assert len(files) == 3
    finally:
        os.umask(before)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (pk TEXT)")


def _newer(path: Path) -> None:
    Catalog.create(path, ARCHIVE_ID, NOW).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '99999'")


def _no_revision(path: Path) -> None:
    Catalog.create(path, ARCHIVE_ID, NOW).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")


def _cut(path: Path) -> None:
    Catalog.create(path, ARCHIVE_ID, NOW).close()
    os.truncate(path, 5000)


_REFUSED = {
    "foreign": (_foreign, DatabaseForeign),
    "newer": (_newer, SchemaNew),
    "no revision": (_no_revision, DatabaseForeign),
    "text": (lambda path: path.write_bytes(b"not a database at all" * 100), DatabaseError),
    "empty": (lambda path: path.write_bytes(b""), DatabaseError),
    "cut": (_cut, DatabaseError),
    "a directory": (lambda path: path.mkdir(), DatabaseError),
}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("what", _REFUSED)
def test_what_is_not_ours_is_refused_and_not_touched(tmp_path: Path, what: str, write: bool) -> None:
    """A foreign, newer, damaged or empty file is told apart, and its bytes stay what they are."""
    make, error = _REFUSED[what]
    path = tmp_path / "archive.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as raised:
        Catalog.open(path, write=write)
    assert type(raised.value) is error
    assert str(path) in str(raised.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_file_is_not_made(tmp_path: Path, write: bool) -> None:
    """Opening never creates: an unmounted disk must not look like a new archive."""
    with pytest.raises(DatabaseError, match="no database"):
        Catalog.open(tmp_path / "archive.db", write=write)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_or_newer_postgresql_database_is_refused(
    postgres: PostgresServer, postgres_template: str
) -> None:
    """The same on PostgreSQL: an empty database, one of another program, and one of a newer version."""
    with postgres.database() as url:
        for write in (False, True):
            with pytest.raises(DatabaseForeign):
                Catalog.open(url, write=write)
        _execute(
            url,
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('0001')",
        )
        with pytest.raises(DatabaseForeign):
            Catalog.open(url, write=True)
    with postgres.database(postgres_template) as url:
        _execute(url, "UPDATE alembic_version SET version_num = '99999'")
        for write in (False, True):
            with pytest.raises(SchemaNew):
                Catalog.open(url, write=write)


@OWN_SQLITE_EVERYDAY
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("revision", ["0001", "0018", "0021"])
def test_fault_h26_a_database_from_before_the_first_revision_is_refused_and_not_touched(
    own_database: str | Path, revision: str, write: bool
) -> None:
    """The hint names the last commit that upgrades it. ``0018`` was the number of another schema."""
    make_too_old(own_database, revision)
    before = own_database.read_bytes() if isinstance(own_database, Path) else None
    with pytest.raises(ArchiveTooOld, match=revision) as refused:
        Catalog.open(own_database, write=write)
    assert refused.value.exit_code == 9
    assert "22731ab190bd" in refused.value.hint
    if isinstance(own_database, Path):
        assert own_database.read_bytes() == before
        assert [path.name for path in own_database.parent.glob("archive.db.*")] == []


def _execute(url: str, statement: str) -> None:
    writer = locate(url).create_writer()
    with writer.begin() as connection:
        connection.execute(text(statement))
    writer.dispose()


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program of tomorrow: its migrations have one revision more, which adds a table and ends with ``#
    then``.
    """
    revision = make_newer_migrations(tmp_path / "migrations")
    monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    return revision


def test_an_older_database_is_refused_to_readers(own_database: str | Path, next_version: Path) -> None:
    """A reader writes nothing: it names the command that brings the database up to date."""
    with pytest.raises(SchemaOld) as raised:
        Catalog.open(own_database, write=False)
    assert "archiver db upgrade" in raised.value.hint


@OWN_SQLITE_EVERYDAY
def test_a_writer_upgrades_an_older_database(own_database: str | Path, next_version: Path) -> None:
    """The rows stay, the new column is there, and a copy of a SQLite file as it was lies beside it."""
    before = schema.read_status(locate(own_database)).revision
    with Catalog.open(own_database, write=True) as catalog:
        assert catalog.archive_id == ARCHIVE_ID
        assert catalog.run_query("SELECT biography FROM users", rows=1, seconds=5).rows == ()
    if isinstance(own_database, Path):
        (copy,) = own_database.parent.glob(f"archive.db.{before}-*")
        assert copy.stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    "fault",
    ["raise RuntimeError('half way')", "op.execute('INSERT INTO highlights (pk, nonsense) VALUES (1, 2)')"],
)
def test_a_migration_that_fails_half_way_leaves_nothing(
    own_database: str | Path, next_version: Path, fault: str
) -> None:
    """All of a migration is one transaction: the database is what it was, and works with the version that
    made it.
    """
    next_version.write_text(next_version.read_text().replace("# then", fault))
    with pytest.raises((RuntimeError, DatabaseError)):
        Catalog.open(own_database, write=True)
    next_version.unlink()
    with Catalog.open(own_database, write=True) as catalog:
        found = catalog.run_query("SELECT count(*) FROM users", rows=1, seconds=5)
        assert found.rows == ((0,),)
        with pytest.raises(Exception, match="tomorrow"):
            catalog.run_query("SELECT * FROM tomorrow", rows=1, seconds=5)


def test_a_creation_that_fails_half_way_leaves_nothing(nowhere: str | Path, next_version: Path) -> None:
    """No file of that name, no table: the next try finds nothing in its way."""
    next_version.write_text(next_version.read_text().replace("# then", "raise RuntimeError('half way')"))
    with pytest.raises(RuntimeError):
        Catalog.create(nowhere, ARCHIVE_ID, NOW)
    if isinstance(nowhere, Path):
        assert not nowhere.exists()
    next_version.unlink()
    with Catalog.create(nowhere, ARCHIVE_ID, NOW) as catalog:
        assert catalog.archive_id == ARCHIVE_ID


def test_a_migration_that_would_orphan_rows_is_undone(tmp_path: Path, next_version: Path) -> None:
    """Foreign keys sleep while tables are rebuilt, and are checked before the commit."""
    with_older = tmp_path / "archive.db"
    later = next_version.read_text()
    next_version.unlink()
    Catalog.create(with_older, ARCHIVE_ID, NOW).close()
    before = schema.head()
    orphan = "op.execute(\"INSERT INTO usernames VALUES ('1', 'nobody', 'x', 'x')\")"
    next_version.write_text(later.replace("# then", orphan))
    with pytest.raises(DatabaseError, match="refer to missing rows"):
        Catalog.open(with_older, write=True)
    assert schema.read_status(locate(with_older)).revision == before
