"""A run that is killed, without warning, over real sockets: what it paid for is not paid for again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.forked_commands import shared_commands
from tests.support.host_faults import environ
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and the two accounts of the vendor's page."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=3)
        yield ArchiveHarness(tmp_path / "archive", upstream)


def test_a_killed_run_does_not_pay_twice(harness: ArchiveHarness) -> None:
    """Killed while every video stalls: the next run reads all highlights from kept answers, for the tray's
    unit alone.
    """
    fault = harness.upstream.faults.add(actions.stall(100), listener="cdn", role="video", count=None)
    pid = shared_commands().begin(environ(harness), "backup", "natgeo")
    assert fault.reached.wait(20)
    _until(lambda: _segment_rows(harness) == 3)
    os.kill(pid, signal.SIGKILL)
    assert shared_commands().end(pid).code == -signal.SIGKILL
    harness.upstream.faults.clear()
    summary = harness.night("natgeo")
    assert (summary.exit_code, summary.units, summary.highlights_fetched) == (0, 1, 0)
    assert harness.one("select outcome from runs where id = 1") == "killed"
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
    assert list((harness.root / "tmp").iterdir()) == []
    assert harness.night("natgeo").units == 1
    assert harness.upstream.requests.cdn_requests() == []


def test_a_torn_last_answer_is_passed_over(harness: ArchiveHarness) -> None:
    """The kept answers' file ends in the middle of a record: what it held is asked for again, and the archive
    is whole.
    """
    harness.night("natgeo")
    segment = next((harness.root / "answers").rglob("*-fetched-*"))
    segment.write_bytes(segment.read_bytes()[:-200])
    sha256 = str(harness.one("select sha256 from files where item_pk is not null and role = 'video' limit 1"))
    for path in (harness.root / "blobs").rglob(sha256):
        path.unlink()
    summary = harness.night("natgeo")
    assert summary.exit_code == 0
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _segment_rows(harness: ArchiveHarness) -> object:
    return harness.one(
        "select count(*) from answers a join api_calls c on c.id = a.api_call_id where path like '%by/url'"
    )
