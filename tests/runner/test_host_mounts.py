"""A disk of our own, small, mounted where the archive is: what the real kernel says when it is full,
read-only, or not one disk.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import archiver
from tests.support import leak_detector
from tests.support.archive_harness import ArchiveHarness
from tests.support.host_faults import environ
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
# The same faults are made every day in this process: test_host_disk and test_host_start.
pytestmark = pytest.mark.whole

UNSHARED = ["unshare", "--user", "--map-root-user", "--mount"]


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


def test_fault_h7_a_disk_that_is_full_stops_the_run_and_a_larger_one_completes_it(
    course: dict[str, tuple[int, list[str]]],
) -> None:
    """3 MB for 6 MB: code 8, nothing in tmp/, and words that say what to do; with more space all is kept."""
    assert course["full"] == (8, [])
    assert course["larger"] == (0, [])
    assert re.search("free (some )?space", course["said"][1][0])  # the database may be the first to notice


def test_fault_h14_a_disk_that_is_read_only_is_found_at_once(
    course: dict[str, tuple[int, list[str]]],
) -> None:
    """Code 8, also for root, whom no mode keeps from writing."""
    assert course["read-only"] == (8, [])
    assert "Read-only file system" in course["said"][1][1]


def test_fault_h16_a_tmp_on_another_disk_is_refused(course: dict[str, tuple[int, list[str]]]) -> None:
    """A rename from it would not be one: code 8 before anything is paid."""
    assert course["tmp/ elsewhere"] == (8, [])
    assert "are on different disks" in course["said"][1][2]
