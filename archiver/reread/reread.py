"""Replay of all stored answers, to add what a newer version understands or a restored database lacks.

It makes no call and costs nothing. Answers without a row are recorded first. Then all answers are recorded in
a scratch catalog, as runs would record them, and whatever the archive lacks is merged from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog, record, schema
from archiver.catalog.merge import merge
from archiver.catalog.query import holdings
from archiver.errors import ArchiverError
from archiver.exit_codes import outcome
from archiver.model.identity import Subject
from archiver.reread.recover import Recovery, recover
from archiver.reread.replay import ReplayReport, replay
from archiver.temporary import temporary_directory
from archiver.work import Work

COMMAND = "reread"


class RereadReport(Struct, frozen=True):
    """The result. ``row_counts``: for each table, how many rows were added and how many were filled.

    ``run_id``: None for a dry run. ``lost_count``: how many answers are recorded as lost and were therefore
    not read.
    """

    run_id: int | None
    recovery: Recovery
    replay: ReplayReport
    lost_count: int
    row_counts: Mapping[str, tuple[int, int]]


def reread(catalog: Catalog, store: AnswerStore, root: Path, work: Work) -> RereadReport:
    """Replay all stored answers and add what the catalog lacks. Repeating it adds nothing.

    No row of ``changes`` is written, and no highlight counts as fetched. ``root`` is the directory
    of the archive. ``work.stop`` ends it at the next step: what was added so far stays, and the next reread
    continues. ``work.progress`` gets the number of answers read so far and the total. Raises StorageError,
    DatabaseError, and the cause of the stop. The outcome of the run is recorded.
    """
    clock, check = work.clock, work.stop.check
    run_id = catalog.write(record.start_run, COMMAND, clock())
    try:
        recovery = recover(catalog, store, check)
        rows, lost = catalog.read(holdings.answer_counts)

        def report_progress(answers: int) -> None:
            check()
            work.progress(answers, rows - lost)

        with _scratch_catalog(catalog, root, clock()) as scratch:
            answers = catalog.read_pages(holdings.paid_answers_after)
            replay_report = replay(answers, store, scratch, report_progress)
            report_progress(rows - lost)
            row_counts = merge(scratch, catalog, check)
        catalog.write(record.settle_all_waiting, run_id, clock())
        for subject in (Subject.USER, Subject.HIGHLIGHT):
            catalog.write(record.show_pictures, clock(), subject)
        catalog.write(record.order_names)
    except BaseException as error:
        code = error.exit_code if isinstance(error, ArchiverError) else ArchiverError.exit_code
        with suppress(ArchiverError):  # the first error is the one to raise
            catalog.write(record.finish_run, run_id, clock(), outcome(code), code)
        raise
    catalog.write(record.finish_run, run_id, clock(), outcome(0), 0)
    return RereadReport(run_id, recovery, replay_report, lost, row_counts)


@contextmanager
def _scratch_catalog(catalog: Catalog, root: Path, now: datetime) -> Iterator[Catalog]:
    """Create an empty catalog in a temporary file."""
    with (
        temporary_directory(root) as place,
        Catalog.create(place / "scratch.db", catalog.archive_id, now) as scratch,
    ):
        scratch.write(schema.drop_journal_triggers)  # it has no journal, and would collect all changes
        yield scratch
