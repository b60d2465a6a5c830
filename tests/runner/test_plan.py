"""When a highlight is fetched, when its sweep is due, and when absence is evidence: the pure middle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import Reason
from archiver.media.egress import DownloadRules
from archiver.model.archived import HeldFailure, HeldHighlight
from archiver.model.identity import Role
from archiver.model.upstream import TrayFacts
from archiver.runner import plan
from archiver.runner.plan import Policy, Why

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
FACTS = TrayFacts(1_766_242_839, 12)
QUIET = Policy(sweep_days=0)
HOUR = timedelta(hours=1)
RULES = DownloadRules.of(["*.cdn.example"], 1000)
TIMES = st.integers(1_577_836_800, 2_208_988_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
PKS = st.integers(1, 2**64).map(str)


def held(**changes: object) -> HeldHighlight:
    """A highlight that is whole and quiet, with some fields changed."""
    fields: dict[str, object] = {
        "pk": "1",
        "title": "BOTW",
        "facts": FACTS,
        "fetched_facts": FACTS,
        "fetched_at": NOW - timedelta(days=1),
        "completed_at": NOW - timedelta(days=1),
    }
    return HeldHighlight(**(fields | changes))  # type: ignore[arg-type]


def lacking(*failures: HeldFailure, **changes: object) -> HeldHighlight:
    """A highlight whose page was worked through and that lacks files."""
    tried = NOW - timedelta(days=1)
    return held(**({"completed_at": None, "tried_at": tried, "failures": failures} | changes))


def of_file(next_try_at: datetime) -> HeldFailure:
    """A file that could not be downloaded."""
    return HeldFailure(Role.VIDEO, Reason.NETWORK, next_try_at)


UNREAD_PAGE = HeldFailure(None, Reason.MALFORMED, NOW + HOUR)
NO_PAGE = HeldFailure(None, Reason.NOT_FOUND, NOW + HOUR)


@pytest.mark.parametrize(
    ("highlight", "policy", "expected"),
    [
        (None, QUIET, Why.NEW),
        (held(), QUIET, None),
        (held(), Policy(full=True), Why.FULL),
        (held(fetched_at=None, completed_at=None), QUIET, Why.NEW),
        (held(fetched_facts=TrayFacts(1, 12)), QUIET, Why.CHANGED),
        (held(fetched_facts=TrayFacts(FACTS.latest_reel_media, 11)), QUIET, Why.CHANGED),
        (held(fetched_facts=TrayFacts(None, None)), QUIET, None),
        (held(completed_at=None), QUIET, Why.INCOMPLETE),
        (lacking(of_file(NOW)), QUIET, Why.INCOMPLETE),
        (lacking(of_file(NOW + HOUR)), QUIET, None),
        (lacking(of_file(NOW + HOUR), tried_at=None), QUIET, Why.INCOMPLETE),  # what a killed run left
        (lacking(), QUIET, Why.INCOMPLETE),  # another highlight brought the file
        (held(fetched_at=None, completed_at=None, failures=(NO_PAGE,)), QUIET, None),
        (
            lacking(UNREAD_PAGE, tried_at=None),
            QUIET,
            None,
        ),  # a page that cannot be read waits for its own date
        (held(fetched_facts=TrayFacts(1, 12), failures=(NO_PAGE,)), QUIET, None),
        (lacking(of_file(NOW + HOUR), fetched_facts=TrayFacts(1, 12)), QUIET, Why.CHANGED),
        (held(shrunk_to="half"), QUIET, Why.SHRUNK),
        (
            held(shrunk_to="half", completed_at=None),
            QUIET,
            Why.SHRUNK,
        ),  # a kept answer would be no second look
        (held(shrunk_to="half", failures=(NO_PAGE,)), QUIET, None),
        (held(fetched_at=NOW - timedelta(days=31)), Policy(sweep_days=30), Why.SWEEP),
        (held(fetched_at=NOW - timedelta(days=31)), QUIET, None),
    ],
)
def test_a_highlight_costs_a_unit_only_for_a_reason(
    highlight: HeldHighlight | None, policy: Policy, expected: Why | None
) -> None:
    """New, changed, incomplete and due, swept, or asked for in full; a back-off of one lost file never hides
    a change.
    """
    assert plan.why(FACTS, highlight, policy, NOW, "1") is expected


@pytest.mark.parametrize(
    ("failure", "is_allowed"),
    [
        (HeldFailure(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="a.cdn.example"), True),
        (HeldFailure(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="cdn.example.evil.com"), False),
        (HeldFailure(Role.VIDEO, Reason.TOO_LARGE, size=1000), True),
        (HeldFailure(Role.VIDEO, Reason.TOO_LARGE, size=1001), False),
        (HeldFailure(Role.VIDEO, Reason.TOO_LARGE), False),  # an older version did not note the length
        (HeldFailure(Role.VIDEO, Reason.REFUSED), False),  # an unsafe link: no setting allows it
    ],
)
def test_what_a_setting_refused_is_due_once_the_setting_allows_it(
    failure: HeldFailure, is_allowed: bool
) -> None:
    """By the host or the length that the failure keeps; beside another file's back-off too, and never by
    time.
    """
    policy = Policy(sweep_days=0, rules=RULES)
    waiting = of_file(NOW + HOUR)
    for failures in ((failure,), (failure, waiting)):
        expected = Why.INCOMPLETE if is_allowed else None
        assert plan.why(FACTS, lacking(*failures), policy, NOW, "1") is expected
    assert plan.why(FACTS, lacking(failure), QUIET, NOW, "1") is None


def test_no_sweep_is_spent_while_a_host_is_not_allowed() -> None:
    """The sweep waits for the setting; a change of the tray's numbers does not, and neither do files over the
    size limit.
    """
    monthly, long_ago = Policy(sweep_days=30, rules=RULES), NOW - timedelta(days=31)
    host = HeldFailure(Role.VIDEO, Reason.HOST_NOT_ALLOWED, host="evil.com")
    large = HeldFailure(Role.VIDEO, Reason.TOO_LARGE, size=2000)
    assert plan.why(FACTS, lacking(host, fetched_at=long_ago), monthly, NOW, "1") is None
    assert plan.why(FACTS, lacking(large, fetched_at=long_ago), monthly, NOW, "1") is Why.SWEEP
    changed = lacking(host, fetched_at=long_ago, fetched_facts=TrayFacts(1, 12))
    assert plan.why(FACTS, changed, monthly, NOW, "1") is Why.CHANGED


@given(PKS, TIMES, st.integers(1, 400))
def test_a_sweep_is_never_later_than_its_period(pk: str, fetched_at: datetime, days: int) -> None:
    """The sweep comes after the fetch and at most ``sweep_days`` later, at a phase fixed by the pk."""
    due = plan.sweep_at(pk, fetched_at, days)
    assert fetched_at < due + timedelta(milliseconds=1)
    assert due - fetched_at <= timedelta(days=days, milliseconds=1)
    again = plan.sweep_at(pk, due + timedelta(seconds=1), days)
    assert abs(again - due - timedelta(days=days)) < timedelta(milliseconds=1)


def test_sweeps_are_spread_evenly() -> None:
    """A thousand highlights fetched in one night are not swept in one night again."""
    nights = [0] * 30
    for pk in range(3000):
        due = plan.sweep_at(str(10**17 + pk), NOW, 30)
        nights[int((due - NOW) / timedelta(days=1))] += 1
    assert min(nights) > 50
    assert max(nights) < 160


@given(st.sets(PKS, max_size=12), st.sets(PKS, max_size=12))
def test_mass_removal_is_believed_only_the_second_time(present: set[str], seen: set[str]) -> None:
    """Losing more than half is remembered first and believed when the next list says the same; less is
    believed at once.
    """
    absent = present - seen
    gone, mark = plan.believed_gone(present, seen, None)
    if len(absent) * 2 > len(present):
        assert gone == ()
        assert mark is not None
        assert plan.believed_gone(present, seen, mark) == (tuple(sorted(absent)), None)
        assert plan.believed_gone(present, seen, "something else") == ((), mark)
    else:
        assert (set(gone), mark) == (absent, None)


def test_titles_are_chosen_by_globs_with_case() -> None:
    """``BOTW*`` chooses «BOTW 2026» and not «botw»; no glob chooses all, also what has no title."""
    assert plan.matches("BOTW 2026", ("BOTW*",))
    assert not plan.matches("botw", ("BOTW*",))
    assert plan.matches(None, ())
    assert not plan.matches(None, ("?*",))


def test_a_plan_keeps_the_order_of_the_tray() -> None:
    """Jobs come in the tray's order, each at one unit, and carry the tray's facts."""
    entries = [held(pk="3"), held(pk="1"), held(pk="2")]
    jobs = plan.make(entries, {"1": held(pk="1")}, QUIET, NOW)
    assert [(job.pk, job.reason, job.units, job.facts) for job in jobs] == [
        ("3", Why.NEW, 1, FACTS),
        ("2", Why.NEW, 1, FACTS),
    ]
