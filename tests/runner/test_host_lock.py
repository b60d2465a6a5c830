"""One writer per archive: real processes that begin together, a holder that is killed, and somebody who waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.sandbox import StandIn, World, actions
from archiver.sandbox.faults import Fault
from tests.support.archive_harness import House
from tests.support.forked_commands import Forks
from tests.support.host_faults import assert_sound, environ

UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"
ACCOUNT = "account0000"
DOUBLE_STARTS = int(os.environ.get("ARCHIVER_TEST_DOUBLE_STARTS", "3"))


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Processes by the dozen."""
    with Forks(tmp_path_factory.mktemp("said")) as forks:
        yield forks


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An archive of one account."""
    with StandIn(World.generated(1, 1, 1)) as upstream:
        house = House(tmp_path / "archive", upstream)
        assert house.night(ACCOUNT).exit_code == 0
        yield house


def held_in_mid_run(house: House, forks: Forks) -> tuple[Fault, int]:
    """A run that waits for a stalled file, with the lock; the fault to release, and its pid."""
    fault = change(house)
    pid = forks.begin(environ(house, ACCOUNT), "run", "--json")
    assert fault.reached.wait(20)
    return fault, pid


def change(house: House) -> Fault:
    """A new item upstream, whose file stalls."""
    house.upstream.requests.reset()
    house.upstream.faults.clear()
    house.upstream.world.add_item(next(iter(house.upstream.world.account(ACCOUNT).highlights)).pk)
    return house.upstream.faults.add(actions.stall(20), listener="cdn", count=None)


def test_fault_h19_of_two_runs_started_together_exactly_one_works(house: House, forks: Forks) -> None:
    """Each time one ends at once with 11 and has asked nothing, the other keeps all; the units are those of one run."""
    surroundings = environ(house, ACCOUNT)
    for _ in range(DOUBLE_STARTS):
        fault = change(house)
        pids = {forks.begin(surroundings, "run", "--json") for _ in range(2)}
        loser = forks.end()
        fault.release()
        winner = forks.end()
        assert pids == {loser.pid, winner.pid}
        assert (loser.code, loser.object["outcome"], loser.object["api_calls"]) == (11, "locked", 0)
        assert (winner.code, winner.object["units"], winner.object["files_new"]) == (0, 2, 1)
        assert house.upstream.requests.units == 2
        assert house.one(UNHELD) == 0
        assert_sound(house)


def test_fault_h19_of_two_first_backups_exactly_one_works(house: House, forks: Forks) -> None:
    """Both find no archive and would make it: one does and keeps the account, the other ends with 11."""
    house.upstream.faults.add(actions.stall(20), listener="cdn", count=None)
    for number in range(max(1, DOUBLE_STARTS // 3)):  # to make an archive takes longer
        new = House(house.root.with_name(f"new{number}"), house.upstream)
        fault = change(house)
        for _ in range(2):
            forks.begin(environ(new), "backup", ACCOUNT, "--json")
        loser = forks.end()
        fault.release()
        winner = forks.end()
        assert (loser.code, loser.object["api_calls"], winner.code) == (11, 0, 0), loser.err
        assert house.upstream.requests.units == winner.object["units"]
        assert_sound(new)


def test_fault_h19_a_second_run_names_the_holder_or_waits_for_it(house: House, forks: Forks) -> None:
    """Without ``--wait``: code 11 and the holder's pid. With it: nothing is asked until the first has ended, then a quiet night."""
    fault, first = held_in_mid_run(house, forks)
    refused = forks.run(environ(house, ACCOUNT), "run")
    assert (refused.code, f"run, pid {first} on " in refused.err, "--wait" in refused.err) == (11, True, True)
    waiting = forks.begin(environ(house, ACCOUNT), "run", "--wait", "--json")
    fault.release()
    assert forks.end(first).code == 0
    second = forks.end(waiting)
    assert (second.code, second.object["units"], second.object["files_new"]) == (0, 1, 0)


def test_fault_h20_a_killed_holder_leaves_the_lock_free(house: House, forks: Forks) -> None:
    """kill -9 in mid-run: the next run begins at once, says that the other was killed, and needs no hand at the lock."""
    fault, first = held_in_mid_run(house, forks)
    os.kill(first, signal.SIGKILL)
    assert forks.end(first).code == -signal.SIGKILL
    fault.release()
    house.upstream.faults.clear()
    assert forks.run(environ(house, ACCOUNT), "run").code == 0
    assert house.rows("select outcome from runs order by id desc limit 2") == [("ok",), ("killed",)]
    assert_sound(house)
