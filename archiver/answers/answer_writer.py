"""Stores the answers of one run: its trays in one series of segments, everything else in another."""

from __future__ import annotations

import hashlib
from datetime import datetime
from types import TracebackType
from typing import Self

from archiver.answers.segment_names import ANSWERS, FETCHED, TRAYS, new_segment, pack_head
from archiver.answers.warc_record import pack_answer
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.identity import Digest
from archiver.store.objects import Objects


class AnswerWriter:
    """Stores the answers of the run that began at ``started_at`` (UTC), for several threads.

    ``keeps_trays``: whether trays stay stored when the run has ended well. Methods raise StorageError, and
    DiskFull if the place is full.
    """

    def __init__(
        self, objects: Objects, run_id: int, started_at: datetime, archive_id: str, *, keeps_trays: bool
    ) -> None:
        self._run_id, self._started_at, self._archive_id = run_id, started_at, archive_id
        self.keeps_trays = keeps_trays
        self._appender = objects.appender(self._begin, () if keeps_trays else (TRAYS,))

    def _begin(self, series: str) -> tuple[str, bytes]:
        segment = new_segment(self._run_id, self._started_at, series)
        return ANSWERS.path(segment), pack_head(segment, self._started_at, self._archive_id)

    @property
    def tray_segments(self) -> tuple[str, ...]:
        """The segments of this run's trays. Their rows must be deleted before ``drop_trays``."""
        return tuple(name.partition("/")[2] for name in self._appender.names(TRAYS))

    def prepare(self) -> None:
        """Find out now whether answers can be stored, before anything is paid for."""
        self._appender.prepare(TRAYS)

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        """Store an answer durably and return its location. Call ``check`` once that is recorded."""
        response, request = pack_answer(answer)
        name, offset = self._appender.append(response + request, TRAYS if is_tray else FETCHED)
        digest = Digest(hashlib.sha256(answer.body).hexdigest())
        return AnswerLocation(name.partition("/")[2], offset, len(response), digest)

    def check(self) -> None:
        """Raise the StorageError that has kept an answer from its usual place, if there was one.

        Such an answer has a location, but the run must end: nothing more can be stored.
        """
        self._appender.check()

    def drop_trays(self) -> None:
        """Remove this run's trays, as ``keep_answers = "fetched"`` requires after a successful run.

        Call it before ``close``.
        """
        self._appender.remove(TRAYS)

    def close(self) -> None:
        """End the writing. What waits is put into the bucket; if that fails, the next run does it.

        Nothing is lost if this is skipped: every answer was durable when it was stored.
        """
        self._appender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
