"""Dry runs where nothing can be written: they need no lock file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser
from tests.support.disk_limits import can_unshare

_MOUNTED = (
    'unshare -rm sh -c \'mount -o bind,ro "$ARCHIVER_ARCHIVE" "$ARCHIVER_ARCHIVE" && exec "$@"\' sh "$@"'
)


@pytest.fixture
def person(tmp_path: Path, archive_copies: ArchiveCopies) -> CommandLineUser:
    """Somebody with an archive."""
    if not can_unshare():
        pytest.skip("this system does not let a test mount a disk of its own")
    somebody = CommandLineUser(tmp_path)
    archive_copies.backed_up(somebody, "natgeo")
    return somebody


def test_fault_j41_dry_runs_work_on_a_disk_that_is_read_only(person: CommandLineUser) -> None:
    """``db rebuild`` says what it would do."""
    (person.archive / "archive.db").unlink()
    ended = person.run("db", "rebuild", "-n", shell=_MOUNTED)
    assert (ended.code, "would be rebuilt" in ended.out + ended.err) == (0, True), ended


@pytest.mark.whole
def test_fault_j41_others_do_too_and_an_older_copy_is_found(person: CommandLineUser) -> None:
    """``reread`` and ``db snapshot``; ``verify`` compares database and journal, and ends with 12."""
    for words in (("reread", "-n"), ("db", "snapshot", "-n")):
        assert person.run(*words, shell=_MOUNTED).code == 0
    database = person.archive / "archive.db"
    shutil.copy(database, person.home / "older.db")
    assert person.run("verify", "--read-data", "-q").code == 0  # records when it was
    shutil.copy(person.home / "older.db", database)
    ended = person.run("verify", "-n", "-q", shell=_MOUNTED)
    assert (ended.code, "is an older copy" in ended.err + ended.out) == (12, True), ended
