"""Temporary directories of an archive: they do not outlive the process that needs them by more than a run."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from archiver.errors import DiskFull
from archiver.temporary import temporary_directory
from tests.support.disk_limits import disk_blobs, new_disk_blobs


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
