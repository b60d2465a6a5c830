"""Answers in a bucket: objects ``answers/YYYY/MM/<run>-<kind>-*.warc.gz`` below its prefix.

An object is put whole, so each answer is a segment of its own, and is in the store before its location is
returned. If the store fails, the answer goes to the spool, ``tmp/answers`` of the archive's directory, whose
segments are files as on a disk. Trays that are dropped after a successful run wait there too. What is left in
the spool is put into the bucket at the end of the run, or at the start of the next one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from heapq import merge
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.answers.answer_storage import AnswerWriter, name_aside
from archiver.answers.disk_answers import DiskAnswers
from archiver.answers.segment_names import SEGMENT, new_segment, pack_head, parse_origin
from archiver.answers.warc_record import pack_answer
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.archived import Surplus
from archiver.model.identity import Digest
from archiver.store.bucket_client import Bucket


class BucketAnswers:
    """The ``AnswerStorage`` in a bucket. ``root``: the directory of the archive, with the spool in ``tmp/``.

    ``keeps_trays``: whether trays stay stored; if not, they wait in the spool until the run has ended.
    ``group_readable``: as for ``DiskAnswers``, for the spool. ``part``: as for ``DiskStore``.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        *,
        keeps_trays: bool = True,
        group_readable: bool = False,
        part: str | None = None,
    ) -> None:
        self._bucket, self._root, self._keeps_trays = bucket, root, keeps_trays
        spool = ("tmp",) if part is None else ("tmp", part)
        self._spool = DiskAnswers(
            root.joinpath(*spool, "answers"), spool=spool, group_readable=group_readable
        )

    def writer(self, run_id: int, started_at: datetime, archive_id: str) -> BucketAnswerWriter:
        spool = self._spool.writer(run_id, started_at, archive_id)
        return BucketAnswerWriter(self, run_id, started_at, archive_id, spool, keeps_trays=self._keeps_trays)

    def read(self, segment: str, offset: int, length: int) -> bytes:
        with suppress(AnswerMalformed):
            return self._spool.read(segment, offset, length)
        content = self._bucket.read_range(_object_of(segment), offset, length)
        if content is None:
            raise AnswerMalformed(f"answers/{segment} no longer exists")
        return content

    @contextmanager
    def open(self, segment: str) -> Iterator[int]:
        with ExitStack() as opened:
            try:
                fd = opened.enter_context(self._spool.open(segment))
            except AnswerMalformed:
                file = self._bucket.download(_object_of(segment), self._root)
                if file is None:
                    raise AnswerMalformed(f"answers/{segment} no longer exists") from None
                fd = opened.enter_context(file).fileno()
            yield fd

    def size(self, segment: str) -> int | None:
        spooled = self._spool.size(segment)
        if spooled is not None or SEGMENT.fullmatch(segment) is None:
            return spooled
        found = self._bucket.head(_object(segment))
        return None if found is None or found.is_absent else found.size

    def segments(self) -> Iterator[str]:
        stored = (segment for segment, _ in self.sizes())
        return (segment for segment, _ in groupby(merge(stored, self._spool.segments())))

    def sizes(self) -> Iterator[tuple[str, int]]:
        for found in self._bucket.list("answers", is_own=_is_segment):
            segment = found.name.removeprefix("answers/")
            if SEGMENT.fullmatch(segment) and not found.is_absent:
                yield segment, found.size

    def foreign_names(self) -> Iterator[str]:
        for found in self._bucket.list("answers", is_own=_is_segment):
            segment = found.name.removeprefix("answers/")
            if parse_origin(segment) is None:
                yield segment

    def copy_in(self, segment: str, pieces: Iterable[bytes]) -> None:
        self._bucket.put_pieces(_object(segment), pieces, self._root)

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

    def put_into_spool(self, segment: str, content: bytes) -> None:
        """Store a segment whole, and durably, in the spool."""
        self._spool.copy_in(segment, [content])

    def empty_spool(self) -> None:
        """Put all segments of the spool into the bucket, and remove each once it is there."""
        for segment in tuple(self._spool.segments()):
            with suppress(AnswerMalformed):  # no file of this program
                self._upload(segment)

    def _upload(self, segment: str) -> None:
        with self._spool.open(segment) as fd, os.fdopen(os.dup(fd), "rb") as file:
            if os.fstat(fd).st_size:  # else a killed run has only begun it
                self._bucket.put(_object(segment), file)
        self._spool.remove(segment)


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
        self._storage.empty_spool()
        if not self._keeps_trays:
            self._spool.prepare()

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        if self._is_closed:
            raise ValueError("the answer writer is closed")
        if self._failure is None and (self._keeps_trays or not is_tray):
            return self._put(answer, is_tray)
        return self._spool.keep(answer, is_tray=is_tray)

    def _put(self, answer: Answer, is_tray: bool) -> AnswerLocation:
        """Put an answer into the bucket; if that fails, into the spool, under the same name.

        The store may have it all the same. Under another name it would later count as a second answer.
        """
        segment = new_segment(self._run_id, self._started_at, is_tray=is_tray)
        head = pack_head(segment, self._started_at, self._archive_id)
        response, request = pack_answer(answer)
        content = head + response + request
        try:
            self._storage.put(segment, content)
        except StorageError as error:
            self._failure = error
            self._storage.put_into_spool(segment, content)
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


def _object_of(segment: str) -> str:
    """Return the name of the object of a segment, whose name comes from the database."""
    if SEGMENT.fullmatch(segment) is None:
        raise AnswerMalformed(f"{segment!r} is not a segment of stored answers")
    return _object(segment)


def _object(segment: str) -> str:
    return f"answers/{segment}"


def _is_segment(name: str) -> bool:
    return SEGMENT.fullmatch(name.removeprefix("answers/")) is not None
