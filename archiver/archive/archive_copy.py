"""Copies blobs, answers and journal of an archive from one storage to another, and checks all that is copied.

What the new place has already counts only if it has the same bytes. In a bucket it is enough that the store
states their size and checksum. No transaction of the database is open while a store is asked for something.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import BinaryIO, TypeVar

from archiver.answers.answer_store import ANSWERS
from archiver.answers.warc import parse_answer, unpack_record
from archiver.archive.archive_storage import ArchiveStorage
from archiver.blobs.store import object_name
from archiver.catalog import Catalog, outbox
from archiver.catalog.query import account_parts, holdings, totals
from archiver.durable import is_data_loss, storage_errors
from archiver.errors import AnswerMalformed, JournalDamaged, JournalDiffers, StorageError
from archiver.journal.journal_check import follow, newest_snapshot
from archiver.journal.journal_files import JOURNAL
from archiver.model.api_calls import AnswerLocation
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest
from archiver.runner.threads import for_each
from archiver.store.objects import ObjectMissing, begins_with, pieces_of, size_of
from archiver.verify.verify_stores import merge_listing
from archiver.work import Work

T = TypeVar("T")

_AT_ONCE = 4
"""Files that are copied at once: a store answers each request only after a while."""
_RECORD_LOSS = "archiver verify --repair records what is lost; then run this again"
_FIND_DAMAGE = "archiver verify --read-data --repair records what is lost; then run this again"
_BEGIN_AGAIN = "archiver verify --repair writes all rows into the journal again; then run this again"


class ArchiveCopy:
    """Copies from the storage ``old`` to ``new``.

    The caller holds the archive's locks, so nothing changes meanwhile. ``work.progress`` gets the number of
    blobs so far, the number of all blobs, and what else was copied, for people. Every method raises the cause
    of ``work.stop`` once it is set, StorageError, DiskFull and DatabaseError.
    """

    def __init__(self, old: ArchiveStorage, new: ArchiveStorage, catalog: Catalog, work: Work) -> None:
        self._old, self._new, self._catalog = old, new, catalog
        self._stop, self._progress = work.stop, work.progress
        self._source, self._target = old.objects(), new.objects()
        self._counting = threading.Lock()

    def check_answers(self) -> None:
        """Raise JournalDiffers if the new place may hold an account that was forgotten since it was left.

        Then it has answers that the archive has not, and they would be recorded again.
        """
        if not self._catalog.read(account_parts.count_removals):
            return
        own = set(self._old.answers().segments())
        for segment in self._new.answers().segments():
            if segment not in own:
                raise JournalDiffers(
                    f"{self._target.location(ANSWERS.path(segment))} is not part of this archive, and may be"
                    " from before an account was forgotten",
                    f"delete blobs, answers and journal in {self._new.location}, or choose another place",
                )

    def check_journals(self) -> None:
        """Check the journal, and that the new place has none, or only what this one begins with.

        Raises JournalDamaged, or JournalDiffers with the name of a file that only the new place has, or has
        otherwise. Writes nothing there.
        """
        files = self._old.journal()
        head = self._catalog.read(outbox.read_head)
        assert head is not None  # the journal has begun
        try:
            names = files.names(newest_snapshot(files, head.file), head.file)
            for _ in follow(files, self._catalog.archive_id, names, None, []):
                self._stop.check()
        except JournalDamaged as error:
            raise JournalDamaged(f"{error}, so the archive is not moved", _BEGIN_AGAIN) from error
        self._each(self._new.journal().names(), self._check_journal_file)

    def copy_blobs(self) -> int:
        """Copy the blobs that are not recorded as lost, and return how many were not there yet."""
        total, done, copied = self._catalog.read(totals.status).blobs, 0, 0

        def copy(listed: tuple[StoredBlob | None, bool, int | None]) -> None:
            nonlocal done, copied
            blob, is_listed, size = listed
            if blob is None:
                return
            name = object_name(blob.sha256)
            if is_listed and size is None:
                size = self._target.size(name)
            check = partial(self._require_digest, blob.sha256)
            is_new = blob.lost_at is None and self._copy(name, check, size or 0, blob.sha256)
            with self._counting:
                done += 1
                copied += is_new
                self._progress(done, total, "")

        with self._new.blobs(self._catalog) as new:
            if not new.is_remote:
                new.prepare()
            self._each(merge_listing(self._blobs(), new.list_blobs()), copy)
        return copied

    def copy_answers(self) -> None:
        """Copy the segments of answers. Every answer that is not recorded as lost is read before that."""
        blobs, checked = self._catalog.read(totals.status).blobs, 0

        def copy(segment: str) -> None:
            nonlocal checked
            answers = self._catalog.read(holdings.answers_of_segment, segment)
            present = [answer.location for answer in answers if not answer.is_lost]
            path = ANSWERS.path(segment)
            self._copy(path, partial(self._require_answers, present), self._target.size(path) or 0)
            with self._counting:
                checked += len(present)
                self._progress(blobs, blobs, f"{checked:,} answers")

        self._each(self._old.answers().segments(), copy)
        number, lost = self._catalog.read(holdings.answer_counts)
        if checked < number - lost:
            self._find_missing_segment()

    def copy_journal(self) -> None:
        """Copy the files of the journal, whose lines ``check_journals`` has checked."""
        blobs, done = self._catalog.read(totals.status).blobs, 0

        def copy(name: str) -> None:
            nonlocal done
            path = JOURNAL.path(name)
            self._copy(path, lambda _: None, self._target.size(path) or 0)
            with self._counting:
                done += 1
                self._progress(blobs, blobs, f"{done:,} files of the journal")

        self._each(self._old.journal().names(), copy)

    def _each(self, things: Iterable[T], work: Callable[[T], None]) -> None:
        for_each(things, work, threads=_AT_ONCE, most=_AT_ONCE, stop=self._stop)
        self._stop.check()

    def _blobs(self) -> Iterator[StoredBlob]:
        """Yield the rows of all blobs in ascending order."""
        return self._catalog.read_pages(holdings.blobs_after)

    def _copy(
        self, name: str, check: Callable[[BinaryIO], None], present: int, blob: Digest | None = None
    ) -> bool:
        """Copy an object once ``check`` has accepted its bytes. Return whether it was not there yet.

        ``present``: the size of what the new place has under this name; 0 if nothing. ``blob``: the digest,
        if it is one. Versions of anything else are beginnings of each other, so another one of this size, or
        less, is damaged, and an empty one does not count. Raises StorageError if there is a larger one: that
        is never replaced.
        """
        with self._open(name, present, blob) as (file, is_there):
            check(file)
            size = size_of(file)
            if is_there or (size == 0 and blob is None):
                return False
            if present > size and blob is None:
                raise StorageError(
                    f"{self._target.location(name)} is longer than the file that would replace it",
                    "if it is not needed, move it to another folder or name another prefix",
                )
            if present == size and self._target.holds(name, file):
                return False
            with storage_errors(f"the bytes for {self._target.location(name)} cannot be read"):
                self._target.put(name, file, is_final=blob is not None)
                self._require_stored(name, file, size)
            return True

    @contextmanager
    def _open(self, name: str, present: int, blob: Digest | None = None) -> Iterator[tuple[BinaryIO, bool]]:
        """Yield an object of the old place as a file of the disk, and whether the new place has its bytes.

        An object is not downloaded if the file is in the directory already.
        """
        if present and self._source.is_remote and not self._target.is_remote:
            with self._target.open_file(name) as file:
                if self._is_copy(name, file, blob):
                    yield file, True
                    return
        with self._open_source(name) as file:
            yield file, False

    def _is_copy(self, name: str, file: BinaryIO, blob: Digest | None) -> bool:
        """Return whether a file of the directory, which may be damaged, has the bytes of the old place."""
        location = self._target.location(name)
        try:
            if blob is not None:
                return self._hash(file, location) == blob
            with storage_errors(f"{location} cannot be read"):
                return self._source.holds(name, file)
        except StorageError as error:
            if not is_data_loss(error):
                raise
            return False

    def _open_source(self, name: str) -> BinaryIO:
        try:
            return self._source.open_file(name)
        except ObjectMissing as error:
            if self._source.size(name) is not None:
                raise
            raise StorageError(
                f"{self._source.location(name)} is missing, so the archive is not moved", _RECORD_LOSS
            ) from error

    def _require_stored(self, name: str, file: BinaryIO, size: int) -> None:
        """Compare what the new place has now: it need not check what it receives."""
        if self._target.holds(name, file):
            return
        with self._target.open(name) as stored:  # its checksum is none, or it has other bytes
            if not (begins_with(stored, file) and stored.tell() == size_of(stored) == size):
                raise StorageError(
                    f"{self._target.location(name)} has other bytes than were written",
                    "check the store or the disk",
                )

    def _require_digest(self, blob: Digest, file: BinaryIO) -> None:
        location = self._source.location(object_name(blob))
        if self._hash(file, location) != blob:
            raise StorageError(f"{location} is damaged, so the archive is not moved", _FIND_DAMAGE)

    def _require_answers(self, locations: Iterable[AnswerLocation], file: BinaryIO) -> None:
        """Raise StorageError unless a segment has all of these answers."""
        for location in locations:
            self._stop.check()
            if not _is_answer(file.fileno(), location):
                raise StorageError(
                    f"the answer at offset {location.offset} in"
                    f" {self._source.location(ANSWERS.path(location.segment))} is damaged, so the archive is"
                    " not moved",
                    _FIND_DAMAGE,
                )

    def _hash(self, file: BinaryIO, location: str) -> str:
        sha256 = hashlib.sha256()
        with storage_errors(f"{location} cannot be read"):
            for piece in pieces_of(file):
                self._stop.check()
                sha256.update(piece)
        return sha256.hexdigest()

    def _check_journal_file(self, name: str) -> None:
        """Raise JournalDiffers unless a file of the new place is one of the journal, or its beginning."""
        path = JOURNAL.path(name)
        length = self._target.size(path)
        if not length:
            return
        if length <= (self._source.size(path) or 0):
            with self._open(path, length) as (file, is_there):
                if is_there or self._target.holds(path, file):
                    return
                with (
                    self._target.open(path) as own,
                    storage_errors(f"{self._target.location(path)} cannot be compared"),
                ):
                    if begins_with(file, own):
                        return
        raise JournalDiffers(
            f"{self._target.location(path)} is not in the journal of this archive, or has other bytes there:"
            " this archive is an older copy, or has begun another journal",
            "name another prefix; or, to use what is there, put its archive.json into a new directory"
            if self._target.is_remote
            else "if the journal there is not needed any more, move it to another folder",
        )

    def _find_missing_segment(self) -> None:
        """Raise StorageError if a segment that has answers is missing."""
        for segment, answers in groupby(
            self._catalog.read_pages(holdings.answers_after), key=lambda answer: answer.location.segment
        ):
            self._stop.check()
            path = ANSWERS.path(segment)
            if not all(answer.is_lost for answer in answers) and self._source.size(path) is None:
                raise StorageError(
                    f"{self._source.location(path)} is missing, so the archive is not moved", _RECORD_LOSS
                )


def _is_answer(fd: int, location: AnswerLocation) -> bool:
    """Return whether an open segment has this answer."""
    with storage_errors(f"answers/{location.segment} cannot be read"):
        record = unpack_record(os.pread(fd, location.length, location.offset))
    try:
        answer = None if record is None else parse_answer(record)
    except AnswerMalformed:
        return False
    return answer is not None and hashlib.sha256(answer.body).hexdigest() == location.sha256
