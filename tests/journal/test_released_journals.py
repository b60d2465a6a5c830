"""Journals that earlier versions wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.catalog import schema
from archiver.config import load
from tests.support.rebuilt_archive import rebuild_from, rows_of
from tests.support.released_journal import FIRST, FOLDER

_RELEASED = [name for name in schema.revisions() if name >= FIRST]


@pytest.mark.parametrize(
    "revision",
    [FIRST, *(pytest.param(name, marks=pytest.mark.whole) for name in _RELEASED[1:-1]), _RELEASED[-1]],
)
def test_fault_h49_the_journal_of_each_released_revision_is_rebuilt(tmp_path: Path, revision: str) -> None:
    """Every row comes back with the values that it had, and the archive can be used."""
    root = Path(shutil.copytree(FOLDER / revision, tmp_path / "archive"))
    config = load(None, {"ARCHIVER_ARCHIVE": str(root), "ARCHIVER_ARCHIVE_RESERVE": "0"})
    rebuild_from(config)
    rebuilt = rows_of(root / "archive.db")
    for table, rows in json.loads((root / "rows.json").read_text()).items():
        found = [json.loads(row) for row in rebuilt[table]]
        then = [{column: row[column] for column in rows[0]} for row in found]
        assert then == rows, table
    with Archive(config) as archive:
        assert archive.status().items == len(rebuilt["items"]) >= 4
