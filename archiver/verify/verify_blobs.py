"""Blobs against their rows and their names: finds what is missing, changed or extra, and changes nothing.

Rows and directory are two ascending streams that are merged, so that a million blobs need no more memory than a thousand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from archiver.blobs.store import BlobStore
from archiver.durable import is_rotten
from archiver.errors import StorageError
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest

_CHUNK = 1 << 20


class Problem(StrEnum):
    """What is wrong with a blob that a row vouches for."""

    MISSING = "missing"  # nothing lies under its name
    NOT_REGULAR = "not_regular"  # a directory, link, FIFO or device does
    SIZE = "size"
    HASH = "hash"
    UNREADABLE = "unreadable"  # the disk itself cannot read it any more


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that is not what its row says, with those who own it."""

    sha256: Digest
    problem: Problem
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found. ``orphans``: blobs without a row, harmless. ``foreign``: names in the store that no blob can have.

    ``lost``: what is recorded as lost and is so; it is no damage again. ``found``: recorded as lost, and back with the right
    bytes (somebody restored them).
    """

    checked: int
    bytes_read: int
    damaged: tuple[Damage, ...]
    orphans: int
    foreign: tuple[str, ...]
    lost: tuple[Damage, ...]
    found: tuple[Digest, ...]


def verify_blobs(
    store: BlobStore,
    blobs: Iterator[StoredBlob],
    *,
    read_data: bool,
    chosen: Callable[[Digest], bool] = lambda digest: True,
    on_progress: Callable[[int, int], None] = lambda checked, bytes_read: None,
    verified: Callable[[Digest], None] = lambda digest: None,
) -> VerifyReport:
    """Check every row's blob for its presence, kind and size; with ``read_data`` hash the bytes of those that are ``chosen``.

    A blob that is recorded as lost and lies there all the same is always read. ``blobs`` come in ascending order of ``sha256``, each
    once: ValueError if not. ``verified`` is told each blob whose bytes were read and are right; ``on_progress`` the blobs and bytes
    so far, once per blob and per MiB read, and may raise to stop. Raises StorageError if the store cannot be listed, or read for another reason than a rotten disk. A blob that a
    run beside it puts meanwhile is never reported as damage.
    """
    check = _Check(store, on_progress)
    damaged: list[Damage] = []
    lost: list[Damage] = []
    found: list[Digest] = []
    foreign: list[str] = []
    orphans = 0
    for held, listed in _merged(blobs, store.digests(foreign.append)):
        if held is None:
            orphans += 1
            continue
        recorded = held.lost_at is not None
        read = recorded or (read_data and chosen(held.sha256))
        problem = check.problem_of(held, listed, read)
        if problem is not None:
            (lost if recorded else damaged).append(Damage(held.sha256, problem, held.owners))
            continue
        if recorded:
            found.append(held.sha256)
        if read:
            verified(held.sha256)
    return VerifyReport(
        check.checked, check.bytes_read, tuple(damaged), orphans, tuple(foreign), tuple(lost), tuple(found)
    )


class _Check:
    """Looks at one blob after the other and counts."""

    def __init__(self, store: BlobStore, on_progress: Callable[[int, int], None]) -> None:
        self._store, self._on_progress = store, on_progress
        self.checked = self.bytes_read = 0

    def problem_of(self, held: StoredBlob, listed: bool, read: bool) -> Problem | None:
        try:
            return self._look(held, listed, read)
        except StorageError as error:
            if not is_rotten(error):
                raise  # too many open files, no right to read: the blob may be sound
            return Problem.UNREADABLE
        finally:
            self.checked += 1
            self._on_progress(self.checked, self.bytes_read)

    def _look(self, held: StoredBlob, listed: bool, read: bool) -> Problem | None:
        size = self._store.size(held.sha256)  # asked even if it was not listed: it may have come since
        if size is None:
            return Problem.NOT_REGULAR if listed else Problem.MISSING
        if size != held.size:
            return Problem.SIZE
        if read and self._hash(held.sha256) != held.sha256:
            return Problem.HASH
        return None

    def _hash(self, digest: Digest) -> str:
        seen = hashlib.sha256()
        with self._store.open(digest) as file:
            while chunk := _read(file.read, digest):
                seen.update(chunk)
                self.bytes_read += len(chunk)
                self._on_progress(self.checked, self.bytes_read)
        return seen.hexdigest()


def _read(read: Callable[[int], bytes], digest: Digest) -> bytes:
    try:
        return read(_CHUNK)
    except OSError as exc:
        raise StorageError(f"the blob {digest} cannot be read: {exc.strerror}") from exc


def _merged(
    blobs: Iterator[StoredBlob], digests: Iterator[Digest]
) -> Iterator[tuple[StoredBlob, bool] | tuple[None, bool]]:
    """Both streams as one: each row with whether its name is listed, and None for each listed name without a row."""
    name = next(digests, None)
    last = ""
    for held in blobs:
        if held.sha256 <= last:
            raise ValueError("rows of blobs must come in ascending order of sha256")
        last = held.sha256
        while name is not None and name < held.sha256:
            yield None, True
            name = next(digests, None)
        listed = name == held.sha256
        yield held, listed
        if listed:
            name = next(digests, None)
    while name is not None:
        yield None, True
        name = next(digests, None)


def share_of(share: float, start: float) -> Callable[[Digest], bool]:
    """Choose a part of all digests: ``share`` of them (0 to 1), those that follow ``start`` (0 to 1) in the order of names.

    Digests are spread evenly, so the part is as large as it says.
    """
    return lambda digest: (int(digest[:13], 16) / 16**13 - start) % 1.0 < share


def start_of_day(share: float, day: date) -> float:
    """Where the part of that day begins: just where that of the day before ended, so that 1 / ``share`` days cover all."""
    return day.toordinal() * share % 1.0
