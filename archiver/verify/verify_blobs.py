"""Checking the blobs against their rows and names: what is missing, changed or extra. Changes nothing.

Rows and directory are two ascending streams that are merged, so that a million blobs need no more memory than
a thousand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from enum import StrEnum

from msgspec import Struct

from archiver.blobs.store import BlobStore
from archiver.durable import is_data_loss
from archiver.errors import StorageError
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest

_CHUNK = 1 << 20


class Problem(StrEnum):
    """What is wrong with a blob that has a row."""

    MISSING = "missing"  # there is nothing under its name
    NOT_REGULAR = "not_regular"  # there is a directory, link, FIFO or device
    SIZE = "size"
    HASH = "hash"
    UNREADABLE = "unreadable"  # the disk itself cannot read it


class Damage(Struct, frozen=True):
    """A blob that is not what its row says, the names of its owners, and where people see them.

    ``places``: the account, or the account and the highlight: ``natgeo, Gift Guide``.
    """

    sha256: Digest
    problem: Problem
    owners: tuple[str, ...]
    places: tuple[str, ...] = ()


class VerifyReport(Struct, frozen=True):
    """The result of a check.

    ``damaged``: not yet recorded as lost. ``orphans``: the number of blobs without a row, which is harmless.
    ``foreign``: names in the store that are not names of blobs. ``lost``: recorded as lost, and still missing
    or damaged. ``restored``: recorded as lost, but present again with the right bytes.
    """

    checked: int = 0
    bytes_read: int = 0
    damaged: tuple[Damage, ...] = ()
    orphans: int = 0
    foreign: tuple[str, ...] = ()
    lost: tuple[Damage, ...] = ()
    restored: tuple[Digest, ...] = ()


def verify_blobs(
    store: BlobStore,
    blobs: Iterator[StoredBlob],
    *,
    read_data: bool,
    is_chosen: Callable[[Digest], bool] = lambda digest: True,
    on_progress: Callable[[int, int], None] = lambda checked, bytes_read: None,
    on_sound: Callable[[Digest], None] = lambda digest: None,
) -> VerifyReport:
    """Check presence, kind and size of every blob; with ``read_data``, hash those that ``is_chosen`` accepts.

    ``blobs``: all rows in ascending order of ``sha256``, each once; ValueError if they are not. A blob that
    is recorded as lost but exists is always read. ``on_sound`` is called with each blob whose bytes were read
    and are right. ``on_progress`` is called with the numbers of blobs and bytes so far, once per blob and per
    MiB, and may raise to stop.

    A blob that a concurrent run stores is never reported as damaged. Raises StorageError if the store cannot
    be listed or the disk fails, but not for a damaged part of it.
    """
    inspector = _Inspector(store, on_progress)
    damaged: list[Damage] = []
    lost: list[Damage] = []
    restored: list[Digest] = []
    foreign: list[str] = []
    orphans = 0
    for blob, is_listed, size in merge_listing(blobs, store.list_blobs(foreign.append)):
        if blob is None:
            orphans += 1
            continue
        is_lost = blob.lost_at is not None
        must_read = is_lost or (read_data and is_chosen(blob.sha256))
        problem = inspector.problem_of(blob, is_listed, size, must_read)
        if problem is not None:
            (lost if is_lost else damaged).append(Damage(blob.sha256, problem, blob.owners))
            continue
        if is_lost:
            restored.append(blob.sha256)
        if must_read:
            on_sound(blob.sha256)
    return VerifyReport(
        inspector.checked,
        inspector.bytes_read,
        tuple(damaged),
        orphans,
        tuple(foreign),
        tuple(lost),
        tuple(restored),
    )


def choose_share(share: float, start: float) -> Callable[[Digest], bool]:
    """Return a function that chooses a share of all digests.

    ``share`` and ``start`` are fractions (0 to 1) of the digests in ascending order, which wrap around at the
    end. Digests are evenly distributed, so the chosen part has the size of its share.
    """
    return lambda digest: (int(digest[:13], 16) / 16**13 - start) % 1.0 < share


def start_of_day(share: float, day: date) -> float:
    """Return where the share of a day starts: where the previous day's ended.

    So every blob is read once in 1 / ``share`` days.
    """
    return day.toordinal() * share % 1.0


class _Inspector:
    """Inspects one blob after another, and counts blobs and bytes."""

    def __init__(self, store: BlobStore, on_progress: Callable[[int, int], None]) -> None:
        self._store, self._on_progress = store, on_progress
        self.checked = self.bytes_read = 0

    def problem_of(
        self, blob: StoredBlob, is_listed: bool, size: int | None, must_read: bool
    ) -> Problem | None:
        """Return what is wrong with a blob. ``size``: if its listing states it."""
        try:
            return self._inspect(blob, is_listed, size, must_read)
        except StorageError as error:
            if not is_data_loss(error):
                raise  # too many open files, no permission: the blob may be sound
            return Problem.UNREADABLE
        finally:
            self.checked += 1
            self._on_progress(self.checked, self.bytes_read)

    def _inspect(
        self, blob: StoredBlob, is_listed: bool, size: int | None, must_read: bool
    ) -> Problem | None:
        if size is None:
            size = self._store.size(blob.sha256)  # even if it was not listed: it may have been stored since
        if size is None:
            return Problem.NOT_REGULAR if is_listed else Problem.MISSING
        if size != blob.size:
            return Problem.SIZE
        if must_read and self._hash(blob.sha256) != blob.sha256:
            return Problem.HASH
        return None

    def _hash(self, digest: Digest) -> str:
        sha256 = hashlib.sha256()
        with self._store.open(digest) as file:
            while chunk := _read_chunk(file.read, digest):
                sha256.update(chunk)
                self.bytes_read += len(chunk)
                self._on_progress(self.checked, self.bytes_read)
        return sha256.hexdigest()


def _read_chunk(read: Callable[[int], bytes], digest: Digest) -> bytes:
    try:
        return read(_CHUNK)
    except OSError as exc:
        raise StorageError(f"the blob {digest} cannot be read: {exc.strerror}") from exc


def merge_listing(
    blobs: Iterator[StoredBlob], listed: Iterator[tuple[Digest, int | None]]
) -> Iterator[tuple[StoredBlob | None, bool, int | None]]:
    """Yield each row with whether its name is listed, and the listed size; None for a name without a row."""
    nothing = (None, None)
    name, size = next(listed, nothing)
    last = ""
    for blob in blobs:
        if blob.sha256 <= last:
            raise ValueError("rows of blobs must come in ascending order of sha256")
        last = blob.sha256
        while name is not None and name < blob.sha256:
            yield None, True, size
            name, size = next(listed, nothing)
        if name == blob.sha256:
            yield blob, True, size
            name, size = next(listed, nothing)
        else:
            yield blob, False, None
    while name is not None:
        yield None, True, size
        name, size = next(listed, nothing)
