"""A disk that refuses SQLite, by the system calls of the real command: nothing half-written, and the next run
goes on.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.creation import create_archive
from archiver.config import load
from tests.support.command_line import CommandLineUser, CommandResult
from tests.support.standin.faulty_standin import FaultyStandIn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")

EACH_HELD_ONCE = "SELECT count(*), count(DISTINCT item_pk || role) FROM files WHERE item_pk NOTNULL"
WHOLE = "SELECT count(*), sum(completed_at NOTNULL) FROM highlights"


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> CommandLineUser:
    """Somebody with an empty archive."""
    somebody = CommandLineUser(tmp_path, upstream)
    create_archive(load(None, somebody.environ, {}))
    return somebody


def _refused(person: CommandLineUser, call: str, error: str) -> CommandResult:
    """``backup natgeo`` while the kernel answers ``error`` to these calls; ``call`` is ``NAME:when=N`` of
    strace.
    """
    assert shutil.which("strace"), "strace is needed: scripts/setup names the package"
    name, _, when = call.partition(":")
    inject = f"-e trace={name} -e inject={name}:error={error}:{when}"
    shell = f'exec strace -f -qq --seccomp-bpf -o /dev/null {inject} "$@"'
    return person.run("backup", "natgeo", "--json", shell=shell)


def _slug(ended: CommandResult) -> object:
    error = ended.object["error"]
    assert isinstance(error, dict)
    return error["slug"]


def _asked(person: CommandLineUser, question: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{(person.archive / 'archive.db').as_uri()}?mode=ro", uri=True)) as reader:
        return reader.execute(question).fetchall()


def _is_sound(person: CommandLineUser) -> None:
    """The database is whole, and every row of it has its bytes."""
    assert _asked(person, "PRAGMA integrity_check") == [("ok",)]
    assert _asked(person, "PRAGMA foreign_key_check") == []
    held = {str(sha256) for (sha256,) in _asked(person, "SELECT sha256 FROM files")}
    assert held <= {path.name for path in (person.archive / "blobs").glob("*/*")}


def _goes_on(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """The next run ends what was begun: code 0, every file once, no unit under-reported."""
    done = person.in_process.run("backup", "natgeo", "--json")
    assert (done.code, done.object["failures"]) == (0, [])
    _is_sound(person)
    assert _asked(person, WHOLE) == [(3, 3)]
    ((files, different),) = _asked(person, EACH_HELD_ONCE)
    assert files == different
    ((spent,),) = _asked(person, "SELECT sum(units) FROM api_calls")
    assert isinstance(spent, int)
    assert upstream.units <= spent


def test_fault_h8_no_space_inside_sqlite_is_a_full_disk(
    person: CommandLineUser, upstream: FaultyStandIn, whole: bool
) -> None:
    """For the index of the WAL (--whole), or for its pages in mid-run: code 8; what was committed stands,
    what was not is rolled back.

    The files of a commit that failed stay as blobs without a row, and equal bytes adopt them.
    """
    for when in (9, 70) if whole else (70,):
        ended = _refused(person, f"pwrite64:when={when}+", "ENOSPC")
        assert (ended.code, ended.object["outcome"], _slug(ended)) == (8, "storage", "E_DISK_FULL")
        _is_sound(person)
    assert _asked(person, "SELECT count(*) > 0 FROM api_calls") == [(1,)]
    _goes_on(person, upstream)


def test_fault_h11_a_disk_error_in_a_commit_leaves_rows_with_their_bytes(
    person: CommandLineUser, upstream: FaultyStandIn, whole: bool
) -> None:
    """Code 9, in the first commit (--whole) or a later one; whether its rows are stored or not, the next run
    comes to the same archive.
    """
    for when in (3, 12) if whole else (12,):
        ended = _refused(person, f"fdatasync:when={when}", "EIO")
        assert (ended.code, ended.object["outcome"], _slug(ended)) == (9, "database", "E_DATABASE")
        assert "the disk reports an error (check the disk)" in ended.err
        _is_sound(person)
    _goes_on(person, upstream)
