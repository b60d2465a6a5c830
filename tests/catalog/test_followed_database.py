"""An open database whose file, or whose tables, are replaced: every read is of what is there now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import page_contents
from archiver.catalog.schema import SchemaStatus
from archiver.errors import DatabaseError, DatabaseForeign, StorageError
from tests.support.databases import ARCHIVE_ID, NOW


def make(place: str | Path, runs: int, archive_id: str = ARCHIVE_ID) -> None:
    """Make a database with some runs."""
    with Catalog.create(place, archive_id, NOW) as catalog:
        for _ in range(runs):
            catalog.write(record.start_run, "run", NOW)


def make_again(place: str | Path, runs: int, archive_id: str = ARCHIVE_ID) -> None:
    """Put another database in the place of the one that is there, without ending its connections."""
    if isinstance(place, Path):
        new = place.with_name("new.db")
        make(new, runs, archive_id)
        new.replace(place)
        return
    with psycopg.connect(place.replace("+psycopg", "")) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    make(place, runs, archive_id)


def count_runs(catalog: Catalog) -> int:
    return len(catalog.read(lambda connection: connection.exec_driver_sql("SELECT id FROM runs").all()))


def test_fault_e1_a_reader_follows_its_database(own_database: str | Path) -> None:
    """On SQLite and on PostgreSQL; the number tells what was computed from the database to go with it."""
    with Catalog.open(own_database, write=False) as reader:
        before = reader.follow()
        assert (count_runs(reader), reader.follow()) == (0, before)
        make_again(own_database, 2)
        assert (reader.follow(), count_runs(reader)) == (before + 1, 2)
        with reader.snapshot() as snapshot:
            assert snapshot.read(page_contents.state) == reader.read(page_contents.state)
        assert reader.run_query("SELECT count(*) FROM runs", rows=1, seconds=9).rows == ((2,),)
        assert reader.follow() == before + 1


def test_fault_e1_a_reader_refuses_the_database_of_another_archive(own_database: str | Path) -> None:
    """It would show rows of one archive with the files of another; also a query of the user is refused."""
    with Catalog.open(own_database, write=False) as reader:
        make_again(own_database, 0, "other")
        reader.follow()
        with pytest.raises(DatabaseForeign, match="belongs to another archive"):
            count_runs(reader)
        with pytest.raises(DatabaseForeign, match="belongs to another archive"):
            reader.run_query("SELECT 1", rows=1, seconds=9)
        make_again(own_database, 1)
        reader.follow()
        assert count_runs(reader) == 1


def test_fault_e1_every_reader_sees_that_the_archive_was_moved(own_database: str | Path) -> None:
    """Connections that were open before too: a server would answer by chance."""

    def require(status: SchemaStatus) -> None:
        if status.storage is not None:
            raise StorageError("it was moved", "look there")

    with Catalog.open(own_database, write=False, require=require) as reader:
        with reader.snapshot() as one, reader.snapshot() as other:  # two connections
            assert one.read(page_contents.state) == other.read(page_contents.state)
        with Catalog.open(own_database, write=True) as writer:
            writer.write(record.record_storage, "s3://bucket/there")
        reader.follow()
        for _ in range(3):
            with pytest.raises(StorageError, match="it was moved"):
                count_runs(reader)


def test_fault_e1_a_database_that_is_gone_empty_or_a_pipe_is_said_to_be(tmp_path: Path) -> None:
    """And is read again once it is there, if the one who reads began before."""
    path = tmp_path / "archive.db"
    make(path, 1)
    with Catalog.open(path, write=False) as reader:
        aside = path.rename(tmp_path / "aside.db")
        with pytest.raises(DatabaseError, match="there is no database at"):
            count_runs(reader)
        path.touch()
        with pytest.raises(DatabaseError, match=r"is empty \(0 bytes\)"):
            count_runs(reader)
        path.unlink()
        os.mkfifo(path)
        writer = os.open(path, os.O_RDWR)  # else a reader that opens it would wait without end
        with pytest.raises(DatabaseError, match="is not a regular file"):
            count_runs(reader)
        os.close(writer)
        aside.replace(path)
        assert count_runs(reader) == 1


def test_fault_e1_a_pipe_in_place_of_the_database_is_not_opened(tmp_path: Path) -> None:
    """A thread that opens it would hang. Once the file is back, it is read."""
    path, kept = tmp_path / "archive.db", tmp_path / "kept.db"
    make(path, 1)
    with Catalog.open(path, write=False) as reader:
        path.rename(kept)
        os.mkfifo(path)
        with pytest.raises(DatabaseError, match="not a regular file"):
            count_runs(reader)
        path.unlink()
        kept.rename(path)
        assert count_runs(reader) == 1


def test_fault_e1_what_began_before_ends_as_it_began(tmp_path: Path) -> None:
    """A stream shows one point in time; its connection is closed with it, and nothing else keeps it open."""
    path = tmp_path / "archive.db"
    make(path, 3)
    with Catalog.open(path, write=False) as reader:
        stream = reader.stream(lambda connection: iter(connection.exec_driver_sql("SELECT id FROM runs")))
        next(stream)
        make_again(path, 1)
        assert count_runs(reader) == 1
        assert len(list(stream)) == 2
        assert not is_open("(deleted)", tmp_path)


def is_open(name: str, below: Path) -> bool:
    """Return whether this process has such a file open, where the system tells."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").glob("*") if link.is_symlink()]
    return any(name in file and file.startswith(str(below)) for file in opened)


_STRANGER = """
import os, sys
from pathlib import Path
from archiver.catalog import Catalog, sqlite  # now: another user may not read the module
from archiver.errors import DatabaseError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
def runs(connection):
    found = connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one()
    if words[1:]:
        print("reading", flush=True)
        sys.stdin.readline()
    return found
with Catalog.open(Path(sys.argv[1]), write=False) as catalog:
    for line in sys.stdin:
        words = line.split()
        try:
            print(catalog.read(runs), flush=True)
        except DatabaseError as error:
            print(error, flush=True)
"""


def test_fault_k4_a_reader_that_cannot_write_sees_what_others_write(sqlite_template: Path) -> None:
    """Where SQLite cannot make the files that it needs beside the database, and opens it alone: before a run,
    during it, after it, and after a change while it was reading, which it reports.
    """
    with TemporaryDirectory() as name:  # not in tmp_path: another user cannot enter that
        path = Path(shutil.copy(sqlite_template, name))
        path.chmod(0o644)
        Path(name).chmod(0o755)
        command = [sys.executable, "-c", _STRANGER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            told = process.stdout

            def ask(words: str) -> str:
                assert process.stdin is not None
                process.stdin.write(f"{words}\n")
                process.stdin.flush()
                return told.readline().strip()

            assert (ask("look"), ask("look slowly")) == ("0", "reading")
            with Catalog.open(path, write=True) as catalog:
                catalog.write(record.start_run, "run", NOW)
            assert ask("go on") == f"the database {path} was written to while it was read"
            seen = [ask("look")]
            with Catalog.open(path, write=True) as catalog:
                catalog.write(record.start_run, "run", NOW)
                seen.append(ask("look"))
                catalog.write(record.start_run, "run", NOW)
                seen.append(ask("look"))
            assert [*seen, ask("look")] == ["1", "2", "3", "3"]
