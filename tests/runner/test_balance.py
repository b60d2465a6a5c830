"""The API's own balance around a run: asked for nothing, recorded, held against the ledger; it never changes
how the run ends.
"""

from __future__ import annotations

import time

import pytest

from archiver.model.events import Event, FileStored
from tests.support.api_faults import BROKEN, PAGE, TRAY, account_pk, answer_error
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action

pytestmark = pytest.mark.world(accounts=1, highlights=2, items=1)

ONE = account_pk(0)
ASKED = "select status, units from api_calls where path = '/sys/balance' order by id"
NOTED = "select balance_before, balance_after from runs order by id"


@pytest.fixture
def harness(harness: ArchiveHarness) -> ArchiveHarness:
    """With a thousand units."""
    harness.upstream.balance = 1_000
    return harness


@pytest.mark.parametrize("rate", ["", pytest.param("1000", marks=pytest.mark.whole)])
def test_the_balance_is_asked_before_the_first_paid_call_and_after_the_last(
    harness: ArchiveHarness, rate: str
) -> None:
    """With the pace configured or asked for: two free rows around the paid ones, both numbers kept, and they
    agree.
    """
    harness.environ["ARCHIVER_API_REQUESTS_PER_SECOND"] = rate
    summary = harness.night(ONE)
    assert (summary.units, summary.api_calls, summary.balance_mismatch) == (3, 3, 0)
    paths = [path for (path,) in harness.rows("select path from api_calls order by id")]
    assert paths == ["/sys/balance", TRAY, *[PAGE] * 2, "/sys/balance"]
    assert harness.rows(ASKED) == [(200, 0), (200, 0)]
    assert harness.rows(NOTED) == [(1_000, 997)]


def test_paid_calls_do_not_wait_for_a_slow_balance(harness: ArchiveHarness) -> None:
    """The API answers only when all has been paid for: what it states is recorded, and nothing seems to be
    missing.
    """

    def wait_until_all_is_paid(_: object) -> None:
        until = time.monotonic() + 30
        while harness.upstream.balance > 997 and time.monotonic() < until:
            time.sleep(0.01)

    harness.upstream.faults.add(path="/sys/balance", before=wait_until_all_is_paid)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.balance_mismatch) == (0, 3, 0)
    assert harness.one("select path from api_calls order by id limit 1") == "/sys/balance"
    assert harness.rows(NOTED) == [(997, 997)]


@pytest.mark.parametrize("taken", [7, pytest.param(-50, marks=pytest.mark.whole)])
def test_what_others_take_or_add_meanwhile_is_told_and_fails_nothing(
    harness: ArchiveHarness, taken: int
) -> None:
    """Another program with the same key, or a top-up: the mismatch is in the Summary, and the run ended
    well.
    """

    def spend(_: object) -> None:
        harness.upstream.balance -= taken

    harness.upstream.faults.add(path=TRAY, before=spend)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.balance_mismatch) == (0, 3, taken)
    assert harness.rows(NOTED) == [(1_000, 997 - taken)]


def test_a_run_that_its_budget_ended_asks_all_the_same(harness: ArchiveHarness) -> None:
    """Code 5: nothing more may be paid for, and the free call is not forbidden by it."""
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "2"
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.balance_mismatch) == (5, 2, 0)
    assert harness.rows(NOTED) == [(1_000, 998)]


def test_a_limit_that_is_passed_already_forbids_no_free_call(harness: ArchiveHarness) -> None:
    """More was spent today than is now allowed: the balance is asked, and nothing else."""
    harness.night(ONE)
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_DAY"] = "1"
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.api_calls, summary.balance_mismatch) == (5, 0, 0, None)
    assert harness.rows(NOTED)[1] == (997, None)
    assert len(harness.upstream.requests.api_calls()) == 1


def test_a_run_without_units_asks_all_the_same(harness: ArchiveHarness) -> None:
    """The account is empty after two: the balance after is 0, and agrees."""
    harness.upstream.balance = 2
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.balance_mismatch) == (5, 2, 0)
    assert harness.rows(NOTED) == [(2, 0)]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(answer_error(500, BROKEN), marks=pytest.mark.whole),
        answer_error(429, {"detail": "slow down"}, retry_after="60"),
        pytest.param(answer_error(401, {"detail": "no"}), marks=pytest.mark.whole),
        pytest.param(actions.lose(), marks=pytest.mark.whole),
        pytest.param(answer_error(200, {"requests": 2**70}), marks=pytest.mark.whole),
        answer_error(200, {"requests": "many"}),
    ],
    ids=["500", "429", "401", "cut", "huge", "text"],
)
@pytest.mark.parametrize(
    "nth", [pytest.param(1, id="before"), pytest.param(2, id="after", marks=pytest.mark.whole)]
)
def test_a_balance_that_is_not_told_is_null_after_one_attempt(
    harness: ArchiveHarness, fault: Action, nth: int
) -> None:
    """Whatever it answers instead, once or always: one attempt, no wait, no failure, and the archive is
    whole.
    """
    harness.upstream.faults.add(fault, path="/sys/balance", nth=nth, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.balance_mismatch) == (0, 3, None)
    assert harness.rows(NOTED) == [(None, None) if nth == 1 else (1_000, None)]
    assert len(harness.rows(ASKED)) == nth  # where the first was not told, the second would say nothing


def test_where_nothing_was_paid_it_is_not_asked_again(harness: ArchiveHarness) -> None:
    """A highlight that was not there waits for its day: one free call, none after."""
    for _ in range(3):  # the next two tries come at once
        assert harness.night("highlight:17899999999999999").exit_code == 6
    summary = harness.night("highlight:17899999999999999")
    assert (summary.api_calls, summary.balance_mismatch) == (0, None)
    assert harness.rows(NOTED)[3] == (997, None)


def test_after_a_bug_nobody_asks(harness: ArchiveHarness) -> None:
    """The run ends at once: no call after the exception."""

    class Broken(list[Event]):
        def append(self, event: Event) -> None:
            if isinstance(event, FileStored):
                raise RuntimeError("a bug")

    harness.events = Broken()
    with pytest.raises(RuntimeError, match="a bug"):
        harness.night(ONE)
    assert harness.rows(ASKED) == [(200, 0)]
    assert harness.rows(NOTED) == [(1_000, None)]
