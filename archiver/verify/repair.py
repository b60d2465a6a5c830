"""What verify found, made right as far as this disk alone can: losses recorded, damaged bytes set aside, what came back noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.verify.verify_answers import AnswerReport
from archiver.verify.verify_blobs import Problem, VerifyReport

T = TypeVar("T")

_AT_ONCE = 1000


def repair(
    catalog: Catalog,
    store: BlobStore,
    kept: AnswerStore,
    blobs: VerifyReport,
    answers: AnswerReport,
    now: datetime,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Make rows and store agree, and return how many damaged blobs lie in quarantine now. Nothing is deleted, nothing is paid.

    ``lost_at`` is committed before the bytes are moved: killed between the two, the next ``repair`` finds a blob that is recorded as
    lost and lies there damaged, and moves it. ``check`` is called between the steps and may raise to stop. Raises StorageError.
    """
    for some in _batches(blobs.damaged):
        check()
        catalog.write(record.blobs_lost, tuple(d.sha256 for d in some), now)
    quarantined = 0
    for damage in (*blobs.damaged, *blobs.lost):
        if damage.problem is not Problem.MISSING:
            check()
            store.quarantine(damage.sha256)
            quarantined += 1
    for found in _batches(blobs.found):
        catalog.write(record.blobs_found, tuple(found))
    for lost in _batches(answers.damaged):
        catalog.write(record.answers_lost, tuple(a.id for a in lost), now)
    for back in _batches(answers.found):
        catalog.write(record.answers_found, tuple(back))
    for surplus in reversed(answers.surplus):  # the last first: then it may be cut off
        check()
        kept.set_aside(surplus)
    return quarantined


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), _AT_ONCE):
        yield things[start : start + _AT_ONCE]
