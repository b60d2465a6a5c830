"""Signals: the first ends the run cleanly and is told, the second ends it now; what was kept stands, and the
next run goes on.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.forked_commands import ForkedCommands, ProcessResult, shared_commands
from tests.support.host_faults import assert_sound, environ, run
from tests.support.standin import actions

pytestmark = pytest.mark.world(accounts=2, highlights=2, items=3)

ACCOUNTS = ("account0000", "account0001")
HIGHLIGHTS = 4
PAID = (
    "select count(*) from answers a join api_calls c on c.id = a.api_call_id where "
    "path = '/v1/highlight/by/url'"
)
AGAIN = "again to end now"


@pytest.fixture
def commands() -> ForkedCommands:
    """Processes by the dozen."""
    return shared_commands()


def begun(harness: ArchiveHarness, commands: ForkedCommands) -> int:
    """The pid of a first backup that waits for its sixth file and all after it."""
    fault = harness.upstream.faults.add(actions.stall(60), listener="cdn", nth=6, count=None)
    pid = commands.begin(environ(harness), "backup", *ACCOUNTS, "--json")
    assert fault.reached.wait(20)
    return pid


def heard(commands: ForkedCommands, pid: int) -> None:
    """Return when the process has answered the first signal."""
    deadline = time.monotonic() + 20
    while AGAIN not in commands.said(pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_clean(harness: ArchiveHarness, ended: ProcessResult, signum: int) -> None:
    """The process died of its signal, after a summary that says what the ledger and upstream say."""
    told = ended.object
    assert (ended.code, told["exit_code"], told["outcome"]) == (-signum, 128 + signum, "stopped")
    assert told["units"] == harness.one("select sum(units) from api_calls") == harness.upstream.units
    assert told["files_new"] == harness.one("select count(*) from files")
    assert harness.rows("select outcome, exit_code from runs") == [("stopped", 128 + signum)]
    assert "Traceback" not in ended.err
    assert_sound(harness)


def assert_goes_on(harness: ArchiveHarness) -> None:
    """The next run keeps what was missing, pays again for no highlight whose answer is kept, and leaves
    nothing over.
    """
    harness.upstream.faults.clear()
    paid = harness.one(PAID)
    assert isinstance(paid, int)
    assert run(harness, *ACCOUNTS)[0] == 0
    assert harness.upstream.requests.units == len(ACCOUNTS) + HIGHLIGHTS - paid
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
    assert_sound(harness)


def test_fault_h4_a_request_to_end_finishes_cleanly_and_soon(
    harness: ArchiveHarness, commands: ForkedCommands
) -> None:
    """SIGTERM while files stall: within 10 s a summary, a finished run, a true death by the signal; and the
    next run goes on.
    """
    pid = begun(harness, commands)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    ended = commands.end(pid)
    assert time.monotonic() - began < 10
    assert_clean(harness, ended, signal.SIGTERM)
    assert ended.object["error"] == {
        "slug": "E_STOPPED",
        "message": "stopped by SIGTERM",
        "hint": "run it again: it continues where it stopped",
    }
    assert_goes_on(harness)


def test_fault_h6_a_hang_up_is_a_request_to_end(harness: ArchiveHarness, commands: ForkedCommands) -> None:
    """SIGHUP, the terminal is gone: as SIGTERM."""
    pid = begun(harness, commands)
    os.kill(pid, signal.SIGHUP)
    assert_clean(harness, commands.end(pid), signal.SIGHUP)


def test_fault_h5_three_at_once_are_one(harness: ArchiveHarness, commands: ForkedCommands) -> None:
    """A terminal and two wrappers pass on the same Ctrl-C within milliseconds: that is the first, and the end
    is clean.
    """
    pid = begun(harness, commands)
    for _ in range(3):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.001)
    assert_clean(harness, commands.end(pid), signal.SIGINT)


def test_fault_h5_the_second_ends_it_now(harness: ArchiveHarness, commands: ForkedCommands) -> None:
    """While the end waits for a database that somebody holds, a second Ctrl-C does not: death by SIGINT, no
    word on stdout.

    The run has no end in the ledger; the next one notes it as killed, sweeps tmp/ and goes on.
    """
    pid = begun(harness, commands)
    with closing(sqlite3.connect(harness.root / "archive.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        os.kill(pid, signal.SIGINT)
        heard(commands, pid)
        time.sleep(0.05)  # two within 0.02 s are one
        began = time.monotonic()
        os.kill(pid, signal.SIGINT)
        ended = commands.end(pid)
        assert time.monotonic() - began < 5
    assert (ended.code, ended.out) == (-signal.SIGINT, "")
    assert ended.err.endswith(
        "archiver: ended at once; what was recorded stays, and the next run continues\n"
    )
    assert_goes_on(harness)
    assert harness.one("select outcome from runs where id = 1") == "killed"
