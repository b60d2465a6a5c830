"""Adopted files in the nights after: held, confirmed or replaced by downloads, lost and repaired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.sandbox.world_objects import SandboxItem
from tests.support.adopting_archive import put, saved_by_insta_dl
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

NAME = "account0000"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An empty archive, and an account with a highlight of four items."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        create_for_run(harness.config)
        yield harness


def items(harness: ArchiveHarness) -> list[SandboxItem]:
    return list(harness.upstream.world.accounts[0].highlights[0].items)


def adopt(harness: ArchiveHarness, folder: Path, *, own_bytes: bool) -> int:
    """Adopt the items as insta-dl saves them: with Instagram's bytes, or other ones. Return how many."""
    files = saved_by_insta_dl(harness.upstream.world.accounts[0], own_bytes=own_bytes)
    with Archive(harness.config) as archive:
        report = archive.adopt(put(folder, files), clock=lambda: harness.now)
    assert report.refused == ()
    return report.adopted + report.waiting


def videos(harness: ArchiveHarness) -> int:
    return sum(item.video is not None for item in items(harness))


def test_a_night_downloads_only_what_was_not_adopted(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Posters, the cover and the avatar; then the archive is complete, and the journal has all of it.

    ``run --full`` downloads the adopted files too. The same bytes become this program's own file.
    """
    assert adopt(harness, tmp_path / "theirs", own_bytes=True) == 4
    summary = harness.night(NAME)
    assert (summary.exit_code, summary.files_new) == (0, videos(harness) + 2)
    assert summary.notes == ("adopted files that have found their items: 4",)
    assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
    assert harness.gaps() == []
    require_equal_after_rebuild(harness)
    quiet = harness.night(NAME)
    assert (quiet.exit_code, quiet.units, quiet.files_new, quiet.notes) == (0, 1, 0, ())
    assert harness.night(NAME, full=True).files_new == 0
    assert harness.one("SELECT count(*) FROM files WHERE source IS NOT NULL OR source_url = ''") == 0


def test_fault_j24_a_night_finds_places_for_what_is_no_longer_shown(tmp_path: Path) -> None:
    """They cost nothing, then and later, are no change, and come back with the journal.

    If the highlight is shown again, it appears, and nothing of it is downloaded that was adopted.
    """
    with FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream:
        gone, _ = upstream.world.accounts[0].highlights
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        create_for_run(harness.config)
        adopt(harness, tmp_path / "theirs", own_bytes=True)
        upstream.world.remove_highlight(gone.pk)
        first = harness.night(NAME)
        assert (first.exit_code, first.units) == (0, 1 + 1 + 1)
        assert first.notes == (
            "adopted files that have found their items: 2",
            "adopted files of items that Instagram no longer shows: 2",
        )
        assert harness.rows("SELECT pk, title FROM highlights WHERE source IS NOT NULL") == [
            (gone.pk, "Trip")
        ]
        assert harness.one("SELECT count(*) FROM items WHERE source IS NOT NULL") == 2
        quiet = harness.night(NAME)
        assert (quiet.exit_code, quiet.units, quiet.files_new, quiet.notes) == (0, 1, 0, ())
        assert (harness.one("SELECT count(*) FROM changes"), harness.gaps()) == (0, [])
        require_equal_after_rebuild(harness)
        upstream.world.restore_highlight(gone.pk)
        back = harness.night(NAME)
        posters = sum(item.video is not None for item in gone.items)
        assert (back.exit_code, back.units, back.files_new) == (0, 2, posters + 1)
        assert harness.rows("SELECT subject_pk, field, new FROM changes") == [
            (gone.pk, "presence", "appeared")
        ]
        assert harness.one("SELECT count(*) FROM highlights WHERE completed_at IS NULL OR source <> ''") == 0
        assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
        require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_a_full_run_keeps_both(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Other bytes are a second file, which is current; the next full run downloads nothing again."""
    adopt(harness, tmp_path / "theirs", own_bytes=False)
    harness.night(NAME)
    assert harness.night(NAME, full=True).files_new == 4
    assert harness.one("SELECT count(*) FROM files WHERE item_pk IS NOT NULL") == 4 + 4 + videos(harness)
    with Archive(harness.config) as archive:
        assert [file.source for item in archive.items() for file in item.held if file.source] == []
    assert harness.night(NAME, full=True).files_new == 0


@pytest.mark.whole
def test_a_repair_gets_the_download_and_the_adopted_bytes_stay_lost(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """A lost adopted file is fetched like any other."""
    adopt(harness, tmp_path / "theirs", own_bytes=False)
    harness.night(NAME)
    lost = str(harness.one("SELECT min(sha256) FROM files WHERE source IS NOT NULL"))
    (harness.root / "blobs" / lost[:2] / lost).unlink()
    with Archive(harness.config) as archive:
        report = archive.repair()
        summary = archive.run(report.targets, options=report.run_options, clock=lambda: harness.now)
    assert (summary.exit_code, summary.files_new) == (0, 1)
    assert harness.rows("SELECT sha256 FROM blobs WHERE lost_at IS NOT NULL") == [(lost,)]
    place = "(SELECT item_pk FROM files WHERE sha256 = ?)"
    role = "(SELECT role FROM files WHERE sha256 = ?)"
    rows = harness.rows(
        f"SELECT source FROM files WHERE item_pk = {place} AND role = {role} ORDER BY id", lost, lost
    )
    assert rows == [("insta-dl",), (None,)]
    assert harness.gaps() == []


@pytest.mark.whole
def test_reread_ends_the_waiting_too(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Items that come back from stored answers take their files."""
    harness.night(NAME)
    execute(
        harness,
        *(f"DELETE FROM {table}" for table in ("mentions", "links", "hashtags", "locations", "stickers")),
        *(f"DELETE FROM {table}" for table in ("reshares", "sponsors", "highlight_items")),
        "DELETE FROM files WHERE item_pk IS NOT NULL",
        "DELETE FROM items",
    )
    assert adopt(harness, tmp_path / "theirs", own_bytes=True) == 4
    harness.reread()
    assert harness.one("SELECT count(*) FROM adopted") == 0
    assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
