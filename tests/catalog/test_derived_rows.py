"""What is computed from other rows, sums and the words that are searched: it is what a count gives."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import take_snapshot
from archiver.catalog import Catalog, counters, ledger, record
from archiver.cli.verify_command import check_lines
from archiver.model.api_calls import Limits
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import LATER, call, rows
from tests.support.databases import NOW, PostgresServer
from tests.support.rebuilt_archive import all_rows, rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute
from tests.support.three_night_catalog import record_three_nights


def shared_item() -> EditableWorld:
    """Return a world of an account with an item in two highlights."""
    world = EditableWorld.generate(1, 2, 2)
    first, second = world.accounts[0].highlights
    world.put_item(second.pk, first.items[0].pk, source=first.pk)
    return world


@pytest.fixture(params=["sqlite", "postgresql"])
def harness(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[ArchiveHarness]:
    """An archive of that world after a night, on each database."""
    with FaultyStandIn(shared_item()) as upstream, postgres.database() as url:
        database = url if request.param == "postgresql" else None
        harness = ArchiveHarness(tmp_path / "archive", upstream, database)
        assert harness.night("account0000").exit_code == 0
        yield harness


def test_fault_j1_a_copy_that_follows_a_snapshot_has_the_sums_of_its_rows(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """On PostgreSQL, the rows that the snapshot replaces are removed by one statement for each table."""
    with FaultyStandIn(shared_item()) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)
        assert harness.night("account0000").exit_code == 0
        with postgres.database(make_url(url).database or "") as copy:
            upstream.world.accounts[0].highlights[0].title = "Edited later"
            assert harness.night("account0000").exit_code == 0
            take_snapshot(harness.config, Work())
            before = all_rows(harness)
            older = replace(harness, database=copy)
            assert rebuild(older).was_copy
            assert all_rows(older) == before


def test_fault_j1_rows_that_one_statement_removes_are_subtracted_once(catalog: Catalog) -> None:
    """Also the places of an item that was in two highlights of an account."""
    record_three_nights(catalog)
    for statement in ("DELETE FROM highlight_items", "DELETE FROM files", "DELETE FROM blobs"):
        catalog.write(_execute, statement)
        with catalog.snapshot() as snapshot:
            assert snapshot.read(counters.differences) == ()
    assert rows(catalog, "SELECT * FROM account_totals") == []


def _execute(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


WRONG = (
    "UPDATE account_totals SET items = items - 1, files = files - 2",
    "UPDATE monthly_totals SET blobs = blobs + 1",
    "DELETE FROM budget_totals WHERE period LIKE 'run %'",
    "UPDATE runs SET units = 99",
)


def test_fault_j1_wrong_sums_are_damage_until_a_repair(harness: ArchiveHarness) -> None:
    """Each table is named with what it has and what its rows have; then all are as before."""
    before = all_rows(harness)
    account = harness.upstream.world.accounts[0].pk
    items, files = harness.rows("SELECT items, files FROM account_totals")[0]
    blobs, units = harness.one("SELECT count(*) FROM blobs"), harness.one("SELECT units FROM runs")
    execute(harness, *WRONG)
    with Archive(harness.config) as archive:
        found = archive.verify()
        assert found.is_damaged
        assert list(found.derived_differences) == [
            f"budget_totals: 1 wrong sum, the first of run 1: units 0 instead of {units}",
            f"monthly_totals: 1 wrong sum, the first of {harness.now:%Y-%m}: blobs {int(str(blobs)) + 1}"
            f" instead of {blobs}",
            f"account_totals: 1 wrong sum, the first of {account}: items {int(str(items)) - 1} instead of"
            f" {items}, files {int(str(files)) - 2} instead of {files}",
            f"runs: 1 wrong sum, the first of 1: units 99 instead of {units}",
        ]
        assert set(found.derived_differences) < set(check_lines(found))
        archive.repair()
        assert not archive.verify(read_data=True).is_damaged
    after = all_rows(harness)
    assert {name: after[name] for name in ("account_totals", "budget_totals", "monthly_totals")} == {
        name: before[name] for name in ("account_totals", "budget_totals", "monthly_totals")
    }
    assert harness.one("SELECT units FROM runs WHERE id = 1") == units


def test_fault_j1_wrong_words_are_damage_until_a_repair(harness: ArchiveHarness) -> None:
    """A document with other words, one that is missing, and one of nothing."""
    execute(
        harness,
        "UPDATE search_documents SET names = 'other' WHERE subject = 'user'",
        "DELETE FROM search_documents WHERE subject_pk = (SELECT min(pk) FROM highlights)",
        "INSERT INTO search_documents (subject, subject_pk, at, names, filters)"
        " SELECT 'highlight', '9', at, 'x', '=highlight' FROM search_documents WHERE subject = 'user'",
    )
    with Archive(harness.config) as archive:
        assert not archive.verify().is_damaged
        (line,) = archive.verify(read_data=True).derived_differences
        assert line.startswith("search_documents: 3 documents with words that its rows do not have")
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
        with archive.search("other") as hits:
            assert list(hits) == []


@pytest.mark.parametrize("harness", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO search_index (search_index) VALUES ('delete-all')",
        "INSERT INTO search_index (search_index, rowid, names, tags, mentions, links, filters)"
        " SELECT 'delete', id, names, tags, mentions, links, filters FROM search_documents LIMIT 1",
    ],
    ids=["emptied", "holed"],
)
def test_fault_j15_an_index_without_its_words_is_damage_until_a_repair(
    harness: ArchiveHarness, change: str
) -> None:
    """A search finds less than the documents have, and no error says so."""
    execute(harness, change)
    with Archive(harness.config) as archive:
        (line,) = archive.verify(read_data=True).derived_differences
        assert line.startswith("search_index: it is not the index of its documents")
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged


@pytest.mark.parametrize("harness", ["postgresql"], indirect=True)
def test_fault_j15_an_index_of_postgresql_without_its_words_is_damage_until_a_repair(
    harness: ArchiveHarness,
) -> None:
    """A column of the documents is what is searched; their texts are the same."""
    execute(
        harness,
        "SET session_replication_role = replica",
        "UPDATE search_documents SET words = ''::tsvector",
        "SET session_replication_role = origin",
    )
    with Archive(harness.config) as archive:
        (line,) = archive.verify(read_data=True).derived_differences
        assert line.startswith("search_documents: the index lacks words of ")
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged


@pytest.mark.parametrize("harness", ["sqlite"], indirect=True)
def test_fault_j1_one_repair_mends_rows_and_words(harness: ArchiveHarness) -> None:
    """A name was changed while the triggers were away: its document has the old words."""
    with closing(sqlite3.connect(harness.root / "archive.db")) as other, other:
        triggers = other.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'users'"
        ).fetchall()
        for name, _ in triggers:
            other.execute(f"DROP TRIGGER {name}")
        other.execute("UPDATE users SET full_name = 'Other Name'")
        for _, sql in triggers:
            other.execute(sql)
    with Archive(harness.config) as archive:
        assert archive.verify(read_data=True).journal.counts == {"users": 1}
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
        with archive.search("other name") as hits:
            assert [hit.subject for hit in hits] == ["user"]


@pytest.mark.parametrize("harness", ["sqlite"], indirect=True)
def test_the_order_of_former_names_is_no_difference(harness: ArchiveHarness) -> None:
    """It follows dates, which may change after the words were written."""
    account = harness.upstream.world.accounts[0].pk
    for name in ("second", "third"):
        harness.upstream.world.rename(account, name)
        assert harness.night(name).exit_code == 0
    earlier = "'2000' || substr(last_seen_at, 5)"
    execute(harness, f"UPDATE usernames SET last_seen_at = {earlier} WHERE username = 'second'")
    assert not harness.verify().is_damaged


@pytest.mark.parametrize("harness", ["sqlite"], indirect=True)
def test_fault_j1_a_rebuild_counts_again(harness: ArchiveHarness, tmp_path: Path) -> None:
    """An older copy with wrong sums gets those of its rows."""
    shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
    harness.upstream.world.accounts[0].highlights[0].title = "Edited later"
    assert harness.night("account0000").exit_code == 0
    before = all_rows(harness)
    shutil.copy(tmp_path / "older.db", harness.root / "archive.db")
    execute(harness, *WRONG[:3])
    assert rebuild(harness).was_copy
    assert all_rows(harness) == before


def test_fault_j11_a_call_that_is_settled_after_its_run_changes_the_units_of_the_run(
    catalog: Catalog,
) -> None:
    """As one of a worker that had lost its lease."""
    run_id = catalog.write(record.start_run, "run", NOW)
    call_id = catalog.write(ledger.reserve, run_id, call(), NOW, Limits())
    catalog.write(record.finish_run, run_id, LATER, "ok", 0)
    assert rows(catalog, "SELECT units FROM runs") == [(1,)]
    catalog.write(ledger.settle, call_id, 500, 0, datetime.now(UTC))
    assert rows(catalog, "SELECT units FROM runs") == [(0,)]
