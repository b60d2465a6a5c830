"""An archive that loses its database: after a run, and right after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog
from archiver.errors import ArchiverError, JournalDamaged
from archiver.reread import recover
from archiver.store import disk
from tests.support.crash import traced_run
from tests.support.crash.consistency_checks import State, database, violations
from tests.support.crash.journal_checks import Rows
from tests.support.crash.traced_run import ARCHIVE
from tests.support.crash.workload import Workload
from tests.support.rebuilt_archive import lose_file, rebuild_from, rows_of

_FROM_ANSWERS = {"runs", "api_calls", "answers"}
"""What a rebuild adds to the journal's rows: answers that are stored, and that no entry names."""


def differences_after_rebuild(upstream: Workload, home: Path) -> Iterator[str]:
    """Take the database away, and yield each row that a rebuild does not give back.

    An answer that a kill left without its row is recorded by every rebuild, so it is recorded before, too.
    """
    root, config = home / ARCHIVE, traced_run.config_of(upstream, home)
    with Catalog.open(root / "archive.db", write=True) as catalog:
        recover(catalog, AnswerStore(disk.Objects(root)), lambda: None)
    before = rows_of(root / "archive.db")
    lose_file(root)
    rebuild_from(config)
    after = rows_of(root / "archive.db")
    for table, rows in before.items():
        yield from (f"I17: {table}: a rebuild lacks {row}" for row in rows if row not in after[table])
        yield from (f"I17: {table}: a rebuild adds {row}" for row in after[table] if row not in rows)


def unlike_the_journal(upstream: Workload, home: Path, golden: State, units: int) -> Iterator[str]:
    """Take the database away where a kill has left it, and yield what does not hold then.

    The rebuilt rows are those that were shipped, with the stored answers; the next run makes up for the rest.
    ``units``: what upstream has billed before.
    """
    root = home / ARCHIVE
    if not (root / "archive.json").exists():
        return  # there is no archive yet
    lose_file(root)
    try:
        rebuild_from(traced_run.config_of(upstream, home))
    except JournalDamaged as error:  # killed before the first snapshot: nothing was paid for or stored yet
        stored = [path for path in root.glob("*/*/**/*") if path.is_file()]
        if units or stored:
            yield f"I17: {units} units were billed, {stored} are stored, and a rebuild ends with {error}"
        return
    except ArchiverError as error:
        yield f"I17: a rebuild ends with {error.exit_code}: {error}"
        return
    yield from violations(root, secret=upstream.standin.key)  # among them I16: the rows are the journal's
    with database(root) as rows:
        assert rows is not None
        yield from _added(rows("select distinct table_name from journal_outbox"))
    yield from traced_run.converge(upstream, home, golden, units, lost_units=1)


def _added(tables: Rows) -> Iterator[str]:
    if others := {str(name) for (name,) in tables} - _FROM_ANSWERS:
        yield f"I17: a rebuild adds rows of {sorted(others)}"
