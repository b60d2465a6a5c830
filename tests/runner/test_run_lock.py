"""One writer per archive: the lock, the note in it that ``status`` reads, and processes that begin together,
wait, or are killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.errors import ArchiveLocked, StoppedBySignal, StorageError
from archiver.model.identity import utcnow
from archiver.runner.run_lock import find_holder, hold_run_lock
from archiver.work import StopFlag, Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.forked_commands import ForkedCommands, shared_commands
from tests.support.host_faults import assert_sound, environ
from tests.support.standin import actions
from tests.support.standin.fault_rules import Fault

pytestmark = pytest.mark.world(accounts=1, highlights=1, items=1, archived="account0000")
UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"
ACCOUNT = "account0000"
DOUBLE_STARTS = int(os.environ.get("ARCHIVER_TEST_DOUBLE_STARTS", "2"))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The lock of an archive."""
    return tmp_path / "lock"


def write_note(lock: Path, pid: int, host: str) -> None:
    """Write the note that a process would leave if it were killed."""
    lock.write_text(json.dumps({"pid": pid, "host": host, "command": "run", "since": utcnow().isoformat()}))


def test_the_holder_is_known_while_it_holds_the_lock(lock: Path) -> None:
    """Before and after, nobody holds it."""
    assert find_holder(lock) is None
    with hold_run_lock(lock, "run"):
        holder = find_holder(lock)
    assert holder is not None
    assert (holder.command, holder.pid, holder.host) == ("run", os.getpid(), socket.gethostname())
    assert find_holder(lock) is None


def test_a_killed_holder_of_this_machine_does_not_count(lock: Path) -> None:
    """Of another machine it may be at work, as far as this one can know."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_note(lock, ended.pid, socket.gethostname())
    assert find_holder(lock) is None
    write_note(lock, ended.pid, "elsewhere")
    assert find_holder(lock) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_note_that_cannot_be_read_names_nobody(lock: Path, text: str) -> None:
    """As after a full disk."""
    lock.write_text(text)
    assert find_holder(lock) is None


def test_no_process_has_such_a_number(lock: Path) -> None:
    """A pid that the system cannot have is one that does not run."""
    write_note(lock, 10**30, socket.gethostname())
    assert find_holder(lock) is None


def test_fault_k72_a_lock_that_is_no_file_names_no_holder(lock: Path, tmp_path: Path) -> None:
    """A pipe is not waited for, and what a link leads to is not read."""
    os.mkfifo(lock)
    assert find_holder(lock) is None
    lock.unlink()
    write_note(tmp_path / "elsewhere", os.getpid(), socket.gethostname())
    lock.symlink_to(tmp_path / "elsewhere")
    assert find_holder(lock) is None


HOLDER = """
import sys, time
from pathlib import Path
from archiver.model.identity import utcnow
from archiver.runner import run_lock
with run_lock.hold_run_lock(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_fault_h20_a_lock_names_its_holder_and_dies_with_it(lock: Path) -> None:
    """A second process is refused with the holder's pid and since when; killed without warning, the holder
    leaves the lock free.
    """
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        named = rf"run, pid {holder.pid} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"
        with pytest.raises(ArchiveLocked, match=named), hold_run_lock(lock, "run"):
            pass
        holder.kill()
    with hold_run_lock(lock, "run"):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_fault_h19_a_lock_can_be_waited_for(lock: Path) -> None:
    """With a wait, the lock is tried again until its holder lets go."""
    waits: list[float] = []
    with hold_run_lock(lock, "first"):
        with pytest.raises(ArchiveLocked), hold_run_lock(lock, "second"):
            pass
        with (
            pytest.raises(StoppedBySignal),
            hold_run_lock(lock, "second", Work(stop=_Impatient(waits, 3), wait=True)),
        ):
            pass
    assert len(waits) == 3


def test_fault_h31_a_symlink_is_no_lock(lock: Path, tmp_path: Path) -> None:
    """A planted link is refused and its target untouched."""
    target = tmp_path / "precious"
    target.write_text("stays")
    lock.symlink_to(target)
    with pytest.raises(StorageError), hold_run_lock(lock, "run"):
        pass
    assert target.read_text() == "stays"


class _Impatient(StopFlag):
    """Is set at the last of some waits, which take no time."""

    def __init__(self, waits: list[float], last: int) -> None:
        super().__init__()
        self._waits, self._last = waits, last

    def wait(self, seconds: float) -> None:
        self._waits.append(seconds)
        if len(self._waits) >= self._last:
            raise StoppedBySignal(15)


@pytest.fixture
def commands() -> ForkedCommands:
    """Processes by the dozen."""
    return shared_commands()


def held_in_mid_run(harness: ArchiveHarness, commands: ForkedCommands) -> tuple[Fault, int]:
    """A run that waits for a stalled file, with the lock; the fault to release, and its pid."""
    fault = change(harness)
    pid = commands.begin(environ(harness, ACCOUNT), "run", "--json")
    assert fault.reached.wait(20)
    return fault, pid


def change(harness: ArchiveHarness) -> Fault:
    """A new item upstream, whose file stalls."""
    harness.upstream.requests.reset()
    harness.upstream.faults.clear()
    harness.upstream.world.add_item(next(iter(harness.upstream.world.account(ACCOUNT).highlights)).pk)
    return harness.upstream.faults.add(actions.stall(20), listener="cdn", count=None)


def test_fault_h19_of_two_runs_started_together_exactly_one_works(
    harness: ArchiveHarness, commands: ForkedCommands
) -> None:
    """Each time one ends at once with 11 and has asked nothing, the other keeps all; the units are those of
    one run.
    """
    surroundings = environ(harness, ACCOUNT)
    for _ in range(DOUBLE_STARTS):
        fault = change(harness)
        pids = {commands.begin(surroundings, "run", "--json") for _ in range(2)}
        loser = commands.end()
        fault.release()
        winner = commands.end()
        assert pids == {loser.pid, winner.pid}
        assert (loser.code, loser.object["outcome"], loser.object["api_calls"]) == (11, "locked", 0)
        assert (winner.code, winner.object["units"], winner.object["files_new"]) == (0, 2, 1)
        assert harness.upstream.requests.units == 2
        assert harness.one(UNHELD) == 0
        assert_sound(harness)


def test_fault_h19_of_two_first_backups_exactly_one_works(
    harness: ArchiveHarness, commands: ForkedCommands
) -> None:
    """Both find no archive and would make it: one does and keeps the account, the other ends with 11."""
    harness.upstream.faults.add(actions.stall(20), listener="cdn", count=None)
    for number in range(max(1, DOUBLE_STARTS // 3)):  # to make an archive takes longer
        new = ArchiveHarness(harness.root.with_name(f"new{number}"), harness.upstream)
        fault = change(harness)
        for _ in range(2):
            commands.begin(environ(new), "backup", ACCOUNT, "--json")
        loser = commands.end()
        fault.release()
        winner = commands.end()
        assert (loser.code, loser.object["api_calls"], winner.code) == (11, 0, 0), loser.err
        assert harness.upstream.requests.units == winner.object["units"]
        assert_sound(new)


def test_fault_h19_a_second_run_names_the_holder_or_waits_for_it(
    harness: ArchiveHarness, commands: ForkedCommands
) -> None:
    """Without ``--wait``: code 11 and the holder's pid.

    With it: nothing is asked until the first has ended, then a quiet night.
    """
    fault, first = held_in_mid_run(harness, commands)
    refused = commands.run(environ(harness, ACCOUNT), "run")
    assert (refused.code, f"run, pid {first} on " in refused.err, "--wait" in refused.err) == (11, True, True)
    waiting = commands.begin(environ(harness, ACCOUNT), "run", "--wait", "--json")
    fault.release()
    assert commands.end(first).code == 0
    second = commands.end(waiting)
    assert (second.code, second.object["units"], second.object["files_new"]) == (0, 1, 0)


def test_fault_h20_a_killed_holder_leaves_the_lock_free(
    harness: ArchiveHarness, commands: ForkedCommands
) -> None:
    """kill -9 in mid-run: the next run begins at once, says that the other was killed, and needs no hand at
    the lock.
    """
    fault, first = held_in_mid_run(harness, commands)
    os.kill(first, signal.SIGKILL)
    assert commands.end(first).code == -signal.SIGKILL
    fault.release()
    harness.upstream.faults.clear()
    assert commands.run(environ(harness, ACCOUNT), "run").code == 0
    assert harness.rows("select outcome from runs order by id desc limit 2") == [("ok",), ("killed",)]
    assert_sound(harness)
