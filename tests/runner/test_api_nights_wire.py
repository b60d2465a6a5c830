"""Nights on which the API's connections fail: what is tried again, what counts as billed, and how the night
ends.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_faults import Waits, account_pk, attempts, skip_waits, tray
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ONE, TWO = account_pk(0), account_pk(1)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and six accounts with a highlight of one item each."""
    with FaultyStandIn(EditableWorld.generate(6, 1, 1)) as upstream:
        yield ArchiveHarness(tmp_path / "archive", upstream)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """No wait of these nights takes any time."""
    return skip_waits(monkeypatch)


def test_fault_a31_an_api_that_nobody_reaches_is_code_7_and_costs_nothing(harness: ArchiveHarness) -> None:
    """A refused connection: three attempts, each a row of 0 units; nothing was sent, and the reason is
    told.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harness.environ["ARCHIVER_API_BASE_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.outcome, summary.units) == (7, "upstream", 0)
    assert "refused" in summary.failures[0].detail
    assert attempts(harness, ONE) == [(None, 0)] * 3
    del harness.environ["ARCHIVER_API_BASE_URL"]
    assert harness.night(ONE).exit_code == 0


def test_fault_a31_a_name_that_does_not_resolve_is_code_7(harness: ArchiveHarness) -> None:
    """The reserved name ``.invalid`` has no address: told by name, tried three times, 0 units."""
    harness.environ["ARCHIVER_API_BASE_URL"] = "https://api.invalid"
    summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (7, 0)
    assert "the name api.invalid cannot be resolved" in summary.failures[0].detail
    assert attempts(harness, ONE) == [(None, 0)] * 3


def test_fault_a32_a_broken_exchange_is_asked_for_once_more_and_counts(harness: ArchiveHarness) -> None:
    """The night ends well; since the request was out it counts as billed, and never as less than upstream
    took.
    """
    breaks: list[tuple[Action, int]] = [
        (actions.reset(), 0),
        (actions.reset(after=20), 1),
        (actions.hang_up(), 0),
        (actions.raw(b"HTTP/1.1 200 OK\r\ncontent-"), 0),
        (actions.truncated(50), 1),
        (actions.lose(), 1),
    ]
    for number, (broken, _) in enumerate(breaks):
        harness.upstream.faults.add(broken, **tray(number))
    summary = harness.night(*map(account_pk, range(6)))
    assert summary.exit_code == 0
    for number in range(6):
        assert attempts(harness, account_pk(number)) == [(None, 1), (200, 1)]
    billed = sum(units for _, units in breaks)
    assert harness.upstream.units == summary.units - 6 + billed


def test_fault_a32_a_connection_that_was_closed_while_idle_costs_nothing(harness: ArchiveHarness) -> None:
    """The API closes its connection after every answer without a word: each call is made on a new one, none
    twice.
    """
    harness.environ["ARCHIVER_API_REQUESTS_PER_SECOND"] = "1000"  # the end is there before the next call
    harness.upstream.faults.add(actions.close_after(), listener="api", count=None)
    summary = harness.night(ONE, TWO)
    assert (summary.exit_code, summary.units) == (0, 4)
    assert harness.rows("select status, units from api_calls order by id") == [
        (200, 0),
        *[(200, 1)] * 4,
        (200, 0),
    ]


@pytest.mark.whole
def test_fault_a33_an_answer_that_drips_is_left_at_the_deadline(harness: ArchiveHarness) -> None:
    """A head and a body that come a byte at a time: each call ends after ``api.timeout``, is asked for once
    more, and the night ends well.
    """
    harness.environ["ARCHIVER_API_TIMEOUT"] = "1"
    harness.upstream.faults.add(actions.slow_head(), **tray(0))
    harness.upstream.faults.add(actions.drip(), **tray(1))
    summary = harness.night(ONE, TWO)
    assert summary.exit_code == 0
    assert attempts(harness, ONE) == attempts(harness, TWO) == [(None, 1), (200, 1)]


def test_fault_a35_what_is_no_http_passes_like_a_broken_connection(harness: ArchiveHarness) -> None:
    """A header of 200 kB, two lengths, another protocol: asked for once more, counted as billed, and the
    night ends well.
    """
    nonsense = [
        actions.headers({"x-big": "a" * 200_000}),
        actions.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 7\r\n\r\n[]"),
        actions.raw(b"220 mail.example ESMTP\r\n\r\n"),
    ]
    for number, action in enumerate(nonsense):
        harness.upstream.faults.add(action, **tray(number))
    assert harness.night(*map(account_pk, range(3))).exit_code == 0
    for number in range(3):
        assert attempts(harness, account_pk(number)) == [(None, 1), (200, 1)]


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
    with FaultyStandIn() as proxy:
        address = proxy.base_url.removeprefix("http://")
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2hunter2@{address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        harness.environ["ARCHIVER_API_BASE_URL"] = "https://api.invalid"
        summary = harness.night(ONE)
    assert (summary.exit_code, summary.units) == (7, 0)
    assert "hunter2" not in repr(summary) + repr(harness.events)
    for path in harness.root.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes()
