"""Each night looks for a sixteenth of the blobs, and no blob waits longer than 16 days."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.blobs.store import BlobStore
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.runner.decide import DAYS, digits_due
from tests.support.api_faults import TRAY
from tests.support.archive_harness import ArchiveHarness
from tests.support.host_faults import blobs, run
from tests.support.standin.faulty_standin import FaultyExchange, paid_calls
from tests.support.states import DAY, NOW

pytestmark = pytest.mark.world(accounts=1, highlights=2, items=8, archived="account0000")

ACCOUNT = "account0000"
ALL = "0123456789abcdef"
CLOCK = st.builds(
    datetime.combine,
    st.dates(date(2020, 1, 1), date(2039, 1, 1)),
    st.times(),
    st.just(NOW.tzinfo),
)


def test_a_night_has_one_turn_and_sixteen_nights_have_all() -> None:
    """With a run each night, each looks for one digit; the second run of a day looks for it again."""
    nights = [digits_due(NOW + (n - 1) * DAY, NOW + n * DAY) or "" for n in range(DAYS)]
    assert sorted(nights) == list(ALL)
    assert digits_due(NOW, NOW) == digits_due(NOW - DAY, NOW)


@given(start=CLOCK, breaks=st.lists(st.timedeltas(timedelta(0), timedelta(days=20)), max_size=40))
def test_on_whatever_days_runs_are_made_no_turn_is_missed(start: datetime, breaks: list[timedelta]) -> None:
    """At a run, every blob has been looked for since midnight 16 days earlier, by this run at the latest."""
    looked_for: dict[str, datetime] = {}
    last: datetime | None = None
    now = start
    for pause in (timedelta(0), *breaks):
        now += pause
        due = digits_due(last, now)
        looked_for |= dict.fromkeys(ALL if due is None else due, now)
        last = now
        midnight = datetime.combine(now, time(), now.tzinfo)
        assert sorted(looked_for) == list(ALL)
        assert min(looked_for.values()) >= midnight - (DAYS - 1) * DAY


@pytest.mark.parametrize("listed_at", [None, NOW - DAYS * DAY, NOW + DAY])
def test_without_a_credible_date_all_turns_have_come(listed_at: datetime | None) -> None:
    """Never listed, listed too long ago, or listed in the future by a wrong clock."""
    assert digits_due(listed_at, NOW) is None


def test_one_that_is_missing_at_its_turn_makes_the_run_look_for_all(harness: ArchiveHarness) -> None:
    """Both lost files are back the same night, though it is the turn of one only."""
    first, second = two_blobs(harness)
    harness.sleep_until_turn(first.name)
    harness.night(ACCOUNT)
    first.unlink()
    second.unlink()
    assert run(harness, ACCOUNT)[0] == 0
    assert first.exists()
    assert second.exists()


@pytest.mark.whole
def test_fault_h31_a_lost_file_is_back_within_sixteen_nights(harness: ArchiveHarness) -> None:
    """Its turn comes once in 16 nights; the nights before do not look for it."""
    lost, _ = two_blobs(harness)
    harness.sleep_until_turn(lost.name)
    harness.night(ACCOUNT)
    lost.unlink()
    nights = 0
    while not lost.exists():
        harness.sleep(days=1)
        assert harness.night(ACCOUNT).exit_code == 0
        nights += 1
    assert nights == DAYS


@pytest.mark.parametrize(
    "days", [*(pytest.param(days, marks=pytest.mark.whole) for days in (2, 4, 8, 20)), 16]
)
def test_fault_h31_runs_with_days_between_them_make_up_for_missed_turns(
    harness: ArchiveHarness, days: int
) -> None:
    """The turn fell on a day without a run: the next run looks for the file."""
    lost, _ = two_blobs(harness)
    harness.sleep_until_turn(lost.name)
    harness.sleep(days=DAYS - 1)  # its turn is tomorrow
    harness.night(ACCOUNT)
    lost.unlink()
    harness.sleep(days=days)
    assert harness.night(ACCOUNT).exit_code == 0
    assert lost.exists()


@pytest.mark.parametrize("option", ["full", pytest.param("lists", marks=pytest.mark.whole)])
def test_a_full_run_looks_for_all_and_so_does_a_list_of_exact_prices(
    harness: ArchiveHarness, option: str
) -> None:
    """``--full`` has the file back at once; ``plan --list`` states its price, which is then the true one."""
    other, lost = two_blobs(harness)
    harness.sleep_until_turn(other.name)
    harness.night(ACCOUNT)
    lost.unlink()
    since = harness.now
    assert harness.night(ACCOUNT, full=option == "full", lists=option == "lists").exit_code == 0
    if option == "lists":
        (plan,) = harness.plan(ACCOUNT, since=since)
        assert (plan.is_exact, len(plan.highlights)) == (True, 1)
        assert harness.night(ACCOUNT).units == plan.units
    assert lost.exists()


def test_a_turn_counts_only_if_it_was_finished(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends while it looks for the files of its turn, before it pays for the tray: the next day's run
    looks for them too.
    """
    _, lost = two_blobs(harness)  # a run begins by looking for the first
    harness.sleep_until_turn(lost.name)
    harness.sleep(days=DAYS - 1)
    harness.night(ACCOUNT)
    harness.sleep_until_turn(lost.name)
    lost.unlink()
    has = BlobStore.has

    def fail(store: BlobStore, digest: Digest) -> bool:
        if digest == lost.name:
            raise StorageError("the disk fails")
        return has(store, digest)

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "has", fail)
        spent = harness.one("select sum(units) from api_calls")
        assert run(harness, ACCOUNT)[0] == 8
        assert harness.one("select sum(units) from api_calls") == spent
    harness.sleep(days=1)
    assert run(harness, ACCOUNT)[0] == 0
    assert lost.exists()


def test_a_turn_that_begins_while_the_tray_is_listed_is_not_missed(harness: ArchiveHarness) -> None:
    """Midnight passes between the search for files and the answer: the tray is recorded with the new day."""
    _, lost = two_blobs(harness)
    harness.sleep_until_turn(lost.name)
    harness.sleep(days=DAYS - 1)  # its turn is tomorrow
    harness.night(ACCOUNT)
    lost.unlink()

    def pass_midnight(exchange: FaultyExchange) -> None:
        harness.sleep(days=1)
        exchange.deliver()

    harness.upstream.faults.add(pass_midnight, path=TRAY)
    assert harness.night(ACCOUNT).exit_code == 0
    assert lost.exists()


def test_with_few_units_a_file_lost_at_its_turn_is_fetched_without_a_new_tray(
    harness: ArchiveHarness,
) -> None:
    """One unit is left: it is spent on the highlight of the lost file."""
    lost = path_of(harness, str(harness.one("select sha256 from files where role = 'thumbnail' limit 1")))
    harness.night(ACCOUNT)
    lost.unlink()
    harness.sleep_until_turn(lost.name)
    harness.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    harness.night(ACCOUNT)
    assert lost.exists()
    assert not any(call.path == "/v1/user/highlights" for call in paid_calls(harness.upstream.requests))


def path_of(harness: ArchiveHarness, sha256: str) -> Path:
    """Return where a blob is."""
    return harness.root / "blobs" / sha256[:2] / sha256


def two_blobs(harness: ArchiveHarness) -> tuple[Path, Path]:
    """Two blobs whose turns are on different days."""
    first, *others = sorted(blobs(harness))
    return path_of(harness, first), path_of(harness, next(d for d in others if d[0] != first[0]))
