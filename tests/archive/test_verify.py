"""Blobs against their rows: every kind of damage is reported, nothing else, and nothing is changed."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.archive import Archive
from archiver.blobs.store import BlobStore
from archiver.errors import StorageError
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest
from archiver.runner import run_lock
from archiver.verify.verify_stores import (
    Damage,
    Problem,
    VerifyReport,
    choose_share,
    start_of_day,
    verify_blobs,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.disk_limits import new_disk_blobs, stored_digests
from tests.support.memory_objects import MemoryStore
from tests.support.standin.faulty_standin import FaultyStandIn

AT = datetime(2026, 1, 1, tzinfo=UTC)


def put(store: BlobStore, data: bytes) -> StoredBlob:
    with store.draft() as draft:
        draft.write(data)
        digest, size = store.put(draft)
    return StoredBlob(digest, size, None, None, (f"item {len(data)} video",))


def row(data: bytes, lost_at: datetime | None = None) -> StoredBlob:
    digest = Digest(hashlib.sha256(data).hexdigest())
    return StoredBlob(digest, len(data), lost_at, None, ("item 1 video",))


def in_order(*rows: StoredBlob) -> Iterator[StoredBlob]:
    return iter(sorted(rows, key=lambda held: held.sha256))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[BlobStore]:
    with new_disk_blobs(tmp_path / "archive") as store:
        store.prepare()
        yield store


def spoil(store: BlobStore, held: StoredBlob, data: bytes) -> None:
    place = Path(store.location(held.sha256))
    place.chmod(0o600)
    place.write_bytes(data)


@given(
    held=st.sets(st.integers(0, 40)),
    orphans=st.sets(st.integers(41, 80)),
    missing=st.sets(st.integers(81, 120)),
    lost=st.sets(st.integers(121, 160)),
)
def test_every_blob_is_counted_in_its_class(
    held: set[int], orphans: set[int], missing: set[int], lost: set[int]
) -> None:
    """Sound, orphaned, missing and lost blobs in any mixture are told apart."""
    store = MemoryStore()
    rows = [put(store, b"%d" % n) for n in held]
    for n in orphans:
        put(store, b"%d" % n)
    gone = [row(b"%d" % n) for n in missing]
    known = [row(b"%d" % n, AT) for n in lost]
    verified: list[Digest] = []
    report = verify_blobs(store, in_order(*rows, *gone, *known), read_data=True, on_sound=verified.append)
    assert report == VerifyReport(
        checked=len(held) + len(missing) + len(lost),
        bytes_read=sum(blob.size for blob in rows),
        damaged=tuple(Damage(blob.sha256, Problem.MISSING, blob.owners) for blob in in_order(*gone)),
        orphans=len(orphans),
        foreign=(),
        lost=tuple(Damage(blob.sha256, Problem.MISSING, blob.owners) for blob in in_order(*known)),
        restored=(),
    )
    assert verified == sorted(blob.sha256 for blob in rows)


def link(store: BlobStore, held: StoredBlob) -> None:
    Path(store.location(held.sha256)).unlink()
    Path(store.location(held.sha256)).symlink_to("/etc/passwd")


def fifo(store: BlobStore, held: StoredBlob) -> None:
    Path(store.location(held.sha256)).unlink()
    os.mkfifo(Path(store.location(held.sha256)))


@pytest.mark.parametrize(
    ("damage", "problem", "quick"),
    [
        (lambda store, held: Path(store.location(held.sha256)).unlink(), Problem.MISSING, True),
        (lambda store, held: spoil(store, held, b"longer than it was"), Problem.SIZE, True),
        (lambda store, held: spoil(store, held, b""), Problem.SIZE, True),
        (lambda store, held: spoil(store, held, b"rotten!"), Problem.HASH, False),
        (link, Problem.NOT_REGULAR, True),
        (fifo, Problem.NOT_REGULAR, True),
    ],
)
def test_damage_is_named_and_left_in_place(
    disk: BlobStore, damage: Callable[[BlobStore, StoredBlob], None], problem: Problem, quick: bool
) -> None:
    """Each damage is reported with its kind and owners; bit rot only if the bytes are read."""
    held = put(disk, b"picture")
    other = put(disk, b"untouched")
    damage(disk, held)
    before = stored_digests(disk)
    verified: list[Digest] = []
    report = verify_blobs(disk, in_order(held, other), read_data=True, on_sound=verified.append)
    assert report.damaged == (Damage(held.sha256, problem, held.owners),)
    assert verified == [other.sha256]
    assert bool(verify_blobs(disk, in_order(held, other), read_data=False).damaged) is quick
    assert before == stored_digests(disk)


class Failing(MemoryStore):
    """A store that fails to open every blob with this error."""

    error = errno.EIO

    def open(self, digest: Digest) -> BinaryIO:
        try:
            raise OSError(self.error, os.strerror(self.error))
        except OSError as exc:
            raise StorageError("the blob cannot be read") from exc


def test_a_rotten_disk_is_damage_of_the_blob() -> None:
    """A blob that the disk cannot read (EIO) is damage, and the check continues."""
    store = Failing()
    held, other = put(store, b"picture"), put(store, b"other")
    report = verify_blobs(store, in_order(held, other), read_data=True)
    assert {d.problem for d in report.damaged} == {Problem.UNREADABLE}
    assert report.checked == 2


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.ESTALE])
def test_a_process_that_cannot_read_is_no_damage(error: int) -> None:
    """Too many open files, a missing permission or a missing server end the check: they are not damage."""
    store = Failing()
    store.error = error
    held = put(store, b"picture")
    with pytest.raises(StorageError):
        verify_blobs(store, in_order(held), read_data=True)


def test_foreign_names_are_reported(disk: BlobStore) -> None:
    """A foreign name is reported, neither as damage nor as an orphan."""
    held = put(disk, b"picture")
    (Path(disk.location(held.sha256)).parent / ".DS_Store").write_text("x")
    report = verify_blobs(disk, in_order(held), read_data=False)
    assert report == VerifyReport(1, 0, (), 0, (f"{held.sha256[:2]}/.DS_Store",), (), ())


def test_a_lost_blob_that_is_back_is_checked_again(disk: BlobStore) -> None:
    """A lost blob that exists is always read: right bytes are found, wrong ones stay lost."""
    back = put(disk, b"back")
    lost = StoredBlob(back.sha256, back.size, AT, None, ())
    verified: list[Digest] = []
    report = verify_blobs(disk, in_order(lost), read_data=False, on_sound=verified.append)
    assert (report.damaged, report.lost, report.restored, verified) == (
        (),
        (),
        (back.sha256,),
        [back.sha256],
    )
    spoil(disk, back, b"abcd")
    report = verify_blobs(disk, in_order(lost), read_data=False)
    assert (report.damaged, report.restored) == ((), ())
    assert report.lost == (Damage(lost.sha256, Problem.HASH, ()),)


def test_a_blob_that_comes_during_the_check_is_no_damage() -> None:
    """A blob that a run puts after the names were listed is not reported as missing."""
    store = MemoryStore()
    first, second = in_order(row(b"a"), row(b"b"))
    names = {row(data).sha256: data for data in (b"a", b"b")}
    put(store, names[first.sha256])

    def rows() -> Iterator[StoredBlob]:
        yield first
        yield put(store, names[second.sha256])

    report = verify_blobs(store, rows(), read_data=True)
    assert (report.checked, report.damaged) == (2, ())


def test_only_chosen_blobs_are_read() -> None:
    """Blobs that are not chosen are checked for presence and size, and are not called verified."""
    store = MemoryStore()
    rows = [put(store, b"%d" % n) for n in range(20)]
    chosen = {held.sha256 for held in rows[:7]}
    verified: list[Digest] = []
    report = verify_blobs(
        store, in_order(*rows), read_data=True, is_chosen=chosen.__contains__, on_sound=verified.append
    )
    assert (report.checked, set(verified), report.damaged) == (20, chosen, ())
    assert report.bytes_read == sum(held.size for held in rows[:7])


@given(share=st.floats(0.01, 1), start=st.floats(0, 1, exclude_max=True))
def test_a_share_is_about_that_share_and_the_parts_make_the_whole(share: float, start: float) -> None:
    """A share chooses about that part of all digests; starts one share apart leave none out."""
    digests = [Digest(hashlib.sha256(b"%d" % n).hexdigest()) for n in range(500)]
    taken = sum(map(choose_share(share, start), digests))
    assert abs(taken / 500 - share) < 0.1
    parts = [choose_share(share, (start + n * share) % 1.0) for n in range(int(1 / share) + 1)]
    assert all(any(part(digest) for part in parts) for digest in digests)


@given(share=st.floats(0.02, 1), first=st.integers(0, 10_000))
def test_daily_parts_follow_each_other_and_cover_all(share: float, first: int) -> None:
    """In 1 / share days in a row (rounded up) every blob is read."""
    digests = [Digest(hashlib.sha256(b"%d" % n).hexdigest()) for n in range(200)]
    days = [date.fromordinal(738_000 + first + n) for n in range(math.ceil(1 / share))]
    parts = [choose_share(share, start_of_day(share, day)) for day in days]
    missed = [d for d in digests if not any(part(d) for part in parts)]
    assert missed == []


def test_progress_is_told_while_a_large_blob_is_read(disk: BlobStore) -> None:
    """Progress is reported at each blob and each MiB, and the callback may stop the check."""
    held = put(disk, bytes(3 << 20))
    seen: list[tuple[int, int]] = []
    verify_blobs(
        disk, in_order(held), read_data=True, on_progress=lambda blobs, size: seen.append((blobs, size))
    )
    assert seen == [(0, 1 << 20), (0, 2 << 20), (0, 3 << 20), (1, 3 << 20)]

    def stop(blobs: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_blobs(disk, in_order(held), read_data=True, on_progress=stop)


def test_rows_out_of_order_are_refused() -> None:
    """Rows that are out of order are a ValueError, and never false damage."""
    rows = sorted((row(b"a"), row(b"b")), key=lambda held: held.sha256, reverse=True)
    with pytest.raises(ValueError, match="ascending"):
        verify_blobs(MemoryStore(), iter(rows), read_data=False)
    with pytest.raises(ValueError, match="ascending"):
        verify_blobs(MemoryStore(), iter([rows[0], rows[0]]), read_data=False)


class Endless(MemoryStore):
    """A store that lists many blobs without having them all at once."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def list_blobs(self, foreign: Callable[[str], None] | None = None) -> Iterator[tuple[Digest, int | None]]:
        return ((Digest(f"{n:064x}"), None) for n in range(self.count))

    def size(self, digest: Digest) -> int | None:
        return 7


def test_memory_does_not_grow_with_the_archive() -> None:
    """Rows and names are streamed: ten times the blobs need no more memory."""

    def peak(count: int) -> int:
        rows = (StoredBlob(Digest(f"{n:064x}"), 7, None, None, ()) for n in range(0, count, 2))
        tracemalloc.start()
        report = verify_blobs(Endless(count), rows, read_data=False)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (report.checked, report.orphans) == (count // 2, count // 2)
        return used

    assert peak(20_000) < 2 * peak(2_000)


UNREAD = "select count(*) from blobs where verified_at is null"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive of one account."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=2)
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        harness.night("salwaaa_ki")
        yield harness


def test_a_run_may_begin_while_verify_reads(harness: ArchiveHarness) -> None:
    """Reading terabytes takes a night: the run meets no lock, and its new blobs are not called damage."""
    nights: list[int] = []

    def progress(checked: int, _: int) -> None:
        if checked == 1 and not nights:
            nights.append(harness.night("natgeo").exit_code)

    with Archive(harness.config) as archive:
        report = archive.verify(read_data=True, progress=progress)
    assert (nights, report.blobs.damaged) == ([0], ())


def test_what_was_read_is_noted_unless_a_run_holds_the_lock(harness: ArchiveHarness) -> None:
    """Beside a run verify only reads; without one it sets ``verified_at`` of every blob."""
    blobs = harness.one("select count(*) from blobs")
    with run_lock.hold_run_lock(harness.root / "lock", "run"):
        assert harness.verify().is_damaged is False
        assert harness.one(UNREAD) == blobs
    with Archive(harness.config) as archive:
        archive.verify(read_data=True)
    assert harness.one(UNREAD) == 0
