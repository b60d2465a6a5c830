"""A file that grows is whole up to its last record, whatever the disk refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from archiver.errors import DiskFull, StorageError
from archiver.store import disk, growing_file
from tests.support.open_files import count_open_files

NAME = "shelf/2026/10/a.txt"


@pytest.fixture
def objects(tmp_path: Path) -> disk.Objects:
    return disk.Objects(tmp_path)


def fail(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("has_records", [False, True])
def test_a_write_that_breaks_off_at_any_byte_is_cut_off(
    objects: disk.Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_records: bool
) -> None:
    """What was there stays, and the next record follows it directly."""
    write, records = os.write, b"a record"
    for count in range(len(b"head" + records)):
        name = f"{NAME}.{count}"
        file = objects.grow(name, b"head")
        whole = b""
        if has_records:
            file.append(b"first")
            whole = b"headfirst"

        def write_some(fd: int, chunk: bytes, count: int = count) -> int:
            if len(chunk) > count:
                write(fd, chunk[:count])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, chunk)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_some)
            if count < len(records if has_records else b"head" + records):
                with pytest.raises(DiskFull, match=r"a\.txt"):
                    file.append(records)
            else:
                file.append(records)
                continue
        assert (tmp_path / name).read_bytes() == whole
        if not has_records:
            file.close()
            assert not (tmp_path / name).exists()
            file = objects.grow(name, b"head")
        assert file.append(records) == len(whole or b"head")
        file.close()
        assert (tmp_path / name).read_bytes() == (whole or b"head") + records


@pytest.mark.parametrize("failing", ["sync", "cut"])
def test_a_file_that_may_not_be_continued_is_given_up(
    objects: disk.Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A failed sync is never repeated; what cannot be cut off stays. The next records begin another file."""
    names = iter((NAME, f"{NAME}.2"))
    appender = objects.appender(lambda _: (next(names), b"head"))
    assert appender.append(b"first") == (NAME, 4)
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        fail()

    with monkeypatch.context() as patch:
        if failing == "sync":
            patch.setattr(growing_file, "sync", sync)
        else:
            patch.setattr(growing_file, "write_all", fail)
            patch.setattr(os, "ftruncate", fail)
        with pytest.raises(StorageError):
            appender.append(b"second")
    assert len(syncs) == (failing == "sync")
    assert appender.append(b"third") == (f"{NAME}.2", 4)
    appender.close()
    assert (tmp_path / NAME).read_bytes() == b"headfirst" + (b"second" if failing == "sync" else b"")


def test_a_file_that_somebody_removed_is_an_error(objects: disk.Objects, tmp_path: Path) -> None:
    """What is appended to it would be lost with it."""
    appender = objects.appender(lambda _: (NAME, b""))
    appender.append(b"first")
    (tmp_path / NAME).unlink()
    with pytest.raises(StorageError, match="was removed by another process"):
        appender.append(b"second")
    appender.close()


def test_what_holds_no_record_is_removed(objects: disk.Objects, tmp_path: Path) -> None:
    """Unless it was given up: then it may hold something."""
    objects.grow(NAME, b"head").close()
    assert not (tmp_path / NAME).exists()
    given_up = objects.grow(NAME, b"head")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_file, "sync", fail)
        with pytest.raises(StorageError):
            given_up.append(b"record")
    given_up.close()
    assert (tmp_path / NAME).read_bytes() == b"headrecord"


def test_descriptors_are_closed(objects: disk.Objects, tmp_path: Path) -> None:
    """However a file ends, also if it cannot be made."""
    before = count_open_files()
    for _ in range(3):
        objects.grow(NAME, b"head").close()
        file = objects.grow(NAME, b"head")
        file.append(b"record")
        with pytest.raises(StorageError):
            objects.grow(NAME, b"head")
        file.remove()
    assert count_open_files() == before
    assert list((tmp_path / "shelf/2026/10").iterdir()) == []
