"""Nights that a faulty API ends or holds up: their code, what they tell and spend, and the next night."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest

from archiver.errors import Reason
from archiver.model.events import Pause
from archiver.runner.tally import Summary
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import (
    BROKEN,
    PAGE,
    REFUSED,
    TRAY,
    Waits,
    account_pk,
    answer_error,
    attempts,
    everybody,
    highlight_pk,
    page,
    tray,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

pytestmark = [pytest.mark.world(accounts=50, highlights=2, items=1), pytest.mark.usefixtures("waits")]

ONE, TWO = account_pk(0), account_pk(1)
COMPLETE = "select count(*) from highlights where completed_at is not null"
PRIVATE: Json = {"detail": "This account is private", "exc_type": "PrivateAccount"}
RETIRED: Json = {"detail": "This endpoint is deprecated", "exc_type": "EndpointDeprecated"}
UNAUTHORIZED: Json = {"state": False, "error": "Unauthorized request: x"}
WEB_PAGE = "received a web page instead of JSON: "
NOBODY_FREE: Json = {"detail": "", "exc_type": "NoFreeAccounts"}

WHOLE = pytest.mark.whole

Prepare = Callable[[ArchiveHarness], object]


def answering(action: Action, path: str = TRAY) -> Prepare:
    """Return what makes the API answer every call of a path so."""
    return lambda harness: harness.upstream.faults.add(action, path=path, count=None)


def with_environ(**changed: str) -> Prepare:
    return lambda harness: harness.environ.update(changed)


def with_wrong_key(harness: ArchiveHarness) -> None:
    """The key is not that of upstream. ``nothing_escapes`` finds it if it stands in any file."""
    harness.environ["HIKERAPI_TOKEN"] = "wrong-key-canary"


def quoting_the_key(harness: ArchiveHarness) -> None:
    body: Json = {"state": False, "error": f"Unauthorized request: {harness.upstream.key}"}
    answering(answer_error(401, body), "/")(harness)


def asking_the_rate(harness: ArchiveHarness) -> None:
    """Every account is refused, while the free call for the balance, which states the rate, succeeds."""
    harness.environ["ARCHIVER_API_REQUESTS_PER_SECOND"] = ""
    harness.upstream.settings.rate = 1000
    answering(answer_error(403, REFUSED), "/v1/user/")(harness)


def without_units(harness: ArchiveHarness) -> None:
    harness.upstream.balance = 0


def unreachable(harness: ArchiveHarness) -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harness.environ["ARCHIVER_API_BASE_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}"


def fail_in_mid_run(harness: ArchiveHarness) -> None:
    """Every account fails once the six pages of the first three have been asked for."""
    asked = threading.Event()

    def after_them(_: object) -> None:
        assert asked.wait(10)

    harness.upstream.faults.add(path=PAGE, nth=6, before=lambda _: asked.set())
    broken = answer_error(500, BROKEN)
    harness.upstream.faults.add(broken, path=TRAY, nth=4, count=None, before=after_them)


OUTAGE = answering(answer_error(500, BROKEN), "/")
BUSY = answering(answer_error(429, {}))
REFUSING = answering(answer_error(403, REFUSED), "/v1/user/")
CHALLENGE = answering(actions.html(403))
NO_ADDRESS = with_environ(ARCHIVER_API_BASE_URL="https://api.invalid")
TWO_UNITS = with_environ(ARCHIVER_BUDGET_MAX_UNITS_PER_RUN="2")

KEEPS_REFUSING = "the API keeps refusing calls (429)"
NOT_FOLLOWED = "302: a redirect, which is not followed"
BAD_KEY = "rejected the key: 401: Unauthorized request: check the x-access-key header (check HIKERAPI_TOKEN)"
BAD_PLAN = "the API refused the first 3 accounts requested (check the key and what its plan allows)"
IN_A_ROW = "the API failed for 5 different accounts in a row"
NO_UNITS = "the API account has no units left (top it up, then run again)"
SPENT = "budget.max_units_per_run = 2 is reached"

ALONE = [
    pytest.param(BUSY, [(429, 0)] * 6, KEEPS_REFUSING, id="test_fault_a11_429_for_ever_ends_the_run"),
    pytest.param(
        answering(answer_error(200, NOBODY_FREE)), [(200, 1)], "NoFreeAccounts", id="test_fault_a14_with_200"
    ),
    pytest.param(answering(actions.html()), [(200, 1)], f"200: {WEB_PAGE}", id="test_fault_a16_with_200"),
    pytest.param(CHALLENGE, [(403, 1)], f"403: {WEB_PAGE}", id="test_fault_a16_with_403"),
    pytest.param(
        answering(actions.html(521)), [(521, 0)] * 3, f"521: {WEB_PAGE}", id="test_fault_a16_with_521"
    ),
    pytest.param(unreachable, [(None, 0)] * 3, "refused", id="test_fault_a31_nobody_listens"),
    pytest.param(
        NO_ADDRESS, [(None, 0)] * 3, "name api.invalid cannot be resolved", id="test_fault_a31_no_address"
    ),
    pytest.param(
        answering(actions.redirect(TRAY)), [(302, 0)], NOT_FOLLOWED, id="test_fault_a34_to_the_same_path"
    ),
    pytest.param(
        answering(actions.redirect("https://127.0.0.1:1/")),
        [(302, 0)],
        NOT_FOLLOWED,
        id="test_fault_a34_to_another_scheme",
    ),
    pytest.param(
        answering(actions.redirect("")), [(302, 0)], NOT_FOLLOWED, id="test_fault_a34_to_an_empty_place"
    ),
    pytest.param(
        answering(actions.redirect(None)), [(302, 0)], NOT_FOLLOWED, id="test_fault_a34_to_no_place"
    ),
    pytest.param(
        answering(actions.lose()), [(None, 1)] * 2, "", id="test_fault_b1_a_list_call_is_sent_twice_at_most"
    ),
]
"""What befalls the only account, each attempt in the ledger, and what is told."""

LISTS = [
    pytest.param(with_wrong_key, 50, 4, 0, 4, BAD_KEY, id="test_fault_a1_a_rejected_key_ends_the_run"),
    pytest.param(
        answering(answer_error(401, UNAUTHORIZED), PAGE), 1, 4, 1, 3, "401: ", id="test_fault_a1_in_mid_run"
    ),
    pytest.param(
        without_units, 500, 5, 0, 4, NO_UNITS, id="test_fault_a2_without_units_nothing_is_asked_for"
    ),
    pytest.param(
        asking_the_rate, 50, 4, None, 6, BAD_PLAN, id="test_fault_a4_a_refused_key_costs_a_few_calls"
    ),
    pytest.param(BUSY, 50, 7, 0, 24, KEEPS_REFUSING, id="test_fault_a11_the_rest_of_the_list_is_left_alone"),
    pytest.param(OUTAGE, 50, 7, 0, 24, "500: ", id="test_fault_a13_an_outage_opens_the_circuit"),
    pytest.param(fail_in_mid_run, 12, 7, 9, 33, IN_A_ROW, id="test_fault_a13_in_mid_run"),
    pytest.param(CHALLENGE, 50, 7, None, 8, WEB_PAGE, id="test_fault_a16_for_everybody_it_is_no_refused_key"),
    pytest.param(TWO_UNITS, 1, 5, 2, 2, SPENT, id="test_fault_b3_a_budget_ends_the_run_before_it_is_passed"),
    pytest.param(REFUSING, 10_000, 4, None, 6, "", id="test_fault_b4_a_refusing_plan_is_asked_a_few_times"),
    pytest.param(
        with_wrong_key, 10_000, 4, 0, 4, "", id="test_fault_b4_a_bad_key_is_sent_a_few_times", marks=WHOLE
    ),
    pytest.param(OUTAGE, 10_000, 7, 0, 24, "", id="test_fault_b4_an_outage_costs_a_few_calls", marks=WHOLE),
    pytest.param(
        quoting_the_key, 1, 4, 0, 1, "Unauthorized request: ***", id="test_fault_l3_a_refusal_tells_no_key"
    ),
]
"""What befalls how many accounts; code, units (None: one a call), the most calls, and what is told."""


def end_early(harness: ArchiveHarness, prepare: Prepare, accounts: int, code: int, told: str) -> Summary:
    """Return the summary of a night that ends so, which says what the ledger says, and of which upstream took
    all units or, with a web page, none. No account is called private or gone. Once all is well, the next
    night pays for each tray and for the rest.
    """
    prepare(harness)
    summary = harness.night(*everybody(accounts))
    assert (summary.exit_code, summary.outcome) == (code, {4: "key", 5: "units", 7: "upstream"}[code])
    assert harness.one("select sum(units) from api_calls") == summary.units
    assert harness.upstream.units == (0 if WEB_PAGE in told else summary.units)
    heard = [f"{summary.message} ({summary.hint})", *(failure.detail for failure in summary.failures)]
    assert any(told in text for text in heard), heard
    assert harness.one("select count(*) from users where verdict is not null or gone_at is not null") == 0
    if accounts <= 12:
        harness.upstream.faults.clear()
        harness.environ.clear()
        complete = int(str(harness.one(COMPLETE)))
        again = harness.night(*everybody(accounts))
        assert (again.exit_code, again.units) == (0, 3 * accounts - complete)
    return summary


@pytest.mark.parametrize(("prepare", "ledger", "told"), ALONE)
def test_a_fault_of_the_only_account(
    harness: ArchiveHarness, prepare: Prepare, ledger: list[tuple[int | None, int]], told: str
) -> None:
    """Code 7 after these attempts, which are all of its calls."""
    summary = end_early(harness, prepare, 1, 7, told)
    assert attempts(harness, ONE)[: len(ledger)] == ledger
    assert (summary.api_calls, summary.units) == (len(ledger), sum(units for _, units in ledger))


@pytest.mark.parametrize(("prepare", "accounts", "code", "units", "calls", "told"), LISTS)
def test_a_fault_of_a_list(
    harness: ArchiveHarness,
    prepare: Prepare,
    accounts: int,
    code: int,
    units: int | None,
    calls: int,
    told: str,
) -> None:
    """However long the list is, a few calls are made and these units are spent."""
    summary = end_early(harness, prepare, accounts, code, told)
    assert summary.api_calls <= calls
    assert summary.units == (summary.api_calls if units is None else units)


WAITS = [
    pytest.param(429, 60, 0, 30.0, 60.0, id="test_fault_a9_a_date_is_waited_for"),
    pytest.param(429, -3600, 0, 1.0, 1.0, id="test_fault_a9_a_date_that_is_past_is_the_least_wait"),
    pytest.param(429, "abc", 0, 1.0, 2.0, id="test_fault_a10_nonsense_is_no_wait_of_its_own"),
    pytest.param(429, "301", 7, 0.0, 0.0, id="test_fault_a10_a_wait_beyond_five_minutes_ends_the_run"),
    pytest.param(429, "1e9", 7, 0.0, 0.0, id="test_fault_a10_so_does_one_of_years", marks=pytest.mark.whole),
    pytest.param(500, None, 0, 0.5, 1.0, id="test_fault_a12_a_passing_5xx_is_tried_again_soon"),
    pytest.param(503, "7", 0, 7.0, 7.0, id="test_fault_a12_the_wait_that_a_503_asks_for_is_kept"),
    pytest.param(503, "86400", 7, 0.0, 0.0, id="test_fault_a12_a_server_that_asks_for_a_day_is_left"),
]
"""Status and ``Retry-After`` (a number: a date that many seconds away); the code, and least and most wait."""


@pytest.mark.parametrize(("status", "asked", "code", "least", "most"), WAITS)
def test_what_the_api_asks_for_is_waited_for_or_left_to_the_next_run(
    harness: ArchiveHarness,
    waits: Waits,
    status: int,
    asked: str | int | None,
    code: int,
    least: float,
    most: float,
) -> None:
    """One wait and a second call, or one call and no wait: cron runs again anyway."""
    if isinstance(asked, int):
        asked = format_datetime(harness.now + timedelta(seconds=asked), usegmt=True)
    headers = {} if asked is None else {"retry_after": asked}
    harness.upstream.faults.add(answer_error(status, {}, **headers), path=TRAY, count=None if code else 1)
    summary = harness.night(ONE)
    assert summary.exit_code == code
    paused = [event.seconds for event in harness.events if isinstance(event, Pause)]
    if code:
        assert (attempts(harness, ONE), waits.seconds, summary.units) == ([(status, 0)], [], 0)
    else:
        assert attempts(harness, ONE) == [(status, 0), (200, 1)]
        assert (len(paused), least <= paused[0] <= most) == (1, True)
        assert sum(waits.seconds) == pytest.approx(paused[0], abs=1)


def test_fault_a4_private_accounts_are_no_sign_of_a_refused_key(harness: ArchiveHarness) -> None:
    """Ten private accounts come first in the list: each is a fact, and the one that is public is kept."""
    harness.environ["ARCHIVER_API_PRIVACY_CHECK"] = "true"
    for number in range(10):
        harness.upstream.faults.add(answer_error(403, PRIVATE), **tray(number), count=None)
    summary = harness.night(*everybody(11))
    assert summary.exit_code == 0
    assert harness.one(COMPLETE) == 2


def test_fault_a4_after_one_success_refusals_are_the_accounts_own(harness: ArchiveHarness) -> None:
    """The key has served once tonight: five refused accounts are five failures, and the last account is kept;
    code 3.
    """
    served = threading.Event()
    # A page is asked for once its tray was an answer.
    harness.upstream.faults.add(path=PAGE, before=lambda _: served.set())

    def after_it(_: object) -> None:
        assert served.wait(5)

    for number in range(1, 6):
        harness.upstream.faults.add(answer_error(403, REFUSED), **tray(number), count=None, before=after_it)
    summary = harness.night(*everybody(7))
    assert (summary.exit_code, len(summary.failures)) == (3, 5)
    assert harness.one(COMPLETE) == 4


def test_fault_a6_a_highlight_without_a_page_is_recorded_and_passed_over(harness: ArchiveHarness) -> None:
    """410 without the name of an endpoint means what 404 means: recorded, code 0, and not asked for the next
    nights for ever.
    """
    harness.upstream.faults.add(answer_error(410, {"detail": "Gone"}), **page(0), count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.highlights_fetched) == (0, 1)
    assert harness.rows("select subject_pk, reason from failures") == [(highlight_pk(0), "not_found")]
    assert [harness.night(ONE).units for _ in range(4)] == [1] * 4  # the tray; a 410 costs nothing
    assert len(paid_calls(harness.upstream.requests)) == 1


def test_fault_a6_a_retired_endpoint_is_no_highlight_that_is_gone(harness: ArchiveHarness) -> None:
    """410 with ``EndpointDeprecated`` is no fact about a highlight: code 3 that says so, and nothing is taken
    for gone.
    """
    harness.upstream.faults.add(answer_error(410, RETIRED), path=PAGE, count=None)
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (3, 1)
    assert {f.reason for f in summary.failures} == {Reason.UPSTREAM}
    assert "has retired /v1/highlight/by/url" in summary.failures[0].detail
    harness.upstream.faults.clear()
    assert harness.night(ONE).highlights_fetched == 2


def test_fault_a13_failures_between_successes_do_not_open_the_circuit(harness: ArchiveHarness) -> None:
    """Every third account fails for good, more than five of them: the others are all kept, and the code is
    3.
    """
    failing = range(0, 16, 3)
    for number in failing:
        harness.upstream.faults.add(answer_error(500, BROKEN), **tray(number), count=None)
    summary = harness.night(*everybody(16))
    assert summary.exit_code == 3
    assert harness.one(COMPLETE) == 2 * (16 - len(failing))


@pytest.mark.whole
def test_fault_a13_failing_highlights_of_one_account_do_not_end_the_run(harness: ArchiveHarness) -> None:
    """Six highlight pages of one account fail: the other account is kept all the same, and the code is 3."""
    harness.upstream.world = EditableWorld.generate(2, 6, 1)
    for place in range(6):
        harness.upstream.faults.add(answer_error(500, BROKEN), **page(0, place), count=None)
    assert harness.night(ONE, TWO).exit_code == 3
    assert harness.one(COMPLETE) == 6


def test_fault_a32_a_connection_that_was_closed_while_idle_costs_nothing(harness: ArchiveHarness) -> None:
    """The API closes its connection after every answer without a word: each call is made on a new one, none
    twice.
    """
    harness.upstream.faults.add(actions.close_after(), listener="api", count=None)
    summary = harness.night(ONE, TWO)
    assert (summary.exit_code, summary.units) == (0, 6)
    calls = harness.rows("select status, units from api_calls order by id")
    assert calls == [(200, 0), *[(200, 1)] * 6, (200, 0)]


@pytest.mark.whole
def test_fault_a33_an_answer_that_drips_or_stalls_is_left_at_the_deadline(harness: ArchiveHarness) -> None:
    """A head and a body that come a byte at a time, and silence: each call ends after ``api.timeout``, counts
    as billed, is asked for once more, and the night ends well.
    """
    harness.environ["ARCHIVER_API_TIMEOUT"] = "1"
    for number, slow in enumerate((actions.slow_head(), actions.drip(), actions.stall(None))):
        harness.upstream.faults.add(slow, **tray(number))
    summary = harness.night(*everybody(3))
    assert (summary.exit_code, summary.units) == (0, harness.upstream.units)
    assert [attempts(harness, account_pk(number)) for number in range(3)] == [[(None, 1), (200, 1)]] * 3


REDIRECTS = [
    pytest.param((301, 302, 307, 308), id="test_fault_a34_a_redirect_to_another_host_is_never_followed"),
    pytest.param((303,), id="test_fault_l5_a_redirect_of_the_api_leads_nowhere"),
]


@pytest.mark.parametrize("statuses", REDIRECTS)
def test_no_redirect_is_followed(harness: ArchiveHarness, statuses: tuple[int, ...]) -> None:
    """Code 7 that says why; the host that it names sees no connection, let alone the key; one call each, 0
    units.
    """
    with FaultyStandIn() as other:
        for number, status in enumerate(statuses):
            elsewhere = actions.redirect(other.base_url + TRAY, status)
            harness.upstream.faults.add(elsewhere, **tray(number), count=None)
        summary = harness.night(*everybody(len(statuses)))
        assert list(other.requests) == []
    assert (summary.exit_code, summary.units, summary.api_calls) == (7, 0, len(statuses))
    told = {f"{status}: a redirect, which is not followed" for status in statuses}
    assert {failure.detail for failure in summary.failures} == told


def test_fault_a36_a_proxy_of_the_environment_never_sees_a_loopback_api(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name a proxy: neither the key nor any download goes there in the
    clear.
    """
    with FaultyStandIn() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert harness.night(ONE).exit_code == 0
        assert list(proxy.requests.api_calls()) == []
    assert len(harness.upstream.requests.cdn_requests()) > 0


def test_fault_a36_an_unusable_proxy_is_told_without_its_password(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused tunnel for an https API: code 7, 0 units, and the proxy's password stands in no file of the
    archive.
    """
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FaultyStandIn() as proxy:
        address = proxy.base_url.removeprefix("http://")
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2hunter2@{address}")
        harness.environ["ARCHIVER_API_BASE_URL"] = "https://api.invalid"
        summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (7, 0)
    assert "hunter2" not in repr(summary) + repr(harness.events)
    for path in harness.root.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes()
