"""Nights with an API that is busy, broken or silent: what is tried again, how often, after how long, and what
it costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path

import pytest

from archiver.model.events import Pause
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import (
    BROKEN,
    TRAY,
    Waits,
    account_pk,
    answer_error,
    attempts,
    everybody,
    skip_waits,
    tray,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NOBODY_FREE: Json = {"detail": "", "exc_type": "NoFreeAccounts"}
ONE = account_pk(0)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and fifty accounts with a highlight of one item each."""
    with FaultyStandIn(EditableWorld.generate(50, 1, 1)) as upstream:
        yield ArchiveHarness(tmp_path / "archive", upstream)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """No wait of these nights takes any time."""
    return skip_waits(monkeypatch)


# --- 429


@pytest.mark.parametrize(("offset", "least", "most"), [(60, 30.0, 60.0), (-3600, 1.0, 1.0)])
def test_fault_a9_an_http_date_is_waited_for(
    harness: ArchiveHarness, waits: Waits, offset: int, least: float, most: float
) -> None:
    """``Retry-After`` as a date: the wait ends then; a date that is past is the least wait, one second."""
    harness.sleep(seconds=offset)
    date = format_datetime(harness.now, usegmt=True)
    harness.sleep(seconds=-offset)
    harness.upstream.faults.add(answer_error(429, {}, retry_after=date), path=TRAY)
    assert harness.night(ONE).exit_code == 0
    waited = next(e.seconds for e in harness.events if isinstance(e, Pause))
    assert least <= waited <= most
    assert sum(waits.seconds) == pytest.approx(waited, abs=1)


def test_fault_a10_nonsense_in_retry_after_is_no_wait_of_its_own(harness: ArchiveHarness) -> None:
    """Our own short wait takes its place, for each of six accounts, and the night ends well."""
    nonsense = ["nan", "inf", "-inf", "-5", "abc", "1e999"]
    for number, value in enumerate(nonsense):
        harness.upstream.faults.add(answer_error(429, {}, retry_after=value), **tray(number))
    assert harness.night(*everybody(len(nonsense))).exit_code == 0
    waited = [e.seconds for e in harness.events if isinstance(e, Pause)]
    assert len(waited) == len(nonsense)
    assert all(1 <= seconds <= 2 for seconds in waited)


@pytest.mark.parametrize("value", [pytest.param("1e9", marks=pytest.mark.whole), "301"])
def test_fault_a10_a_wait_beyond_five_minutes_ends_the_run(
    harness: ArchiveHarness, waits: Waits, value: str
) -> None:
    """Code 7 after one call, without any wait: cron runs again anyway."""
    harness.upstream.faults.add(answer_error(429, {}, retry_after=value), path=TRAY, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.api_calls, summary.units) == (7, 1, 0)
    assert waits.seconds == []


def test_fault_a11_429_for_ever_ends_the_run(harness: ArchiveHarness) -> None:
    """Six tries, each a row of the ledger with 0 units, then code 7; the other accounts of the list are not
    asked for.
    """
    harness.upstream.faults.add(answer_error(429, {}), path=TRAY, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.outcome, summary.units) == (7, "upstream", 0)
    assert attempts(harness, ONE) == [(429, 0)] * 6
    assert harness.night(*everybody()).api_calls <= 6 * 4


# --- 5xx


def test_fault_a12_a_passing_5xx_is_tried_again(harness: ArchiveHarness, waits: Waits, whole: bool) -> None:
    """The next try serves, the night ends well, and each attempt has its row: the 5xx with 0 units."""
    statuses = (500, 502, 503, 504, 520, 526) if whole else (500, 503, 526)
    kinds = [(status, wait) for status in statuses for wait in (None, "7")]
    for number, (status, wait) in enumerate(kinds):
        headers = {} if wait is None else {"retry_after": wait}
        harness.upstream.faults.add(answer_error(status, BROKEN, **headers), **tray(number))
    summary = harness.night(*everybody(len(kinds)))
    assert (summary.exit_code, summary.units) == (0, harness.upstream.units)
    for number, (status, _) in enumerate(kinds):
        assert attempts(harness, account_pk(number)) == [(status, 0), (200, 1)]
    asked = [e.seconds for e in harness.events if isinstance(e, Pause)]
    assert asked.count(7.0) == len(
        statuses
    )  # where one is asked for, that one; else our own of a second at most
    assert all(0.5 <= seconds <= 1 for seconds in asked if seconds != 7)


def test_fault_a12_a_server_that_asks_for_a_day_is_left_to_the_next_run(
    harness: ArchiveHarness, waits: Waits
) -> None:
    """``Retry-After: 86400`` on a 503: no wait, the account has failed tonight."""
    harness.upstream.faults.add(answer_error(503, {}, retry_after="86400"), path=TRAY, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units, summary.api_calls) == (7, 0, 1)
    assert waits.seconds == []


def test_fault_a13_an_outage_opens_the_circuit(harness: ArchiveHarness) -> None:
    """Five accounts in a row fail after three tries each: code 7, nothing spent, and the other 45 are left
    alone.
    """
    harness.upstream.faults.add(answer_error(500, BROKEN), listener="api", count=None)
    summary = harness.night(*everybody())
    assert (summary.exit_code, summary.units) == (7, 0)
    assert summary.api_calls <= 3 * (5 + 3)  # three workers may be at an account of their own meanwhile


def test_fault_a13_an_outage_in_mid_run_keeps_what_came_before(harness: ArchiveHarness) -> None:
    """Three accounts are kept, then everything fails: code 7 says why, and the rest waits for the next
    run.
    """
    harness.upstream.faults.add(answer_error(500, BROKEN), path=TRAY, nth=4, count=None)
    summary = harness.night(*everybody(12))
    assert (summary.exit_code, summary.units) == (7, 3 * 2)
    assert "5 different accounts in a row" in summary.message
    assert harness.one("select count(*) from highlights where completed_at is not null") == 3
    harness.upstream.faults.clear()
    again = harness.night(*everybody(12))
    assert (again.exit_code, again.units) == (0, 3 + 9 * 2)


def test_fault_a13_failures_between_successes_do_not_open_it(harness: ArchiveHarness) -> None:
    """Every third account fails for good, more than five of them: the others are all kept, and the code is
    3.
    """
    failing = range(0, 16, 3)
    for number in failing:
        harness.upstream.faults.add(answer_error(500, BROKEN), **tray(number), count=None)
    summary = harness.night(*everybody(16))
    assert summary.exit_code == 3
    assert harness.one("select count(*) from highlights where completed_at is not null") == 16 - len(failing)


# --- as they were seen


def test_fault_a14_errors_as_they_were_seen_are_tried_again(harness: ArchiveHarness) -> None:
    """The status decides where the body is broken JSON, and «no free accounts» passes: the next try
    serves.
    """
    seen = [(504, b'{"state":false,{"error":"timeout"}'), (500, b'{"detail":"","exc_type":"NoFreeAccounts"}')]
    for number, (status, body) in enumerate(seen):
        answer = actions.respond(status, body, {"content-type": "application/json"})
        harness.upstream.faults.add(answer, **tray(number))
    assert harness.night(*everybody(len(seen))).exit_code == 0
    for number, (status, _) in enumerate(seen):
        assert attempts(harness, account_pk(number)) == [(status, 0), (200, 1)]


def test_fault_a14_no_free_accounts_with_200_is_billed_and_left_alone(harness: ArchiveHarness) -> None:
    """An error that was paid for is not paid for twice in a night; the next night asks again."""
    harness.upstream.faults.add(answer_error(200, NOBODY_FREE), path=TRAY)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (7, 1)
    assert "NoFreeAccounts" in summary.failures[0].detail
    assert harness.night(ONE).exit_code == 0


def test_fault_a16_a_page_of_cloudflare_is_no_answer_of_the_api(harness: ArchiveHarness) -> None:
    """Code 7, told as a page; tried again only where that costs nothing, and no account is refused, private
    or gone by it.
    """
    statuses = [200, 403, 521]
    for number, status in enumerate(statuses):
        harness.upstream.faults.add(actions.html(status), **tray(number), count=None)
    summary = harness.night(*everybody(len(statuses)))
    assert summary.exit_code == 7
    told = {failure.subject_pk: failure.detail for failure in summary.failures}
    assert len(told) == len(summary.failures) == len(statuses)
    for number, status in enumerate(statuses):
        pk = account_pk(number)
        assert f"{status}: received a web page instead of JSON: " in told[pk]
        assert len(attempts(harness, pk)) == (3 if status >= 500 else 1)
    assert harness.one("select count(*) from users") == 0
    harness.upstream.faults.clear()
    assert harness.night(*everybody(len(statuses))).exit_code == 0


def test_fault_a16_a_challenge_for_everybody_is_no_refused_key(harness: ArchiveHarness) -> None:
    """Cloudflare answers every account 403 with a page: code 7 after five of them, not a matter of the
    key.
    """
    harness.upstream.faults.add(actions.html(403), path=TRAY, count=None)
    summary = harness.night(*everybody())
    assert summary.exit_code == 7
    assert summary.api_calls <= 5 + 3
