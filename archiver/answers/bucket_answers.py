"""Answers in a bucket: objects ``answers/YYYY/MM/<run>-<kind>-*.warc.gz`` below its prefix.

An object is put whole, so each answer is a segment of its own, and is in the store before its location is
returned. If the store fails, the answer goes to the spool, ``tmp/answers`` of the archive's directory, whose
segments are files as on a disk. Trays that are dropped after a successful run wait there too. What is left in
the spool is put into the bucket at the end of the run, or at the start of the next one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from archiver.answers.answer_storage import AnswerWriter, name_aside
from archiver.answers.disk_answers import DiskAnswers
from archiver.answers.segment_names import SEGMENT, new_segment, pack_head, parse_origin
from archiver.answers.warc_record import pack_answer
from archiver.bucket import Bucket
from archiver.durable import enter_directory, open_root, storage_errors
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.archived import Surplus
from archiver.model.identity import Digest

_LARGEST = 64 << 20
"""Bytes of an object that is read at once: an answer has at most 16 MiB, and what is larger is foreign."""


class BucketAnswers:
    """The ``AnswerStorage`` in a bucket. ``root``: the directory of the archive, for the spool.

    ``keeps_trays``: whether trays stay stored; if not, they wait in the spool until the run has ended.
    ``group_readable`` makes directories of the spool 0750 instead of 0700.
    """

    def __init__(
        self, bucket: Bucket, root: Path, *, keeps_trays: bool = True, group_readable: bool = False
    ) -> None:
        self._bucket, self._root, self._keeps_trays = bucket, root, keeps_trays
        self._mode = 0o750 if group_readable else 0o700
        self._spool = DiskAnswers(root / "tmp" / "answers", group_readable=group_readable)

    def writer(self, run_id: int, started_at: datetime, archive_id: str) -> BucketAnswerWriter:
        spool = self._spool.writer(run_id, started_at, archive_id)
        return BucketAnswerWriter(
            self, run_id, started_at, archive_id, spool, keeps_trays=self._keeps_trays
        )

    @contextmanager
    def open(self, segment: str) -> Iterator[int]:
        if self._spool.size(segment) is not None:
            with self._spool.open(segment) as fd:
                yield fd
            return
        if SEGMENT.fullmatch(segment) is None:
            raise AnswerMalformed(f"{segment!r} is not a segment of stored answers")
        content = self._bucket.read(_object(segment), _LARGEST)
        if not content:
            raise AnswerMalformed(f"answers/{segment} no longer exists")
        with tempfile.TemporaryFile() as file:
            with storage_errors("a temporary file cannot be written"):
                file.write(content)
                file.flush()
            yield file.fileno()

    def size(self, segment: str) -> int | None:
        spooled = self._spool.size(segment)
        if spooled is not None or SEGMENT.fullmatch(segment) is None:
            return spooled
        found = self._bucket.head(_object(segment))
        return found.size if found is not None and found.size else None

    def segments(self) -> Iterator[str]:
        spooled = set(self._spool.segments())
        for found in self._bucket.list("answers"):
            segment = found.name.removeprefix("answers/")
            if SEGMENT.fullmatch(segment) and found.size:
                spooled.discard(segment)
                yield segment
        yield from sorted(spooled)

    def foreign_names(self) -> Iterator[str]:
        for found in self._bucket.list("answers"):
            segment = found.name.removeprefix("answers/")
            if parse_origin(segment) is None:
                yield segment

    def copy_in(self, segment: str, pieces: Iterable[bytes]) -> None:
        with tempfile.TemporaryFile() as file:
            with storage_errors("a temporary file cannot be written"):
                for piece in pieces:
                    file.write(piece)
                file.seek(0)
            self._bucket.put(_object(segment), cast("BinaryIO", file))

    def is_set_aside(self, surplus: Surplus) -> bool:
        copy = self._bucket.head(f"quarantine/{name_aside(surplus)}")
        return copy is not None and copy.size == surplus.length

    def set_aside(self, surplus: Surplus) -> None:
        with self.open(surplus.segment) as fd:
            content = os.pread(fd, surplus.length, surplus.offset)
        self._bucket.put(f"quarantine/{name_aside(surplus)}", content)

    def put(self, segment: str, content: bytes) -> None:
        """Store a segment whole."""
        self._bucket.put(_object(segment), content)

    def prepare_spool(self) -> None:
        """Make the spool's directory, and put into the bucket what an earlier run has left in it."""
        with storage_errors(f"the spool {self._root / 'tmp'} cannot be written"):
            fd = open_root(self._root)
            try:
                os.close(enter_directory("tmp", self._mode, within=fd))
            finally:
                os.close(fd)
        self.empty_spool()

    def empty_spool(self) -> None:
        """Put all segments of the spool into the bucket, and remove each once it is there."""
        for segment in tuple(self._spool.segments()):
            with suppress(AnswerMalformed):  # no file of this program
                self._upload(segment)

    def _upload(self, segment: str) -> None:
        with self._spool.open(segment) as fd, os.fdopen(os.dup(fd), "rb") as file:
            if os.fstat(fd).st_size:  # else a killed run has only begun it
                self._bucket.put(_object(segment), file)
        path = self._root / "tmp" / "answers" / segment
        with storage_errors(f"{path} cannot be removed"):
            path.unlink()


class BucketAnswerWriter:
    """The ``AnswerWriter`` in a bucket. ``spool``: the writer of what waits there.

    These are the trays, unless ``keeps_trays``; and once the store has failed, every answer, because it is
    paid for.
    """

    def __init__(
        self,
        storage: BucketAnswers,
        run_id: int,
        started_at: datetime,
        archive_id: str,
        spool: AnswerWriter,
        *,
        keeps_trays: bool,
    ) -> None:
        self._storage, self._run_id, self._started_at = storage, run_id, started_at
        self._archive_id, self._spool, self._keeps_trays = archive_id, spool, keeps_trays
        self._failure: StorageError | None = None
        self._is_closed = False

    @property
    def tray_segments(self) -> tuple[str, ...]:
        return self._spool.tray_segments

    def prepare(self) -> None:
        """Put what an earlier run has left in the spool into the bucket. See ``AnswerWriter.prepare``."""
        self._storage.prepare_spool()
        if not self._keeps_trays:
            self._spool.prepare()

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        if self._is_closed:
            raise ValueError("the answer writer is closed")
        if self._failure is None and (self._keeps_trays or not is_tray):
            try:
                return self._put(answer, is_tray)
            except StorageError as error:
                self._failure = error
        return self._spool.keep(answer, is_tray=is_tray)

    def _put(self, answer: Answer, is_tray: bool) -> AnswerLocation:
        segment = new_segment(self._run_id, self._started_at, is_tray=is_tray)
        head = pack_head(segment, self._started_at, self._archive_id)
        response, request = pack_answer(answer)
        self._storage.put(segment, head + response + request)
        digest = Digest(hashlib.sha256(answer.body).hexdigest())
        return AnswerLocation(segment, len(head), len(response), digest)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def drop_trays(self) -> None:
        self._spool.drop_trays()

    def close(self) -> None:
        """End the writing, and put what is left in the spool into the bucket.

        If that fails, which raises StorageError, the next run does it.
        """
        self._is_closed = True
        self._spool.close()
        self._storage.empty_spool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _object(segment: str) -> str:
    return f"answers/{segment}"
