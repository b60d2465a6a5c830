"""What the real tools save is adopted, and the next run downloads only what they did not save."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from tests.support.archive_harness import ArchiveHarness
from tests.support.foreign_tools import TOOLS
from tests.support.standin.faulty_standin import FaultyStandIn

SAVED = {
    "insta-dl": [("thumbnail", 21), ("video", 12)],
    "gallery-dl": [("thumbnail", 33), ("video", 12)],
    "instaloader": [("thumbnail", 33), ("video", 12)],
}
"""Files by role. insta-dl saves no posters; one item is in two highlights."""


@pytest.mark.whole
@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_saved_is_not_downloaded_again(tool: str, tmp_path: Path) -> None:
    """All of it goes into an empty archive; the next run fetches posters, covers and the avatar."""
    with FaultyStandIn() as upstream:
        folder = tmp_path / "theirs"
        TOOLS[tool](upstream, folder, "natgeo")
        harness = ArchiveHarness(tmp_path / "ours", upstream)
        create_for_run(harness.config)
        with Archive(harness.config) as archive:
            first = archive.adopt(folder)
            again = archive.adopt(folder)
        saved = sum(count for _, count in SAVED[tool])
        by_tool = (0, saved) if tool == "insta-dl" else (saved, 0)  # it does not say whose items these are
        assert ((first.adopted, first.waiting), first.refused) == (by_tool, ())
        assert (again.waiting, again.known, again.refused) == (0, saved + first.known, ())
        summary = harness.night("natgeo")
        assert (summary.exit_code, summary.files_new) == (0, 33 + 12 + 3 + 1 - saved)
        rows = harness.rows(
            "SELECT role, count(*) FROM files WHERE source = ? GROUP BY role ORDER BY role", tool
        )
        assert rows == SAVED[tool]
        assert harness.one("SELECT count(*) FROM highlights WHERE completed_at IS NULL") == 0
        assert harness.one("SELECT count(*) FROM adopted WHERE role <> 'metadata'") == 0
        harness.sleep(days=1)
        quiet = harness.night("natgeo")
        assert (quiet.units, quiet.files_new) == (1, 0)
