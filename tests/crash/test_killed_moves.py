"""SIGKILL at any step of ``archiver storage move``: the same command ends it, and until then no other command
writes where the archive is not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archiver.archive.storage_move import move_storage
from archiver.errors import StorageError
from archiver.work import StopFlag
from tests.support import ROOT
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.s3_server import BUCKET, Handler, S3Server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
PLACES = {"directory": None, "a": f"s3://{BUCKET}/a", "b": f"s3://{BUCKET}/b"}
NEVER = 1_000_000


@dataclass
class MovedArchive:
    """An archive that is moved, and copies of it and of the bucket as they were before."""

    harness: ArchiveHarness
    server: S3Server
    before: Path
    old: str
    new: str
    blobs: int = 0
    _left: int = field(default=0, repr=False)

    def keep(self) -> None:
        """Remember everything as it is now."""
        shutil.copytree(self.harness.root, self.before / "archive")
        shutil.copytree(self.server.objects, self.before / "objects")
        self.harness.storage = PLACES[self.old]

    def restore(self) -> None:
        """Make everything as it was."""
        for place, name in ((self.harness.root, "archive"), (self.server.objects, "objects")):
            shutil.rmtree(place)
            shutil.copytree(self.before / name, place)
        self.harness.storage = PLACES[self.old]

    def start(self, step: int) -> subprocess.Popen[bytes]:
        """Start the command, to be killed before this step of its own."""
        words = ("storage", "move", PLACES[self.new] or "directory")
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.crash.killed_command"),
                *(str(step), str(self.before / "steps"), *words),
            ],
            cwd=ROOT,
            env=os.environ | self.harness.variables | self.server.environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def die_at_step(self, step: int) -> int:
        """Kill it there; return the step, or how many it took if it came to its end."""
        with self.start(step) as process:
            _, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
        return step if process.returncode else int((self.before / "steps").read_text())

    def die_at_put(self, number: int, *, is_handled: bool) -> bool:
        """Kill it at its n-th PUT, before or after the store has handled it; return whether it came to it."""
        left = number

        def act(handler: Handler) -> bool:
            nonlocal left
            if handler.command != "PUT":
                return False
            left -= 1
            if left:
                return False
            if is_handled:
                handler.do_PUT()
            os.kill(process.pid, signal.SIGKILL)
            handler.close_connection = True
            return True

        with self.start(NEVER) as process:
            self.server.act = act
            _, err = process.communicate()
        self.server.act = None
        assert process.returncode in (0, -signal.SIGKILL), err
        return process.returncode != 0

    def require_one_place(self) -> None:
        """At most one of the two places is used by a run, and that run pays for no file again. If there is
        none, it names the command to use.
        """
        taken = 0
        for place in (self.new, self.old):
            self.harness.storage = PLACES[place]
            try:
                summary = self.harness.night(ACCOUNT)
            except StorageError as refused:
                words = f"{refused} {refused.hint}"
                assert "storage move" in words or "archive.storage" in words
                assert self.harness.upstream.units == 0
            else:
                assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
                taken += 1
        assert taken <= 1
        self.harness.storage = PLACES[self.old]

    def require_moved(self) -> None:
        """The same command ends the move: everything is there, and can be rebuilt from there. The old place
        is refused.
        """
        move_storage(self.harness.config, PLACES[self.new], stop=StopFlag(), progress=lambda *_: None)
        with pytest.raises(StorageError, match="the archive is stored in"):
            self.harness.night(ACCOUNT)
        self.harness.storage = PLACES[self.new]
        found = self.harness.verify()
        assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
        assert found.blobs.checked == self.blobs
        require_equal_after_rebuild(self.harness)
        assert self.harness.night(ACCOUNT).units == 1


@pytest.fixture(
    params=[
        ("directory", "a"),
        pytest.param(("a", "directory"), marks=pytest.mark.whole),
        pytest.param(("a", "b"), marks=pytest.mark.whole),
    ],
    ids="-".join,
)
def archive(
    request: pytest.FixtureRequest, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MovedArchive]:
    old, new = request.param
    server.set_environment(monkeypatch)
    with FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream, storage=PLACES[old])
        moved = MovedArchive(harness, server, tmp_path / "before", old, new)
        assert moved.harness.night(ACCOUNT).exit_code == 0
        moved.blobs = int(str(moved.harness.one("select count(*) from blobs")))
        moved.keep()
        yield moved


@pytest.mark.parametrize(
    "is_handled",
    [False, pytest.param(True, marks=pytest.mark.whole)],
    ids=["before it is stored", "when it is stored"],
)
def test_fault_s9_a_move_that_is_killed_at_an_upload_goes_on(
    archive: MovedArchive, sample_seed: str, whole: bool, is_handled: bool
) -> None:
    """Every day one upload; with ``--whole`` all."""
    puts = 0
    archive.server.calls()
    assert not archive.die_at_put(NEVER, is_handled=False)
    puts = sum(call.startswith("PUT ") for call in archive.server.calls())
    assert puts
    chance = random.Random(f"{sample_seed} {archive.old} {is_handled}")
    for number in range(1, puts + 1) if whole else [chance.randint(1, puts)]:
        archive.restore()
        assert archive.die_at_put(number, is_handled=is_handled)
        archive.require_one_place()
        archive.require_moved()


def test_fault_s9_a_move_that_is_killed_at_a_step_goes_on(
    archive: MovedArchive, sample_seed: str, whole: bool
) -> None:
    """Every day one of the last steps, from the marker that begins the end to the last one, and one of the
    steps before. With ``--whole`` all of the last ones, and a third of those before.
    """
    last = archive.die_at_step(NEVER) - 1
    assert last > 60
    chance = random.Random(f"{sample_seed} {archive.old}")
    ending = range(last - 40, last + 1)
    steps = {*ending, *range(1, last - 40, 3)} if whole else {chance.choice(ending), chance.randint(1, last)}
    killed = 0
    for step in sorted(steps):
        archive.restore()
        killed += archive.die_at_step(step) == step  # threads may save a step
        archive.require_one_place()
        archive.require_moved()
    assert killed
