"""What makes an object a blob: its name is the SHA-256 of its bytes. The rest is in tests/store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archiver.blobs.store import BlobStore
from archiver.errors import StorageError
from tests.support.disk_limits import put, sha256, stored_digests
from tests.support.memory_objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def store(objects: MemoryObjects) -> Iterator[BlobStore]:
    with BlobStore(objects) as made:
        made.prepare()
        yield made


def test_a_blob_is_named_by_the_sha256_of_its_bytes(store: BlobStore, objects: MemoryObjects) -> None:
    """It is blobs/ab/<sha256>, which the location ends in whether the blob exists or not."""
    digest = sha256(b"0123456789")
    assert store.location(digest).endswith(f"blobs/{digest[:2]}/{digest}")
    assert (store.has(digest), store.size(digest)) == (False, None)
    for use in (store.open, store.quarantine, lambda absent: store.open_range(absent, 0, 1)):
        with pytest.raises(StorageError, match=digest):
            use(digest)
    assert put(store, b"0123456789") == digest
    assert objects.stored == {f"blobs/{digest[:2]}/{digest}": b"0123456789"}
    assert store.location(digest).endswith(f"blobs/{digest[:2]}/{digest}")
    assert (store.has(digest), store.size(digest)) == (True, 10)
    with store.open(digest) as file, store.open_range(digest, 3, 4) as part:
        assert (file.read(), part.read(4)) == (b"0123456789", b"3456")


def test_digests_come_in_ascending_order(store: BlobStore) -> None:
    """All names are listed once, sorted, and none of them is foreign."""
    names = {put(store, str(n).encode()) for n in range(50)}
    foreign: list[str] = []
    assert sorted(names) == stored_digests(store, foreign.append)
    assert foreign == []


def test_foreign_names_are_reported_and_left(store: BlobStore, objects: MemoryObjects) -> None:
    """Names that are not those of blobs are reported and never touched."""
    digest = put(store, b"x")
    wrong_place = f"{'00' if digest[:2] != '00' else '01'}/{digest}"
    planted = ["notes.txt", "7f/notes.txt", f"7f/{'A' * 64}", "zz/inside", wrong_place, "ab/cd/ef"]
    for name in planted:
        objects.put(f"blobs/{name}", b"mine")
    objects.put("blobs-of-another/x", b"mine")
    foreign: list[str] = []
    assert stored_digests(store, foreign.append) == [digest]
    assert sorted(foreign) == sorted(planted)
    assert stored_digests(store) == [digest]
    assert {objects.stored[f"blobs/{name}"] for name in planted} == {b"mine"}


def test_each_blob_in_quarantine_has_a_place_of_its_own(store: BlobStore, objects: MemoryObjects) -> None:
    """Equal bytes can be put again, and set aside again, beside the first."""
    digest = put(store, b"suspect")
    first = store.quarantine(digest)
    assert not store.has(digest)
    put(store, b"suspect")
    assert store.has(digest)
    second = store.quarantine(digest)
    assert first != second
    assert objects.stored == {first: b"suspect", second: b"suspect"}
    assert all(name.startswith(f"quarantine/{digest}-") for name in (first, second))
