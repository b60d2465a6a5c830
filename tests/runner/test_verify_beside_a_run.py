"""``verify`` reads beside a run, and records what it verified if it may write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.runner import run_lock
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn

UNREAD = "select count(*) from blobs where verified_at is null"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive of one account."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=2)
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        harness.night("salwaaa_ki")
        yield harness


def test_a_run_may_begin_while_verify_reads(harness: ArchiveHarness) -> None:
    """Reading terabytes takes a night: the run meets no lock, and its new blobs are not called damage."""
    nights: list[int] = []

    def progress(checked: int, _: int) -> None:
        if checked == 1 and not nights:
            nights.append(harness.night("natgeo").exit_code)

    with Archive(harness.config) as archive:
        report = archive.verify(read_data=True, progress=progress)
    assert (nights, report.blobs.damaged) == ([0], ())


def test_what_was_read_is_noted_unless_a_run_holds_the_lock(harness: ArchiveHarness) -> None:
    """Beside a run verify only reads; without one it sets ``verified_at`` of every blob."""
    blobs = harness.one("select count(*) from blobs")
    with run_lock.hold_run_lock(harness.root / "lock", "run"):
        assert harness.verify().is_damaged is False
        assert harness.one(UNREAD) == blobs
    with Archive(harness.config) as archive:
        archive.verify(read_data=True)
    assert harness.one(UNREAD) == 0
