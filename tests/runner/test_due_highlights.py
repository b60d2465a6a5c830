"""When a highlight is due and why, and when its sweep is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.query.account_state import FailureState, HighlightState
from archiver.errors import Reason
from archiver.media.egress import DownloadRules
from archiver.model.identity import Role
from archiver.model.upstream import TrayNumbers
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.due_highlights import (
    Why,
    is_title_wanted,
    next_fetch_at,
    next_sweep_at,
    sweep_interval,
    unmatched_globs,
    why_fetch,
)
from tests.support.states import (
    DAY,
    FACTS,
    HOUR,
    NOW,
    OTHER_FACTS,
    failed_file,
    highlight,
    lacking,
    missing_page,
)

QUIET = RunOptions(sweep_days=0)
MONTHLY = RunOptions(sweep_days=30)
LADDER = RunOptions(sweep_days=30, sweep_days_max=180)
RULES = DownloadRules.of(["*.cdn.example"], 1000)
REPAIR = RunOptions(repair=RepairScope(frozenset({"1"}), frozenset(), frozenset()))
TIMES = st.integers(1_577_836_800, 2_208_988_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
PKS = st.integers(1, 2**64).map(str)
UNREAD_PAGE = FailureState(None, Reason.MALFORMED, NOW + HOUR)
NO_PAGE = missing_page(NOW + HOUR)
OLD = {"fetched_at": NOW, "changed_at": NOW - 900 * DAY}


@pytest.mark.parametrize(
    ("state", "options", "expected"),
    [
        (highlight(), QUIET, None),
        (highlight(), RunOptions(full=True), Why.FULL),
        (highlight(fetched_at=None, completed_at=None), QUIET, Why.NEW),
        (highlight(fetched_numbers=OTHER_FACTS), QUIET, Why.CHANGED),
        (highlight(fetched_numbers=TrayNumbers(FACTS.latest_reel_media, 11)), QUIET, Why.CHANGED),
        (highlight(fetched_numbers=TrayNumbers(None, None)), QUIET, None),
        (highlight(completed_at=None), QUIET, Why.INCOMPLETE),
        (lacking(failed_file(NOW)), QUIET, Why.INCOMPLETE),
        (lacking(failed_file(NOW + HOUR)), QUIET, None),
        (lacking(failed_file(NOW + 31 * DAY)), QUIET, Why.INCOMPLETE),  # a wrong clock set that date
        (lacking(failed_file(NOW + HOUR), tried_at=None), QUIET, Why.INCOMPLETE),  # what a killed run left
        (lacking(), QUIET, Why.INCOMPLETE),  # another highlight brought the file
        (highlight(fetched_at=None, completed_at=None, failures=(NO_PAGE,)), QUIET, None),
        (lacking(UNREAD_PAGE, tried_at=None), QUIET, None),  # an unreadable page waits for its own date
        (highlight(fetched_numbers=OTHER_FACTS, failures=(NO_PAGE,)), QUIET, None),
        (lacking(failed_file(NOW + HOUR), fetched_numbers=OTHER_FACTS), QUIET, Why.CHANGED),
        (highlight(shrunk_to="half"), QUIET, Why.SHRUNK),
        # A stored answer would not confirm the loss.
        (highlight(shrunk_to="half", completed_at=None), QUIET, Why.SHRUNK),
        (highlight(shrunk_to="half", failures=(NO_PAGE,)), QUIET, None),
        (highlight(fetched_at=NOW - 31 * DAY), MONTHLY, Why.SWEEP),
        (highlight(fetched_at=NOW - 31 * DAY), QUIET, None),
        (highlight(), REPAIR, Why.LOST),
        (highlight(failures=(NO_PAGE,)), REPAIR, None),
        (highlight(pk="2", fetched_numbers=OTHER_FACTS), REPAIR, None),
    ],
)
def test_a_highlight_costs_a_unit_only_for_a_reason(
    state: HighlightState, options: RunOptions, expected: Why | None
) -> None:
    """New, changed, incomplete and due, swept, or asked for; a missing page hides a change, a missing file
    never.
    """
    assert why_fetch(state, options, NOW) is expected


@pytest.mark.parametrize(
    ("failure", "is_allowed"),
    [
        (FailureState(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="a.cdn.example"), True),
        (FailureState(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="cdn.example.evil.com"), False),
        (FailureState(Role.VIDEO, Reason.TOO_LARGE, size=1000), True),
        (FailureState(Role.VIDEO, Reason.TOO_LARGE, size=1001), False),
        (FailureState(Role.VIDEO, Reason.TOO_LARGE), False),  # an older version did not note the length
        (FailureState(Role.VIDEO, Reason.REFUSED), False),  # an unsafe link: no setting allows it
    ],
)
def test_what_a_setting_refused_is_due_once_the_setting_allows_it(
    failure: FailureState, is_allowed: bool
) -> None:
    """By the host or the length of the failure; beside another file's back-off too, and never by time."""
    options = RunOptions(sweep_days=0, rules=RULES)
    for failures in ((failure,), (failure, failed_file(NOW + HOUR))):
        expected = Why.INCOMPLETE if is_allowed else None
        assert why_fetch(lacking(*failures), options, NOW) is expected
    assert why_fetch(lacking(failure), QUIET, NOW) is None


def test_no_sweep_is_spent_while_a_host_is_not_allowed() -> None:
    """The sweep waits for the setting; a change does not, and neither do files over the size limit."""
    monthly, long_ago = RunOptions(sweep_days=30, rules=RULES), NOW - 31 * DAY
    host = FailureState(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="evil.com")
    large = FailureState(Role.VIDEO, Reason.TOO_LARGE, size=2000)
    assert why_fetch(lacking(host, fetched_at=long_ago), monthly, NOW) is None
    assert why_fetch(lacking(large, fetched_at=long_ago), monthly, NOW) is Why.SWEEP
    changed = lacking(host, fetched_at=long_ago, fetched_numbers=OTHER_FACTS)
    assert why_fetch(changed, monthly, NOW) is Why.CHANGED


def test_the_next_fetch_is_the_sweep_or_the_first_retry() -> None:
    """The sweep, or sooner the next try of a failure; that of the page alone if it was not found."""
    quiet = highlight()
    assert next_fetch_at(quiet, MONTHLY) == next_sweep_at("1", NOW - DAY, 30 * DAY)
    assert next_fetch_at(quiet, QUIET) is None
    soon = NOW + timedelta(minutes=1)
    assert next_fetch_at(lacking(failed_file(soon)), MONTHLY) == soon
    assert next_fetch_at(highlight(failures=(missing_page(NOW + 40 * DAY),)), MONTHLY) == NOW + 40 * DAY


@given(PKS, TIMES, st.floats(1, 400))
def test_a_turn_is_never_later_than_its_interval(pk: str, last: datetime, days: float) -> None:
    """A turn comes after the fetch and at most one interval later, at a phase fixed by the pk."""
    interval = timedelta(days=days)
    due = next_sweep_at(pk, last, interval)
    assert last < due + timedelta(milliseconds=1)
    assert due - last <= interval + timedelta(milliseconds=1)
    again = next_sweep_at(pk, due + timedelta(seconds=1), interval)
    assert abs(again - due - interval) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("days_unchanged", "expected"),
    [(0, 30), (29, 30), (31, 31), (100, 100), (179, 179), (180, 180), (900, 180), (-5, 30)],
)
def test_fault_e4_a_highlight_is_swept_the_more_seldom_the_longer_it_is_unchanged(
    days_unchanged: int, expected: int
) -> None:
    """The interval is as long as it had shown no change when it was fetched, from 30 to 180 days."""
    state = highlight(fetched_at=NOW, changed_at=NOW - days_unchanged * DAY)
    assert sweep_interval(state, NOW, LADDER) == expected * DAY
    due = next_sweep_at("1", NOW, expected * DAY)
    assert next_fetch_at(state, LADDER) == due
    assert why_fetch(state, LADDER, due - timedelta(seconds=1)) is None
    assert why_fetch(state, LADDER, due) is Why.SWEEP


@pytest.mark.parametrize(
    "state",
    [
        highlight(fetched_at=NOW),  # no item has a date
        highlight(lacks_items=True, **OLD),
        lacking(failed_file(None), **OLD),
        lacking(FailureState(Role.VIDEO, Reason.TOO_LARGE, size=2), **OLD),
    ],
)
def test_fault_e4_a_highlight_that_lacks_something_is_swept_at_the_shortest_interval(
    state: HighlightState,
) -> None:
    """An open failure, a gap, or fewer items than the tray counted: 30 days, however old it is."""
    assert sweep_interval(state, NOW, LADDER) == 30 * DAY


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(sweep_days=0, sweep_days_max=180), 0),
        (RunOptions(sweep_days=30, sweep_days_max=30), 30),
        (RunOptions(sweep_days=365, sweep_days_max=180), 365),
    ],
)
def test_fault_e4_the_settings_limit_the_interval(options: RunOptions, expected: int) -> None:
    """Zero is never, equal values give one interval for all, and the shortest one counts in any case."""
    for days in (0, 100, 900):
        state = highlight(fetched_at=NOW, changed_at=NOW - days * DAY)
        assert sweep_interval(state, NOW, options) == expected * DAY
        assert (next_fetch_at(state, options) is None) == (expected == 0)


def test_sweeps_are_spread_evenly() -> None:
    """A thousand highlights fetched in one night are not swept in one night again."""
    nights = [0] * 30
    for pk in range(3000):
        due = next_sweep_at(str(10**17 + pk), NOW, 30 * DAY)
        nights[int((due - NOW) / timedelta(days=1))] += 1
    assert min(nights) > 50
    assert max(nights) < 160


def test_titles_are_chosen_by_globs_with_case() -> None:
    """``BOTW*`` chooses «BOTW 2026» and not «botw»; no glob chooses all, also what has no title."""
    assert is_title_wanted("BOTW 2026", ("BOTW*",))
    assert not is_title_wanted("botw", ("BOTW*",))
    assert is_title_wanted(None, ())
    assert not is_title_wanted(None, ("?*",))


def test_a_glob_that_matches_nothing_is_reported_with_the_title_it_may_mean() -> None:
    """None if no title is near; nothing is said of an account without highlights."""
    assert unmatched_globs(("botw*", "x", "B*"), ["BOTW 2026"]) == {"botw*": "BOTW 2026", "x": None}
    assert unmatched_globs(("x",), []) == {}
