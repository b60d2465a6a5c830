"""Nights whose accounts several workers visit: what a run promises, whoever does the work."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import shared_run, worker
from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.archive.worker import join_archive
from archiver.blobs import marker
from archiver.catalog import leases, visits
from archiver.cluster import shared_visits
from archiver.cluster.shared_visits import WorkerReport, encode
from archiver.errors import ArchiveLocked, KeyRejected, StoppedBySignal, StorageError, UsageError
from archiver.model.events import Notice, Pause
from archiver.runner.context import RunOptions
from archiver.runner.tally import Summary
from archiver.sandbox.http_server import HttpRequest, LoggedRequest
from archiver.work import StopFlag
from tests.support.cluster import ClusterHarness, join_run, wait_until, worker_threads
from tests.support.nights.expected_facts import differences, names
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.s3_server import S3Server, refuse
from tests.support.standin.actions import respond
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls


def calls_of(upstream: FaultyStandIn) -> list[str]:
    """Return the paid calls of a night, as path and query."""
    return [f"{call.path}?{call.query}" for call in paid_calls(upstream.requests)]


def test_workers_on_several_machines_archive_the_accounts_of_a_run(
    bucket_harness: ClusterHarness, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """Each account is visited once, the ledger is the bill, and a rebuild gives the same rows."""
    accounts = names(upstream.world)
    with worker_threads(bucket_harness, 2, directories=tmp_path):
        first = bucket_harness.night(*accounts)
        assert (first.exit_code, first.accounts, first.message) == (0, 8, "")
        calls = calls_of(upstream)
        assert len(set(calls)) == len(calls) == 8 * (1 + 2)
        assert first.units == upstream.units == bucket_harness.one("select sum(units) from api_calls")
        assert differences(bucket_harness, accounts) == []
        bucket_harness.sleep(days=1)
        quiet = bucket_harness.night(*accounts)
        assert (quiet.exit_code, quiet.units, quiet.accounts) == (0, 8, 8)
    assert bucket_harness.one("select count(*) from runs where balance_after is not null") == 2
    assert [path for machine in tmp_path.glob("machine-*") for path in (machine / "tmp").iterdir()] == []
    require_equal_after_rebuild(bucket_harness)


def test_a_report_is_not_replaced_by_an_older_one(
    harness: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two visits of a worker end at once: whichever is recorded last, the summary has both."""
    waits = iter([0.5, 0.0, 0.5])  # the first visit's, the second's, and the worker's own end

    def encode_slowly(value: WorkerReport) -> str:
        text = encode(value)
        time.sleep(next(waits, 0))
        return text

    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(shared_visits, "encode", encode_slowly)
    with worker_threads(harness, 1):
        assert harness.night("account0000", "account0001").accounts == 2


@pytest.mark.whole
def test_fault_e6_workers_use_the_lists_that_a_plan_has_paid_for(
    bucket_harness: ClusterHarness, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """Once, whichever worker visits an account; a list is found in the bucket."""
    accounts = names(upstream.world)
    assert bucket_harness.night(*accounts, lists=True).units == 8 * 2
    with worker_threads(bucket_harness, 2, directories=tmp_path):
        assert [bucket_harness.night(*accounts).units for _ in range(2)] == [8 * 2, 8]
    assert differences(bucket_harness, accounts) == []
    require_equal_after_rebuild(bucket_harness)


@pytest.mark.whole
def test_workers_can_share_a_directory(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """Blobs, answers and journal are in it, and it is whole."""
    accounts = names(upstream.world)
    with worker_threads(harness, 2):
        assert harness.night(*accounts).exit_code == 0
    assert differences(harness, accounts) == []
    assert not harness.verify().is_damaged
    end = marker.read(harness.root).journal
    assert end is not None
    assert end.seq == harness.one("SELECT seq FROM journal_head")
    require_equal_after_rebuild(harness)


def test_two_names_of_an_account_are_one_visit(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """Although two workers may have them at the same time."""
    account = upstream.world.accounts[0]
    with worker_threads(harness, 2):
        summary = harness.night(account.username, account.pk)
    assert (summary.exit_code, summary.accounts) == (0, 2)
    pages = [call for call in calls_of(upstream) if call.startswith("/v1/highlight/")]
    assert len(set(pages)) == len(pages) == 2


def test_a_highlight_is_visited_after_all_accounts(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """So no two workers write its account."""
    first, second = upstream.world.accounts[:2]
    highlights = [f"highlight:{highlight.pk}" for highlight in second.highlights]
    with worker_threads(harness, 2):
        summary = harness.night(*highlights, first.username)
    assert (summary.exit_code, summary.accounts, summary.highlight_targets) == (0, 3, 2)
    paths = [call.partition("=")[2].partition("&")[0] for call in calls_of(upstream)]
    assert [second.highlights[n].pk in paths[n - 2] for n in (0, 1)] == [True, True]


def test_workers_follow_the_options_of_the_run(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """With --full every highlight is fetched again."""
    accounts = names(upstream.world)[:2]
    with worker_threads(harness, 2):
        harness.night(*accounts)
        harness.sleep(days=1)
        assert harness.night(*accounts, full=True).units == 2 * (1 + 2)


@pytest.mark.whole
def test_a_budget_is_never_exceeded_by_all_workers_together(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """The run ends with code 5, and the next one goes on."""
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "13"
    accounts = names(upstream.world)
    with worker_threads(harness, 3):
        summary = harness.night(*accounts)
        assert (summary.exit_code, summary.units <= 13, upstream.units <= 13) == (5, True, True)
        for _ in range(4):
            summary = harness.night(*accounts)
            assert summary.units <= 13
        assert summary.exit_code == 0
    assert differences(harness, accounts) == []
    rows = harness.rows("select subject from api_calls where path = '/v1/highlight/by/url'")
    pages = Counter(subject for (subject,) in rows)
    assert set(pages.values()) == {1}


@pytest.mark.whole
def test_a_429_pauses_all_workers(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """No worker calls until the pause that the API asks for is over."""
    refusal = respond(429, {"detail": "slow down"}, {"retry-after": "2"})
    upstream.faults.add(refusal, listener="api", path="/v1/", nth=6)
    with worker_threads(harness, 3):
        assert harness.night(*names(upstream.world)).exit_code == 0
    calls: list[LoggedRequest] = paid_calls(upstream.requests)
    refused = next(number for number, call in enumerate(calls) if call.status == 429)
    under_way = [call for call in calls[refused + 1 :] if (call.at - calls[refused].at).total_seconds() < 1.9]
    assert len(under_way) <= 3 * 16
    after = [call.at for call in calls if call not in under_way and call.at > calls[refused].at]
    assert (min(after) - calls[refused].at).total_seconds() >= 1.9


def test_a_worker_with_a_bad_key_does_not_end_the_run_of_the_others(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """It ends with the error, while the other waits for its first answer, and the summary names it."""
    accounts = names(upstream.world)

    def wait_for_its_end(request: HttpRequest) -> None:
        if request.headers["x-access-key"] == upstream.key:
            sick.join(60)

    with worker_threads(harness, 1, HIKERAPI_TOKEN="another-key") as (sick,), worker_threads(harness, 1):
        upstream.faults.add(path="/v1/", count=None, before=wait_for_its_end)
        summary = harness.night(*accounts)
        assert not sick.is_alive()
    assert isinstance(sick.error, KeyRejected)
    assert (summary.exit_code, summary.accounts) == (3, 8)
    assert any("the API rejected the key" in note for note in summary.notes)
    assert differences(harness, accounts) == []


@pytest.mark.whole
def test_what_a_worker_did_before_an_outage_is_in_the_summary(
    bucket_harness: ClusterHarness, upstream: FaultyStandIn, server: S3Server, tmp_path: Path
) -> None:
    """The store is away for two seconds: the worker joins again, and the calls of both times are counted."""

    def take_store_away(_: object) -> None:
        server.act = refuse(503, "SlowDown")
        threading.Timer(2, lambda: setattr(server, "act", None)).start()

    upstream.faults.add(None, listener="api", path="/v1/highlight", nth=4, before=take_store_away)
    with worker_threads(bucket_harness, 1, directories=tmp_path):
        summary = bucket_harness.night(*names(upstream.world))
    assert (summary.exit_code, summary.accounts) == (0, 8)
    assert summary.api_calls == len(paid_calls(upstream.requests)) > 24


@pytest.mark.whole
def test_a_worker_without_the_blobs_pays_for_nothing(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk that all share is not mounted there: its accounts would be fetched and paid for again."""
    accounts = names(upstream.world)
    with worker_threads(harness, 1):
        assert harness.night(*accounts).exit_code == 0
    machine = tmp_path / "machine-0"
    shutil.copytree(harness.root, machine)
    for blob in machine.glob("blobs/*/*"):
        blob.unlink()
    harness.sleep(days=40)
    monkeypatch.setattr(worker, "_PATIENCE_SECONDS", 0.0)
    with worker_threads(harness, 1, directories=tmp_path) as (sick,):
        monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER", 2.0)
        assert harness.night(*accounts).exit_code == 7
    assert isinstance(sick.error, StorageError)
    assert "none of them is in" in str(sick.error)
    assert calls_of(upstream) == []


@pytest.mark.whole
def test_after_the_last_worker_has_failed_another_may_still_come(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """It had no account to visit, say, and looks for one every few seconds."""
    summaries: list[Summary] = []
    run = threading.Thread(target=lambda: summaries.append(harness.night(*names(upstream.world))))
    with worker_threads(harness, 1, HIKERAPI_TOKEN="another-key") as (sick,):
        run.start()
        wait_until(lambda: not sick.is_alive())
    time.sleep(3)
    with worker_threads(harness, 1):
        run.join(60)
    (summary,) = summaries
    assert (summary.exit_code, summary.accounts) == (3, 8)


@pytest.mark.whole
def test_without_a_worker_that_works_the_run_ends_with_its_code(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here after a second."""
    monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER_ERROR", 1.0)
    with worker_threads(harness, 1, HIKERAPI_TOKEN="another-key"):
        summary = harness.night(*names(upstream.world))
    assert (summary.exit_code, summary.accounts) == (4, 0)


def test_a_signal_to_the_run_lets_the_workers_finish_what_they_have_begun(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """No account is left half done, and none is begun any more."""
    stop = StopFlag()
    upstream.faults.add(
        None,
        listener="api",
        nth=3,
        before=lambda _: stop.stop(StoppedBySignal(signal.SIGTERM)),
    )
    upstream.settings.latency = 0.2
    create_for_run(harness.config)
    with worker_threads(harness, 1), Archive(harness.config) as archive:
        summary = archive.run(names(upstream.world), options=RunOptions(), command="run", stop=stop)
    assert summary.exit_code == 128 + signal.SIGTERM
    assert 0 < summary.accounts < 8
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


@pytest.mark.whole
def test_a_run_that_another_has_closed_is_not_ok(harness: ClusterHarness, upstream: FaultyStandIn) -> None:
    """Its process was stopped for longer than its lease, say: code 11, since accounts were not visited."""

    def close(_: object) -> None:
        with join_run(harness.database, "another") as another:
            another.coordinate(visits.close_all)

    upstream.faults.add(None, listener="api", nth=3, before=close)
    upstream.settings.latency = 0.2
    with worker_threads(harness, 1):
        summary = harness.night(*names(upstream.world))
    assert 0 < summary.accounts < 8
    assert (summary.exit_code, summary.outcome) == (11, "locked")
    assert "another run closed this one" in summary.message


def test_a_run_whose_place_another_has_taken_ends_at_once(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With code 11: it was stopped for longer than its lease, say."""
    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(shared_run, "_REPORT_AFTER", 0.0)
    raised: list[str] = []

    def night() -> None:
        with pytest.raises(ArchiveLocked) as error:
            harness.night(*names(upstream.world))
        raised.append(str(error.value))

    run = threading.Thread(target=night, daemon=True)
    create_for_run(harness.config)
    run.start()
    wait_until(lambda: any(isinstance(event, Notice) for event in harness.events))  # it waits for workers
    with join_run(harness.database, "another") as another:
        another.coordinate(leases.join, "another", "host:1", 60, is_run=True, replaces=None)
        another.write(visits.begin_run, "run", harness.now, "{}", [], [], 1.0)
        run.join(15)
    assert raised == ["another run has taken the place of this one"]


def test_without_a_worker_the_run_says_so_and_ends(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With code 7, after it has said how to start one. (Half a second here, and ten minutes in truth.)"""
    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(shared_run, "_REPORT_AFTER", 0.0)
    monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER", 0.5)
    summary = harness.night(*names(upstream.world))
    assert (summary.exit_code, summary.accounts) == (7, 0)
    assert "start one: archiver worker" in summary.hint
    loud = [event.text for event in harness.events if isinstance(event, Notice) and event.is_loud]
    assert loud == ["no worker is running; start one: archiver worker"]


def test_a_second_run_is_refused_while_one_goes_on(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With code 11, and the name of the process that waits for the first one."""
    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    create_for_run(harness.config)
    first = threading.Thread(target=lambda: harness.night(*names(upstream.world)))
    first.start()

    def refusal() -> str:
        with Archive(harness.config) as archive, pytest.raises(ArchiveLocked) as refused:
            archive.run(["account0000"], options=RunOptions(), command="run")
        return str(refused.value)

    try:
        wait_until(lambda: harness.status().workers)
        # While the first one begins, it has the database for itself, and the refusal names only that.
        wait_until(lambda: "another run goes on" in refusal())
    finally:
        monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER", 0.0)
        first.join(60)


@pytest.mark.whole
def test_a_run_that_has_joined_again_meters_the_balance(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """Once before and once after all its calls, although it lost its lease between them."""

    def lose_lease(_: object) -> None:
        with join_run(harness.database, "another") as another:
            for worker_id in another.read(leases.ids):
                another.coordinate(leases.leave, worker_id)

    upstream.faults.add(None, listener="api", path="/v1/", nth=6, before=lose_lease)
    upstream.settings.latency = 0.2
    with worker_threads(harness, 1):
        summary = harness.night(*names(upstream.world))
    assert (summary.exit_code, summary.accounts, summary.balance_mismatch) == (0, 8, 0)
    assert [event for event in harness.events if isinstance(event, Pause)]
    assert harness.one("select count(*) from api_calls where path = '/sys/balance'") == 2


@pytest.mark.whole
def test_a_run_does_not_wait_forever_for_a_worker_that_is_lost(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ends only after the run has begun to wait for it, and its connections stay open."""
    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER", 0.1)
    create_for_run(harness.config)
    summaries: list[Summary] = []
    run = threading.Thread(target=lambda: summaries.append(harness.night("account0000")), daemon=True)
    with join_run(harness.database, "lost") as lost:
        lost.coordinate(leases.join, "lost", "host:1", 3, is_run=False, replaces=None)
        run.start()
        run.join(30)
        assert not run.is_alive()
    assert [summary.exit_code for summary in summaries] == [7]


@pytest.mark.whole
def test_a_run_that_waited_for_the_lock_does_not_take_the_place_of_one_that_has_begun(
    harness: ClusterHarness, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin at the same time: the second gets the lock in the moment in which the first gives it up."""
    begin_run, wait_alone = visits.begin_run, threading.Event()

    def begin_late(*args: Any) -> int:
        wait_alone.wait(30)
        return begin_run(*args)

    may_join = threading.Event()

    def join_late(*args: Any, **options: Any) -> Any:
        may_join.wait(30)
        return join_archive(*args, **options)

    monkeypatch.setattr(visits, "begin_run", begin_late)
    monkeypatch.setattr(shared_run, "join_archive", join_late)
    monkeypatch.setattr(shared_run, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(shared_run, "_GIVE_UP_AFTER", 0.1)
    create_for_run(harness.config)
    ended: list[object] = []

    def night() -> None:
        try:
            ended.append(harness.night("account0000").exit_code)
        except ArchiveLocked as error:
            ended.append(str(error).partition(":")[0])

    runs = [threading.Thread(target=night) for _ in range(2)]
    closed: list[object] = []
    close_earlier_run = shared_run._close_earlier_run
    both = threading.Barrier(2)

    def close_both(*args: Any, **options: Any) -> None:
        close_earlier_run(*args, **options)
        both.wait(30)
        closed.append(None)

    monkeypatch.setattr(shared_run, "_close_earlier_run", close_both)
    for run in runs:
        run.start()
    wait_until(lambda: len(closed) == 2)
    wait_alone.set()
    wait_until(lambda: ended)
    may_join.set()
    for run in runs:
        run.join(60)
    assert ended[0] in ("another run goes on", "the archive is locked by another run")
    assert ended[1:] == [7]
    assert harness.one("select count(*) from runs") == 1


def test_the_status_shows_the_open_run_and_its_workers(
    harness: ClusterHarness, upstream: FaultyStandIn
) -> None:
    """While the run goes on; afterwards neither."""
    upstream.settings.latency = 0.1
    create_for_run(harness.config)
    run = threading.Thread(target=lambda: harness.night(*names(upstream.world)))
    with worker_threads(harness, 1):
        run.start()
        wait_until(lambda: (s := harness.status()).shared_run is not None and s.shared_run.begun)
        status = harness.status()
        assert status.shared_run is not None
        assert (status.shared_run.visits, status.shared_run.workers) == (8, 1)
        assert [worker.is_run for worker in status.workers] == [True, False]
        run.join(60)
    assert harness.status().shared_run is None


def test_sqlite_has_no_workers(tmp_path: Path, upstream: FaultyStandIn) -> None:
    """Code 2, before anything is made or paid for."""
    harness = ClusterHarness(tmp_path / "archive", upstream)
    with pytest.raises(UsageError, match="PostgreSQL"):
        harness.night("account0000")
    assert paid_calls(upstream.requests) == []
