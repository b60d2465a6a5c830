"""Nights with a limit: never more than it is spent, what is begun is finished first, and no highlight is paid
for twice.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.errors import BudgetReached, KeyRejected, OutOfUnits, PayingEnded, StorageError, UpstreamDown
from archiver.model.api_calls import Meaning
from archiver.model.events import AccountDone
from archiver.runner.account import join
from archiver.runner.run import JOBS_AT_ONCE
from archiver.runner.tally import Summary
from tests.support.api_faults import PAGE, TRAY, account_pk
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

LIMIT = "ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"
UNFINISHED = "select count(*) from highlights where completed_at is null"


@pytest.fixture
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet. ``param``: accounts, highlights of each, items of each, and how many
    units a run may spend.
    """
    *sizes, limit = request.param
    environ = {LIMIT: str(limit), "ARCHIVER_DOWNLOAD_COVERS": "false"}
    with FaultyStandIn(EditableWorld.generate(*sizes)) as upstream:
        yield ArchiveHarness(tmp_path / "archive", upstream, environ=environ)


def to_the_end(harness: ArchiveHarness, names: list[str], most: int) -> list[Summary]:
    """Runs until one ends well; each but the last ends at its limit, and none spends more.

    At most so many.
    """
    limit = int(harness.environ[LIMIT])
    paid: Counter[str] = Counter()
    runs: list[Summary] = []
    while not runs or runs[-1].exit_code:
        assert len(runs) < most, f"not done after {most} runs"
        runs.append(harness.night(*names))
        assert runs[-1].units == harness.upstream.units <= limit
        assert runs[-1].exit_code in (0, 5), runs[-1].message
        paid.update(asked.subject.highlight for asked in harness.upstream.requests.api_calls(PAGE))
    assert max(paid.values()) == 1, "a highlight was paid for twice"
    assert harness.one(UNFINISHED) == 0
    return runs


@pytest.mark.parametrize(
    "harness", [(3, 4, 0, 6), pytest.param((5, 10, 0, 12), marks=pytest.mark.whole)], indirect=True
)
def test_work_is_done_in_one_run_more_than_it_divides_into(harness: ArchiveHarness) -> None:
    """Three accounts of four highlights each, by name, 3 x 2 + 12 units, by the fourth run of 6.

    Every run but the last spends what it may, but for one.
    """
    accounts, limit = harness.upstream.world.accounts, int(harness.environ[LIMIT])
    highlights = sum(len(account.highlights) for account in accounts)
    work = 2 * len(accounts) + highlights
    runs = to_the_end(harness, [f"account{n:04}" for n in range(len(accounts))], most=work // limit + 1)
    assert all(run.units >= limit - 1 for run in runs[:-1])
    assert harness.one("select count(*) from highlights") == highlights


@pytest.mark.parametrize(
    "harness",
    [
        (1, 3, 1, 1),
        *(pytest.param(more, marks=pytest.mark.whole) for more in ((1, 5, 1, 1), (2, 5, 0, 3), (2, 3, 0, 2))),
    ],
    indirect=True,
)
def test_a_limit_below_the_price_of_one_account_makes_progress(harness: ArchiveHarness) -> None:
    """Even one unit a run: the look at the account, its tray, then a highlight a night, without a new tray
    for each.
    """
    accounts = int(str(len(harness.upstream.world.accounts)))
    highlights = len(harness.upstream.world.accounts[0].highlights)
    limit = int(harness.environ[LIMIT])
    work = accounts * (2 + highlights)
    runs = to_the_end(harness, [f"account{n:04}" for n in range(accounts)], most=2 * work)
    assert len(runs) <= -(-work // limit) + 2 * accounts + 1


@pytest.mark.parametrize("harness", [(4, 6, 0, 9)], indirect=True)
def test_the_order_is_never_listed_then_unfinished_then_longest_ago(harness: ArchiveHarness) -> None:
    """Each run begins with the account that nobody has looked at yet; those cut short come next, then the one
    listed longest ago.
    """
    names = [account_pk(n) for n in range(4)]
    listed = []
    for _ in range(4):
        harness.sleep(days=1)
        harness.night(*names)
        calls = harness.upstream.requests.api_calls(TRAY)
        listed.append([names.index(asked.subject.user) for asked in calls])
    # Seven units an account: one is finished and the next cut short, twice; then what was cut short, in the
    # same order; then all.
    assert listed == [[0, 1], [2, 3], [1, 3], [3, 0, 2, 1]]


@pytest.mark.parametrize("harness", [(2, 6, 0, 8)], indirect=True)
def test_a_page_that_fails_at_first_keeps_its_promise(harness: ArchiveHarness) -> None:
    """Upstream fails a page for nothing, and between its attempts the next account's tray is here and its
    pages want the unit: the page is asked for again all the same, and the first account is whole."""
    failing = next(iter(harness.upstream.world.accounts[0].highlights))
    fault = harness.upstream.faults.add(
        actions.respond(500, headers={"retry-after": "0.4"}), path=PAGE, highlight=failing.pk, count=2
    )

    def while_it_waits(_: object) -> None:
        assert fault.reached.wait(10)
        time.sleep(0.1)

    harness.upstream.faults.add(path=TRAY, user=account_pk(1), before=while_it_waits)
    summary = harness.night(account_pk(0), account_pk(1))
    assert (summary.exit_code, summary.units) == (5, 8)
    done = "select count(*) from highlights where completed_at is not null and user_pk = ?"
    assert (harness.one(done, account_pk(0)), harness.one(done, account_pk(1))) == (6, 0)


@pytest.mark.whole
@pytest.mark.parametrize("harness", [(2, 1, 1, 100)], indirect=True)
def test_a_limit_that_is_not_reached_changes_nothing(harness: ArchiveHarness) -> None:
    """The night costs what it costs without one, and ends well."""
    summary = harness.night(*(account_pk(n) for n in range(2)))
    assert (summary.exit_code, summary.units) == (0, 2 + 2)
    assert harness.night(*(account_pk(n) for n in range(2))).units == 2


@pytest.mark.whole
@pytest.mark.parametrize("harness", [(1, 4, 1, 3)], indirect=True)
def test_a_killed_run_s_answers_serve_within_the_limit(harness: ArchiveHarness) -> None:
    """Pages that are kept and whose rows a kill prevented cost nothing of the limit: it is spent on the
    others.
    """
    harness.night(account_pk(0))
    (kept,) = harness.rows("select subject from api_calls where path = ? limit 1", PAGE)
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("update highlights set fetched_at = null, completed_at = null where pk = ?", kept)
    summary = harness.night(account_pk(0))
    assert (summary.exit_code, summary.units) == (0, 3)
    assert harness.upstream.requests.api_calls(PAGE) != []
    assert str(kept[0]) not in {
        asked.subject.highlight for asked in harness.upstream.requests.api_calls(PAGE)
    }


@pytest.mark.whole
@pytest.mark.parametrize("harness", [(2, 5, 1, 2)], indirect=True)
def test_a_limit_below_the_price_of_all_pages_makes_progress(harness: ArchiveHarness) -> None:
    """Three pages, which two units never pay for: they are spent in vain once for each account, and then the
    first page serves.
    """
    harness.upstream.world.v1_page = harness.upstream.world.v2_page = 2
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "3"
    harness.later = (
        datetime(2026, 11, 25, 12, tzinfo=UTC) - harness.now
    )  # when a sweep is due follows from the date
    names = [account_pk(0), account_pk(1)]
    in_vain = 0
    for _ in range(12):
        harness.sleep(days=1)
        assert harness.night(*names).units <= 2
        in_vain += len(harness.upstream.requests.api_calls("/v2/user/highlights"))
    assert in_vain == 2 * len(names)
    assert harness.one(UNFINISHED) == 0
    harness.environ[LIMIT] = "8"
    for _ in range(3):
        harness.night(*names)
    assert harness.one("select count(*) from highlights where completed_at is not null") == 10


@pytest.mark.whole
@pytest.mark.parametrize("harness", [(1, 9, 0, 2)], indirect=True)
def test_pages_that_failed_are_not_paid_for_again_before_their_turn(harness: ArchiveHarness) -> None:
    """Also if they leave one unit, and the last tray left highlights that are not fetched yet."""
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "30"
    harness.later = datetime(2026, 11, 25, 12, tzinfo=UTC) - harness.now
    harness.night(account_pk(0))
    harness.sleep(days=31)
    pages = "/v2/user/highlights"
    harness.upstream.faults.add(actions.respond(404, {"detail": "Not Found"}), path=pages, count=None)
    asked = []
    for _ in range(4):
        assert harness.night(account_pk(0)).units == 2
        asked.append(len(harness.upstream.requests.api_calls(pages)))
        harness.later += timedelta(minutes=1)
    assert asked == [1, 0, 0, 0]


@pytest.mark.whole
@pytest.mark.parametrize("harness", [(2, 1, 1, 2)], indirect=True)
def test_an_empty_account_does_not_hold_up_the_others(harness: ArchiveHarness) -> None:
    """Its first look by name takes both units, and a third is needed to know that it is truly empty: the
    account is asked for first.
    """
    (highlight,) = harness.upstream.world.accounts[0].highlights
    harness.upstream.world.remove_highlight(highlight.pk)
    for _ in range(5):
        harness.night("account0000", "account0001")
    assert harness.one("select verdict from users where username = 'account0000'") == "empty"
    assert harness.one("select count(*) from highlights where completed_at is not null") == 1


@pytest.mark.parametrize("kind", [KeyRejected, OutOfUnits, BudgetReached, UpstreamDown])
def test_the_end_of_paying_says_what_its_cause_says(
    kind: type[KeyRejected | OutOfUnits | BudgetReached | UpstreamDown],
) -> None:
    """Code, word, text and hint are those of the cause."""
    cause = kind("what happened", "what to do")
    ended = PayingEnded(cause)
    told = [(str(error), error.hint, error.exit_code, error.slug) for error in (cause, ended)]
    assert told[0] == told[1]
    assert ended.cause is cause


@pytest.mark.parametrize("harness", [(1, 3, 0, 3)], indirect=True)
def test_an_account_whose_highlights_wait_for_units_is_not_done(harness: ArchiveHarness) -> None:
    """Its list and one highlight are paid for; the next run goes on with it."""
    summary = harness.night("account0000")
    assert (summary.exit_code, summary.accounts, summary.highlights_fetched) == (5, 0, 1)
    assert not any(isinstance(event, AccountDone) for event in harness.events)
    assert harness.night("account0000").accounts == 1


@pytest.mark.parametrize("harness", [(1, 3, 0, 3)], indirect=True)
def test_lists_stay_stored_until_a_run_has_paid_for_everything(harness: ArchiveHarness) -> None:
    """``keep_answers = "fetched"`` deletes those of a run that did not end at a limit."""
    harness.environ["ARCHIVER_ARCHIVE_KEEP_ANSWERS"] = "fetched"
    lists = "select count(*) from answers a join api_calls c on c.id = a.api_call_id where c.path <> ?"
    codes_and_lists = [(harness.night("account0000").exit_code, harness.one(lists, PAGE)) for _ in range(3)]
    assert codes_and_lists == [(5, 1), (0, 1), (0, 1)]


@pytest.mark.parametrize("harness", [(1, 20, 0, 30)], indirect=True)
def test_a_promised_unit_is_not_spent_after_the_key_was_rejected(harness: ArchiveHarness) -> None:
    """Only the calls that are under way are made. After the limit is reached, what is promised is spent."""
    harness.upstream.faults.add(
        actions.respond(401, {"detail": "Unauthorized request"}), path=PAGE, count=None
    )
    assert harness.night("account0000").exit_code == 4
    assert len(harness.upstream.requests.api_calls(PAGE)) <= JOBS_AT_ONCE


def test_an_error_that_stops_the_run_wins_over_the_end_of_paying() -> None:
    """Whichever highlight it comes from."""
    futures: list[Future[Meaning]] = [Future() for _ in range(3)]
    futures[0].set_exception(PayingEnded(BudgetReached("a limit")))
    futures[1].set_exception(StorageError("a disk"))
    futures[2].set_result(Meaning.OK)
    with pytest.raises(StorageError):
        join(futures)
    with pytest.raises(PayingEnded):
        join([futures[0], futures[2]])
    assert join(futures[2:]) == [Meaning.OK]
