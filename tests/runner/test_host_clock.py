"""A clock that is wrong costs a few units at most, and nothing is passed over once it is right again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver.model.identity import utcnow
from tests.support.archive_harness import ArchiveHarness
from tests.support.host_faults import assert_sound

pytestmark = pytest.mark.world(accounts=1, highlights=2, items=1)

ACCOUNT = "account0000"
UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"


@pytest.fixture
def harness(harness: ArchiveHarness) -> ArchiveHarness:
    """Upstream's clock is right, whatever that of the archive says."""
    harness.upstream.settings.clock = lambda: utcnow().timestamp()
    return harness


def test_fault_h18_a_clock_that_is_behind_changes_nothing(harness: ArchiveHarness) -> None:
    """A year behind from the first night on: all is kept, quiet nights cost a unit, and so they do when it is
    right again.
    """
    harness.later = -timedelta(days=365)
    assert (harness.night(ACCOUNT).exit_code, harness.one(UNHELD)) == (0, 0)
    for later in (harness.later + timedelta(days=1), timedelta()):
        harness.later = later
        summary = harness.night(ACCOUNT)
        assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "30"
    assert harness.night(ACCOUNT).units == 3  # the sweep, once
    assert harness.night(ACCOUNT).units == 1


def test_fault_h18_a_clock_that_is_ahead_refreshes_no_link_without_end(harness: ArchiveHarness) -> None:
    """A year ahead every link seems expired: each page is renewed once a night, under the usual back-off;
    nothing false is kept. Due dates a year away are nobody's: with the clock right again the next night keeps
    everything.
    """
    harness.later = timedelta(days=365)
    units = []
    for _ in range(6):
        summary = harness.night(ACCOUNT)
        assert summary.exit_code in (0, 3)
        assert harness.upstream.requests.cdn_requests() == []
        units.append(summary.units)
        harness.later += timedelta(days=1)
    assert max(units) <= 6
    assert units[-1] == 1
    assert harness.one("select count(*) from highlights where completed_at is not null") == 0
    harness.later = timedelta()
    assert (harness.night(ACCOUNT).exit_code, harness.one(UNHELD)) == (0, 0)
    assert harness.one("select count(*) from failures where resolved_at is null") == 0
    assert harness.night(ACCOUNT).units == 1


@pytest.mark.parametrize("days", [pytest.param(-365, marks=pytest.mark.whole), 365])
def test_fault_h18_a_clock_that_jumps_in_mid_run_ends_no_wait_and_loses_nothing(
    harness: ArchiveHarness, days: int
) -> None:
    """Waits and deadlines are monotonic: the run goes on; what a jump ahead makes look expired is kept the
    next night.
    """

    def jump(_: object) -> None:
        harness.later = timedelta(days=days)

    harness.upstream.faults.add(listener="cdn", nth=2, before=jump)
    assert harness.night(ACCOUNT).exit_code in (0, 3)
    assert_sound(harness)
    harness.later = timedelta()
    assert (harness.night(ACCOUNT).exit_code, harness.one(UNHELD)) == (0, 0)
