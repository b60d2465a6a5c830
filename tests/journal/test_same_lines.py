"""Journals of the same nights on both databases."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.crash.journal_checks import lines_of
from tests.support.databases import PostgresServer
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def changes_of_two_nights(root: Path, database: str | None) -> list[str]:
    """Return what the journal says of a first night and of one with an edit.

    Without the answers, whose bytes differ each time.
    """
    with FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream:
        harness = ArchiveHarness(root / "archive", upstream, database)
        harness.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "1"
        assert harness.night("account0000").exit_code == 0
        upstream.world.accounts[0].highlights[0].title = "Edited"
        assert harness.night("account0000").exit_code == 0
    found = []
    for path in sorted((root / "archive").glob("journal/*/*/*")):
        for line in map(json.loads, lines_of(path)):
            if "snapshot" not in line and "rows" in line:
                tables = [table for table in line["rows"] if table != "answers"]
                found += [json.dumps({table: one}) for table in tables for one in line["rows"][table]]
    return [re.sub(r"127\.0\.0\.1:\d+", "HOST", text) for text in found]


def test_the_same_nights_give_the_same_lines(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times, floats, booleans and the order of members are those of SQLite's columns."""
    monkeypatch.setattr(ArchiveHarness, "now", NOON)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    lite = changes_of_two_nights(tmp_path / "one", None)
    with postgres.database() as url:
        assert sorted(changes_of_two_nights(tmp_path / "two", url)) == sorted(lite)
    assert any('"video_duration": 1' in text or '"x": 0.' in text for text in lite)
