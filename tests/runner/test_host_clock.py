"""A clock that is wrong costs a few units at most, and nothing is passed over once it is right again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.model.identity import utcnow
from archiver.sandbox import StandIn, World
from tests.support.archive_harness import House
from tests.support.host_faults import assert_sound

ACCOUNT = "account0000"
UNHELD = "select count(*) from items i where not exists (select 1 from files f where f.item_pk = i.pk)"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An archive of one account with two highlights. Upstream's clock is right, whatever that of the house says."""
    with StandIn(World.generated(1, 2, 2)) as upstream:
        house = House(tmp_path / "archive", upstream)
        upstream.settings.clock = lambda: utcnow().timestamp()
        yield house


def test_fault_h18_a_clock_that_is_behind_changes_nothing(house: House) -> None:
    """A year behind from the first night on: all is kept, quiet nights cost a unit, and so they do when it is right again."""
    house.later = -timedelta(days=365)
    assert (house.night(ACCOUNT).exit_code, house.one(UNHELD)) == (0, 0)
    for later in (house.later + timedelta(days=1), timedelta()):
        house.later = later
        summary = house.night(ACCOUNT)
        assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)
    house.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "30"
    assert house.night(ACCOUNT).units == 3  # the sweep, once
    assert house.night(ACCOUNT).units == 1


def test_fault_h18_a_clock_that_is_ahead_refreshes_no_link_without_end(house: House) -> None:
    """A year ahead every link seems expired: each page is renewed once a night, under the usual back-off; nothing false is kept."""
    house.later = timedelta(days=365)
    units = []
    for _ in range(6):
        summary = house.night(ACCOUNT)
        assert summary.exit_code in (0, 3)
        assert house.upstream.requests.cdn_requests() == []
        units.append(summary.units)
        house.later += timedelta(days=1)
    assert max(units) <= 6
    assert units[-1] == 1
    assert house.one("select count(*) from highlights where completed_at is not null") == 0


def test_fault_h18_what_failed_under_a_clock_ahead_is_had_once_it_is_right(house: House) -> None:
    """Due dates a year away are nobody's: with the clock right again the next night keeps everything."""
    house.later = timedelta(days=365)
    for _ in range(4):
        house.night(ACCOUNT)
        house.later += timedelta(days=1)
    house.later = timedelta()
    assert (house.night(ACCOUNT).exit_code, house.one(UNHELD)) == (0, 0)
    assert house.one("select count(*) from failures where resolved_at is null") == 0
    assert house.night(ACCOUNT).units == 1


@pytest.mark.parametrize("days", [-365, 365])
def test_fault_h18_a_clock_that_jumps_in_mid_run_ends_no_wait_and_loses_nothing(
    house: House, days: int
) -> None:
    """Waits and deadlines are monotonic: the run goes on; what a jump ahead makes look expired is kept the next night."""

    def jump(_: object) -> None:
        house.later = timedelta(days=days)

    house.upstream.faults.add(listener="cdn", nth=2, before=jump)
    assert house.night(ACCOUNT).exit_code in (0, 3)
    assert_sound(house)
    house.later = timedelta()
    assert (house.night(ACCOUNT).exit_code, house.one(UNHELD)) == (0, 0)
