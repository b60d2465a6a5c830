"""Copies blobs, answers and journal of an archive from one storage to another, and checks all that is copied.

What the new place has already counts only if it has the same bytes. In a bucket it is enough that the store
states their size and checksum. No transaction of the database is open while a store is asked for something.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from archiver.answers.answer_store import AnswerStore
from archiver.answers.segment_names import ANSWERS
from archiver.answers.warc_reader import unpack_record
from archiver.answers.warc_record import parse_answer
from archiver.archive.archive_storage import ArchiveStorage
from archiver.blobs.store import BlobStore, object_name
from archiver.catalog import Catalog, outbox
from archiver.catalog.query import account_parts, holdings, stored_answers, totals
from archiver.durable import enter_levels, is_data_loss, storage_errors
from archiver.errors import AnswerMalformed, JournalDamaged, JournalDiffers, StorageError
from archiver.journal.journal_check import follow, newest_snapshot
from archiver.journal.journal_files import JOURNAL, JournalFiles
from archiver.model.api_calls import AnswerLocation
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest
from archiver.runner.threads import StopFlag, for_each
from archiver.store.bucket_client import Bucket
from archiver.verify.verify_blobs import merge_listing

T = TypeVar("T")

Progress = Callable[[int, int, str], None]
"""Gets the number of blobs so far, the number of all blobs, and what else was copied, for people."""

_PIECE = 1 << 20
_AT_ONCE = 4
"""Files that are copied at once: a store answers each request only after a while."""
_RECORD_LOSS = "archiver verify --repair records what is lost; then run this again"
_FIND_DAMAGE = "archiver verify --read-data --repair records what is lost; then run this again"
_BEGIN_AGAIN = "archiver verify --repair writes all rows into the journal again; then run this again"


class ArchiveCopy:
    """Copies from the storage ``old`` to ``new``. ``root``: the directory of the archive, for its spool.

    The caller holds the archive's locks, so nothing changes meanwhile. Every method raises the cause of
    ``stop`` once it is set, StorageError, DiskFull and DatabaseError.
    """

    def __init__(
        self, old: ArchiveStorage, new: ArchiveStorage, catalog: Catalog, root: Path, stop: StopFlag
    ) -> None:
        self._old, self._new, self._catalog, self._root, self._stop = old, new, catalog, root, stop
        self._counting = threading.Lock()

    def check_answers(self) -> None:
        """Raise JournalDiffers if the new place may hold an account that was forgotten since it was left.

        Then it has answers that the archive has not, and they would be recorded again.
        """
        if not self._catalog.read(account_parts.count_removals):
            return
        target, own = self._answers(self._new), set(self._answers(self._old).names())
        for name in target.names():
            if name not in own:
                raise JournalDiffers(
                    f"{target.location(name)} is not part of this archive, and may be from before an account"
                    " was forgotten",
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

    def copy_blobs(self, progress: Progress) -> int:
        """Copy the blobs that are not recorded as lost, and return how many were not there yet."""
        total, done, copied = self._catalog.read(totals.status).blobs, 0, 0

        def copy(listed: tuple[StoredBlob | None, bool, int | None]) -> None:
            nonlocal done, copied
            blob, is_listed, _ = listed
            if blob is None:
                return
            is_new = blob.lost_at is None and self._copy_blob(old, new, blob, is_listed=is_listed)
            with self._counting:
                done += 1
                copied += is_new
                progress(done, total, "")

        with closing(self._old.blobs(self._catalog)) as old, closing(self._new.blobs(self._catalog)) as new:
            if self._new.bucket is None:
                new.prepare()
            self._each(merge_listing(self._blobs(), new.list_blobs()), copy)
        return copied

    def copy_answers(self, progress: Progress) -> None:
        """Copy the segments of answers. Every answer that is not recorded as lost is read before that."""
        source, target = self._answers(self._old), self._answers(self._new)
        blobs, checked = self._catalog.read(totals.status).blobs, 0

        def copy(segment: str) -> None:
            nonlocal checked
            answers = self._catalog.read(stored_answers.answers_of_segment, segment)
            present = [answer.location for answer in answers if not answer.is_lost]
            with _open_source(source, target, segment) as (file, is_there):
                for location in present:
                    self._stop.check()
                    if not _is_answer(file.fileno(), location):
                        raise StorageError(
                            f"the answer at offset {location.offset} in {source.location(segment)} is"
                            " damaged, so the archive is not moved",
                            _FIND_DAMAGE,
                        )
                if not is_there:
                    _store(target, segment, file)
            with self._counting:
                checked += len(present)
                progress(blobs, blobs, f"{checked:,} answers")

        self._each(source.names(), copy)
        number, lost = self._catalog.read(stored_answers.answer_counts)
        if checked < number - lost:
            self._find_missing_segment(source)

    def copy_journal(self, progress: Progress) -> None:
        """Copy the files of the journal, whose lines ``check_journals`` has checked."""
        source, target = self._journal(self._old), self._journal(self._new)
        blobs, done = self._catalog.read(totals.status).blobs, 0

        def copy(name: str) -> None:
            nonlocal done
            with _open_source(source, target, name) as (file, is_there):
                if not is_there:
                    _store(target, name, file)
            with self._counting:
                done += 1
                progress(blobs, blobs, f"{done:,} files of the journal")

        self._each(source.names(), copy)

    def _each(self, things: Iterable[T], work: Callable[[T], None]) -> None:
        for_each(things, work, threads=_AT_ONCE, most=_AT_ONCE, stop=self._stop)
        self._stop.check()

    def _answers(self, storage: ArchiveStorage) -> _Folder:
        answers = storage.answers()
        if storage.bucket is None:
            return _DiskAnswers(self._root, answers)
        return _BucketFolder(self._root, "answers", answers.segments, storage.bucket)

    def _journal(self, storage: ArchiveStorage) -> _Folder:
        files = storage.journal()
        if storage.bucket is None:
            return _DiskJournal(self._root, files)
        return _BucketFolder(self._root, "journal", files.names, storage.bucket)

    def _blobs(self) -> Iterator[StoredBlob]:
        """Yield the rows of all blobs in ascending order."""
        return self._catalog.read_pages(holdings.blobs_after)

    def _copy_blob(self, old: BlobStore, new: BlobStore, blob: StoredBlob, *, is_listed: bool) -> bool:
        """Copy a blob, and return whether it was not there yet."""
        digest, bucket = blob.sha256, self._new.bucket
        if bucket is None:
            if is_listed and self._is_sound(new, blob):
                return False
            with _open_blob(old, digest) as source, new.writer() as writer:
                for piece in self._pieces(source, old.location(digest)):
                    writer.write(piece)
                _require_digest(old, digest, writer.digest())
                writer.commit()
            return True
        with _open_blob(old, digest) as source, self._as_file(source, old.location(digest)) as file:
            _require_digest(old, digest, self._hash(file, old.location(digest)))
            if is_listed and bucket.holds(object_name(digest), file):
                return False
            _put(bucket, object_name(digest), file)
            return True

    def _is_sound(self, store: BlobStore, blob: StoredBlob) -> bool:
        """Return whether a directory has the bytes of a blob."""
        if store.size(blob.sha256) != blob.size:
            return False
        try:
            with store.open(blob.sha256) as file:
                return self._hash(file, store.location(blob.sha256)) == blob.sha256
        except StorageError as error:
            if not is_data_loss(error):
                raise
            return False

    def _hash(self, file: BinaryIO, location: str) -> str:
        sha256 = hashlib.sha256()
        for piece in self._pieces(file, location):
            sha256.update(piece)
        return sha256.hexdigest()

    def _pieces(self, file: BinaryIO, location: str) -> Iterator[bytes]:
        while True:
            self._stop.check()
            with storage_errors(f"{location} cannot be read"):
                piece = file.read(_PIECE)
            if not piece:
                return
            yield piece

    @contextmanager
    def _as_file(self, source: BinaryIO, location: str) -> Iterator[BinaryIO]:
        """Yield a file of the disk as it is, or the bytes of an object as a file in the spool."""
        if self._old.bucket is None:
            yield source
            return
        with _temporary_file(self._root) as file:
            for piece in self._pieces(source, location):
                with storage_errors(f"the spool {self._root / 'tmp'} cannot be written"):
                    file.write(piece)
            file.seek(0)
            yield file

    def _check_journal_file(self, name: str) -> None:
        """Raise JournalDiffers unless a file of the new place is one of the journal, or its beginning."""
        source, target = self._journal(self._old), self._journal(self._new)
        length = target.size(name)
        if not length:
            return
        if length <= (source.size(name) or 0):
            with _open_source(source, target, name) as (file, is_there):
                if is_there or target.begins(name, file):
                    return
        raise JournalDiffers(
            f"{target.location(name)} is not in the journal of this archive, or has other bytes there: this"
            " archive is an older copy, or has begun another journal",
            "if the journal there is not needed any more, move it to another folder"
            if self._new.bucket is None
            else "name another prefix; or, to use what is there, put its archive.json into a new directory",
        )

    def _find_missing_segment(self, source: _Folder) -> None:
        """Raise StorageError if a segment that has answers is missing."""
        for segment, answers in groupby(
            self._catalog.read_pages(stored_answers.answers_after), key=lambda answer: answer.location.segment
        ):
            self._stop.check()
            if not all(answer.is_lost for answer in answers) and source.size(segment) is None:
                raise StorageError(
                    f"{source.location(segment)} is missing, so the archive is not moved", _RECORD_LOSS
                )


class _Folder(ABC):
    """``answers/`` or ``journal/`` in one storage: files that are copied whole. Empty ones do not count."""

    def __init__(self, root: Path, folder: str, names: Callable[[], Iterable[str]]) -> None:
        self._root, self._folder, self.names = root, folder, names

    @abstractmethod
    def location(self, name: str) -> str:
        """Return where a file is, for people."""

    @abstractmethod
    def size(self, name: str) -> int | None: ...

    @abstractmethod
    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file on the disk."""

    @abstractmethod
    def write(self, name: str, file: BinaryIO) -> None: ...

    @abstractmethod
    def has(self, name: str, file: BinaryIO) -> bool:
        """Return whether there are exactly these bytes under this name."""

    @abstractmethod
    def begins(self, name: str, file: BinaryIO) -> bool:
        """Return whether the bytes under this name are those at the beginning of ``file``, or all."""


class _DiskFolder(_Folder):
    def location(self, name: str) -> str:
        return f"{self._root / self._folder / name}"

    def has(self, name: str, file: BinaryIO) -> bool:
        return self.size(name) == _size_of(file) and self.begins(name, file)

    def begins(self, name: str, file: BinaryIO) -> bool:
        with self.open(name) as own, storage_errors(f"{self.location(name)} cannot be compared"):
            return _begins(own, file)


class _DiskAnswers(_DiskFolder):
    def __init__(self, root: Path, answers: AnswerStore) -> None:
        super().__init__(root, "answers", answers.segments)
        self._answers = answers

    def size(self, name: str) -> int | None:
        return self._answers.size(name)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        try:
            with self._answers.open(name) as fd, os.fdopen(os.dup(fd), "rb") as file:
                yield file
        except AnswerMalformed as error:
            raise StorageError(f"{error}, so the archive is not moved", _RECORD_LOSS) from error

    def write(self, name: str, file: BinaryIO) -> None:
        self._answers.objects.put(ANSWERS.path(name), file)


class _DiskJournal(_DiskFolder):
    def __init__(self, root: Path, files: JournalFiles) -> None:
        super().__init__(root, "journal", files.names)
        self._files = files

    def size(self, name: str) -> int | None:
        return self._files.size(name)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with self._files.objects.open_file(JOURNAL.path(name)) as file:
            yield file

    def write(self, name: str, file: BinaryIO) -> None:
        self._files.objects.put(JOURNAL.path(name), file)


class _BucketFolder(_Folder):
    def __init__(self, root: Path, folder: str, names: Callable[[], Iterable[str]], bucket: Bucket) -> None:
        super().__init__(root, folder, names)
        self._bucket = bucket

    def _object(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def location(self, name: str) -> str:
        return self._bucket.location(self._object(name))

    def size(self, name: str) -> int | None:
        found = self._bucket.head(self._object(name))
        return found.size if found is not None and found.size else None

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with self._bucket.open_object(self._object(name)) as source, _temporary_file(self._root) as file:
            with storage_errors(f"the spool {self._root / 'tmp'} cannot be written"):
                shutil.copyfileobj(source, file, _PIECE)
                file.flush()
            file.seek(0)
            yield file

    def write(self, name: str, file: BinaryIO) -> None:
        _put(self._bucket, self._object(name), file)

    def has(self, name: str, file: BinaryIO) -> bool:
        return self._bucket.holds(self._object(name), file)

    def begins(self, name: str, file: BinaryIO) -> bool:
        if self.has(name, file):
            return True
        with (
            self._bucket.open_object(self._object(name)) as own,
            storage_errors(f"{self.location(name)} cannot be compared"),
        ):
            return _begins(own, file)


@contextmanager
def _open_source(source: _Folder, target: _Folder, name: str) -> Iterator[tuple[BinaryIO, bool]]:
    """Yield a file of the source, and whether it is that of the target, which has the same bytes.

    An object is not downloaded if the file is in the directory already.
    """
    if isinstance(source, _BucketFolder) and isinstance(target, _DiskFolder) and target.size(name):
        with target.open(name) as file:
            if source.has(name, file):
                file.seek(0)
                yield file, True
                return
    with source.open(name) as file:
        yield file, False


def _store(target: _Folder, name: str, file: BinaryIO) -> None:
    """Write a file unless it is there. Raises StorageError if there is a longer one: that is never replaced.

    Versions of a file are beginnings of each other, so another one of this length, or less, is damaged.
    """
    length, present = _size_of(file), target.size(name) or 0
    if present > length:
        raise StorageError(
            f"{target.location(name)} is longer than the file that would replace it",
            "if it is not needed, move it to another folder or name another prefix",
        )
    if length and not (present == length and target.has(name, file)):
        target.write(name, file)
        if isinstance(target, _DiskFolder) and not target.has(name, file):
            raise _wrongly_stored(target.location(name))


def _put(bucket: Bucket, name: str, file: BinaryIO) -> None:
    """Put an object, and compare what the store has then: it need not check what it receives."""
    with storage_errors(f"the bytes for {bucket.location(name)} cannot be read"):
        bucket.put(name, file)
        if bucket.holds(name, file):
            return
        with bucket.open_object(name) as stored:  # its ETag is not a checksum, or it has other bytes
            if not (_begins(stored, file) and stored.tell() == _size_of(file)):
                raise _wrongly_stored(bucket.location(name))


def _wrongly_stored(location: str) -> StorageError:
    return StorageError(f"{location} has other bytes than were written", "check the store or the disk")


def _is_answer(fd: int, location: AnswerLocation) -> bool:
    """Return whether an open segment has this answer."""
    with storage_errors(f"answers/{location.segment} cannot be read"):
        record = unpack_record(os.pread(fd, location.length, location.offset))
    try:
        answer = None if record is None else parse_answer(record)
    except AnswerMalformed:
        return False
    return answer is not None and hashlib.sha256(answer.body).hexdigest() == location.sha256


def _open_blob(store: BlobStore, digest: Digest) -> BinaryIO:
    try:
        return store.open(digest)
    except StorageError as error:
        if store.size(digest) is None:
            raise StorageError(
                f"{store.location(digest)} is missing, so the archive is not moved", _RECORD_LOSS
            ) from error
        raise


def _require_digest(store: BlobStore, digest: Digest, actual: str) -> None:
    if actual != digest:
        raise StorageError(f"{store.location(digest)} is damaged, so the archive is not moved", _FIND_DAMAGE)


def _begins(beginning: BinaryIO, whole: BinaryIO) -> bool:
    """Return whether a file has the bytes at the beginning of another one, from the start of both."""
    beginning.seek(0)
    whole.seek(0)
    while piece := beginning.read(_PIECE):
        if whole.read(len(piece)) != piece:
            return False
    return True


def _size_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _temporary_file(root: Path) -> BinaryIO:
    """Return an empty file without a name in the spool."""
    with storage_errors(f"the spool {root / 'tmp'} cannot be written"):
        os.close(enter_levels(root, 0o700, "tmp"))
        return cast("BinaryIO", tempfile.TemporaryFile(dir=root / "tmp"))
