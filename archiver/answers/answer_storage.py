"""The interface of the places where answers are: ``disk_answers`` and ``bucket_answers``.

Every method that reads or writes raises StorageError, and DiskFull if the place is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.archived import Surplus


class AnswerWriter(Protocol):
    """Stores the answers of one run, for several threads."""

    @property
    def tray_segments(self) -> tuple[str, ...]:
        """The segments of this run's trays. Their rows must be deleted before ``drop_trays``."""

    def prepare(self) -> None:
        """Find out now whether answers can be stored, before anything is paid for."""

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        """Store an answer durably and return its location. Call ``check`` once that is recorded."""

    def check(self) -> None:
        """Raise the StorageError that has kept an answer from its usual place, if there was one.

        Such an answer has a location, but the run must end: nothing more can be stored.
        """

    def drop_trays(self) -> None:
        """Remove this run's trays, as ``keep_answers = "fetched"`` requires after a successful run.

        Call it before ``close``.
        """

    def close(self) -> None:
        """End the writing.

        Nothing is lost if this is skipped: every answer was durable when it was stored.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AnswerStorage(Protocol):
    """Where the segments of answers are. Creating such an object accesses nothing."""

    def writer(self, run_id: int, started_at: datetime, archive_id: str) -> AnswerWriter:
        """Return the writer of one run, which began at ``started_at`` (UTC)."""

    def read(self, segment: str, offset: int, length: int) -> bytes:
        """Return bytes of a segment; fewer than ``length`` if it ends before.

        Raises AnswerMalformed if there is no such segment, or the name is not one.
        """

    def open(self, segment: str) -> AbstractContextManager[int]:
        """Open a whole segment, as a descriptor of a file that can be read at any position.

        Raises AnswerMalformed as ``read`` does.
        """

    def size(self, segment: str) -> int | None:
        """Return the size of a segment; None if there is none."""

    def segments(self) -> Iterator[str]:
        """Yield all segments in ascending order, the oldest month first."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the segments in ascending order, with their sizes. What waits in a spool is left out."""

    def foreign_names(self) -> Iterator[str]:
        """Yield each name below ``answers/`` that this program does not create, in printable form."""

    def copy_in(self, segment: str, pieces: Iterable[bytes]) -> None:
        """Store a whole segment of another storage, in place of one that may exist."""

    def is_set_aside(self, surplus: Surplus) -> bool:
        """Return whether these bytes of a segment were copied to ``quarantine/``."""

    def set_aside(self, surplus: Surplus) -> None:
        """Copy these bytes of a segment to ``quarantine/`` durably. The caller holds the archive's lock.

        On a disk they are cut off if nothing follows them; otherwise they stay. If it fails, the segment is
        unchanged, or complete without them.
        """


def name_aside(surplus: Surplus) -> str:
    """Return the name of a copy in ``quarantine/``."""
    return f"{surplus.segment.replace('/', '-')}-{surplus.offset}-{surplus.length}"
