"""Blobs: named by the SHA-256 of their bytes, also on a disk that is damaged, full or hostile."""

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
from archiver.durable import free_bytes
from archiver.errors import StorageError
from archiver.store.spool import Draft
from tests.support.disk_limits import (
    another_user,
    can_unshare,
    disk_blobs,
    limit,
    new_disk_blobs,
    put,
    sha256,
    stored_digests,
)
from tests.support.memory_objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def memory(objects: MemoryObjects) -> Iterator[BlobStore]:
    with BlobStore(objects) as made:
        made.prepare()
        yield made


def test_a_blob_is_named_by_the_sha256_of_its_bytes(memory: BlobStore, objects: MemoryObjects) -> None:
    """It is blobs/ab/<sha256>, which the location ends in whether the blob exists or not."""
    digest = sha256(b"0123456789")
    assert memory.location(digest).endswith(f"blobs/{digest[:2]}/{digest}")
    assert (memory.has(digest), memory.size(digest)) == (False, None)
    for use in (memory.open, memory.quarantine, lambda absent: memory.open_range(absent, 0, 1)):
        with pytest.raises(StorageError, match=digest):
            use(digest)
    assert put(memory, b"0123456789") == digest
    assert objects.stored == {f"blobs/{digest[:2]}/{digest}": b"0123456789"}
    assert memory.location(digest).endswith(f"blobs/{digest[:2]}/{digest}")
    assert (memory.has(digest), memory.size(digest)) == (True, 10)
    with memory.open(digest) as file, memory.open_range(digest, 3, 4) as part:
        assert (file.read(), part.read(4)) == (b"0123456789", b"3456")


def test_digests_come_in_ascending_order(memory: BlobStore) -> None:
    """All names are listed once, sorted, and none of them is foreign."""
    names = {put(memory, str(n).encode()) for n in range(50)}
    foreign: list[str] = []
    assert sorted(names) == stored_digests(memory, foreign.append)
    assert foreign == []


def test_foreign_names_are_reported_and_left(memory: BlobStore, objects: MemoryObjects) -> None:
    """Names that are not those of blobs are reported and never touched."""
    digest = put(memory, b"x")
    wrong_place = f"{'00' if digest[:2] != '00' else '01'}/{digest}"
    planted = ["notes.txt", "7f/notes.txt", f"7f/{'A' * 64}", "zz/inside", wrong_place, "ab/cd/ef"]
    for name in planted:
        objects.put(f"blobs/{name}", b"mine")
    objects.put("blobs-of-another/x", b"mine")
    foreign: list[str] = []
    assert stored_digests(memory, foreign.append) == [digest]
    assert sorted(foreign) == sorted(planted)
    assert stored_digests(memory) == [digest]
    assert {objects.stored[f"blobs/{name}"] for name in planted} == {b"mine"}


def test_each_blob_in_quarantine_has_a_place_of_its_own(memory: BlobStore, objects: MemoryObjects) -> None:
    """Equal bytes can be put again, and set aside again, beside the first."""
    digest = put(memory, b"suspect")
    first = memory.quarantine(digest)
    assert not memory.has(digest)
    put(memory, b"suspect")
    assert memory.has(digest)
    second = memory.quarantine(digest)
    assert first != second
    assert objects.stored == {first: b"suspect", second: b"suspect"}
    assert all(name.startswith(f"quarantine/{digest}-") for name in (first, second))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "archive"


@pytest.fixture
def store(root: Path) -> Iterator[BlobStore]:
    with new_disk_blobs(root) as made:
        made.prepare()
        yield made


def test_create_can_be_repeated_after_a_kill(root: Path) -> None:
    """A creation that was killed can be repeated, and existing blobs stay."""
    with new_disk_blobs(root) as store:
        store.prepare()
        digest = put(store, b"x")
    shutil.rmtree(root / "tmp")
    (root / "blobs" / ("00" if digest[:2] != "00" else "01")).rmdir()
    with new_disk_blobs(root) as store:
        store.prepare()
        assert {f"{n:02x}" for n in range(256)} == {path.name for path in (root / "blobs").iterdir()}
        assert store.has(digest)


def test_opening_writes_nothing(tmp_path: Path) -> None:
    """A directory without blobs/, such as an empty mount point, is refused and not changed."""
    with pytest.raises(StorageError, match="blobs"):
        disk_blobs(tmp_path)
    with pytest.raises(StorageError):
        disk_blobs(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_tmp_can_be_read(root: Path, store: BlobStore) -> None:
    """A copy with only blobs/ can be read; writing needs prepare."""
    digest = put(store, b"x")
    (root / "tmp").rmdir()
    with disk_blobs(root) as copy:
        assert copy.has(digest)
        with pytest.raises(ValueError, match="not prepared"):
            copy.draft()
    assert not (root / "tmp").exists()


@pytest.mark.parametrize("place", ["tmp", "blobs/7f"])
def test_fault_h14_prepare_finds_a_store_that_cannot_be_written(
    root: Path, store: BlobStore, place: str
) -> None:
    """A directory that this user cannot write is reported before anything is paid for."""
    for directory in (root, root / "tmp", root / "blobs", *(root / "blobs").iterdir()):
        directory.chmod(0o777)
    with another_user():
        store.prepare()
    (root / place).chmod(0o555)
    with another_user(), pytest.raises(StorageError):
        store.prepare()


def test_prepare_finds_a_disk_that_takes_no_byte(store: BlobStore) -> None:
    """A full disk often still accepts new names: the probe writes a byte."""
    with limit(resource.RLIMIT_FSIZE, 0), pytest.raises(StorageError):
        store.prepare()


def test_fault_h16_prepare_refuses_tmp_on_another_disk(tmp_path: Path) -> None:
    """If tmp/ and blobs/ are on different disks, the run does not start."""
    if not can_unshare():
        pytest.skip("this system does not let the test mount a disk of its own")
    code = (
        "import sys; from pathlib import Path; from archiver.blobs.store import BlobStore\n"
        "from archiver.store.disk import Objects\n"
        "try: BlobStore(Objects(Path(sys.argv[1]))).prepare()\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    new_disk_blobs(tmp_path).close()
    script = 'mount -t tmpfs none "$2/tmp" && exec "$0" -c "$1" "$2"'
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, code, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert told.startswith("StorageError tmp/ and blobs/")


def test_fault_h30_foreign_names_are_told_and_left(root: Path, store: BlobStore) -> None:
    """Names that are not those of blobs are reported, printable, and never touched."""
    digest = put(store, b"x")
    planted = [".DS_Store", "7f/notes.txt", f"7f/{digest.upper()}", "zz/inside"]
    for name in planted:
        (root / "blobs" / name).parent.mkdir(exist_ok=True)
        (root / "blobs" / name).write_text("mine")
    wrong_place = root / "blobs" / ("00" if digest[:2] != "00" else "01") / digest
    wrong_place.write_text("mine")
    (root / "blobs" / os.fsdecode(b"\xff")).write_text("mine")
    foreign: list[str] = []
    assert [digest] == stored_digests(store, foreign.append)
    expected = [*planted[:3], "zz", f"{wrong_place.parent.name}/{digest}", "\\xff"]
    assert sorted(expected) == sorted(foreign)
    assert wrong_place.exists()


def test_free_bytes_are_those_of_the_disk(tmp_path: Path) -> None:
    """free_bytes is what this user may still write; a missing path is a StorageError."""
    assert 0 < free_bytes(tmp_path) <= shutil.disk_usage(tmp_path).total
    with pytest.raises(StorageError, match="absent"):
        free_bytes(tmp_path / "absent")


def test_fault_e21_a_store_that_reads_follows_its_path(tmp_path: Path) -> None:
    """A copy of the archive was put in the place of its directory, which was then deleted. A store that
    writes stays where it is.
    """
    root, aside = tmp_path / "archive", tmp_path / "aside"
    with new_disk_blobs(root) as first:
        first.prepare()
        old = put(first, b"old")
    with disk_blobs(root) as reading, disk_blobs(root) as writing:
        writing.prepare()
        shutil.copytree(root, tmp_path / "copy")
        root.rename(aside)
        assert (reading.has(old), reading.has(put(writing, b"aside"))) == (True, True)
        (tmp_path / "copy").rename(root)
        shutil.rmtree(aside)
        with disk_blobs(root) as second:
            second.prepare()
            new = put(second, b"new")
        assert not writing.has(new)
        with reading.open(old) as file:
            assert file.read() == b"old"
        assert (reading.size(new), reading.size(old)) == (3, 3)


def test_fault_e21_a_damaged_directory_that_was_moved_away_is_read_no_more(tmp_path: Path) -> None:
    """The copy in its place is read, also a file that both of them have."""
    root = tmp_path / "archive"
    with new_disk_blobs(root) as first:
        first.prepare()
        blob = put(first, b"good")
        with disk_blobs(root) as reading:
            shutil.copytree(root, tmp_path / "copy")
            Path(first.location(blob)).chmod(0o600)
            Path(first.location(blob)).write_bytes(b"evil")
            root.rename(tmp_path / "bad")
            (tmp_path / "copy").rename(root)
            with reading.open(blob) as file:
                assert file.read() == b"good"


def test_fault_e21_a_store_that_follows_its_path_keeps_no_directory_open(tmp_path: Path) -> None:
    """A server whose archive is replaced each night would have no descriptors left after some years."""
    root = tmp_path / "archive"
    with new_disk_blobs(root) as first:
        first.prepare()
        old = put(first, b"old")
    with disk_blobs(root) as reading:
        counts = []
        for _ in range(4):
            shutil.copytree(root, tmp_path / "copy")
            shutil.rmtree(root)
            (tmp_path / "copy").rename(root)
            assert reading.has(old)
            counts.append(sum(1 for _ in Path("/dev/fd").iterdir()))
    assert counts[1:] == counts[1:2] * 3


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
    with limit(resource.RLIMIT_FSIZE, 10_000), store.draft() as draft:
        draft.write(b"a" * 8_000)
        with pytest.raises(StorageError, match="16000 bytes"):
            draft.write(b"b" * 8_000)
        with pytest.raises(ValueError, match="closed"):
            store.put(draft)
        assert list((root / "tmp").iterdir()) == []
        assert store.has(put(store, b"small"))


def test_fault_h12_no_free_descriptor_is_told(store: BlobStore) -> None:
    """Too many open files is a StorageError, and the store works again afterwards."""
    used = max(int(name) for name in os.listdir("/dev/fd"))  # noqa: PTH208 (of this very process)
    drafts: list[Draft] = []

    def open_all() -> None:
        while True:
            drafts.append(store.draft())

    with limit(resource.RLIMIT_NOFILE, used + 5), ExitStack() as opened:
        with pytest.raises(StorageError, match="Too many open files"):
            open_all()
        for draft in drafts:
            opened.enter_context(draft)
    assert store.has(put(store, b"x"))
