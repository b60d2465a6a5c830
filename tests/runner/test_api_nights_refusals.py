"""Nights on which the API says no: to the key, to one account, to one highlight, or by pointing elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.errors import Reason
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import (
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
    skip_waits,
    tray,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

ONE, TWO = account_pk(0), account_pk(1)
PRIVATE: Json = {"detail": "This account is private", "exc_type": "PrivateAccount"}
RETIRED: Json = {"detail": "This endpoint is deprecated", "exc_type": "EndpointDeprecated"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and fifty accounts with two highlights of one item each."""
    with FaultyStandIn(EditableWorld.generate(50, 2, 1)) as upstream:
        yield ArchiveHarness(tmp_path / "archive", upstream)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """No wait of these nights takes any time."""
    return skip_waits(monkeypatch)


def test_fault_a1_a_rejected_key_stops_the_run_before_anything_is_billed(harness: ArchiveHarness) -> None:
    """Code 4, told as the key's fault, one call for each worker at most, none again, and the key stands in no
    file.
    """
    harness.environ["HIKERAPI_TOKEN"] = "wrong-key-canary"
    summary = harness.night(*everybody())
    assert (summary.exit_code, summary.outcome, summary.units) == (4, "key", 0)
    assert "the API rejected the key: 401: Unauthorized request" in summary.message
    assert summary.hint == "check HIKERAPI_TOKEN"
    assert summary.api_calls <= 4
    assert {asked.status for asked in harness.upstream.requests.api_calls()} == {401}
    for path in harness.root.rglob("*"):
        if path.is_file():
            assert b"wrong-key-canary" not in path.read_bytes()


def test_fault_a1_a_key_that_is_rejected_in_mid_run_stops_it(harness: ArchiveHarness) -> None:
    """401 after the trays: code 4, no page is billed, and the next night with a good key asks for nothing
    that it has.
    """
    harness.upstream.faults.add(
        answer_error(401, {"state": False, "error": "Unauthorized request: x"}), path=PAGE, count=None
    )
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (4, 1)
    harness.upstream.faults.clear()
    again = harness.night(ONE)
    assert (again.exit_code, again.units) == (0, 3)


def test_fault_a3_one_account_that_is_refused_fails_alone(harness: ArchiveHarness) -> None:
    """403 without a known reason: asked once, recorded with what the API said, and the other account is
    whole; code 3.
    """
    harness.upstream.faults.add(answer_error(403, REFUSED), **tray(0), count=None)
    summary = harness.night(ONE, TWO)
    assert summary.exit_code == 3
    assert [(f.subject, f.subject_pk, f.reason, f.detail) for f in summary.failures] == [
        ("target", ONE, "upstream", "403: no")
    ]
    assert attempts(harness, ONE) == [(403, 1)]
    assert harness.one("select count(*) from highlights where completed_at is not null") == 2
    assert harness.one("select count(*) from users where verdict is not null") == 0


def test_fault_a4_a_refused_key_costs_a_few_calls_however_long_the_list(harness: ArchiveHarness) -> None:
    """Every account answers 403 without a reason: the run stops with code 4, although the free balance call
    succeeded.
    """
    harness.environ["ARCHIVER_API_REQUESTS_PER_SECOND"] = ""
    harness.upstream.settings.rate = 1000
    harness.upstream.faults.add(answer_error(403, REFUSED), path="/v1/user/", count=None)
    summary = harness.night(*everybody())
    assert summary.exit_code == 4
    assert "refused the first 3 accounts" in summary.message
    assert summary.hint == "check the key and what its plan allows"
    assert summary.api_calls <= 3 + 3  # three workers may be at an account of their own meanwhile


def test_fault_a4_private_accounts_are_no_sign_of_a_refused_key(harness: ArchiveHarness) -> None:
    """Ten private accounts come first in the list: each is a fact, and the one that is public is kept."""
    harness.environ["ARCHIVER_API_PRIVACY_CHECK"] = "true"
    for number in range(10):
        harness.upstream.faults.add(answer_error(403, PRIVATE), **tray(number), count=None)
    summary = harness.night(*everybody(11))
    assert summary.exit_code == 0
    assert harness.one("select count(*) from highlights where completed_at is not null") == 2


def test_fault_a4_after_one_success_refusals_are_the_accounts_own(harness: ArchiveHarness) -> None:
    """The key has served once tonight: five refused accounts are five failures, and the last account is kept;
    code 3.
    """
    served = threading.Event()
    harness.upstream.faults.add(
        path=PAGE, before=lambda _: served.set()
    )  # so the tray before it was an answer

    def after_it(_: object) -> None:
        assert served.wait(5)

    for number in range(1, 6):
        harness.upstream.faults.add(answer_error(403, REFUSED), **tray(number), count=None, before=after_it)
    summary = harness.night(*everybody(7))
    assert (summary.exit_code, len(summary.failures)) == (3, 5)
    assert harness.one("select count(*) from highlights where completed_at is not null") == 4


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


def test_fault_a7_a_request_that_is_called_wrong_is_not_repeated(harness: ArchiveHarness) -> None:
    """One attempt; what the API says of it is kept short and without control characters; the other account is
    whole, code 3.
    """
    wrong: list[tuple[int, Json, int]] = [
        (422, {"detail": [{"loc": ["query", "user_id"], "msg": "not\x1b[2J valid", "type": "t"}]}, 0),
        (400, {"detail": "user_id: not\x1b[2J valid " + "x" * 500, "exc_type": "ValidationError"}, 1),
    ]
    for number, (status, body, _) in enumerate(wrong):
        harness.upstream.faults.add(answer_error(status, body), **tray(number), count=None)
    summary = harness.night(*everybody(len(wrong) + 1))
    assert summary.exit_code == 3
    for number, (status, _, units) in enumerate(wrong):
        pk = account_pk(number)
        assert attempts(harness, pk) == [(status, units)]
        detail = str(harness.one("select detail from failures where subject_pk = ?", pk))
        assert "user_id" in detail
        assert "not [2J valid" in detail
        assert len(detail) <= 200
    assert harness.one("select count(*) from highlights where completed_at is not null") == 2


def test_fault_a34_a_redirect_is_never_followed(harness: ArchiveHarness) -> None:
    """Code 7 that says why; the host that it names sees no connection, let alone the key; one call each, 0
    units.
    """
    statuses = [301, 302, 307, 308]
    with FaultyStandIn() as other:
        for number, status in enumerate(statuses):
            elsewhere = actions.redirect(other.base_url + TRAY, status)
            harness.upstream.faults.add(elsewhere, **tray(number), count=None)
        summary = harness.night(*everybody(4))
        assert list(other.requests.api_calls()) == []
    assert (summary.exit_code, summary.units, summary.api_calls) == (7, 0, 4)
    assert {f.detail for f in summary.failures} == {
        f"{status}: a redirect, which is not followed" for status in statuses
    }


def test_fault_a34_nor_to_itself_nor_to_nowhere(harness: ArchiveHarness) -> None:
    """A redirect to the same path, to another scheme or without a ``Location`` is the end of that call,
    too.
    """
    places = ["/v1/user/highlights", "https://127.0.0.1:1/", "", None]
    for number, place in enumerate(places):
        harness.upstream.faults.add(actions.redirect(place), **tray(number), count=None)
    summary = harness.night(*everybody(4))
    assert (summary.exit_code, summary.units, summary.api_calls) == (7, 0, 4)


@pytest.mark.parametrize(
    "kind", ["refused", *(pytest.param(kind, marks=pytest.mark.whole) for kind in ("key", "outage"))]
)
def test_fault_b4_ten_thousand_accounts_cost_no_more_than_a_few(harness: ArchiveHarness, kind: str) -> None:
    """A bad key, a refusing plan or an outage under a list of 10,000: the calls stop after as many as for ten
    accounts.
    """
    if kind == "key":
        harness.upstream.key = "another-key-that-is-not-ours"
        harness.environ["HIKERAPI_TOKEN"] = "wrong-key-canary"
    else:
        fault = (
            answer_error(403, REFUSED)
            if kind == "refused"
            else answer_error(500, {"exc_type": "InternalError"})
        )
        harness.upstream.faults.add(fault, path="/v1/user/", count=None)
    summary = harness.night(*everybody(10_000))
    assert summary.exit_code == (7 if kind == "outage" else 4)
    assert summary.api_calls <= {"key": 4, "refused": 6, "outage": 24}[kind]
    assert summary.units == {"key": 0, "refused": summary.api_calls, "outage": 0}[kind]
    assert summary.units == harness.upstream.units
