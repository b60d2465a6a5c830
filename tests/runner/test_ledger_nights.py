"""Nights seen from the account of units, also of runs that are killed: never more is spent than allowed,
never less noted than was billed, and nothing is paid for twice.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal

import pytest

from archiver.archive.archive import Archive
from archiver.sandbox.http_server import Pace
from tests.support.api_faults import PAGE, TRAY, account_pk, attempts, tray
from tests.support.archive_harness import ArchiveHarness
from tests.support.forked_commands import shared_commands
from tests.support.host_faults import environ
from tests.support.standin import actions

pytestmark = pytest.mark.world(accounts=3, highlights=4, items=1)

ONE = account_pk(0)
UNCOVERED = (
    "select count(*) from items i where not exists (select 1 from files f where "
    "f.item_pk = i.pk and f.role = 'thumbnail')"
)


@pytest.mark.parametrize("status", [402, pytest.param(200, marks=pytest.mark.whole)])
def test_fault_a2_out_of_units_stops_asking_and_keeps_what_was_paid_for(
    harness: ArchiveHarness, status: Literal[402, 200]
) -> None:
    """The tray and two pages are paid for: code 5, every file of these two is kept, and the next night pays
    for the other two alone.
    """
    harness.upstream.settings.funds_status = status
    harness.upstream.settings.pace = Pace(first_byte_delay=0.05)  # the 402 comes while files are under way
    harness.upstream.balance = 3
    summary = harness.night(ONE, account_pk(1), account_pk(2))
    assert (summary.exit_code, summary.outcome, summary.units) == (5, "units", 3)
    assert "no units left" in summary.message
    assert summary.hint == "top it up, then run again"
    assert summary.units == harness.upstream.units
    assert harness.one(UNCOVERED) == 0
    held = harness.one("select count(*) from highlights where completed_at is not null")
    assert held == harness.one(
        "select count(*) from api_calls where path = ? and status = 200 and units = 1", PAGE
    )
    refused = harness.one(
        "select count(*) from api_calls where status = ? and units = 0 and path <> '/sys/balance'", status
    )
    assert 1 <= int(str(refused)) <= 8 + 3  # as many as were under way at the first one
    harness.upstream.balance = 1000
    again = harness.night(ONE, account_pk(1), account_pk(2))
    assert (again.exit_code, again.units) == (0, 3 + 12 - int(str(held)))


def test_fault_b3_days_and_months_have_budgets_too(harness: ArchiveHarness) -> None:
    """What earlier runs of the same day or month spent counts; when it is over the account is asked for
    again.
    """
    while harness.now.day != 10:
        harness.sleep(days=1)
    harness.environ |= {"ARCHIVER_BUDGET_MAX_UNITS_PER_DAY": "3", "ARCHIVER_BUDGET_MAX_UNITS_PER_MONTH": "4"}
    assert harness.night(ONE).units == 3
    spent = harness.night(ONE)
    assert (spent.exit_code, spent.units, spent.api_calls) == (5, 0, 0)
    assert "budget.max_units_per_day" in spent.message
    harness.sleep(days=1)
    assert harness.night(ONE).units == 1
    harness.sleep(days=1)
    spent = harness.night(ONE)
    assert (spent.exit_code, spent.units, spent.api_calls) == (5, 0, 0)
    assert "budget.max_units_per_month" in spent.message
    harness.sleep(days=30)
    assert harness.night(ONE).exit_code == 0


@pytest.mark.parametrize("sums", ["DELETE FROM budget_totals", "UPDATE budget_totals SET units = -1000"])
@pytest.mark.parametrize("limit", ["DAY", "MONTH"])
def test_fault_b6_a_limit_holds_whatever_the_sums_say(harness: ArchiveHarness, sums: str, limit: str) -> None:
    """What was spent is counted from the calls when a run begins: other sums are damage, and nothing is paid
    for. ``verify --repair`` counts again.
    """
    spent = harness.night(ONE).units
    harness.environ[f"ARCHIVER_BUDGET_MAX_UNITS_PER_{limit}"] = str(spent)
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute(sums)
    refused = harness.night(ONE)
    assert (refused.exit_code, refused.units, refused.api_calls) == (12, 0, 0)
    assert f"its calls cost {spent}" in refused.message
    with Archive(harness.config) as archive:
        archive.repair()
    assert (harness.night(ONE).exit_code, harness.one("SELECT sum(units) FROM api_calls")) == (5, spent)


@pytest.mark.parametrize("check", [pytest.param("false", marks=pytest.mark.whole), "true"])
def test_fault_b5_the_ledger_agrees_with_the_balance(harness: ArchiveHarness, check: str) -> None:
    """With and without privacy checks, by name and by id: what the rows sum up to is what is gone from the
    balance.
    """
    harness.environ["ARCHIVER_API_PRIVACY_CHECK"] = check
    before = harness.upstream.balance
    summary = harness.night("account0000", account_pk(1), "nobody.here")
    assert summary.exit_code == 3  # nobody has the third name
    assert (
        harness.one("select sum(units) from api_calls") == before - harness.upstream.balance == summary.units
    )


# --- killed


def test_fault_b2_a_call_that_a_kill_cut_off_is_unknown_and_counted(harness: ArchiveHarness) -> None:
    """Killed between the row and the answer: the next run finds the call without a status, at its price, and
    the budget counts it.
    """
    fault = harness.upstream.faults.add(actions.stall(None), path=TRAY)
    pid = shared_commands().begin(environ(harness), "backup", ONE)
    assert fault.reached.wait(20)
    os.kill(pid, signal.SIGKILL)
    assert shared_commands().end(pid).code == -signal.SIGKILL
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_DAY"] = "1"
    stopped = harness.night(ONE)
    assert (stopped.exit_code, stopped.units, stopped.api_calls) == (5, 0, 0)
    assert stopped.message == "budget.max_units_per_day = 1 is reached"
    assert attempts(harness, ONE) == [(None, 1)]
    assert harness.rows("select outcome, units from runs where id = 1") == [("killed", 1)]
    del harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_DAY"]
    assert harness.night(ONE).exit_code == 0
    assert harness.one("select sum(units) from api_calls") == 1 + 5


@pytest.mark.whole
def test_fault_h4_a_signal_ends_an_api_call_that_never_answers(harness: ArchiveHarness) -> None:
    """SIGTERM while two trays hang, one at its second try: the run ends within two seconds instead of
    ``api.timeout``.

    Every call counts as billed, and none is told as a failure of its account.
    """
    harness.upstream.faults.add(actions.lose(), **tray(0))
    hanging = [harness.upstream.faults.add(actions.stall(None), **tray(n), count=None) for n in (0, 1)]
    pid = shared_commands().begin(environ(harness), "backup", ONE, account_pk(1))
    assert all(fault.reached.wait(20) for fault in hanging)
    begun = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert shared_commands().end(pid).code == -signal.SIGTERM
    assert time.monotonic() - begun < 2
    assert harness.rows("select outcome, exit_code from runs") == [("stopped", 143)]
    calls = harness.rows(
        "select path, status, units from api_calls where finished_at is not null order by id"
    )
    assert calls == [("/sys/balance", 200, 0)] + [(TRAY, None, 1)] * 3
    assert harness.one("select count(*) from failures") == 0
    harness.upstream.faults.clear()
    assert harness.night(ONE, account_pk(1)).exit_code == 0


@pytest.mark.world(items=3)
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


@pytest.mark.world(items=3)
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
