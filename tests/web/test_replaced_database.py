"""A database that is replaced while the server shows it: what is there now is shown, and nothing else."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.cluster import wait_until
from tests.support.command_line import InProcessUser
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.web_server import SECONDS, ServedArchive, first_line, served
from tests.web.conftest import fill

UNSHARED = ["unshare", "--user", "--map-root-user", "--mount"]
READ_ONLY_VIEW = """
set -e
mount --bind "$1" "$2"
mount -o remount,ro,bind "$2"
exec "$3" -m archiver serve --port 0 --archive "$2"
"""
PATHS = ("", "timeline", "search?q=natgeo", "changes", "feed.atom", "gaps", "costs")
DAMAGED = "archiver: serve: the database {} is damaged ("
MISSING = "archiver: serve: there is no database at {} (mount the disk that holds it; "
FROM_BEFORE = (
    "archiver: serve: the database is a copy from before an account was forgotten, and still holds it ("
)


def names_on_pages(server: ServedArchive) -> list[str]:
    """Return the paths of pages that name the account, or link to it; a search repeats its words."""
    pages = {path: server.ask(f"/{path}").text for path in PATHS}
    return [path for path, text in pages.items() if "@natgeo" in text or "natgeo-" in text]


def test_fault_e1_a_forgotten_account_is_gone_with_the_database_that_had_it(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """The database is removed and made again, and then an account is forgotten. While there is none, the
    answer is 503, also of /healthz. The file that was removed is not kept open, even if nobody asks.
    """
    person = InProcessUser(tmp_path)
    archive_copies.backed_up(person, "natgeo", "salwaaa_ki")
    database = person.archive / "archive.db"
    with served(person.environ, prints=MISSING.format(database)) as server:
        assert {"", "timeline", "search?q=natgeo"} <= set(names_on_pages(server))
        page = server.ask("/timeline").text
        media = page[page.index("media/") :].partition('"')[0]
        assert server.ask(f"/{media}").status == 200
        for file in person.archive.glob("archive.db*"):
            file.unlink()
        assert server.ask("/healthz").status == 503
        assert person.run("db", "rebuild").code == 0
        assert server.ask("/healthz").text == "ok\n"
        assert person.run("forget", "natgeo", "--yes").code == 0
        assert names_on_pages(server) == []
        assert "salwaaa_ki" in server.ask("/").text
        wait_until(lambda: server.ask(f"/{media}").status == 404)
        database.rename(tmp_path / "aside.db")
        shutil.copy(tmp_path / "aside.db", database)
        wait_until(lambda: not any("aside.db" in name for name in open_files(server.pid)))


def open_files(pid: int) -> list[str]:
    """Return the names of the files that a process has open, where the system tells."""
    found = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("put", [os.replace, shutil.copyfile])
def test_fault_k5_an_older_copy_that_is_put_back_is_shown(
    tmp_path: Path, archive_copies: ArchiveCopies, put: Callable[[Path, Path], object]
) -> None:
    """Renamed into place, or copied over the file as docs/copies.md has it."""
    archive = ExportHarness.copied(tmp_path, archive_copies, "served", fill)
    database, older = archive.root / "archive.db", tmp_path / "older.db"
    shutil.copy(database, older)
    with served(archive.environ) as server:
        archive.rename("later", NOW + timedelta(days=3))
        assert "@later" in server.ask("/").text
        for suffix in ("-wal", "-shm"):
            database.with_name(f"archive.db{suffix}").unlink()
        put(older, database)
        assert "@later" not in server.ask("/").text + server.ask("/timeline").text
        archive.rename("again", NOW + timedelta(days=4))
        assert "@again" in server.ask("/").text


def test_fault_k5_a_copy_from_before_a_removal_is_refused(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """As by every other command that reads: it still holds who was forgotten. With the marker of that time it
    is known by the journal (K12).
    """
    person = InProcessUser(tmp_path)
    archive_copies.backed_up(person, "natgeo", "salwaaa_ki")
    database, older = person.archive / "archive.db", tmp_path / "older.db"
    shutil.copy(database, older)
    marker = shutil.copy(person.archive / "archive.json", tmp_path)
    with served(person.environ, prints=FROM_BEFORE) as server:
        assert person.run("forget", "natgeo", "--yes").code == 0
        assert names_on_pages(server) == []
        older.replace(database)
        assert {server.ask(f"/{path}").status for path in (*PATHS, "healthz")} == {503}
        assert names_on_pages(server) == []
        shutil.move(marker, person.archive / "archive.json")
        wait_until(lambda: {server.ask(f"/{path}").status for path in (*PATHS, "healthz")} == {503})


def test_a_database_that_was_damaged_and_replaced_is_opened_again(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """Without a restart of the server, and at once."""
    archive = ExportHarness.copied(tmp_path, archive_copies, "served", fill)
    database = archive.root / "archive.db"
    good = Path(shutil.copy(database, tmp_path / "good.db"))
    with served(archive.environ, prints=DAMAGED.format(database)) as server:
        assert server.ask("/timeline").status == 200
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (database.stat().st_size - 4096))
        assert server.ask("/timeline").status == 503
        good.replace(database)
        assert (server.ask("/timeline").status, server.ask("/healthz").status) == (200, 200)


@pytest.mark.whole
def test_fault_k4_a_read_only_view_shows_what_others_write(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """A volume that is mounted read-only, as in a container, of an archive that another process writes."""
    if shutil.which("unshare") is None or subprocess.run([*UNSHARED, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a disk of its own")
    person = InProcessUser(tmp_path)
    archive_copies.backed_up(person, "natgeo", "salwaaa_ki")
    for suffix in ("-wal", "-shm"):
        person.archive.joinpath(f"archive.db{suffix}").unlink(missing_ok=True)
    view = tmp_path / "view"
    view.mkdir()
    printed = tmp_path / "printed"
    command = [*UNSHARED, "sh", "-c", READ_ONLY_VIEW, "sh", str(person.archive), str(view), sys.executable]
    with (
        printed.open("w") as out,
        subprocess.Popen(
            command, env=person.environ, stdout=out, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            server = ServedArchive(process.pid, first_line(printed), str(person.archive))
            assert names_on_pages(server) != []
            assert person.run("forget", "natgeo", "--yes").code == 0
            assert names_on_pages(server) == []
            with closing(sqlite3.connect(person.archive / "archive.db")) as connection, connection:
                connection.execute("UPDATE users SET full_name = 'Somebody Else'")
            assert "Somebody Else" in server.ask("/").text
        finally:
            process.terminate()
            _, err = process.communicate(timeout=SECONDS)
    assert err == "archiver: serve: stopped by SIGTERM\n"
