"""A lost, older or foreign database: what the journal gives back, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.errors import DatabaseError, JournalDiffers, UsageError
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive of two accounts after a first night and a night with an edited title."""
    with FaultyStandIn(EditableWorld.generate(2, 2, 2)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night("account0000", "account0001").exit_code == 0
        upstream.world.accounts[0].highlights[0].title = "Edited"
        assert harness.night("account0000", "account0001").exit_code == 0
        yield harness


def test_fault_h49_a_lost_database_comes_back_row_by_row(harness: ArchiveHarness) -> None:
    """Every table equals the original, and the next night is quiet: a unit for each account, no download."""
    require_equal_after_rebuild(harness)
    quiet = harness.night("account0000", "account0001")
    assert (quiet.exit_code, quiet.units, quiet.files_new) == (0, 2, 0)


def test_fault_h49_a_sqlite_archive_moves_to_postgresql(
    harness: ArchiveHarness, postgres: PostgresServer
) -> None:
    """The journal does not depend on the database that wrote it."""
    with postgres.database() as url:
        require_equal_after_rebuild(harness, url)


def test_a_current_database_is_not_rebuilt(harness: ArchiveHarness) -> None:
    """It is left alone."""
    with pytest.raises(UsageError, match="is complete"):
        rebuild(harness)


def test_fault_h50_an_older_copy_is_refused_and_brought_up_to_date(harness: ArchiveHarness) -> None:
    """A run ends before anything is asked for; afterwards all rows are those of the lost database."""
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    harness.upstream.world.accounts[1].highlights[0].title = "Edited later"
    harness.night("account0000", "account0001")
    before = all_rows(harness)
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="older copy"):
        harness.night("account0000")
    assert harness.upstream.requests.api_calls() == []
    assert rebuild(harness).was_copy
    assert all_rows(harness) == before


def test_fault_h50_a_database_that_was_used_elsewhere_is_refused(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """Either way out leaves an archive that works: the journal's rows, or the database's."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(harness.root, elsewhere)
    other = ArchiveHarness(elsewhere, harness.upstream)
    harness.night("account0000")
    mine = all_rows(harness)
    other.night("account0001")
    lose_database(harness)
    shutil.copy(elsewhere / "archive.db", harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="different histories"):
        harness.night("account0000")
    rebuild(harness)
    assert all_rows(harness) == mine


def test_what_a_transaction_elsewhere_changed_is_in_the_journal(harness: ArchiveHarness) -> None:
    """Another program may write rows: the triggers see it, and the next run ships it."""
    from tests.support.table_dumps import execute

    execute(harness, "UPDATE users SET full_name = 'By hand' WHERE pk = (SELECT min(pk) FROM users)")
    harness.night("account0000", "account0001")
    require_equal_after_rebuild(harness)


def test_a_locked_database_is_not_set_aside(harness: ArchiveHarness) -> None:
    """Another program has it open: the rebuild ends, and the file stays where it is."""
    with closing(sqlite3.connect(harness.root / "archive.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE runs SET command = command")
        with pytest.raises(DatabaseError, match="locked"):
            rebuild(harness)
    assert [file.name for file in harness.root.glob("archive.db.*")] == []
