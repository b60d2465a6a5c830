"""The contract of blob stores: on a disk, in memory, and in a bucket of each real S3 server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.blobs.store import BlobStore
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.store import bucket, spool
from tests.support.disk_limits import new_disk_blobs, stored_digests
from tests.support.memory_objects import MemoryStore
from tests.support.real_stores import LOCALBUCKET, OTHER_STORES, RealStore


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def put(store: BlobStore, data: bytes) -> Digest:
    with store.writer() as writer:
        writer.write(data)
        return writer.commit()[0]


@pytest.fixture(params=["disk", "memory", LOCALBUCKET, *OTHER_STORES])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, start_store: Callable[[str], RealStore]
) -> Iterator[BlobStore]:
    made: BlobStore = MemoryStore()
    if request.param == "disk":
        made = new_disk_blobs(tmp_path / "archive")
    elif request.param != "memory":
        (tmp_path / "archive").mkdir()
        made = BlobStore(bucket.Objects(start_store(request.param).bucket(), tmp_path / "archive"))
    made.prepare()
    yield made
    made.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(chunks=st.lists(st.binary(max_size=5000), max_size=8))
def test_any_bytes_in_any_chunks_come_back_under_their_sha256(store: BlobStore, chunks: list[bytes]) -> None:
    """However the bytes are split into chunks, the blob is those bytes and its name their SHA-256."""
    data = b"".join(chunks)
    with store.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        assert (sha256(data), len(data)) == (writer.digest(), writer.size)
        assert (sha256(data), len(data)) == writer.commit()
    assert store.has(sha256(data))
    assert len(data) == store.size(sha256(data))
    with store.open(sha256(data)) as file:
        assert data == file.read()


def test_a_writer_left_without_commit_leaves_nothing(store: BlobStore) -> None:
    """Without commit there is no blob."""
    with store.writer() as writer:
        writer.write(b"half")
    assert not store.has(sha256(b"half"))
    assert stored_digests(store) == []


def test_an_error_in_the_block_leaves_nothing(store: BlobStore) -> None:
    """An exception while bytes are written passes through, and leaves no blob."""

    def break_off() -> None:
        with store.writer() as writer:
            writer.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert stored_digests(store) == []


def test_restart_forgets_what_was_written(store: BlobStore) -> None:
    """After restart only the bytes written since count, even if they are fewer."""
    with store.writer() as writer:
        writer.write(b"wrong start, and a long one")
        writer.restart()
        assert writer.size == 0
        writer.write(b"right")
        assert (sha256(b"right"), 5) == writer.commit()
    with store.open(sha256(b"right")) as file:
        assert file.read() == b"right"


def test_a_closed_writer_refuses_like_a_closed_file(store: BlobStore) -> None:
    """After commit only size and digest work; everything else is a ValueError."""
    with store.writer() as writer:
        writer.write(b"whole")
        writer.commit()
        for refused in (writer.commit, writer.restart, lambda: writer.write(b"more")):
            with pytest.raises(ValueError, match="closed"):
                refused()
    assert (sha256(b"whole"), 5) == (writer.digest(), writer.size)
    assert store.has(sha256(b"whole"))


def test_the_same_bytes_from_many_threads_are_one_blob(store: BlobStore) -> None:
    """Sixteen threads that put equal bytes at once all succeed, and there is one blob."""
    barrier = Barrier(16)

    def put_together(_: int) -> Digest:
        barrier.wait()
        return put(store, b"same")

    with ThreadPoolExecutor(16) as pool:
        assert {sha256(b"same")} == set(pool.map(put_together, range(16)))
    assert [sha256(b"same")] == stored_digests(store)


def test_an_absent_blob_is_told_apart(store: BlobStore) -> None:
    """A blob that was never put has no size and cannot be opened."""
    absent = sha256(b"absent")
    assert not store.has(absent)
    assert store.size(absent) is None
    with pytest.raises(StorageError, match=absent):
        store.open(absent)


def test_digests_come_in_ascending_order(store: BlobStore) -> None:
    """All names are listed once, sorted, and none of them is foreign."""
    names = {put(store, str(n).encode()) for n in range(50)}
    foreign: list[str] = []
    assert sorted(names) == stored_digests(store, foreign.append)
    assert foreign == []


def test_the_location_names_the_blob(store: BlobStore) -> None:
    """A location ends in blobs/ab/<sha256>, whether the blob exists or not."""
    digest = sha256(b"x")
    assert store.location(digest).endswith(f"blobs/{digest[:2]}/{digest}")


def test_quarantine_moves_aside_and_equal_bytes_can_come_back(store: BlobStore) -> None:
    """A blob in quarantine is gone from the store; a second one gets another place; a new put restores it."""
    digest = put(store, b"suspect")
    first = store.quarantine(digest)
    assert not store.has(digest)
    put(store, b"suspect")
    assert store.has(digest)
    assert first != store.quarantine(digest)
    with pytest.raises(StorageError, match=digest):
        store.quarantine(digest)


def test_prepare_can_be_repeated_and_keeps_blobs(store: BlobStore) -> None:
    """Preparing again changes no blob."""
    digest = put(store, b"kept")
    store.prepare()
    assert [digest] == stored_digests(store)


def test_a_copied_file_is_a_blob_and_its_source_stays(store: BlobStore, tmp_path: Path) -> None:
    """The bytes are yielded once, as they are in the copy; nothing of a copy without commit stays."""
    data = bytes(range(256)) * 10_000
    source = tmp_path / "source"
    source.write_bytes(data)
    with source.open("rb") as file, store.writer() as writer:
        assert b"".join(writer.copy(file.fileno())) == data
        assert writer.commit() == (sha256(data), len(data))
    with store.open(sha256(data)) as blob:
        assert blob.read() == data
    with source.open("rb") as file, store.writer() as writer:
        next(iter(writer.copy(file.fileno())))
    assert stored_digests(store) == [sha256(data)]
    assert source.read_bytes() == data


def test_a_reflink_is_hashed_as_it_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the source after the clone changes neither the blob nor its name."""
    source = tmp_path / "source"
    source.write_bytes(b"as it was")

    def clone(source_fd: int, target: int) -> None:
        os.write(target, os.read(source_fd, 100))
        source.write_bytes(b"changed")

    monkeypatch.setattr(spool, "clone", clone)
    with new_disk_blobs(tmp_path / "archive") as store:
        store.prepare()
        with source.open("rb") as file, store.writer() as writer:
            assert list(writer.copy(file.fileno())) == [b"as it was"]
            assert writer.commit() == (sha256(b"as it was"), 9)
        assert Path(store.location(sha256(b"as it was"))).read_bytes() == b"as it was"


def test_a_range_of_a_blob_is_read(store: BlobStore) -> None:
    """From any byte on, at least as many as were asked for; of an absent blob nothing."""
    digest = put(store, b"0123456789")
    for start, length in ((0, 10), (3, 4), (9, 1)):
        with store.open_range(digest, start, length) as file:
            assert file.read(length) == b"0123456789"[start : start + length]
    with pytest.raises(StorageError):
        store.open_range(sha256(b"absent"), 0, 1)
