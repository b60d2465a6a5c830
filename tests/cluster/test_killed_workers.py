"""Workers and runs that are killed or stopped: real processes, and real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from archiver.archive.creation import create_for_run
from archiver.catalog import leases
from archiver.cluster.shared_visits import SharedVisits
from archiver.model.target import Target
from archiver.runner.tally import Summary
from tests.support.cluster import (
    ClusterHarness,
    finish_after_kills,
    join_run,
    wait_until,
    worker_processes,
    worker_threads,
)
from tests.support.nights.expected_facts import differences, names
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.standin.actions import respond
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls

AT_ONCE = 16
"""The most calls that one worker has under way."""


def pages_paid_again(upstream: FaultyStandIn) -> int:
    """Return how often a highlight was paid for again in this night."""
    calls = [call for call in paid_calls(upstream.requests) if call.path == "/v1/highlight/by/url"]
    return sum(count - 1 for count in Counter(call.query for call in calls if call.units).values())


def run_in_background(harness: ClusterHarness) -> tuple[threading.Thread, list[Summary]]:
    """Begin a night of all accounts; its summary comes into the list."""
    summaries: list[Summary] = []
    accounts = names(harness.upstream.world)
    thread = threading.Thread(target=lambda: summaries.append(harness.night(*accounts)))
    thread.start()
    return thread, summaries


def end_leases(harness: ClusterHarness) -> None:
    """Let the leases of all workers end now."""
    with join_run(harness.database, "another") as another:
        for (worker_id,) in harness.rows("select id from workers where not is_run"):
            another.coordinate(leases.renew, str(worker_id), -1)


def test_fault_w1_the_accounts_of_a_killed_worker_are_taken_up(
    bucket_harness: ClusterHarness, upstream: FaultyStandIn, tmp_path: Path, whole: bool
) -> None:
    """Once its lease has ended. Only calls under way are paid for again, and the archive is whole.

    Every day the lease is ended for it; with ``--whole`` it ends by itself, after its 10 seconds.
    """
    upstream.settings.latency = 0.1
    create_for_run(bucket_harness.config)
    with worker_processes(bucket_harness, tmp_path / "machines", 1) as workers:
        run, summaries = run_in_background(bucket_harness)
        wait_until(lambda: len(paid_calls(upstream.requests)) > 6)
        workers.running[0].kill()
        if not whole:
            end_leases(bucket_harness)
        workers.start()
        run.join(60)
    (summary,) = summaries
    assert (summary.exit_code, summary.accounts) == (0, 8)
    assert pages_paid_again(upstream) <= AT_ONCE
    assert differences(bucket_harness, names(upstream.world)) == []
    finish_after_kills(bucket_harness)
    require_equal_after_rebuild(bucket_harness)


@pytest.mark.whole
def test_fault_w2_a_worker_that_was_stopped_goes_on_without_harm(
    bucket_harness: ClusterHarness, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """It has lost its accounts to another meanwhile, writes nothing for them, and joins again."""
    upstream.settings.latency = 0.1
    create_for_run(bucket_harness.config)
    with worker_processes(bucket_harness, tmp_path / "machines", 1) as workers:
        stopped = workers.running[0]
        run, summaries = run_in_background(bucket_harness)
        wait_until(lambda: len(paid_calls(upstream.requests)) > 6)
        stopped.send(signal.SIGSTOP)
        workers.start()
        run.join(60)
        bucket_harness.sleep(days=1)
        assert bucket_harness.night(*names(upstream.world)).exit_code == 0  # it holds no lock
        stopped.send(signal.SIGCONT)
        bucket_harness.sleep(days=1)
        workers.running.pop().kill()
        assert bucket_harness.night(*names(upstream.world)).units == 8
    assert summaries[0].exit_code == 0
    assert differences(bucket_harness, names(upstream.world)) == []
    finish_after_kills(bucket_harness)
    require_equal_after_rebuild(bucket_harness)


_RUN = """
import json, sys
from archiver.archive.archive import Archive
from archiver.config import load
from archiver.runner.context import RunOptions
variables, accounts = json.loads(sys.argv[1])
with Archive(load(None, variables)) as archive:
    archive.run(accounts, options=RunOptions(), command="run")
"""


@pytest.mark.whole
def test_fault_w3_the_next_run_closes_a_run_that_was_killed(
    harness: ClusterHarness, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """The workers go on meanwhile; what they have archived is not paid for again."""
    import json

    upstream.settings.latency = 0.1
    create_for_run(harness.config)
    accounts = names(upstream.world)
    with worker_processes(harness, tmp_path / "machines", 1, own_directories=False):
        order = json.dumps([harness.variables, accounts])
        with subprocess.Popen([sys.executable, "-c", _RUN, order]) as killed:
            wait_until(lambda: len(paid_calls(upstream.requests)) > 3)
            killed.kill()
        wait_until(lambda: len(paid_calls(upstream.requests)) == 8 * (1 + 2))
        wait_until(lambda: harness.status().workers == () or not harness.status().workers[0].visits)
        wait_until(lambda: all(worker.expires_in < 0 for worker in harness.status().workers if worker.is_run))
        summary = harness.night(*accounts)
    assert (summary.exit_code, summary.units) == (0, 8)
    assert harness.rows("select outcome from runs order by id") == [("killed",), ("ok",)]
    assert differences(harness, accounts) == []


@pytest.mark.whole
def test_a_failure_that_a_lost_worker_did_not_report_is_no_success(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker does not try the file again, because of its back-off; but the run tried it: code 3."""
    account = upstream.world.accounts[0]
    item = account.highlights[0].items[0].pk
    upstream.faults.add(respond(404, {}), listener="cdn", item=item, role="thumbnail", count=None)
    end, lost = SharedVisits.end, threading.Event()

    def be_lost(visits: SharedVisits, target: Target, is_complete: bool) -> None:
        if not lost.is_set():
            lost.set()
            with join_run(harness.database, "another") as another:
                for (worker_id,) in harness.rows("select id from workers where not is_run"):
                    another.coordinate(leases.leave, str(worker_id))
        end(visits, target, is_complete)

    with worker_threads(harness, 1):
        for _ in range(2):
            assert harness.night(account.username).exit_code == 3
            harness.sleep(days=9)
        monkeypatch.setattr(SharedVisits, "end", be_lost)
        summary = harness.night(account.username)
        harness.sleep(hours=1)
        quiet = harness.night(account.username)
    notes = ("failures that lost workers recorded: 1 (archiver gaps)",)
    assert (summary.exit_code, summary.notes) == (3, notes)
    assert (quiet.exit_code, quiet.notes) == (0, ())
