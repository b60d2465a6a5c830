"""H3, H37: what a power loss leaves at any moment of a first night, and the order of calls that makes it so.

Everyday a part of the moments is replayed, another each day; all of them with ``--crash-all``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash import traced_run
from tests.support.crash.consistency_checks import database, state
from tests.support.crash.disk_states import Disk, Inspector, Replay, billed_units, disks
from tests.support.crash.file_operations import Sync, list_files
from tests.support.crash.traced_run import ARCHIVE, TracedRun

pytestmark = pytest.mark.usefixtures("strace")

_EVERY = 60  # moments of which one is replayed on an ordinary day
_WAL = f"{ARCHIVE}/archive.db-wal"


@pytest.fixture
def chosen(night: TracedRun, crash_all: bool, sample_seed: str) -> Iterator[Disk]:
    """The disks that are looked at."""
    last = len(night.course.operations)
    if crash_all:
        return disks(night.course, range(last + 1), range(4))
    chance = random.Random(sample_seed)
    moments = range(chance.randrange(_EVERY), last + 1, _EVERY)
    return disks(night.course, moments, [chance.randrange(1000)])


def test_all_that_a_night_did_is_known_to_the_replay(night: TracedRun) -> None:
    """With nothing lost, the replay of the calls makes the very files that the night has left: no call went
    unseen.
    """
    replayed = Replay(night.course).disk(len(night.course.operations), "all")
    there = dict(list_files(night.home))
    assert {path: data for path, data in there.items() if data is not None} == replayed.files
    assert {path for path, data in there.items() if data is None} == replayed.directories


def test_fault_h3_after_a_power_loss_all_that_was_told_and_paid_for_is_there(
    night: TracedRun,
    chosen: Iterator[Disk],
    crash_all: bool,
    sample_seed: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever of the unsynced is lost: rows have their bytes, blobs their digests, told files their rows,
    paid calls their ledger.
    """
    inspector = Inspector(night.course, ARCHIVE, tmp_path, night.upstream.standin.key, night.prices)
    found: list[str] = []
    looked_at = 0
    for disk in chosen:
        looked_at += 1
        found += inspector.violations(disk)
    which = "every moment" if crash_all else f"sample of {sample_seed}"
    record_property("visited", f"power loss, {which} of {len(night.course.operations)}: {looked_at} disks")
    assert looked_at > len(night.course.operations) // _EVERY
    assert found == []


def test_fault_h3_after_a_power_loss_the_next_run_makes_the_whole_archive(
    night: TracedRun,
    chosen: Iterator[Disk],
    crash_all: bool,
    sample_seed: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """A run that goes on from such a disk ends with 0, downloads what has no row and nothing else, and leaves
    what an undisturbed one does.
    """
    found: list[str] = []
    every = list(chosen)
    chance, third = random.Random(sample_seed), len(every) // 3
    gone_on = every[::8] if crash_all else [chance.choice(every[n * third :][:third]) for n in (1, 2)]
    for number, disk in enumerate(gone_on):
        home = tmp_path / str(number)
        home.mkdir()
        disk.put(home)
        units = sum(billed_units(night.course.operations[: disk.moment], night.prices))
        wrong = traced_run.converge(night.upstream, home, night.golden, units)
        found += [f"{entry} (at {disk.moment}, {disk.kept} kept)" for entry in wrong]
    record_property("visited", f"power loss, runs that went on: {len(gone_on)}")
    assert found == []


def test_fault_h37_a_crash_before_the_watermark_costs_no_page_and_no_file_again(
    night: TracedRun, tmp_path: Path
) -> None:
    """All files are there, the highlight is not marked yet: the next run marks it, from the kept answer, and
    downloads nothing.
    """
    disk = _before_watermark(night, tmp_path)
    for number in range(3):  # both may be committed together: then another night is recorded
        if disk is None:
            place = tmp_path / f"night {number}"
            place.mkdir()
            night = traced_run.record(night.upstream, place)
            disk = _before_watermark(night, place)
    assert disk is not None
    home = tmp_path / "home"
    home.mkdir()
    disk.put(home)
    summary = traced_run.run_again(night.upstream, home)
    asked = night.upstream.standin.requests
    assert summary.exit_code == 0
    assert asked.cdn_requests() == []
    assert asked.api_calls("/v1/highlight/by/url") == []
    assert state(home / ARCHIVE) == night.golden


def _before_watermark(night: TracedRun, tmp_path: Path) -> Disk | None:
    """The disk after the commit of the last file's row, whose highlight waits for its watermark, if any."""
    replay = Replay(night.course)
    for moment, operation in enumerate(night.course.operations, 1):
        if not (isinstance(operation, Sync) and operation.path == _WAL):
            continue
        disk = replay.disk(moment, "none")
        place = tmp_path / f"at {moment}"
        place.mkdir()
        for name in ("archive.db", "archive.db-wal"):
            (place / name).write_bytes(disk.files[f"{ARCHIVE}/{name}"])
        with database(place) as rows:
            assert rows is not None
            files = rows("select count(*) from files")[0][0]
            if files == len(night.golden["files"]) and rows(
                "select 1 from highlights where completed_at is null"
            ):
                return disk
    return None
