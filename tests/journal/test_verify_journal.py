"""``verify`` and its repair, where the journal and the rows do not agree."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.database import upgrade_schema
from archiver.catalog import Catalog
from archiver.cli.verify_command import check_lines
from archiver.errors import DatabaseError
from archiver.journal.journal_files import JournalFiles
from archiver.runner import run_lock
from archiver.store import disk
from archiver.verify.verify_journal import verify_journal
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild
from tests.support.table_dumps import execute


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of one account after its first night."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as copied:
        yield copied


def change_unseen(harness: ArchiveHarness, table: str, statement: str) -> None:
    """Change rows while the triggers of their table do not exist."""
    triggers = [
        (str(name), str(sql))
        for name, sql in harness.rows(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE ?", f"journal_%_{table}"
        )
    ]
    assert len(triggers) == 3
    execute(
        harness, *(f"DROP TRIGGER {name}" for name, _ in triggers), statement, *(sql for _, sql in triggers)
    )


def test_what_is_recorded_while_the_journal_is_read_is_compared_too(harness: ArchiveHarness) -> None:
    """It is read afterwards, and is no difference."""
    nights: list[int] = []

    def check() -> None:
        if len(nights) < 2:
            harness.sleep(days=1)
            nights.append(harness.night("account0000", full=True).exit_code)

    with Catalog.open(harness.root / "archive.db", write=False) as catalog:
        files = JournalFiles(disk.Objects(harness.root))
        report = verify_journal(files, catalog, harness.root, read_all=True, check=check)
    assert (report.damage, report.counts, report.is_compared, nights) == (None, {}, True, [0, 0])


def test_a_row_that_only_the_journal_has_is_written_again(harness: ArchiveHarness) -> None:
    """It is damage until a repair; afterwards journal and rows agree."""
    before = all_rows(harness)
    change_unseen(harness, "files", "DELETE FROM files WHERE id = (SELECT max(id) FROM files)")
    with Archive(harness.config) as archive:
        found = archive.verify(read_data=True)
        assert (found.is_damaged, found.journal.counts) == (True, {"files": 1})
        assert list(check_lines(found))[-3:] == [
            "  files: 1 row different or missing",
            f"    {len(before['files'])}: missing in the database",
            "--repair adds the rows that only the journal has, and begins a new journal with all rows",
        ]
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
    assert all_rows(harness)["files"] == before["files"]


def test_where_values_differ_the_database_is_right(harness: ArchiveHarness) -> None:
    """A repair begins the journal again with a snapshot."""
    change_unseen(harness, "users", "UPDATE users SET full_name = 'Corrected'")
    with Archive(harness.config) as archive:
        assert archive.verify(read_data=True).journal.counts == {"users": 1}
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
    lose_database(harness)
    rebuild(harness)
    assert harness.one("SELECT full_name FROM users") == "Corrected"


def test_fault_h50_an_older_copy_is_not_sound(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Nothing is missing from it, but ``verify`` says what the commands that write would say.

    While a command writes, the entries that follow are its own.
    """
    shutil.copy(harness.root / "archive.db", tmp_path / "old.db")
    harness.upstream.world.retitle(harness.upstream.world.accounts[0].highlights[0].pk, "Another")
    assert harness.night("account0000").exit_code == 0
    lose_database(harness)
    shutil.copy(tmp_path / "old.db", harness.root / "archive.db")
    with Archive(harness.config) as archive:
        found = archive.verify()
        assert found.is_damaged
        text = "\n".join(check_lines(found))
        assert "the database is an older copy: it lacks the last" in text
        assert "db rebuild adds them" in text
        assert "reread" not in text
        with run_lock.hold_run_lock(harness.root / "lock", "run"):
            assert not archive.verify().is_damaged
    rebuild(harness)
    with Archive(harness.config) as archive:
        assert not archive.verify().is_damaged


def test_a_change_by_another_program_is_no_damage(harness: ArchiveHarness) -> None:
    """It is committed, and waits for the next transaction of ours to get its place in the journal."""
    execute(harness, "UPDATE users SET full_name = 'Corrected by hand'")
    report = harness.verify().journal
    assert (report.damage, report.counts) == (None, {})


def test_changes_that_no_trigger_sees_are_not_possible(harness: ArchiveHarness) -> None:
    """Without one of its triggers a database is not opened for writing."""
    execute(harness, "DROP TRIGGER journal_added_items")
    with pytest.raises(DatabaseError, match="lacks triggers"):
        harness.night("account0000")
    assert harness.upstream.requests.api_calls() == []


def test_missing_triggers_of_the_counters_are_created_when_a_run_begins(harness: ArchiveHarness) -> None:
    """Otherwise no limit of the budget would hold: calls that were not counted are counted now."""
    execute(harness, "DROP TRIGGER counter_call", "DELETE FROM budget_totals")
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    assert harness.night("account0000").units == 1
    spent = harness.one("SELECT sum(units) FROM api_calls")
    assert harness.one("SELECT sum(units) FROM budget_totals WHERE period LIKE 'run %'") == spent


def test_fault_h50_missing_triggers_are_created_again(harness: ArchiveHarness) -> None:
    """By ``db upgrade``, which begins the journal again; a rebuild then gives all rows."""
    execute(harness, "DROP TRIGGER journal_added_items", "UPDATE users SET full_name = 'Unseen'")
    upgrade_schema(harness.config)
    assert harness.night("account0000").exit_code == 0
    rows = all_rows(harness)
    lose_database(harness)
    rebuild(harness)
    assert all_rows(harness) == rows
