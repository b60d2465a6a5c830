"""One writer per archive: real processes that begin together, a holder that is killed, and somebody who
waits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.forked_commands import ForkedCommands, shared_commands
from tests.support.host_faults import assert_sound, environ
from tests.support.standin import actions
from tests.support.standin.fault_rules import Fault
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"
ACCOUNT = "account0000"
DOUBLE_STARTS = int(os.environ.get("ARCHIVER_TEST_DOUBLE_STARTS", "2"))


@pytest.fixture
def commands() -> ForkedCommands:
    """Processes by the dozen."""
    return shared_commands()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive of one account."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(ACCOUNT).exit_code == 0
        yield harness


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
