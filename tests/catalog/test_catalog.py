"""An open database: who may write, what is left when it closes, and what an error shows."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Connection, text

from archiver.catalog import Catalog, locate, record, sqlite
from archiver.catalog.query import totals
from archiver.errors import ArchiveLocked, ConfigError, DatabaseError
from tests.support.catalog_samples import LATER, NATGEO, rows, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.states import stored_account


def test_times_come_back_as_they_went_in_utc(catalog: Catalog, run_id: int) -> None:
    """An aware time of any zone is the same moment later, in UTC, to the microsecond."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, timezone(timedelta(hours=5, minutes=30)))
    catalog.write(record.record_user, run_id, NATGEO, moment)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(), moment)
    held = stored_account(catalog, NATGEO.pk)
    assert held.listed_at == moment
    assert held.listed_at is not None
    assert held.listed_at.tzinfo is UTC


@SQLITE_EVERYDAY
def test_times_are_text_of_one_form_on_sqlite(catalog: Catalog, run_id: int, database: str | Path) -> None:
    """Text whose order is the order in time, with microseconds even where they are none; timestamptz on
    PostgreSQL.
    """
    catalog.write(record.record_user, run_id, NATGEO, datetime(2026, 1, 2, tzinfo=UTC))
    ((value,),) = rows(catalog, "SELECT first_seen_at FROM users")
    if isinstance(database, Path):
        assert value == "2026-01-02T00:00:00.000000Z"
    else:
        assert value == datetime(2026, 1, 2, tzinfo=UTC)


@SQLITE_EVERYDAY
def test_a_naive_time_is_refused(catalog: Catalog, run_id: int) -> None:
    """Nobody could say when that was: a bug of the caller's, not a fault of the database."""
    with pytest.raises(ValueError, match="time zone"):
        catalog.write(record.record_user, run_id, NATGEO, datetime(2026, 1, 2))  # noqa: DTZ001
    assert rows(catalog, "SELECT pk FROM users") == []


def test_a_reader_sees_what_is_committed_and_writes_nothing(catalog: Catalog, database: str | Path) -> None:
    """A second program reads beside a writer; its connection refuses to write."""
    with Catalog.open(database, write=False) as reader:
        run_id = catalog.write(record.start_run, "run", NOW)
        assert reader.read(totals.status).last_runs[0].id == run_id
        with pytest.raises(DatabaseError, match="reading only"):
            reader.write(record.start_run, "run", NOW)
        with pytest.raises(DatabaseError):
            reader.read(record.start_run, "run", NOW)
    assert len(catalog.read(totals.status).last_runs) == 1


@pytest.mark.whole
@SQLITE_EVERYDAY
def test_reads_of_many_threads_go_on_at_once(catalog: Catalog, run_id: int) -> None:
    """More threads than the pool keeps connections for read while the desk writes."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), NOW)
    together = threading.Barrier(12)
    found: list[int] = []

    def read() -> None:
        together.wait()
        found.extend(len(stored_account(catalog, NATGEO.pk).highlights) for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), LATER)
    for thread in threads:
        thread.join()
    assert found == [2] * 240


def test_nothing_but_the_file_is_left_after_closing(tmp_path: Path, sqlite_template: Path) -> None:
    """A writer that closes moves the WAL into the file, even if readers were at it too."""
    path = tmp_path / "archive.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Catalog.open(path, write=True) as catalog:
        catalog.write(record.start_run, "run", NOW)
        catalog.read(totals.status)
    catalog.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "archive.db"]
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_fault_h9_a_writer_never_reads_the_file_alone(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reader cannot open the database, opening fails: the file is never read without its WAL."""
    path, opened = Path(shutil.copy(sqlite_template, tmp_path)), sqlite._open_read_only

    def fail_once(path: Path, *, cache: int) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite, "_open_read_only", opened)
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(sqlite, "_open_read_only", fail_once)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        Catalog.open(path, write=True)


def test_a_read_only_disk_is_read_without_files_beside_the_database(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """The file alone only where no WAL is there and none can be made; beside a run an analyst reads what the
    run commits.
    """
    with TemporaryDirectory() as name:  # not in tmp_path: another user cannot enter that
        path = Path(shutil.copy(sqlite_template, name))
        path.chmod(0o644)
        Path(name).chmod(0o755)
        with _stranger(path) as look:
            before = look()
            with Catalog.open(path, write=True) as catalog:
                catalog.write(record.start_run, "run", NOW)
                beside = look()
            assert (before, beside, look()) == ("0 alone", "1 beside", "1 alone")
            assert list(path.parent.iterdir()) == [path]
            Catalog.open(path, write=True).close()
            path.with_name("archive.db-wal").write_bytes(b"")
            assert look() == "unable to open database file"


_STRANGER = """
import os, sqlite3, sys
from pathlib import Path
from archiver.catalog import locate, sqlite
path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for _ in sys.stdin:
    try:
        connection = sqlite.Database(path).open_for_reading()
    except sqlite3.Error as error:
        print(error, flush=True)
    else:
        (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        how = "beside" if path.with_name("archive.db-shm").exists() else "alone"
        connection.close()
        print(runs, how, flush=True)
"""


@contextmanager
def _stranger(path: Path) -> Iterator[Callable[[], str]]:
    """What one sees who may read the file and not write its directory, each time that he looks: the count of
    runs, or the error.
    """
    command = [sys.executable, "-c", _STRANGER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def look() -> str:
            path.parent.chmod(0o555)
            asked.write("look\n")
            asked.flush()
            try:
                return told.readline().strip()
            finally:
                path.parent.chmod(0o755)

        yield look


def test_a_reader_who_can_write_the_directory_sees_what_a_later_run_commits(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Where the directory can be written the reader takes part in the locking, whatever is beside the
    file.
    """
    path = Path(shutil.copy(sqlite_template, tmp_path / "archive.db"))
    with (
        closing(sqlite.Database(path).open_for_reading()) as reader,
        Catalog.open(path, write=True) as catalog,
    ):
        catalog.write(record.start_run, "run", NOW)
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_every_connection_has_the_settings(tmp_path: Path, sqlite_template: Path) -> None:
    """WAL, a sync at every commit, foreign keys, no trust in the file: for writers and for readers."""
    path = tmp_path / "archive.db"
    path.write_bytes(sqlite_template.read_bytes())
    place = locate(path)
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }
    wanted |= {"mmap_size": 0, "busy_timeout": 10_000}
    for made in (place.create_writer(), place.create_reader()):
        with made.connect() as connection:
            assert {name: connection.scalar(text(f"PRAGMA {name}")) for name in wanted} == wanted
        made.dispose()


_KILLED = """
import os, sys
from datetime import datetime, UTC
from archiver.catalog import Catalog, record
catalog = Catalog.open(sys.argv[1], write=True)
for _ in range(3):
    print(catalog.write(record.start_run, "run", datetime.now(UTC)), flush=True)
os._exit(9)
"""


@pytest.mark.whole
@SQLITE_EVERYDAY
def test_what_was_committed_outlives_the_process(database: str | Path) -> None:
    """A process that ends without a word leaves every fact that it was told of, and no lock."""
    child = subprocess.run(
        [sys.executable, "-c", _KILLED, str(database)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 9, child.stderr
    with Catalog.open(database, write=True) as catalog:
        assert rows(catalog, "SELECT id FROM runs ORDER BY id") == [
            (int(line),) for line in child.stdout.split()
        ]
        assert catalog.read(totals.damage) == ()


def test_one_writer_at_a_time_on_postgresql(postgres_archive: str) -> None:
    """The second is told who is there; readers do not mind; the lock is free once the first has closed."""
    with Catalog.open(postgres_archive, write=True):
        with pytest.raises(ArchiveLocked):
            Catalog.open(postgres_archive, write=True)
        Catalog.open(postgres_archive, write=False).close()
    Catalog.open(postgres_archive, write=True).close()


def test_a_database_that_cannot_be_had_for_writing_is_told(tmp_path: Path, sqlite_template: Path) -> None:
    """Another program that holds the file's lock: the message says so, and what to do."""
    path = tmp_path / "archive.db"
    path.write_bytes(sqlite_template.read_bytes())
    with (
        Catalog.open(path, write=True) as catalog,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):

        def impatient() -> None:
            catalog.write(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout = 1"))

        impatient()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="locked by another program"):
            catalog.write(record.start_run, "run", NOW)
        other.execute("ROLLBACK")
        assert catalog.write(record.start_run, "run", NOW) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://archiver:hunter2@127.0.0.1:1/none",
        "postgresql://127.0.0.1:1/none?user=archiver&password=hunter2",
    ],
)
@pytest.mark.parametrize("write", [False, True])
def test_no_password_is_shown(url: str, write: bool) -> None:
    """A server out of reach is named without what lets one in, in the message and in what caused it."""
    with pytest.raises(DatabaseError) as raised:
        Catalog.open(url, write=write)
    error: BaseException | None = raised.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r}"
        error = error.__cause__
    assert "hunter2" not in repr(locate(url))


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@host/db", "sqlite:///x.db", "postgresql+asyncpg://h/d", "://hunter2"]
)
def test_other_databases_are_refused(url: str) -> None:
    """A configuration that names one is told, without the password in it."""
    with pytest.raises(ConfigError) as raised:
        Catalog.open(url, write=True)
    assert "hunter2" not in str(raised.value)


def test_a_stream_may_take_its_time(catalog: Catalog) -> None:
    """Minutes may pass between two rows that a verify reads: the server does not end the connection for
    idling.
    """

    def idle(connection: Connection) -> Iterator[str]:
        if connection.dialect.name == "postgresql":
            yield str(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    assert list(catalog.stream(idle)) in ([], ["0"])
