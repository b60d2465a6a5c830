"""H1, where an archive is only being made: whatever a kill leaves of it, the next run finishes it and is not
turned away.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.creation import create_archive
from archiver.config import load
from tests.support.crash.consistency_checks import violations


@pytest.mark.parametrize(
    "left",
    [
        "archive.db.new",
        "archive.db.new-wal",
        "archive.db.new-shm",
        "archive.db.new-journal",
        ".archive.json.part",
    ],
)
def test_fault_h1_a_creation_that_was_killed_is_finished_by_the_next(left: str, tmp_path: Path) -> None:
    """A half-made database or marker is made anew, and is not taken for somebody else's file."""
    root = tmp_path / "archive"
    root.mkdir(0o700)
    (root / left).write_bytes(b"half")
    assert create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
    assert not (root / left).exists()
    assert violations(root) == []
    assert not create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
