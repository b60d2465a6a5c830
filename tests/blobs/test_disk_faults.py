"""The disk store and links that were planted, and errors of the disk."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archiver.blobs.store import BlobStore
from archiver.errors import StorageError
from archiver.store.spool import Draft
from tests.support.disk_limits import (
    can_unshare,
    disk_blobs,
    limit,
    new_disk_blobs,
    put,
    sha256,
    stored_digests,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "archive"


@pytest.fixture
def store(root: Path) -> Iterator[BlobStore]:
    with new_disk_blobs(root) as made:
        made.prepare()
        yield made


@pytest.mark.parametrize("place", ["blobs", "tmp", "blobs/7f"])
def test_fault_h31_a_directory_that_is_a_link_is_refused(root: Path, tmp_path: Path, place: str) -> None:
    """A planted link is refused, and nothing is written behind it."""
    new_disk_blobs(root).close()
    outside = tmp_path / "outside"
    shutil.move(root / place, outside)
    (root / place).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(StorageError), disk_blobs(root) as store:
        store.prepare()
    assert before == sorted(outside.rglob("*"))


def test_fault_h31_a_fan_out_link_planted_during_a_run_is_not_followed(
    root: Path, store: BlobStore, tmp_path: Path
) -> None:
    """A link in place of a directory is not followed after prepare either, and verify can report it."""
    digest = put(store, b"x")
    outside = tmp_path / "outside"
    shutil.move(root / "blobs" / digest[:2], outside)
    (root / "blobs" / digest[:2]).symlink_to(outside)
    foreign: list[str] = []
    with pytest.raises(StorageError):
        put(store, b"x")
    with pytest.raises(StorageError):
        store.open(digest)
    assert not store.has(digest)
    assert stored_digests(store, foreign.append) == []
    assert [digest[:2]] == foreign
    assert list((root / "tmp").iterdir()) == []


@pytest.mark.parametrize("plant", ["link", "fifo", "directory"])
def test_fault_h32_what_is_no_regular_file_is_no_blob(root: Path, store: BlobStore, plant: str) -> None:
    """A link, FIFO or directory under a blob's name is listed, has no size, and cannot be opened."""
    digest = sha256(b"x")
    place = root / "blobs" / digest[:2] / digest
    if plant == "link":
        place.symlink_to("/etc/passwd")
    elif plant == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert not store.has(digest)
    assert [digest] == stored_digests(store)
    with pytest.raises(StorageError, match=digest):
        store.open(digest)


def test_fault_h13_a_file_that_grows_too_large_for_the_disk_leaves_nothing(
    root: Path, store: BlobStore
) -> None:
    """A write that fails half way is an error; its file is removed, and the next file is not affected."""
    with limit(resource.RLIMIT_FSIZE, 10_000), store.writer() as writer:
        writer.write(b"a" * 8_000)
        with pytest.raises(StorageError, match="16000 bytes"):
            writer.write(b"b" * 8_000)
        with pytest.raises(ValueError, match="closed"):
            writer.commit()
        assert list((root / "tmp").iterdir()) == []
        assert store.has(put(store, b"small"))


FULL_DISK = """
import resource, sys
from pathlib import Path
from archiver.blobs.store import BlobStore, make_blob_store
from archiver.errors import StorageError
from archiver.store.disk import Objects
root = Path(sys.argv[1])
make_blob_store(Objects(root))
with BlobStore(Objects(root)) as store:
    store.prepare()
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        with store.writer() as writer:
            for _ in range(4):
                writer.write(bytes(100_000))
            writer.commit()
    except StorageError as exc:
        print(type(exc).__name__, len(list((root / "tmp").iterdir())))
    with store.writer() as writer:
        writer.write(b"small")
        print(*writer.commit())
"""


def test_fault_h7_a_full_disk_is_told_as_such_and_smaller_files_still_go_in(tmp_path: Path) -> None:
    """A full disk is DiskFull, leaves nothing in tmp/, and smaller files still fit."""
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path / "archive")]
    mount = 'mount -t tmpfs -o size=200k none "$0" && exec "$@"'
    if can_unshare():
        command, error = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path), *run, "disk"], "DiskFull"
    else:
        command, error = [*run, "limit"], "StorageError"
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert [f"{error} 0", f"{sha256(b'small')} 5"] == told.splitlines()


def test_fault_h12_no_free_descriptor_is_told(store: BlobStore) -> None:
    """Too many open files is a StorageError, and the store works again afterwards."""
    used = max(int(name) for name in os.listdir("/dev/fd"))  # noqa: PTH208 (of this very process)
    writers: list[Draft] = []

    def open_all() -> None:
        while True:
            writers.append(store.writer())

    with limit(resource.RLIMIT_NOFILE, used + 5), ExitStack() as opened:
        with pytest.raises(StorageError, match="Too many open files"):
            open_all()
        for writer in writers:
            opened.enter_context(writer)
    assert store.has(put(store, b"x"))
