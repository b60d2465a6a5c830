"""How long the units last: the recent rate, and what follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.model.api_calls import RECENT_NIGHTS, nights_left, units_per_night

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
RUNS = st.lists(
    st.tuples(
        st.integers(-5 * 1_440, 40 * 1_440).map(lambda minutes: NOON - timedelta(minutes=minutes)),
        st.integers(0, 10_000),
    )
)


def on(*units: int) -> list[tuple[datetime, int]]:
    """A run for each of these units, a day apart, the last one now."""
    return [(NOON - timedelta(days=len(units) - 1 - n), spent) for n, spent in enumerate(units)]


@pytest.mark.parametrize(
    ("runs", "rate"),
    [
        ([], None),
        (on(0, 0, 0), 0),
        (on(48), 48),
        (on(2_000, 48, 50, 46, 48), 48),  # a first night moves it little
        (on(3, 4), 4),  # rounded up
        ([*on(10, 10), (NOON - timedelta(hours=1), 30)], 25),  # two runs of one day are one night
        ([(NOON - RECENT_NIGHTS - timedelta(seconds=1), 7)], None),
        ([(NOON + timedelta(seconds=1), 7)], None),  # a clock that was ahead
    ],
)
def test_the_rate_is_the_median_day_of_the_last_thirty(
    runs: list[tuple[datetime, int]], rate: int | None
) -> None:
    """Days without a run do not count, nor what is older."""
    assert units_per_night(runs, NOON) == rate


@pytest.mark.parametrize(
    ("units", "rate", "left"),
    [(100, 48, 2), (95, 48, 1), (0, 48, 0), (-5, 48, 0), (100, 0, None), (100, None, None)],
)
def test_nights_are_whole_ones(units: int, rate: int | None, left: int | None) -> None:
    """A balance that is spent lasts none; where a night costs nothing, or nobody knows what, there is no
    number.
    """
    assert nights_left(units, rate) == left


@given(RUNS, st.integers(-10_000, 10**12))
def test_the_rate_lies_between_the_days_and_the_nights_can_be_paid(
    runs: list[tuple[datetime, int]], units: int
) -> None:
    """Whatever was run: between the cheapest and the dearest day, whatever order the runs come in; so many
    nights, and not one more.
    """
    rate = units_per_night(runs, NOON)
    recent: dict[object, int] = {}
    for at, spent in runs:
        if NOON - RECENT_NIGHTS <= at <= NOON:
            recent[at.date()] = recent.get(at.date(), 0) + spent
    if rate is None:
        assert not recent
        assert nights_left(units, rate) is None
        return
    assert min(recent.values()) <= rate <= max(recent.values())
    assert units_per_night(reversed(runs), NOON) == rate
    left = nights_left(units, rate)
    if left is None:
        assert rate == 0
    else:
        assert left * rate <= max(0, units) < (left + 1) * rate
