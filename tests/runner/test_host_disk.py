"""A disk that refuses in mid-run: the run stops, nothing is half-written, and the next one completes it. Then
a disk of our own, mounted where the archive is: what the kernel says when it is full, read-only, or not one
disk.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import archiver
from tests.support import leak_detector
from tests.support.archive_harness import ArchiveHarness
from tests.support.failing_disk import FailingDisk
from tests.support.host_faults import assert_sound, environ, run
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

COURSE = """
import json, os, subprocess, sys
from archiver.archive import archive, nightly_run
from archiver.cli import backup_command, run_report
from archiver.cli.main import main

root = os.environ["ARCHIVER_ARCHIVE"]

def step(what, *mount):
    if mount:
        subprocess.run(["mount", *mount], check=True)
    if os.fork() == 0:
        sys.exit(main(["backup", "account0000", "-q"]))
    code = os.waitstatus_to_exitcode(os.wait()[1])
    print(json.dumps([what, code, os.listdir(root + "/tmp")]), flush=True)

os.makedirs(root)
step("full", "-t", "tmpfs", "-o", "size=3m", "none", root)
step("larger", "-o", "remount,size=64m", root)
step("read-only", "-o", "remount,ro", root)
subprocess.run(["mount", "-o", "remount,rw", root], check=True)
step("tmp/ elsewhere", "-t", "tmpfs", "none", root + "/tmp")
"""
UNSHARED = ["unshare", "--user", "--map-root-user", "--mount"]

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


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, shared_tmp: Path) -> dict[str, tuple[int, list[str]]]:
    """Four nights of one archive on such a disk: code, and what lay in tmp/ after it.

    The last two have nothing to keep. They happen once for all workers.
    """
    noted = shared_tmp / "course.json"
    with (shared_tmp / "course.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not noted.exists():
            noted.write_text(json.dumps(_nights(tmp_path_factory)))
    return {what: (code, left) for what, (code, left) in json.loads(noted.read_text()).items()}


def _nights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    if shutil.which("unshare") is None or subprocess.run([*UNSHARED, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a disk of its own")
    place = tmp_path_factory.mktemp("disk")
    with FaultyStandIn(
        EditableWorld.generate(1, 1, 4, thumbnail_size=1_000_000, video_size=1_000_000)
    ) as upstream:
        harness = ArchiveHarness(place / "archive", upstream)
        surroundings = environ(harness) | {"PYTHONPATH": str(Path(archiver.__file__).parent.parent)}
        command = [*UNSHARED, sys.executable, "-c", COURSE]
        ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=60)
        leak_detector.note_output(ended.stdout, ended.stderr)
        assert ended.returncode == 0, ended.stderr
        nights = [json.loads(line) for line in ended.stdout.splitlines()]
        return {what: (code, left) for what, code, left in nights} | {"said": (0, ended.stderr.splitlines())}


@pytest.mark.whole  # the same faults are made every day in this process, here and in test_host_start
def test_fault_h7_a_disk_that_is_full_stops_the_run_and_a_larger_one_completes_it(
    course: dict[str, tuple[int, list[str]]],
) -> None:
    """3 MB for 6 MB: code 8, nothing in tmp/, and words that say what to do; with more space all is kept."""
    assert course["full"] == (8, [])
    assert course["larger"] == (0, [])
    assert re.search("free (some )?space", course["said"][1][0])  # the database may be the first to notice


@pytest.mark.whole  # the same faults are made every day in this process, here and in test_host_start
def test_fault_h14_a_disk_that_is_read_only_is_found_at_once(
    course: dict[str, tuple[int, list[str]]],
) -> None:
    """Code 8, also for root, whom no mode keeps from writing."""
    assert course["read-only"] == (8, [])
    assert "Read-only file system" in course["said"][1][1]


@pytest.mark.whole  # the same faults are made every day in this process, here and in test_host_start
def test_fault_h16_a_tmp_on_another_disk_is_refused(course: dict[str, tuple[int, list[str]]]) -> None:
    """A rename from it would not be one: code 8 before anything is paid."""
    assert course["tmp/ elsewhere"] == (8, [])
    assert "are on different disks" in course["said"][1][2]
