"""Whether the database of an archive is as new as its journal: the one decision, for readers and writers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from archiver.blobs import marker
from archiver.catalog import Catalog
from archiver.catalog.column_types import time_text
from archiver.catalog.query.totals import read_head
from archiver.errors import ArchiverError, JournalDiffers
from archiver.journal.journal_check import Comparison, JournalState, compare, count_rows_after, ends_with
from archiver.journal.journal_files import JOURNAL_FILE, JournalFiles
from archiver.journal.journal_line import encode_entries
from archiver.model.journal_entries import JournalEnd
from archiver.model.values import replace
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.catalog.schema import DatabaseState

_REMOVALS = "removals"
"""The table in which ``archiver forget`` counts what it has removed."""
_GO_ON = (
    "restore journal/ from a newer copy; or keep what there is: archiver db rebuild begins the journal again "
    "and deletes nothing"
)
_PAUSE_SECONDS = 0.2
"""How long a reader waits before it looks a second time: a command that writes has ended its step by then."""


def compare_journal(
    files: JournalFiles, database: DatabaseState, end: JournalEnd | None, *, counts: bool = True
) -> Comparison:
    """Return how a database compares to the journal. Write nothing. Takes and raises what ``compare`` does.

    The marker may be as old as the database. The journal counts the removals of ``archiver forget`` too: each
    begins it again with a snapshot, so that an older copy is BEHIND only until the removal has ended.
    """
    head, after = database.head, None
    if head is not None and database.pending:
        after = files.before_snapshot(head)
    lines = encode_entries(database.pending, head, after, time_text)
    found = compare(files, database.archive_id, head, lines, end, counts=counts)
    # A reader need not read all that follows a line.
    is_older = found.state is JournalState.BEHIND and (counts or head is None)
    is_longer = is_older or found.state is JournalState.DIFFERENT or found.has_new_snapshot
    if is_longer and _is_before_removal(files, database):
        return replace(found, state=JournalState.BEFORE_REMOVAL)
    return found


def describe_difference(found: Comparison) -> JournalDiffers | None:
    """Return an error that says how database and journal differ, and what to do; None if they do not.

    Nor if both lack a snapshot that ended the journal: they have all rows.
    """
    if found.state is JournalState.BEHIND:
        return describe_older_copy(f" ({found.following:,})")
    if found.state is JournalState.BEFORE_REMOVAL:
        return marker.database_before_removal()
    if found.state is JournalState.SHORT:
        assert found.head is not None
        return JournalDiffers(
            f"the journal lacks entries of the database: journal/{found.head.file} is missing or cut off "
            f"({pluralize(found.missing, 'line')})",
            "restore that file; or keep the rows of the database: archiver verify --repair; or keep those of "
            "the journal: move the database away, then archiver db rebuild",
        )
    if found.state is JournalState.DIFFERENT:
        return JournalDiffers(
            "the database and the archive's journal have different histories",
            "to go on with the journal: archiver db rebuild; to go on with the database: "
            "archiver verify --repair; neither deletes anything",
        )
    return None if found.only_snapshot else describe_missing(found)


def describe_missing(found: Comparison) -> JournalDiffers | None:
    """Return an error that says that journal and database both lack the end of the journal; None if not.

    Somebody has put back older copies of both: a run would pay again for what they lack. A rebuild records
    the answers that are stored.
    """
    if found.state is not JournalState.CURRENT or not found.missing:
        return None
    lacks = (
        "the newest snapshot of the journal is missing (nothing is lost: the database has all rows)"
        if found.only_snapshot
        else f"the journal and the database lack the last {pluralize(found.missing, 'line')} that "
        "archive.json counts"
    )
    return JournalDiffers(lacks, _GO_ON)


def describe_older_copy(count: str = "") -> JournalDiffers:
    """Return an error that says that the database is an older copy. ``count``: of the entries it lacks."""
    return JournalDiffers(
        f"the database is an older copy: it lacks the last entries of the journal{count}",
        "archiver db rebuild adds them; nothing is paid for again",
    )


def find_lacking(files: JournalFiles, catalog: Catalog) -> JournalDiffers | None:
    """Return what to say if the journal has entries that the database lacks; for a reader, also during a run.

    None if the journal cannot be read, or ends before the database does. After a difference the database is
    read again. If it has changed meanwhile, a command writes to it, which has compared the two itself. Raises
    JournalDiffers if the database is a copy from before ``archiver forget``.
    """
    try:
        head = catalog.read(read_head)
        if head is not None and ends_with(files, head):
            return None
        before = catalog.read_state()
        found = compare_journal(files, before, None, counts=False)
        if found.state in (JournalState.NONE, JournalState.CURRENT, JournalState.SHORT):
            return None
        time.sleep(_PAUSE_SECONDS)
        if catalog.read_state() != before:
            return None
    except ArchiverError:
        return None
    if found.state is JournalState.BEFORE_REMOVAL:
        raise marker.database_before_removal()
    return describe_older_copy() if found.state is JournalState.BEHIND else describe_difference(found)


def _is_before_removal(files: JournalFiles, database: DatabaseState) -> bool:
    end = database.head.file if database.head is not None else ""
    if JOURNAL_FILE.fullmatch(end) is None:  # of a row that another program wrote: all files count
        end = ""
    return count_rows_after(files, end, _REMOVALS) > database.removals
