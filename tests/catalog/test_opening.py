"""Directory, marker and database of one archive: made together, opened only together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver import config
from archiver.archive import creation, database, session
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, record, schema
from archiver.catalog.dialects import locate
from archiver.catalog.query import totals
from archiver.config import Config
from archiver.errors import ArchiveLocked, DatabaseError, DatabaseForeign, MarkerMismatch, StorageError
from archiver.work import Work
from tests.support.catalog_samples import LATER
from tests.support.databases import ARCHIVE_ID, OWN_SQLITE_EVERYDAY, PostgresServer, take_lock
from tests.support.disk_limits import new_disk_blobs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where an archive is to be, or is."""
    return tmp_path / "archive"


def _begin_a_run(database: str | Path) -> None:
    with Catalog.open(database, write=True) as catalog:
        catalog.write(record.start_run, "run", LATER)


def _killed_before_the_marker(where: Config, database: str | Path) -> str:
    """Make the archive, take its marker away, and return its id."""
    assert creation.create_archive(where)
    made = schema.read_status(locate(database)).archive_id
    (where.archive.directory / "archive.json").unlink()
    return made


@pytest.fixture(params=["inside", "postgresql"])
def rows_at(request: pytest.FixtureRequest, root: Path) -> Iterator[str | Path]:
    """Where the rows of a new archive will be: in its directory, or on a server."""
    if request.param == "inside":
        yield root / "archive.db"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


_INSIDE_EVERYDAY = pytest.mark.parametrize(
    "rows_at", ["inside", pytest.param("postgresql", marks=pytest.mark.whole)], indirect=True
)


def _place(root: Path, rows_at: str | Path) -> Config:
    environ = {"ARCHIVER_ARCHIVE": str(root)}
    if isinstance(rows_at, str):
        environ["ARCHIVER_ARCHIVE_DATABASE"] = rows_at
    return config.load(None, environ, {})


def _moved_in(root: Path, database: str | Path) -> tuple[Config, str | Path]:
    """The archive at ``root`` with a database that was made elsewhere."""
    if isinstance(database, Path):
        root.mkdir()
        database = database.rename(root / "archive.db")
    return _place(root, database), database


def test_a_creation_that_was_killed_before_its_marker_is_finished(root: Path, rows_at: str | Path) -> None:
    """The database that it left becomes the archive's, under the id that it has."""
    where = _place(root, rows_at)
    left = _killed_before_the_marker(where, rows_at)
    assert creation.create_archive(where)
    assert marker.read(root).id == left
    with session.open_for_reading(where) as opened:
        assert opened.catalog.read(totals.status).accounts == 0


@_INSIDE_EVERYDAY
def test_an_archive_that_lost_its_marker_is_not_made_anew(root: Path, rows_at: str | Path) -> None:
    """Where runs were made the marker has to be restored: a new one could bind the rows to the wrong
    files.
    """
    where = _place(root, rows_at)
    _killed_before_the_marker(where, rows_at)
    _begin_a_run(rows_at)
    with pytest.raises(StorageError, match=r"archive\.json is missing") as raised:
        creation.create_archive(where)
    assert "restore archive.json" in raised.value.hint
    assert not (root / "archive.json").exists()


def test_somebody_elses_database_is_not_adopted(root: Path, own_database: str | Path) -> None:
    """Tables without our own are not ours, whatever their names."""
    where, own_database = _moved_in(root, own_database)
    with Catalog.open(own_database, write=True) as catalog:
        catalog.write(lambda connection: connection.exec_driver_sql("DELETE FROM archive"))
    with pytest.raises(DatabaseForeign):
        creation.create_archive(where)


@pytest.fixture
def foreign(root: Path, own_database: str | Path) -> tuple[Config, str | Path]:
    """A directory whose marker names another archive than the database that the configuration leads to."""
    where, own_database = _moved_in(root, own_database)
    new_disk_blobs(root).close()
    marker.write(root, Marker("another"))
    return where, own_database


def _write_nothing(where: Config) -> None:
    with session.open_for_writing(where, "run", Work()):
        pass


def _upgrade(where: Config) -> None:
    database.upgrade_schema(where)


@OWN_SQLITE_EVERYDAY
@pytest.mark.parametrize("how", [_write_nothing, _upgrade])
def test_an_older_database_of_another_archive_is_not_upgraded(
    foreign: tuple[Config, str | Path], monkeypatch: pytest.MonkeyPatch, how: Callable[[Config], None]
) -> None:
    """It is refused before anything is written to it: no copy, no migration."""
    where, database = foreign
    upgraded: list[object] = []
    monkeypatch.setattr(schema, "upgrade", upgraded.append)
    with pytest.raises(MarkerMismatch, match=ARCHIVE_ID):
        how(where)
    assert upgraded == []
    assert schema.read_status(locate(database)).archive_id == ARCHIVE_ID


@_INSIDE_EVERYDAY
def test_an_upgrade_names_both_revisions(root: Path, rows_at: str | Path) -> None:
    """And is none where the database stands at this version's already."""
    where = _place(root, rows_at)
    creation.create_archive(where)
    assert database.upgrade_schema(where) == (schema.head(), schema.head())


def test_a_database_that_does_not_say_what_its_texts_are_is_refused(postgres: PostgresServer) -> None:
    """SQL_ASCII: by all that connect, with the encoding and how to create another (9)."""
    with postgres.database("template0", "SQL_ASCII") as url:
        openers = (
            lambda: take_lock(url),
            lambda: Catalog.open(url, write=False),
            lambda: Catalog.open(url, write=True),
        )
        for connect in openers:
            with pytest.raises(DatabaseError, match="has the encoding SQL_ASCII") as refused:
                connect()
            assert refused.value.exit_code == 9
            assert "createdb --encoding=UTF8 --template=template0" in refused.value.hint


def test_an_upgrade_on_postgresql_holds_the_writers_lock(postgres_archive: str) -> None:
    """A run on another machine holds the database: the upgrade is refused, and possible once that has
    ended.
    """
    lock = take_lock(postgres_archive)
    with pytest.raises(ArchiveLocked):
        Catalog.open(postgres_archive, write=True)
    lock.release()
    Catalog.open(postgres_archive, write=True).close()
