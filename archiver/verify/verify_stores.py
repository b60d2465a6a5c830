"""Checking blobs and stored answers against their rows and names, and repairing what a check finds.

A check changes nothing: it says what is missing, changed or extra. Rows and directory are two ascending
streams that are merged, so that a million blobs need no more memory than a thousand. A repair works as far as
possible without the network: losses are recorded, damaged bytes are moved to quarantine, and restored bytes
are no longer recorded as lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore, parse_origin
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.archived import StoredAnswer, StoredBlob, Surplus
from archiver.model.identity import Digest
from archiver.work import Work

_CHUNK = 1 << 20

_NOTHING = (None, 0)
T = TypeVar("T")
_BATCH = 1000


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


class LostAnswer(Struct, frozen=True):
    """An answer that cannot be read: the id of its row, its segment (path below ``answers/``), and why."""

    id: int
    segment: str
    why: str


class AnswerReport(Struct, frozen=True):
    """The result of a check.

    ``damaged``: cannot be read, and not yet recorded as lost. ``lost``: recorded as lost, and still
    unreadable. ``restored``: ids of answers that are recorded as lost but can be read again. ``unrecorded``:
    the number of whole answers in segments without rows, as after the database was restored from an older
    copy. ``surplus``: bytes in segments that are not records of this program. ``foreign``: names below
    ``answers/`` that this program does not create and that are in no row.
    """

    checked: int = 0
    damaged: tuple[LostAnswer, ...] = ()
    lost: tuple[LostAnswer, ...] = ()
    restored: tuple[int, ...] = ()
    unrecorded: int = 0
    surplus: tuple[Surplus, ...] = ()
    foreign: tuple[str, ...] = ()


def verify_answers(
    store: AnswerStore,
    answers: Iterator[StoredAnswer],
    *,
    read_data: bool,
    is_chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> AnswerReport:
    """Check that every answer is within its segment.

    With ``read_data``, also read those that ``is_chosen`` accepts. An answer that is recorded as lost is
    always read. ``check`` is called for each answer and may raise to stop. Raises StorageError if the disk
    fails, but not for a damaged part of it.
    """
    checked = 0
    damaged: list[LostAnswer] = []
    lost: list[LostAnswer] = []
    readable: list[int] = []
    listed = store.sizes()
    name, size = next(listed, _NOTHING)
    sizes: dict[str, int | None] = {}
    for answer in answers:
        check()
        checked += 1
        segment = answer.location.segment
        if segment not in sizes:
            sizes.clear()  # answers are sorted by segment: keep only one size
            while name is not None and name < segment:
                name, size = next(listed, _NOTHING)
            # A segment that is not listed may have been stored since.
            sizes[segment] = size if name == segment else store.size(segment)
        must_read = answer.is_lost or (read_data and is_chosen(answer.location.sha256))
        why = _damage_of(store, answer, sizes[segment], must_read)
        if why is not None:
            (lost if answer.is_lost else damaged).append(LostAnswer(answer.id, segment, why))
        elif answer.is_lost:
            readable.append(answer.id)
    return AnswerReport(checked, tuple(damaged), tuple(lost), tuple(readable))


def verify_segments(
    store: AnswerStore,
    has_rows: Callable[[str], bool],
    rows_of: Callable[[str], Mapping[int, int]],
    *,
    read_data: bool,
    is_chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, tuple[Surplus, ...]]:
    """Count the whole answers in segments without rows, and return the surplus bytes of all segments.

    A segment without rows is always read. A segment with rows is read only with ``read_data``, if
    ``is_chosen`` accepts the digest of its name, and only between the answers that have rows: ``rows_of``
    returns their lengths by offset.

    ``has_rows`` is called again after a segment was read, because a concurrent run may have just begun that
    segment. ``check`` is called for each segment and may raise to stop. Raises StorageError if the disk
    fails, but not for a damaged part of it.
    """
    count, surplus = 0, list[Surplus]()
    for segment in store.segments():
        check()
        is_known = has_rows(segment)
        if is_known and not (read_data and is_chosen(Digest(hashlib.sha256(segment.encode()).hexdigest()))):
            continue
        try:
            whole = 0 if is_known else sum(1 for _ in store.iterate(segment))
            rows = rows_of(segment) if is_known else {}
            is_ours = is_known or parse_origin(segment) is not None
            extra = list(store.surplus(segment, rows)) if is_ours else []
        except AnswerMalformed:
            continue  # removed in the meantime, or not a file of this program
        except StorageError as error:
            if not is_data_loss(error):
                raise
            continue  # each answer that cannot be read is reported by verify_answers
        if is_known or not has_rows(segment):
            count += whole
            surplus += extra
    return count, tuple(surplus)


def _damage_of(store: AnswerStore, answer: StoredAnswer, size: int | None, must_read: bool) -> str | None:
    location = answer.location
    if size is None:
        return f"answers/{location.segment} does not exist"
    if size < location.offset + location.length:
        return f"answers/{location.segment} ends before this answer does"
    if not must_read:
        return None
    try:
        store.read(location)
    except AnswerMalformed as error:
        return str(error)
    except StorageError as error:
        if not is_data_loss(error):
            raise
        return str(error)
    return None


def repair(
    catalog: Catalog,
    blob_store: BlobStore,
    answer_store: AnswerStore,
    blobs: VerifyReport,
    answers: AnswerReport,
    work: Work,
) -> int:
    """Make rows and stores agree, and return how many damaged blobs were moved to quarantine.

    Nothing is deleted and no unit is spent. ``lost_at`` is committed before the bytes are moved, so after a
    kill in between, the next repair moves the damaged blob. Raises StorageError, and the cause of
    ``work.stop``.
    """
    record_findings(catalog, blobs, answers, work)
    damaged = find_damaged_bytes(blobs)
    for sha256 in damaged:
        work.stop.check()
        blob_store.quarantine(sha256)
    for surplus in reversed(answers.surplus):  # the last one first: it may be cut off
        work.stop.check()
        answer_store.set_aside(surplus)
    return len(damaged)


def find_damaged_bytes(blobs: VerifyReport) -> list[Digest]:
    """Return the damaged blobs of which there are bytes to move to quarantine."""
    damaged = (*blobs.damaged, *blobs.lost)
    return [damage.sha256 for damage in damaged if damage.problem is not Problem.MISSING]


def record_findings(catalog: Catalog, blobs: VerifyReport, answers: AnswerReport, work: Work) -> None:
    """Make the rows agree with what a check found; move nothing."""
    now = work.clock()
    for damaged in _batches(blobs.damaged):
        work.stop.check()
        catalog.write(record.record_lost_blobs, tuple(damage.sha256 for damage in damaged), now)
    for digests in _batches(blobs.restored):
        catalog.write(record.record_found_blobs, tuple(digests))
    for lost in _batches(answers.damaged):
        catalog.write(record.record_lost_answers, tuple(answer.id for answer in lost), now)
    for ids in _batches(answers.restored):
        catalog.write(record.record_found_answers, tuple(ids))


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), _BATCH):
        yield things[start : start + _BATCH]
