"""An export directory from a stranger: its own list does not lead outside of it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.errors import StorageError
from archiver.export.link_methods import LinkMethod
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser
from tests.support.export_archive import ExportHarness, tree

_PRECIOUS = b"precious"
_DIGEST = hashlib.sha256(_PRECIOUS).hexdigest()


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """A filled archive on SQLite, exported, and a file of somebody else beside the export."""
    harness = ExportHarness.filled(tmp_path, archive_copies)
    harness.export(way=LinkMethod.COPY)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "precious.txt").write_bytes(_PRECIOUS)
    return harness


def _theirs(harness: ExportHarness) -> Path:
    return harness.home / "theirs" / "precious.txt"


def _list(harness: ExportHarness) -> Path:
    return harness.out / ".archiver-export" / "files.db"


def _add(harness: ExportHarness, path: str, *, digest: str = _DIGEST, old: str | None = None) -> None:
    """Add a row that proves the file of somebody else to be the export's."""
    status = _theirs(harness).stat()
    values = ("x", path, "x", "", digest, status.st_size, None, "copy", status.st_mtime_ns, None, old, None)
    with closing(sqlite3.connect(_list(harness))) as rows, rows:
        rows.execute(f"INSERT INTO files VALUES ({', '.join('?' * len(values))})", values)


@pytest.mark.parametrize(
    ("path", "old_path"),
    [
        ("../theirs/precious.txt", None),
        ("natgeo/x.jpg", "../theirs/precious.txt"),
        ("natgeo/../../theirs/precious.txt", None),
        ("/{home}/theirs/precious.txt", None),
        (".Archiver-Export/files.db", None),
        ("natgeo//precious.txt", None),
        ("./precious.txt", None),
        ("natgeo/", None),
        ("a\0b", None),
        ("", None),
        ("/".join("a" * 40), None),
    ],
)
def test_fault_k3_a_list_names_only_files_of_its_export(
    harness: ExportHarness, path: str, old_path: str | None
) -> None:
    """Another name is refused with a sentence, also by a dry run and without ``--prune``: nothing is
    removed.
    """
    _add(harness, path.format(home=harness.home), old=old_path)
    before = tree(harness.out)
    for prune, dry_run in product((True, False), repeat=2):
        with pytest.raises(StorageError, match=r"is damaged: it names .* cannot be a file of this export"):
            harness.export(prune=prune, dry_run=dry_run)
    assert _theirs(harness).read_bytes() == _PRECIOUS
    assert tree(harness.out) == before


def test_fault_k3_a_link_in_the_way_is_not_followed(harness: ExportHarness) -> None:
    """A row inside the export, below a link that leads out: the file there stays, and so does the link."""
    (harness.out / "away").symlink_to(harness.home / "theirs")
    _add(harness, "away/precious.txt")
    harness.export(prune=True)
    assert _theirs(harness).read_bytes() == _PRECIOUS
    assert (harness.out / "away").is_symlink()


def test_fault_k3_a_row_does_not_lead_to_another_blob(harness: ExportHarness) -> None:
    """A digest that is a path is damage too."""
    _add(harness, "natgeo/x.jpg", digest="../../theirs/precious.txt")
    with pytest.raises(StorageError, match="is damaged"):
        harness.export(prune=True)


@pytest.mark.parametrize(
    "change",
    [
        "path = 'a/../../b'",
        pytest.param("how = x'ff'", marks=pytest.mark.whole),
        pytest.param("path = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
        pytest.param("before = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
        pytest.param("old = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
    ],
)
def test_fault_e38_a_damaged_list_is_one_sentence(harness: ExportHarness, change: str) -> None:
    """Nothing follows it on stderr, such as a traceback of what Python cleans up at the end."""
    with closing(sqlite3.connect(_list(harness))) as rows, rows:
        rows.execute(f"UPDATE files SET {change}")
    user = CommandLineUser(harness.home, None, harness.environ)
    for more in ((), ("--dry-run",), ("--check",)):
        done = user.run("export", "folder", "out", *more)
        assert done.code == 8
        assert len(done.err.splitlines()) == 1
        assert "is damaged: it names '" in done.err


def test_fault_k60_a_journal_of_the_list_removes_no_file_elsewhere(harness: ExportHarness) -> None:
    """SQLite would remove the super-journal that a journal names: such a journal is refused."""
    journal = _list(harness).with_name("files.db-journal")
    journal.write_bytes(_journal_naming(_list(harness).read_bytes(), os.fsencode(_theirs(harness))))
    for dry_run in (True, False):
        with pytest.raises(StorageError, match="names a file elsewhere"):
            harness.export(dry_run=dry_run)
    assert _theirs(harness).read_bytes() == _PRECIOUS


@pytest.mark.parametrize("name", ["files.db", "files.db-journal", "files.db-wal"])
def test_fault_k61_a_list_that_is_a_link_is_not_followed(harness: ExportHarness, name: str) -> None:
    """Nothing is written through it."""
    _theirs(harness).write_bytes(b"")
    _list(harness).with_name(name).unlink(missing_ok=True)
    _list(harness).with_name(name).symlink_to(_theirs(harness))
    for dry_run in (True, False):
        with pytest.raises(StorageError, match="is not a regular file"):
            harness.export(dry_run=dry_run)
    assert _theirs(harness).read_bytes() == b""


@pytest.mark.parametrize("is_link", [True, False])
def test_a_staging_directory_that_is_none_is_refused_alike(harness: ExportHarness, is_link: bool) -> None:
    """By the export, its dry run and ``--check``, with one sentence; nothing is written through a link."""
    staging = harness.out / ".archiver-export" / "tmp"
    staging.rmdir()
    if is_link:
        staging.symlink_to(harness.home / "theirs")
    else:
        staging.touch()
    person, said = CommandLineUser(harness.home, None, harness.environ).in_process, set()
    for more in ((), ("--dry-run",), ("--check",)):
        done = person.run("export", "folder", "out", *more)
        assert done.code == 8
        said.add(done.err)
    (sentence,) = said
    assert "out/.archiver-export/tmp is not a directory (remove it, and run again)" in sentence
    assert [path.name for path in (harness.home / "theirs").iterdir()] == ["precious.txt"]


def test_a_directory_among_the_staged_files_stays(harness: ExportHarness) -> None:
    """No export makes one there, and none needs its name. What a killed export left is removed."""
    staging = harness.out / ".archiver-export" / "tmp"
    (staging / "mine").mkdir()
    (staging / "0.part").touch()
    for dry_run in (True, False):
        assert harness.export(dry_run=dry_run).failed == 0
    assert [path.name for path in staging.iterdir()] == ["mine"]


def _journal_naming(database: bytes, name: bytes) -> bytes:
    """Return a journal that a crash could have left, of a transaction with the super-journal ``name``.

    See "Database File Format", section 3.
    """
    magic, nonce = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 7
    (size,) = struct.unpack(">H", database[16:18])
    page = database[:size]
    check = nonce + sum(page[at] for at in range(size - 200, 0, -200))
    header = magic + struct.pack(">5I", 1, nonce, len(database) // size, 512, size)
    record = struct.pack(">I", 1) + page + struct.pack(">I", check)
    end = struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    return header.ljust(512, b"\0") + record + end


@pytest.mark.parametrize("dry_run", [False, True])
def test_fault_k3_a_list_with_a_view_or_a_trigger_is_refused(harness: ExportHarness, dry_run: bool) -> None:
    """A view in the place of the table may have rows without end, and SQLite does not stop for a signal."""
    with closing(sqlite3.connect(_list(harness))) as rows:
        rows.execute("CREATE TRIGGER more AFTER DELETE ON files BEGIN DELETE FROM files; END")
    with pytest.raises(StorageError, match="has views or triggers"):
        harness.export(dry_run=dry_run)
    with Archive(harness.config) as archive, pytest.raises(StorageError, match="has views or triggers"):
        archive.check_export(harness.out, form="folder")
