"""Journals of the same nights on both databases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest

from archiver.catalog import writer
from archiver.journal.journal_line import encode_entries
from archiver.model.journal_entries import Entry, RowChange
from archiver.runner import run
from tests.support.archive_harness import ArchiveHarness
from tests.support.crash.journal_checks import lines_of
from tests.support.databases import PostgresServer
from tests.support.nights.thirty_nights import ThirtyNights
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

LONG = "0.30000000000000004"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def two_nights(harness: ArchiveHarness) -> None:
    """A first night, and one with an edit and a number of 17 digits."""
    assert harness.night("account0000").exit_code == 0
    execute(harness, f"UPDATE items SET video_duration = {LONG}")
    harness.upstream.world.accounts[0].highlights[0].title = "Edited"
    assert harness.night("account0000").exit_code == 0


def a_month(harness: ArchiveHarness) -> None:
    """Thirty nights of edits of all kinds."""
    assert list(ThirtyNights(harness, seed=4, sweep_days=5, a_night=5).nights()) == []


def changes_of(
    nights: Callable[[ArchiveHarness], None], root: Path, database: str | None, world: EditableWorld
) -> list[str]:
    """Return the journal's entries of these nights.

    Without their answers, whose bytes differ each time. Threads decide which of two entries comes first.
    """
    with FaultyStandIn(world) as upstream:
        harness = ArchiveHarness(root / "archive", upstream, database)
        harness.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "1"
        nights(harness)
    found = []
    for path in sorted((root / "archive").glob("journal/*/*/*")):
        for line in map(json.loads, lines_of(path)):
            if "snapshot" not in line and "rows" in line:
                line["rows"].pop("answers", None)
                found.append(json.dumps([line["at"], line["run"], line["rows"]]))
    return [re.sub(r"127\.0\.0\.1:\d+", "HOST", text) for text in found]


def test_the_same_nights_give_the_same_lines(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Times, floats, booleans and the order of members are those of SQLite's columns.

    Every day two nights of one account, with --whole a month of three.
    """
    monkeypatch.setattr(ArchiveHarness, "now", property(lambda harness: NOON + harness.later))
    for number in ("_ACCOUNTS_AT_FIRST", "ACCOUNTS_AT_MOST", "JOBS_AT_ONCE"):
        monkeypatch.setattr(run, number, 1)
    monkeypatch.setattr(writer, "_MAX_BATCH", 1)
    nights, size = (a_month, (3, 5, 4)) if whole else (two_nights, (1, 1, 2))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    lite = changes_of(nights, tmp_path / "one", None, EditableWorld.generate(*size))
    with postgres.database() as url:
        other = changes_of(nights, tmp_path / "two", url, EditableWorld.generate(*size))
    assert sorted(other) == sorted(lite)
    assert any(LONG in text for text in lite) or whole


def test_the_order_in_which_a_statement_changes_rows_does_not_show() -> None:
    """Each database has its own."""
    changes = [RowChange("files", (number,), {"last_seen_at": "now"}) for number in (9, 10, 11)]
    lines = {
        encode_entries([Entry(1, NOON, 1, order)], None, None, str)[0] for order in permutations(changes)
    }
    assert len(lines) == 1
