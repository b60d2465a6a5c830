"""Repairing the problems that a check reports, as far as possible without the network.

Losses are recorded, damaged bytes are moved to quarantine, and restored bytes are no longer recorded as lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.model.identity import Digest
from archiver.verify.verify_answers import AnswerReport
from archiver.verify.verify_blobs import Problem, VerifyReport
from archiver.work import Work

T = TypeVar("T")

_BATCH = 1000


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
        catalog.write(record.lost_blobs, tuple(damage.sha256 for damage in damaged), now)
    for digests in _batches(blobs.restored):
        catalog.write(record.found_blobs, tuple(digests))
    for lost in _batches(answers.damaged):
        catalog.write(record.lost_answers, tuple(answer.id for answer in lost), now)
    for ids in _batches(answers.restored):
        catalog.write(record.found_answers, tuple(ids))


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), _BATCH):
        yield things[start : start + _BATCH]
