"""Retry or stop, and how long."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import retry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NIGHT_SHORT = timedelta(hours=3)


@pytest.mark.parametrize(
    ("attempt", "least", "most"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (5, 8, 16), (9, 15, 30)]
)
def test_waits_double_and_end_at_thirty_seconds(attempt: int, least: float, most: float) -> None:
    """1, 2, 4 … 30 seconds, of which chance takes up to half."""
    assert retry.backoff(attempt, lambda: 0.0) == least
    assert retry.backoff(attempt, lambda: 1.0) == most


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True), st.floats(0.01, 10))
def test_a_wait_is_always_short_and_never_nothing(attempt: int, chance: float, base: float) -> None:
    """However often something failed, the wait is above 0 and at most 30 s."""
    assert 0 < retry.backoff(attempt, lambda: chance, base) <= 30


@pytest.mark.parametrize(("value", "seconds"), [("2", 2.0), (" 2.5 ", 2.5), ("0", 0.0), ("1e9", 1e9)])
def test_fault_a8_retry_after_in_seconds(value: str, seconds: float) -> None:
    """The number that is stated, whoever judges it."""
    assert retry.parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 13:01:00 +0100", 60.0),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 60.0),
        ("Sat, 28 Feb 2026 12:00:00 GMT", 0.0),
    ],
)
def test_fault_a9_retry_after_as_a_date(value: str, seconds: float) -> None:
    """Counted from now, in any zone; a past date is 0."""
    assert retry.parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "nan",
        "inf",
        "-inf",
        "-5",
        "1e999",
        "1_000",
        "１２",
        "abc",
        "Sun, 99 Mar 2026 12:01:00 GMT",
    ],
)
def test_fault_a10_nonsense_in_retry_after_says_nothing(value: str | None) -> None:
    """What is no finite number of seconds from 0 and no date is nothing usable."""
    assert retry.parse_retry_after(value, NOW) is None


@given(st.text() | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} \d\d:\d\d:\d\d [+-]\d{1,6}", fullmatch=True))
def test_fault_a10_no_header_breaks_it(value: str) -> None:
    """Any text gives a finite number of seconds from 0, or nothing."""
    found = retry.parse_retry_after(value, NOW)
    assert found is None or (math.isfinite(found) and found >= 0)


@given(st.integers(-(10**9), 10**10))
def test_any_http_date_is_counted_from_now(seconds: int) -> None:
    """The wait ends at the second that was stated, or at once."""
    stated = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry.parse_retry_after(stated, NOW) == max(0.0, float(seconds))


def test_a_failed_thing_is_due_at_once_twice_and_then_ever_more_rarely() -> None:
    """After the first and second failed run at once, then after 1, 3, 7, 30 and again 30 nights."""
    days = [(retry.next_try(n, NOW) - NOW) for n in range(9)]
    assert days[:3] == [timedelta(0)] * 3
    assert [d + NIGHT_SHORT for d in days[3:]] == [timedelta(days=n) for n in (1, 3, 7, 30, 30, 30)]


def test_an_account_s_verdict_is_asked_again_ever_more_rarely() -> None:
    """After 1, 3, 7, 14, 30 and again 30 nights."""
    days = [retry.next_check(n, NOW) - NOW + NIGHT_SHORT for n in range(1, 8)]
    assert days == [timedelta(days=n) for n in (1, 3, 7, 14, 30, 30, 30)]
    assert retry.next_check(0, NOW) == retry.next_check(1, NOW)


@given(st.integers(0, 10**9), st.integers(-3600, 3600))
def test_one_night_means_the_next_run(count: int, drift: int) -> None:
    """A run that starts up to an hour early or late tomorrow finds «1 day» due, and no sooner than this
    night's end.
    """
    tomorrow = NOW + timedelta(days=1, seconds=drift)
    assert NOW + timedelta(hours=12) < retry.next_try(3, NOW) <= tomorrow
    assert retry.next_try(count, NOW) <= retry.next_try(count + 1, NOW)
    assert retry.next_check(count, NOW) <= retry.next_check(count + 1, NOW)
