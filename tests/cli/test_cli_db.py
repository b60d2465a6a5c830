"""What a person sees of a database that is older, newer, somebody else's or damaged, and never of its
password.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from archiver.catalog import schema
from archiver.cli import main as front
from archiver.config import load
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser
from tests.support.databases import empty_database, make_newer_migrations, make_too_old
from tests.support.standin.faulty_standin import FaultyStandIn

Shown = pytest.CaptureFixture[str]
PASSWORD = "canary-of-the-database"
READING = (
    ["status"],
    ["query", "SELECT 1"],
    ["verify"],
    ["gaps"],
    ["costs"],
    ["db", "backup", "-o", "copy.db"],
)
ALL = (*READING, ["backup", "natgeo"], ["db", "upgrade"], ["plan", "natgeo"])


@pytest.fixture
def person(
    tmp_path: Path,
    upstream: FaultyStandIn,
    archive_copies: ArchiveCopies,
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLineUser:
    """Somebody with an archive of salwaaa_ki; this process has their environment."""
    somebody = CommandLineUser(tmp_path, upstream)
    somebody.enter(monkeypatch)
    archive_copies.backed_up(somebody, "salwaaa_ki")
    return somebody


def call(person: CommandLineUser, *args: str) -> int:
    """``archiver ARGS`` in this process.

    The key is set anew each time: the program takes it out of its environment.
    """
    os.environ["HIKERAPI_TOKEN"] = person.environ["HIKERAPI_TOKEN"]
    return front.main(args)


def _sql(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    return change


def _over(start: int, content: bytes) -> Callable[[Path], None]:
    def overwrite(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(content)

    return overwrite


def _foreign(path: Path) -> None:
    path.unlink()
    _sql("CREATE TABLE users (pk TEXT)")(path)


def _spoilt(path: Path) -> None:
    """Garbage over the page where the table of the highlights begins."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'highlights'"
        ).fetchone()
    _over((root - 1) * 4096, b"\xa5" * 4096)(path)


def _prints(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the database, its bytes and when it was last written; not the index and the empty WAL
    that any reader makes.
    """
    files = [p for p in directory.glob("archive.db*") if not p.name.endswith(("-shm", "-wal")) or _filled(p)]
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def _filled(path: Path) -> bool:
    return path.name.endswith("-wal") and path.stat().st_size > 0


_DAMAGED = {
    "the head is garbage": (_over(0, b"\xa5" * 100), "is not a SQLite database"),
    "nothing in it": (lambda path: os.truncate(path, 0), "is empty (0 bytes)"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 4096), "is damaged"),
    "cut in a page": (lambda path: os.truncate(path, 5000), "is damaged"),
}
_NOT_OURS = {
    "newer": (_sql("UPDATE alembic_version SET version_num = '99999'"), "install a newer archiver"),
    "unknown": (_sql("UPDATE alembic_version SET version_num = 'abc'"), "install a newer archiver"),
    "of another program": (_sql("PRAGMA application_id = 7"), "does not belong to archiver"),
    "foreign": (_foreign, "does not belong to archiver"),
}


def _is_refused(person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, told: str) -> None:
    before = _prints(person.archive)
    for args in ALL:
        assert call(person, *args) == 9, args
        said = capsys.readouterr()
        assert told in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert _prints(person.archive) == before
    assert not (person.home / "copy.db").exists()
    assert len(upstream.requests) == 0


@pytest.mark.parametrize(
    "what",
    [
        "the head is garbage",
        "cut in a page",
        *(pytest.param(x, marks=pytest.mark.whole) for x in ("nothing in it", "cut")),
    ],
)
def test_fault_h23_a_damaged_database_is_refused_and_not_touched(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, what: str
) -> None:
    """Every command says so, code 9; no byte and no time of any file of it changes, none is made anew, and
    nothing is paid for.
    """
    damage, told = _DAMAGED[what]
    damage(person.archive / "archive.db")
    _is_refused(person, upstream, capsys, told)
    assert call(person, "status") == 9
    assert "restore a copy" in capsys.readouterr().err


def test_a_copy_beside_the_wal_of_another_time_is_named_as_such(
    person: CommandLineUser, capsys: Shown
) -> None:
    """SQLite reads pages of both, and finds damage: the message says how to put the copy back."""
    database = person.archive / "archive.db"
    wal, copy = database.with_name("archive.db-wal"), person.home / "copy.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
        with connection:
            connection.execute("UPDATE highlights SET title = title || 'x'")
        of_another_time = wal.read_bytes()
    with closing(sqlite3.connect(copy)) as connection:
        connection.executescript("PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = WAL")
    copy.replace(database)
    wal.write_bytes(of_another_time)
    assert call(person, "status") == 9
    assert "is damaged (if it is a copy that was put here beside archive.db-wal" in capsys.readouterr().err
    wal.unlink()
    database.with_name("archive.db-shm").unlink(missing_ok=True)
    assert call(person, "status") == 0


@pytest.mark.parametrize("name", ["archive.db", "archive.db-wal", "archive.db-journal"])
def test_fault_h31_a_link_in_place_of_the_database_is_refused(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, name: str
) -> None:
    """In place of the database or of a file beside it: code 9, and neither the link nor its target
    changes.
    """
    spot, elsewhere = person.archive / name, person.home / "elsewhere"
    if spot.exists():
        spot.rename(elsewhere)
    else:
        elsewhere.write_bytes(b"theirs")
    before = (elsewhere.read_bytes(), elsewhere.stat().st_mtime_ns)
    spot.symlink_to(elsewhere)
    _is_refused(person, upstream, capsys, f"{name} is a symbolic link")
    assert (elsewhere.read_bytes(), elsewhere.stat().st_mtime_ns) == before
    assert spot.readlink() == elsewhere
    assert sorted(person.home.glob("elsewhere*")) == [elsewhere]


def test_fault_h31_no_database_is_made_through_a_link(person: CommandLineUser, capsys: Shown) -> None:
    """A link to nothing in place of the database of a new archive: code 9, and its target is not made."""
    shutil.rmtree(person.archive)
    person.archive.mkdir()
    (person.archive / "archive.db").symlink_to(person.home / "elsewhere")
    assert call(person, "backup", "natgeo") == 9
    assert "archive.db is a symbolic link" in capsys.readouterr().err
    assert not (person.home / "elsewhere").exists()
    assert (person.archive / "archive.db").is_symlink()


@pytest.mark.parametrize("name", ["archive.db", "archive.db-wal"])
def test_fault_h32_a_pipe_in_place_of_the_database_is_not_waited_for(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, name: str
) -> None:
    """A FIFO in place of the database or of a file beside it: every command says so at once, code 9."""
    (person.archive / name).unlink(missing_ok=True)
    os.mkfifo(person.archive / name)
    for args in ALL:
        assert call(person, *args) == 9, args
        assert f"{name} is not a regular file" in capsys.readouterr().err
    assert (person.archive / name).is_fifo()
    assert len(upstream.requests) == 0


@pytest.mark.parametrize(
    "what",
    [
        "newer",
        "foreign",
        *(pytest.param(x, marks=pytest.mark.whole) for x in ("unknown", "of another program")),
    ],
)
def test_fault_h26_a_database_that_is_newer_or_not_ours_is_refused_and_not_touched(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, what: str
) -> None:
    """A schema of tomorrow, a revision nobody knows, the file of another program: code 9, the reason, and not
    a byte is written.
    """
    change, told = _NOT_OURS[what]
    change(person.archive / "archive.db")
    _is_refused(person, upstream, capsys, told)


def test_fault_h26_an_archive_of_an_earlier_checkout_is_refused_and_not_touched(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """By every command, with the last commit that upgrades it; also if the marker is of that time."""
    marker = person.archive / "archive.json"
    make_too_old(person.archive / "archive.db")
    _is_refused(person, upstream, capsys, "the last commit that upgrades it is 22731ab190bd")
    marker.write_text(marker.read_text().replace('"format": 2', '"format": 1'))
    before = marker.read_bytes()
    _is_refused(person, upstream, capsys, "the last commit that upgrades it is 22731ab190bd")
    assert marker.read_bytes() == before


def test_fault_h23_garbage_in_the_middle_is_told_where_it_is_met(
    person: CommandLineUser, capsys: Shown
) -> None:
    """``verify`` and ``db backup`` read everything and find it; a run ends with code 9 when it comes to it,
    and leaves it as it is.
    """
    database = person.archive / "archive.db"
    _spoilt(database)
    before = _prints(person.archive)
    for args in (["query", "SELECT * FROM highlights"], ["verify"], ["db", "backup", "-o", "copy.db"]):
        assert call(person, *args) == 9, args
        said = capsys.readouterr().err
        assert "is damaged" in said
        assert "restore a copy" in said
    assert _prints(person.archive) == before
    assert not (person.home / "copy.db").exists()
    assert call(person, "backup", "salwaaa_ki") == 9
    assert b"\xa5" * 4096 in database.read_bytes()


def test_fault_h25_an_older_database_is_copied_and_brought_up_to_date(
    person: CommandLineUser, capsys: Shown, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Readers refuse it and name the command; that copies the file first, and a run does the same by
    itself.
    """
    old, migrations = schema.head(), person.home / "migrations"
    again = shutil.copy(person.archive / "archive.db", person.home / "again.db")
    make_newer_migrations(migrations)
    monkeypatch.setattr(schema, "migrations", lambda: migrations)
    before = _prints(person.archive)
    for args in READING if whole else READING[:2]:
        assert call(person, *args) == 9
        assert "(run archiver db upgrade)" in capsys.readouterr().err
    assert _prints(person.archive) == before
    assert call(person, "db", "current") == 0
    assert capsys.readouterr().out == f"{old}\n"
    for args, told in (
        (["db", "upgrade"], f"the schema was upgraded from revision {old} to 9999"),
        (["backup", "natgeo", "-q"], ""),
    ):
        assert call(person, *args) == 0
        assert told in capsys.readouterr().err
        (copy,) = person.archive.glob(f"archive.db.{old}-*Z")
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(old,)]
            assert connection.execute("SELECT count(*) FROM users").fetchall() == [(1,)]
        assert call(person, "query", "SELECT biography FROM users") == 0
        capsys.readouterr()
        copy.unlink()
        shutil.copy(again, person.archive / "archive.db")


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{{port}}/archive", 9),
        (f"postgresql+psycopg://127.0.0.1:{{port}}/archive?user=me&password={PASSWORD}", 9),
        (f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:no-port/archive", 2),
        (f"mysql://me:{PASSWORD}@127.0.0.1/archive", 2),
    ],
)
def test_fault_l11_the_password_of_the_database_is_in_no_error(
    person: CommandLineUser, capsys: Shown, monkeypatch: pytest.MonkeyPatch, url: str, code: int
) -> None:
    """A server that is not there and a URL that is none are told without it, by every command, also with
    --debug and in --help.
    """
    monkeypatch.setenv("ARCHIVER_ARCHIVE_DATABASE", url.format(port=_closed_port()))
    for args in (*ALL, ["backup", "natgeo", "--json", "--debug"], ["db", "upgrade", "-v", "--debug"]):
        assert call(person, *args) == code, args
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
    assert call(person, "run", "--help") == 0
    assert PASSWORD not in capsys.readouterr().out
    if code == 9:
        assert PASSWORD not in repr(load(None, os.environ, {}))


def test_fault_l11_the_password_of_the_database_is_in_no_file(
    person: CommandLineUser,
    postgres_archive: str,
    capsys: Shown,
    monkeypatch: pytest.MonkeyPatch,
    whole: bool,
) -> None:
    """A whole night with such a URL, at every verbosity: neither its words nor any file of the archive, nor
    the database, has it.
    """
    empty_database(postgres_archive)
    url = make_url(postgres_archive).set(password=PASSWORD).render_as_string(hide_password=False)
    monkeypatch.setenv("ARCHIVER_ARCHIVE_DATABASE", url)
    for args in (["backup", "salwaaa_ki", "-v", "--debug"], *((["status"], ["verify"]) if whole else ())):
        assert call(person, *args, "--archive", "second") == 0
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
    holding = [p for p in person.home.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()]
    assert holding == []


def test_a_rebuild_that_may_lack_rows_says_so_also_under_cron(person: CommandLineUser) -> None:
    """Code 3 and a line in spite of ``-q``: a torn end, skipped damage, answers that no entry names. A whole
    journal is quiet.
    """
    journal, kept = person.archive / "journal", person.home / "kept journal"
    shutil.copytree(journal, kept)
    last = max(journal.glob("*/*/*"))
    whole = last.read_bytes()
    for content, options, code, message in (
        (whole, (), 0, ""),
        (whole[:-5], (), 3, "what was there is missing"),
        (whole + gzip.compress(b"{"), ("--skip-damage",), 3, "the journal ends early"),
        (None, (), 3, "stored answers that are not in the journal were recorded"),
    ):
        shutil.rmtree(journal)
        shutil.copytree(kept, journal)
        last.unlink()
        if content is not None:
            last.write_bytes(content)
        (person.archive / "archive.db").unlink()
        rebuilt = person.in_process.run("db", "rebuild", "-q", *options)
        assert rebuilt.code == code, rebuilt.err
        assert message in rebuilt.err
        assert bool(message) == bool(rebuilt.err)
