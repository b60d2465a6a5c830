"""What other programs write into the database, also at the worst moment, is in the journal in its order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from archiver.archive.archive import Archive
from archiver.archive.session import open_for_writing
from archiver.catalog import journaled_rows, outbox, record
from archiver.errors import DatabaseError
from archiver.journal import shipper
from archiver.store import disk
from archiver.work import Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import lose_database, rebuild, require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

_OUTBOX = "INSERT INTO journal_outbox (txn, table_name, row_key, row_values)"
_CHANGE = _OUTBOX + " VALUES (99, {})"
_FIRST = "(SELECT min(pk) FROM highlights)"


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of one account with two highlights, after a night."""
    with archive_copies.after_nights(1, (1, 2, 1), tmp_path / "archive") as copied:
        yield copied


def write_snapshot(harness: ArchiveHarness) -> None:
    """Write a snapshot while a commit of ours waits for the shipper, too."""
    with open_for_writing(harness.config, "test", Work()) as session:
        session.catalog.write(record.start_run, "test", datetime.now(UTC))
        session.journal.write_snapshot()


def during_the_snapshot(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen once its rows are fixed: the first of them has been read."""
    everything = journaled_rows.all_rows

    def slow(connection: Connection, at_once: int) -> Iterator[Any]:
        rows = everything(connection, at_once)
        yield next(rows)
        happens()
        yield from rows

    monkeypatch.setattr(journaled_rows, "all_rows", slow)


def test_fault_h51_what_others_write_during_a_snapshot_follows_it(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that the snapshot has is not written again, and one that it lacks is not lost."""

    def happens() -> None:
        execute(harness, f"UPDATE highlights SET title = 'Later' WHERE pk = {_FIRST}")
        time.sleep(0.3)

    monkeypatch.setattr(disk.Objects, "gather_seconds", 0.1)
    with monkeypatch.context() as patch:
        during_the_snapshot(patch, happens)
        execute(harness, "UPDATE users SET full_name = 'Before'")
        write_snapshot(harness)
    require_equal_after_rebuild(harness)
    assert harness.one(f"SELECT title FROM highlights WHERE pk = {_FIRST}") == "Later"
    assert harness.night("account0000").exit_code == 0


def test_fault_h51_a_snapshot_that_could_not_be_recorded_is_followed_by_another(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines are in the journal: nothing else may get their numbers."""

    def refuse(*_: object) -> None:
        raise DatabaseError("locked by another program")

    def happens() -> None:
        execute(harness, f"UPDATE highlights SET title = 'Later' WHERE pk = {_FIRST}")

    with monkeypatch.context() as patch:
        during_the_snapshot(patch, happens)
        patch.setattr(outbox, "begin", refuse)
        with pytest.raises(DatabaseError, match="locked"):
            write_snapshot(harness)
    assert harness.night("account0000").exit_code == 0
    require_equal_after_rebuild(harness)


def test_fault_h50_a_row_that_only_a_snapshot_lacks_is_removed_from_an_older_copy(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """The snapshot after an upgrade takes the place of what the outbox held."""
    shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
    execute(harness, "DELETE FROM files", "UPDATE journal_head SET snapshot_bytes = 0")
    with open_for_writing(harness.config, "test", Work()) as session:
        session.catalog.write(record.start_run, "test", datetime.now(UTC))
    lose_database(harness)
    shutil.copy(tmp_path / "older.db", harness.root / "archive.db")
    assert rebuild(harness).was_copy
    assert harness.one("SELECT count(*) FROM files") == 0
    require_equal_after_rebuild(harness)


@pytest.fixture
def on_postgresql(tmp_path: Path, postgres: PostgresServer) -> Iterator[ArchiveHarness]:
    """An archive on PostgreSQL after a night."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 1)) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)
        assert harness.night("account0000").exit_code == 0
        yield harness


@pytest.mark.whole
def test_fault_h51_transactions_of_others_have_the_order_of_their_changes(
    on_postgresql: ArchiveHarness, postgres: PostgresServer
) -> None:
    """Whichever began first, and while a transaction elsewhere on the server is open."""
    harness = on_postgresql
    plain = str(harness.database).replace("+psycopg", "")
    change = "UPDATE highlights SET title = %s WHERE pk = (SELECT min(pk) FROM highlights)"
    with (
        postgres.database() as elsewhere,
        closing(psycopg.connect(elsewhere.replace("+psycopg", ""))) as long,
        closing(psycopg.connect(plain)) as first,
        closing(psycopg.connect(plain, autocommit=True)) as second,
    ):
        long.execute("CREATE TABLE held (x int)")
        first.execute("UPDATE users SET full_name = 'X'")
        second.execute(change, ("Y",))
        first.execute(change, ("X",))
        first.commit()
        with open_for_writing(harness.config, "test", Work()) as session:
            session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'Ours'")))
        require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_fault_h51_others_changes_that_an_unrecorded_snapshot_has_are_not_written_after_it(
    on_postgresql: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update and then a removal, just before it: after it the row of the update does not exist."""
    harness, end_file = on_postgresql, shipper.Shipper.end_file

    def end_and_change(self: shipper.Shipper) -> None:
        end_file(self)
        execute(harness, "UPDATE files SET source_url = 'x'")
        execute(harness, "DELETE FROM files")

    def refuse(*_: object) -> None:
        raise DatabaseError("locked by another program")

    with monkeypatch.context() as patch:
        patch.setattr(shipper.Shipper, "end_file", end_and_change)
        patch.setattr(outbox, "begin", refuse)
        with pytest.raises(DatabaseError, match="locked"):
            write_snapshot(harness)
    with open_for_writing(harness.config, "test", Work()):
        pass
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE items SET video_duration = 9e999",
        _CHANGE.format("'users', '[\"1\"]', '[]'"),
        _CHANGE.format("'x', '[1]', '{}'"),
        _CHANGE.format("'users', '{', '{'"),
        "INSERT INTO journal_commits (txn, at, run_id, seq)"
        " VALUES (99, '2026-11-29T00:00:00.000000Z', 'x', 999999999999)",
    ],
    ids=["infinite number", "other values", "other table", "no JSON", "other number"],
)
def test_fault_h51_what_no_trigger_writes_stops_no_command(harness: ArchiveHarness, change: str) -> None:
    """Another program wrote it into the outbox, or a number into a row that JSON does not have."""
    execute(harness, change)
    assert harness.night(harness.upstream.world.accounts[0].username).exit_code == 0
    write_snapshot(harness)
    with Archive(harness.config) as archive:
        assert not archive.verify(read_data=True).is_damaged


@pytest.mark.parametrize("values", ["{", "null", "[]"])
def test_fault_h51_values_that_no_trigger_writes_remove_no_row(harness: ArchiveHarness, values: str) -> None:
    """Another program put them beside the key of a row: the journal keeps the row."""
    execute(harness, f"{_OUTBOX} SELECT 99, 'files', json_array(id), '{values}' FROM files")
    assert harness.night(harness.upstream.world.accounts[0].username).exit_code == 0
    with Archive(harness.config) as archive:
        assert not archive.verify(read_data=True).is_damaged
    require_equal_after_rebuild(harness)


def test_fault_h51_an_infinite_number_in_a_column_of_whole_numbers_removes_no_row(
    harness: ArchiveHarness,
) -> None:
    """SQLite stores it, and its JSON has it as 9.0e+999."""
    execute(harness, "UPDATE items SET media_type = 9e999")
    assert harness.night(harness.upstream.world.accounts[0].username).exit_code == 0
    items = harness.one("SELECT count(*) FROM items")
    with Archive(harness.config) as archive:
        assert not archive.verify(read_data=True).is_damaged
    lose_database(harness)
    rebuild(harness)
    assert harness.one("SELECT count(*) FROM items WHERE media_type IS NULL") == items


def test_fault_h51_a_commit_without_a_time_stops_no_command(harness: ArchiveHarness) -> None:
    """Another program wrote it beside a change of its own."""
    execute(
        harness,
        _CHANGE.format("'users', '[\"1\"]', '[]'"),
        "INSERT INTO journal_commits (txn, at) VALUES (99, 'x')",
    )
    assert harness.night(harness.upstream.world.accounts[0].username).exit_code == 0
    with Archive(harness.config) as archive:
        assert not archive.verify(read_data=True).is_damaged


def test_fault_h51_an_infinite_number_on_postgresql_is_no_damage(on_postgresql: ArchiveHarness) -> None:
    """The journal and a rebuilt database have NULL there: JSON has no such number."""
    execute(on_postgresql, "UPDATE items SET video_duration = 'Infinity'")
    assert on_postgresql.night(on_postgresql.upstream.world.accounts[0].username).exit_code == 0
    with Archive(on_postgresql.config) as archive:
        assert not archive.verify(read_data=True).is_damaged
