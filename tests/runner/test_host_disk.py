"""A disk that refuses in mid-run: the run stops, nothing is half-written, and the next one completes it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.failing_disk import FailingDisk
from tests.support.host_faults import assert_sound, run
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveHarness]:
    """An archive of one account with one highlight, carried from test to test: each must leave it whole."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path_factory.mktemp("disk") / "archive", upstream)
        assert harness.night(ACCOUNT).exit_code == 0
        yield harness


@pytest.fixture
def disk(harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """The disk of this archive."""
    disk = FailingDisk(harness.root)
    disk.plant(monkeypatch)
    return disk


def _highlight(harness: ArchiveHarness) -> str:
    return next(iter(harness.upstream.world.account(ACCOUNT).highlights)).pk


def refused_nights(
    harness: ArchiveHarness, disk: FailingDisk, kind: str, number: int, step: int = 1
) -> Iterator[int]:
    """Nights, each with a new item to keep, on which the first, second, ... call of a kind fails; until none
    is met any more. ``step``: 2 for every second call.
    """
    for nth in range(1, 40, step):
        harness.upstream.world.add_item(_highlight(harness))
        disk.refuse(kind, nth, number)
        code, why = run(harness, ACCOUNT)
        if disk.refused is None:
            assert nth > 2
            assert code == 0
            return
        assert code == 8, disk.refused
        assert os.strerror(number) in why
        assert harness.one("select count(*) from runs where finished_at is null") == 0
        assert_sound(harness)
        yield nth
    raise AssertionError("the calls have no end")


@pytest.mark.parametrize(
    "kind",
    ["write", *(pytest.param(kind, marks=pytest.mark.whole) for kind in ("fsync", "open", "replace"))],
)
def test_fault_h7_no_space_at_any_call_stops_the_run_with_nothing_half_written(
    harness: ArchiveHarness, disk: FailingDisk, kind: str, whole: bool
) -> None:
    """Whichever call the full disk refuses: code 8, no row without its bytes, tmp/ empty; with space again
    all is kept.

    ``--whole``: every call, else every second one.
    """
    for _ in refused_nights(harness, disk, kind, errno.ENOSPC, 1 if whole else 2):
        pass
    assert harness.one(UNHELD) == 0
    assert_sound(harness)


def test_fault_h7_what_a_full_disk_kept_out_is_had_the_next_night(
    harness: ArchiveHarness, disk: FailingDisk
) -> None:
    """Nothing more changes upstream: the next run keeps the file all the same, from the answer that was paid
    for.
    """
    harness.upstream.world.add_item(_highlight(harness))
    disk.refuse("replace", 1, errno.ENOSPC)
    assert run(harness, ACCOUNT)[0] == 8
    assert run(harness, ACCOUNT)[0] == 0
    assert (harness.upstream.requests.units, harness.one(UNHELD)) == (1, 0)


def test_fault_h7_no_space_for_a_directory_stops_the_run(harness: ArchiveHarness, disk: FailingDisk) -> None:
    """The month of the kept answers cannot be made: code 8 before anything is paid, and the message says
    where.
    """
    shutil.rmtree(harness.root / "answers")
    for nth in (2, 3, 4):  # the first is for tmp/
        disk.refuse("mkdir", nth, errno.ENOSPC)
        code, why = run(harness, ACCOUNT)
        assert (code, f"{harness.root}/answers" in why, "free space on that disk" in why) == (8, True, True)
        assert harness.upstream.requests.api_calls() == []
    assert harness.night(ACCOUNT).exit_code == 0


@pytest.mark.parametrize(("kind", "step"), [("write", 4), ("fsync", 2)])
def test_fault_h9_an_error_of_the_disk_gives_the_file_up(
    harness: ArchiveHarness, disk: FailingDisk, kind: str, step: int, whole: bool
) -> None:
    """EIO on write or fsync: code 8, the file is thrown away, and no fsync is ever tried again on it: it
    might lie.

    ``--whole``: every call, else every fourth write and every second fsync.
    """
    for _ in refused_nights(harness, disk, kind, errno.EIO, 1 if whole else step):
        pass
    assert disk.again == []
    assert harness.one(UNHELD) == 0


def test_fault_h10_no_row_stands_for_a_name_that_was_not_made_durable(
    harness: ArchiveHarness, disk: FailingDisk, whole: bool
) -> None:
    """EIO on the fsync of a directory: code 8, and the blob under the new name has no row.

    ``--whole``: every call, else every second one.
    """
    blobs = 0
    for _ in refused_nights(harness, disk, "fsync_dir", errno.EIO, 1 if whole else 2):
        assert disk.refused is not None
        for path in disk.replaced:
            if Path(path).parent == Path(disk.refused):
                blobs += 1
                assert harness.rows("select 1 from files where sha256 = ?", Path(path).name) == []
    assert blobs >= 1


def test_fault_h16_a_rename_across_disks_is_refused_and_never_a_copy(
    harness: ArchiveHarness, disk: FailingDisk
) -> None:
    """EXDEV at the rename: code 8, and no bytes come under the blob's name by another way."""
    harness.upstream.world.add_item(_highlight(harness))
    disk.refuse("replace", 1, errno.EXDEV)
    assert run(harness, ACCOUNT)[0] == 8
    assert disk.refused is not None
    assert not Path(disk.refused).exists()
    assert_sound(harness)
