"""Errors of the file system, the calls that make bytes durable, and temporary directories."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from archiver.durable import open_root, remove_files, storage_errors, sync, sync_directory, write_all
from archiver.errors import DiskFull, StorageError
from archiver.temporary import temporary_directory
from tests.support.disk_limits import disk_blobs, new_disk_blobs


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EIO, StorageError),
        (errno.EROFS, StorageError),
        (errno.EACCES, StorageError),
    ],
)
def test_a_refusal_becomes_an_error_with_the_place_and_the_cause(
    number: int, kind: type[StorageError]
) -> None:
    """No space and no quota are DiskFull, the rest StorageError; message and cause are kept."""
    with pytest.raises(StorageError) as caught, storage_errors("x cannot be stored"):
        raise OSError(number, os.strerror(number))
    assert kind is type(caught.value)
    assert f"x cannot be stored: {os.strerror(number)}" == str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.hint


def test_fault_h10_sync_of_what_cannot_be_synced(tmp_path: Path) -> None:
    """A file that cannot be synced is an error; a directory only if its file system can sync it."""
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            sync(write)
        sync_directory(write)  # EINVAL, as some network disks answer for directories
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_directory(write)


def test_write_all_goes_on_after_a_short_write() -> None:
    """A write that took only a part continues until all bytes are written."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    data = os.urandom(100_000)  # more than a pipe takes at once
    with pytest.raises(BlockingIOError):
        write_all(write, data)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        got = file.read()
    assert 0 < len(got) < len(data)
    assert data.startswith(got)


def test_missing_levels_of_a_root_are_made_and_a_standing_one_is_left(tmp_path: Path) -> None:
    """All missing parents are made with the mode; an existing directory keeps its own."""
    tmp_path.chmod(0o755)
    os.close(open_root(tmp_path / "a" / "b", 0o700))
    assert [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [
        0o755,
        0o700,
        0o700,
    ]
    with pytest.raises(FileNotFoundError):
        open_root(tmp_path / "c")


def test_files_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    """Missing ones are no error. Directories of three levels that are left empty go too."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for name in ("blobs/ab/1", "quarantine/j/2026/11/2", "quarantine/3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    outside.mkdir()
    (outside / "4").write_text("x")
    (root / "link").symlink_to(outside)
    names = ["blobs/ab/1", "blobs/ab/missing", "no/such/place", "quarantine/j/2026/11/2"]
    remove_files(root, names)
    remove_files(root, names)
    left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert left == ["blobs", "blobs/ab", "link", "quarantine", "quarantine/3"]
    for name in ("link/4", "../outside/4", "blobs/../../outside/4", "/outside/4"):
        with suppress(StorageError):
            remove_files(root, [name])
    assert (outside / "4").exists()


def test_what_a_kill_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    """A store is prepared by each command that writes."""
    new_disk_blobs(tmp_path).close()
    left = tmp_path / "tmp" / "archiver-left"
    left.mkdir()
    (left / "copy.db").write_bytes(b"rows")
    with temporary_directory(tmp_path) as used, disk_blobs(tmp_path) as store:
        (used / "copy.db").write_bytes(b"rows")
        store.prepare()
        assert not left.exists()
        assert (used / "copy.db").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_room_for_a_directory_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the error of a full disk."""

    def fail(**_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    with pytest.raises(DiskFull), temporary_directory(tmp_path):
        pass
