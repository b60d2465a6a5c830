"""The bucket store: what it sends, when it does not, what quarantine leaves, and what a failure leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archiver.blobs import bucket_marker, marker
from archiver.blobs.marker import Marker
from archiver.blobs.store import BlobStore
from archiver.errors import MarkerMismatch, StorageError
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest
from archiver.model.journal_entries import JournalEnd
from archiver.store import bucket, disk
from archiver.store.bucket_client import SINGLE_PUT
from archiver.store.objects import Upload
from archiver.verify.verify_stores import Problem, verify_blobs
from tests.support.disk_limits import count_open_files, mode, sha256, stored_digests
from tests.support.s3_server import (
    BUCKET,
    Act,
    Handler,
    S3Server,
    at,
    describe,
    first,
    ignore_preconditions,
    lose_answer,
    refuse,
    reset,
    stall_until,
)

OWN = Marker("an archive")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def open_store(server: S3Server, root: Path, upload: Upload = Upload.IF_DIFFERENT) -> BlobStore:
    """Return a prepared store, and forget the requests of its start."""
    store = BlobStore(bucket.Objects(server.bucket(), root), lambda _: upload)
    store.prepare()
    server.requests.clear()
    return store


@pytest.fixture
def store(server: S3Server, root: Path) -> Iterator[BlobStore]:
    with open_store(server, root) as opened:
        yield opened


def put(store: BlobStore, data: bytes) -> Digest:
    with store.draft() as draft:
        draft.write(data)
        return store.put(draft)[0]


def name(data: bytes) -> str:
    return f"pre/fix/blobs/{sha256(data)[:2]}/{sha256(data)}"


def spool(root: Path) -> list[Path]:
    return list((root / "tmp").iterdir())


# --- what is sent


@pytest.mark.parametrize(
    ("upload", "size", "calls"),
    [
        (Upload.IF_ABSENT, 100, ["PUT"]),
        (Upload.IF_DIFFERENT, 100, ["HEAD", "PUT"]),
        (Upload.ALWAYS, 100, ["PUT"]),
        (Upload.IF_ABSENT, SINGLE_PUT + 1, ["HEAD", "POST", "PUT", "PUT", "PUT", "POST"]),
    ],
)
def test_a_new_blob_costs_few_requests(
    server: S3Server, root: Path, upload: Upload, size: int, calls: list[str]
) -> None:
    """A blob without a row is one conditional PUT; only a large one is looked up and sent in parts."""
    with open_store(server, root, upload) as store:
        put(store, bytes(size))
    assert [request.method for request in server.requests] == calls
    if upload is Upload.IF_ABSENT and size == 100:
        assert server.requests[0].headers["if-none-match"] == "*"


@pytest.mark.parametrize(
    ("upload", "calls"),
    [
        (Upload.IF_ABSENT, ["PUT", "HEAD"]),
        (Upload.IF_DIFFERENT, ["HEAD"]),
        (Upload.ALWAYS, ["PUT"]),
    ],
)
def test_a_stored_blob_is_not_replaced_except_in_a_repair(
    server: S3Server, root: Path, upload: Upload, calls: list[str]
) -> None:
    """If size and checksum are equal, nothing is replaced; a repair sends the bytes all the same."""
    with open_store(server, root) as store:
        put(store, b"picture")
    before = (server.objects / name(b"picture")).stat().st_ino
    with open_store(server, root, upload) as store:
        put(store, b"picture")
    assert [request.method for request in server.requests] == calls
    assert ((server.objects / name(b"picture")).stat().st_ino != before) == (upload is Upload.ALWAYS)


def test_a_checksum_that_is_not_one_never_skips_an_upload(
    server: S3Server, store: BlobStore, root: Path
) -> None:
    """If the store's ETags are not checksums, known bytes are uploaded again."""
    put(store, b"picture")
    server.requests.clear()
    server.act = at("HEAD", "", describe(7, '"0123456789abcdef0123456789abcdef"'))
    put(store, b"picture")
    assert [request.method for request in server.requests] == ["HEAD", "PUT"]


# --- what a failure leaves


@pytest.mark.parametrize("act", [refuse(503, "SlowDown"), refuse(403, "AccessDenied"), reset])
@pytest.mark.parametrize("size", [1000, SINGLE_PUT + 1])
def test_fault_s6_a_failed_upload_is_no_blob_and_leaves_no_file(
    server: S3Server, store: BlobStore, root: Path, act: Act, size: int
) -> None:
    """If the upload fails, put raises StorageError, nothing has the name, and the spool is empty."""
    assert not store.has(sha256(bytes(size)))  # the client opens its own descriptors at its first request
    before = count_open_files()
    with store.draft() as draft:
        draft.write(bytes(size))
        server.act = first(100, act, "PUT")
        with pytest.raises(StorageError):
            store.put(draft)
        with pytest.raises(ValueError, match="closed"):
            store.put(draft)
    server.act = None
    assert count_open_files() == before
    assert not store.has(sha256(bytes(size)))
    assert spool(root) == []
    put(store, bytes(size))
    assert store.size(sha256(bytes(size))) == size


@pytest.mark.parametrize("upload", list(Upload))
def test_fault_s6_a_lost_answer_does_not_fail_the_upload(
    server: S3Server, root: Path, upload: Upload
) -> None:
    """An upload whose answer was lost is repeated or recognised."""
    with open_store(server, root, upload) as store:
        server.act = first(1, lose_answer, "PUT")
        digest = put(store, b"picture")
        assert store.size(digest) == 7


def test_commit_returns_only_after_the_store_has_answered(server: S3Server, store: BlobStore) -> None:
    """While the store is still reading the bytes, commit has not returned."""
    arrived, go = threading.Event(), threading.Event()

    def hold(handler: Handler) -> bool:
        if handler.command == "PUT":
            arrived.set()
            go.wait(0.8)
        return False

    server.act = hold
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(put, store, b"picture")
        assert arrived.wait(5)
        assert not future.done()
        assert not (server.objects / name(b"picture")).exists()
        go.set()
        future.result(5)
    assert (server.objects / name(b"picture")).exists()


def test_fault_s5_bytes_that_come_back_changed_are_delivered_as_they_are(
    server: S3Server, store: BlobStore
) -> None:
    """The store checks no bytes: whoever hashes what it reads finds the damage."""
    digest = put(store, b"picture")
    (server.objects / name(b"picture")).write_bytes(b"pictur3")
    with store.open(digest) as file:
        assert file.read() == b"pictur3"


def test_fault_s5_a_check_finds_what_is_damaged_in_a_bucket(server: S3Server, store: BlobStore) -> None:
    """Changed bytes, another size, an absent object and one in quarantine are reported, sound ones not."""
    contents = {"sound": b"one", "hash": b"two", "size": b"three", "absent": b"four", "aside": b"five"}
    digests = {kind: put(store, data) for kind, data in contents.items()}
    (server.objects / name(b"two")).write_bytes(b"twO")
    (server.objects / name(b"three")).write_bytes(b"thre")
    (server.objects / name(b"four")).unlink()
    store.quarantine(digests["aside"])
    rows = [StoredBlob(digests[kind], len(data), None, None, ("item 1",)) for kind, data in contents.items()]
    rows.sort(key=lambda row: row.sha256)
    sound: list[Digest] = []
    report = verify_blobs(store, iter(rows), read_data=True, on_sound=sound.append)
    assert {damage.sha256: damage.problem for damage in report.damaged} == {
        digests["hash"]: Problem.HASH,
        digests["size"]: Problem.SIZE,
        digests["absent"]: Problem.MISSING,
        digests["aside"]: Problem.MISSING,
    }
    assert sound == [digests["sound"]]


# --- start


def test_the_marker_is_the_probe(server: S3Server, root: Path) -> None:
    """A start costs two requests: the marker is read, compared, and put again. It is no blob."""
    objects = bucket.Objects(server.bucket(), root)
    bucket_marker.create(objects, OWN)
    with open_store(server, root) as store:
        bucket_marker.probe(objects, OWN)
        assert server.calls() == ["GET pre/fix/archive.json", "PUT pre/fix/archive.json"]
        foreign: list[str] = []
        assert stored_digests(store, foreign.append) == []
        assert foreign == []


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (refuse(403, "InvalidAccessKeyId"), "access key"),
        (refuse(403, "RequestTimeTooSkewed"), "clock"),
        (refuse(404, "NoSuchBucket"), "bucket does not exist"),
        (refuse(503, "ServiceUnavailable"), "503"),
        (reset, "cannot be reached"),
        (first(9, refuse(403, "AccessDenied"), "GET"), "cannot be read"),
        (first(9, refuse(403, "AccessDenied"), "PUT"), "cannot be written"),
        (first(9, refuse(404, "NoSuchKey"), "GET"), "there is no archive"),
    ],
)
def test_fault_s2_the_probe_finds_a_store_that_cannot_be_used(
    server: S3Server, act: Act, match: str, root: Path
) -> None:
    """Wrong keys, a wrong clock, no bucket, a missing right: reported before anything is paid for."""
    objects = bucket.Objects(server.bucket(), root)
    bucket_marker.create(objects, OWN)
    server.act = act
    with pytest.raises(StorageError, match=match):
        bucket_marker.probe(objects, OWN)


def test_fault_s4_the_bucket_of_another_archive_is_refused(server: S3Server, root: Path) -> None:
    """Neither a new archive nor a command on one takes it over, and its marker stays."""
    objects = bucket.Objects(server.bucket(), root)
    bucket_marker.create(objects, Marker("another"))
    with pytest.raises(MarkerMismatch):
        bucket_marker.create(objects, OWN)
    with pytest.raises(MarkerMismatch):
        bucket_marker.probe(objects, OWN)
    assert (server.objects / "pre/fix/archive.json").read_bytes() == marker.pack(Marker("another"))


def test_fault_s4_a_store_that_ignores_preconditions_keeps_the_marker_of_another_archive(
    server: S3Server, root: Path
) -> None:
    """The marker is looked for before one is put, and none of another archive is replaced."""
    server.act = ignore_preconditions
    objects = bucket.Objects(server.bucket(), root)
    bucket_marker.create(objects, Marker("another"))
    for write in (bucket_marker.create, bucket_marker.rewrite):
        with pytest.raises(MarkerMismatch):
            write(objects, OWN)
    assert (server.objects / "pre/fix/archive.json").read_bytes() == marker.pack(Marker("another"))


def test_fault_s4_of_two_archives_that_are_made_at_once_the_first_notices(
    server: S3Server, root: Path
) -> None:
    """On a store that ignores preconditions, what was put is read back."""

    def put_another(handler: Handler) -> bool:
        del handler.headers["If-None-Match"]
        place = server.objects / "pre/fix/archive.json"
        if handler.command == "GET" and place.exists():
            place.write_bytes(marker.pack(Marker("another")))
        return False

    server.act = put_another
    with pytest.raises(MarkerMismatch):
        bucket_marker.create(bucket.Objects(server.bucket(), root), OWN)


def test_an_archive_in_its_directory_has_one_marker(tmp_path: Path) -> None:
    """Whoever asks for the one of its bucket is told that it is as it should be, and nothing is written."""
    objects = disk.Objects(tmp_path)
    marker.write(tmp_path, Marker("another"))
    before = (tmp_path / "archive.json").read_bytes()
    bucket_marker.require_free(objects)
    bucket_marker.create(objects, OWN)
    bucket_marker.rewrite(objects, OWN)
    bucket_marker.record_end(objects, OWN, JournalEnd(5, "0" * 64))
    assert bucket_marker.read(objects) is None
    assert bucket_marker.require(objects, OWN) == bucket_marker.probe(objects, OWN) == OWN
    assert (tmp_path / "archive.json").read_bytes() == before


def test_an_interrupted_creation_is_completed(server: S3Server, root: Path) -> None:
    """The marker of this archive may be there already."""
    bucket_marker.create(bucket.Objects(server.bucket(), root), OWN)
    bucket_marker.create(bucket.Objects(server.bucket(), root), OWN)


def test_a_marker_that_is_none_is_refused(server: S3Server, root: Path) -> None:
    """Whatever else is stored under its name is not replaced."""
    objects = bucket.Objects(server.bucket(), root)
    objects.put("archive.json", b"something else")
    with pytest.raises(StorageError, match="not a valid marker"):
        bucket_marker.create(objects, OWN)


def test_of_a_marker_that_is_far_too_large_only_the_beginning_is_read(server: S3Server, root: Path) -> None:
    """It is not valid, and does not fill the memory."""
    objects = bucket.Objects(server.bucket(), root)
    objects.put("archive.json", marker.pack(OWN) + b" " * marker.LARGEST + b"{")
    with pytest.raises(StorageError, match="not a valid marker"):
        bucket_marker.read(objects)


@pytest.mark.parametrize(("group_readable", "directory_mode"), [(False, 0o700), (True, 0o750)])
def test_the_spool_is_private(
    server: S3Server, root: Path, group_readable: bool, directory_mode: int
) -> None:
    """prepare creates tmp/ with its mode; nobody else reads a file in it."""
    with BlobStore(bucket.Objects(server.bucket(), root, group_readable=group_readable)) as store:
        with pytest.raises(ValueError, match="not prepared"):
            store.draft()
        assert list(root.iterdir()) == []
        store.prepare()
        assert mode(root / "tmp") == directory_mode
        with store.draft():
            assert [mode(path) for path in spool(root)] == [0o600]


# --- names and quarantine


def test_quarantine_keeps_the_bytes_and_empties_the_name(server: S3Server, store: BlobStore) -> None:
    """What was stored is under the new name; the old one is empty and counts as absent everywhere. Nothing is
    deleted.
    """
    digest = put(store, b"suspect")
    (server.objects / name(b"suspect")).write_bytes(b"damaged")
    server.requests.clear()
    location = store.quarantine(digest)
    assert location.startswith(f"s3://{BUCKET}/pre/fix/quarantine/{digest}-")
    assert (server.objects / location.removeprefix(f"s3://{BUCKET}/")).read_bytes() == b"damaged"
    assert (server.objects / name(b"suspect")).read_bytes() == b""
    assert (store.has(digest), store.size(digest), stored_digests(store)) == (False, None, [])
    store.prepare()
    assert {request.method for request in server.requests} <= {"HEAD", "GET", "PUT"}
    for use in (store.open, store.quarantine):
        with pytest.raises(StorageError, match=digest):
            use(digest)


@pytest.mark.parametrize("failing", ["copy", "incomplete copy", "emptying"])
def test_a_quarantine_that_fails_loses_nothing(server: S3Server, store: BlobStore, failing: str) -> None:
    """If the copy fails or is not complete, or the name cannot be emptied, the blob is as it was."""
    digest = put(store, b"suspect")

    def fail(handler: Handler) -> bool:
        is_copy = "x-amz-copy-source" in handler.headers
        if failing == "incomplete copy" and handler.command == "HEAD" and "quarantine" in handler.path:
            for copy in (server.objects / "pre/fix/quarantine").iterdir():
                copy.write_bytes(b"sus")
        if handler.command != "PUT" or failing == "incomplete copy" or is_copy != (failing == "copy"):
            return False
        return refuse(403, "AccessDenied")(handler)

    server.act = fail
    with pytest.raises(StorageError, match="cannot be"):
        store.quarantine(digest)
    server.act = None
    with store.open(digest) as file:
        assert file.read() == b"suspect"


def test_opening_and_reading_a_blob_is_one_request(server: S3Server, store: BlobStore) -> None:
    """A blob is looked up and read by the same request."""
    digest = put(store, bytes(400_000))
    server.requests.clear()
    with store.open(digest) as file:
        assert file.read() == bytes(400_000)
    assert [request.method for request in server.requests] == ["GET"]


# --- whole


UPLOAD = """
import sys, resource
from pathlib import Path
from archiver.blobs.store import BlobStore
from archiver.store.bucket import Objects
from archiver.store.bucket_client import Bucket
store = BlobStore(Objects(Bucket.open(sys.argv[1]), Path(sys.argv[2])))
store.prepare()
def put(size):
    with store.draft() as draft:
        for _ in range(size >> 20):
            draft.write(bytes(1 << 20))
        return store.put(draft)[0]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
put(20 << 20)
before = peak()
print("ready", flush=True)
digest = put(int(sys.argv[3]) << 20)
with store.open(digest) as file:
    length = sum(iter(lambda: len(file.read(1 << 20)), 0))
print(length >> 20, before, peak(), flush=True)
"""


def start(server: S3Server, root: Path, size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UPLOAD, f"s3://{BUCKET}/pre/fix", str(root), str(size)]
    environment = os.environ | server.environment()
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.whole
def test_memory_stays_flat_for_large_blobs(server: S3Server, root: Path) -> None:
    """A blob of 400 MB, written and read, takes at most 24 MB more than one of 20 MB."""
    with start(server, root, 400) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        length, before, after = map(int, child.stdout.readline().split())
    assert length == 400
    assert after - before < 24


@pytest.mark.whole
@pytest.mark.parametrize("parts", range(1, 6))
def test_fault_s1_a_kill_during_an_upload_leaves_no_blob(server: S3Server, root: Path, parts: int) -> None:
    """SIGKILL at each part of an upload: no object has the name, and the next start empties the spool."""
    digest = sha256(bytes(40 << 20))
    with start(server, root, 40) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        reached = threading.Event()

        def watch(handler: Handler) -> bool:
            if f"partNumber={parts}&" in handler.path and digest in handler.path:
                reached.set()
                time.sleep(0.2)
            return False

        server.act = watch
        assert reached.wait(30)
        child.send_signal(signal.SIGKILL)
    server.act = None
    assert len(spool(root)) == 1
    with open_store(server, root) as store:
        assert not store.has(digest)
        assert spool(root) == []
        assert stored_digests(store) == [sha256(bytes(20 << 20))]
        put(store, bytes(40 << 20))
        assert store.size(digest) == 40 << 20


@pytest.mark.whole
def test_fault_s2_an_unavailable_store_is_reported_within_a_minute_at_the_start(
    server: S3Server, root: Path
) -> None:
    """With the usual limits, the probe gives up a store that does not answer within 60 s."""
    over = threading.Event()
    server.act = stall_until(over)
    began = time.monotonic()
    with pytest.raises(StorageError):
        bucket_marker.probe(bucket.Objects(server.bucket(limits=None), root), OWN)
    over.set()
    assert time.monotonic() - began < 60
