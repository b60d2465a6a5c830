"""All kept answers read again: what a newer version understands, or a damaged or restored database lacks, is added. Costs nothing.

Answers without a row are recorded again, all are mapped into a catalog of their own beside the archive's, and what that tells and the
archive does not is added to it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog, record
from archiver.catalog.merge import merge
from archiver.catalog.query import stored_answers
from archiver.errors import ArchiverError, outcome
from archiver.reread.recover import Recovery, recover
from archiver.reread.replay import ReplayReport, replay

COMMAND = "reread"


@dataclass(frozen=True, slots=True)
class RereadReport:
    """What came of it: answers recorded again, answers read, and by table how many rows were added and filled.

    ``lost``: how many answers are recorded as lost, and were not looked at.
    """

    run_id: int
    recovered: Recovery
    replayed: ReplayReport
    lost: int
    learnt: Mapping[str, tuple[int, int]]


def reread(
    catalog: Catalog,
    store: AnswerStore,
    tmp: Path,
    *,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
    clock: Callable[[], datetime],
) -> RereadReport:
    """Map all kept answers anew and add what the catalog lacks: no call, no row of ``changes``, no watermark moved; twice is once.

    ``tmp`` is a directory for files that the next run may remove. ``check`` is called at every step and may raise to stop: what is
    added by then stays, and the next time goes on. ``progress`` is told how many answers were read, and of how many. Raises
    StorageError, DatabaseError; how the run ended is recorded.
    """
    run_id = catalog.write(record.start_run, COMMAND, clock())
    try:
        done = _reread(catalog, store, tmp, run_id, check, progress, clock)
    except BaseException as error:
        code = error.exit_code if isinstance(error, ArchiverError) else ArchiverError.exit_code
        with suppress(ArchiverError):  # the first cause is the one to tell
            catalog.write(record.finish_run, run_id, clock(), outcome(code), code)
        raise
    catalog.write(record.finish_run, run_id, clock(), outcome(0), 0)
    return done


def _reread(
    catalog: Catalog,
    store: AnswerStore,
    tmp: Path,
    run_id: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
    clock: Callable[[], datetime],
) -> RereadReport:
    recovered = recover(catalog, store, check)
    rows, lost = catalog.read(stored_answers.answer_counts)

    def looked_at(answers: int) -> None:
        check()
        progress(answers, rows - lost)

    with _beside(catalog, tmp, clock()) as scratch:
        with closing(catalog.stream(stored_answers.paid_answers)) as answers:
            replayed = replay(answers, store, scratch, looked_at)
        looked_at(rows - lost)
        learnt = merge(scratch, catalog, check)
    return RereadReport(run_id, recovered, replayed, lost, learnt)


@contextmanager
def _beside(catalog: Catalog, tmp: Path, now: datetime) -> Iterator[Catalog]:
    """An empty catalog in a file of its own, which is gone afterwards; one that a kill leaves is swept with all else in ``tmp``."""
    path = tmp / f"{COMMAND}-{secrets.token_hex(4)}.db"
    try:
        with Catalog.create(path, catalog.archive_id, now) as scratch:
            yield scratch
    finally:
        for leftover in tmp.glob(f"{path.name}*"):
            leftover.unlink(missing_ok=True)
