"""When all rows are written into the journal again."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive import journaling
from archiver.catalog import Catalog, schema
from archiver.journal.journal_files import JournalFiles
from archiver.store import disk
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import make_newer_migrations
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


def files_of(root: Path) -> list[tuple[str, str]]:
    """Return the schema of each file of the journal, and whether it holds a snapshot or entries."""
    files = JournalFiles(disk.Objects(root))
    found = []
    for name in files.names():
        lines = list(files.read(name))
        found.append((lines[0].header.schema, "entries" if lines[0].line.snapshot is None else "snapshot"))
    return found


def test_a_run_writes_a_snapshot_once_the_entries_outgrow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few entries need none: they are replayed in a moment."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night("account0000").exit_code == 0
        assert [kind for _, kind in files_of(harness.root)] == ["snapshot", "entries"]
        monkeypatch.setattr(journaling, "_FEW_BYTES", 0)
        assert harness.night("account0000").exit_code == 0
        kinds = [kind for _, kind in files_of(harness.root)]
        assert kinds == ["snapshot", "entries", "entries", "snapshot"]
        assert harness.night("account0000").exit_code == 0
        assert [kind for _, kind in files_of(harness.root)] == [*kinds, "entries"]


def test_an_upgrade_that_was_killed_before_its_snapshot_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a migration changes is in no entry: the next run writes all rows first."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night("account0000").exit_code == 0
        before, old = files_of(harness.root), schema.head()
        make_newer_migrations(tmp_path / "migrations")
        monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
        Catalog.open(harness.root / "archive.db", write=True).close()
        assert files_of(harness.root) == before
        assert harness.night("account0000").exit_code == 0
        assert files_of(harness.root) == [*before, ("9999", "snapshot"), ("9999", "entries")]
        assert {revision for revision, _ in before} == {old}
