"""Swaps that the tray cannot show: the sweep finds them, in drawn histories and in a run of 120 nights."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query.account_state import HighlightState, highlight_state
from archiver.catalog.query.holdings import PageBefore, page_before
from archiver.model.identity import Pk
from archiver.model.upstream import HighlightPage, TrayNumbers
from archiver.runner.absence import believed_gone
from archiver.runner.context import RunOptions
from archiver.runner.due_highlights import next_sweep_at, sweep_interval, why_fetch
from tests.support.api_faults import PAGE, account_pk
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import NATGEO, highlight, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NIGHT = timedelta(days=1)
NIGHTS = 760
HISTORIES = 20
LADDER = RunOptions(sweep_days=30, sweep_days_max=180)
MONTHLY = RunOptions(sweep_days=30, sweep_days_max=30)


@dataclass
class Swap:
    """One item taken out, and an older one put in, after the night ``since``; undone after ``until``.

    ``interval``: that of the sweep when it was made.
    """

    out: Pk
    into: Pk
    since: int
    until: int
    interval: timedelta
    is_found: bool = False

    @property
    def lasted(self) -> timedelta:
        """How long upstream showed it."""
        return (self.until - self.since) * NIGHT


@dataclass
class History:
    """A highlight of which some items are swapped and swapped back, one at a time, and some are added.

    ``items``: what upstream shows, and when each was posted. ``fetched_at``: when that was last fetched.
    ``changed_at``: when it last showed another item than at the fetch before, or when its newest item was
    posted, if that is later.
    """

    catalog: Catalog
    run_id: int
    pk: Pk
    dice: Random
    options: RunOptions
    items: dict[Pk, datetime] = field(default_factory=dict)
    swaps: list[Swap] = field(default_factory=list)
    fetches: int = 0
    fetched_at: datetime = NOW
    changed_at: datetime = NOW - 10_000 * NIGHT

    @property
    def interval(self) -> timedelta:
        """How long what it shows may stay unseen."""
        least, most = timedelta(days=self.options.sweep_days), timedelta(days=self.options.sweep_days_max)
        return min(max(self.fetched_at - self.changed_at, least), most)

    def live(self) -> None:
        """Let all nights pass."""
        newest = NOW - timedelta(days=self.dice.uniform(0, 730))
        for _ in range(self.dice.randint(4, 20)):
            self._post(newest - timedelta(days=self.dice.uniform(0, 300)))
        self._post(newest)
        self._list(NOW)
        swap: Swap | None = None
        next_swap = self.dice.randint(0, 60)
        next_post = self.dice.choice((self.dice.randint(30, NIGHTS), NIGHTS + 1))
        state = self._state()
        for night in range(NIGHTS):
            now = NOW + night * NIGHT
            if why_fetch(state, self.options, now) is not None:
                self._fetch(state, now)
                if swap is not None:
                    swap.is_found = True
                state = self._state()
            # What follows happens during the day, and is shown from the next night on.
            if swap is not None and night == swap.until:
                self.items[swap.out] = self.items.pop(swap.into)
                swap, next_swap = None, night + self.dice.randint(1, 90)
            if night == next_swap and swap is None:
                swap = self._swap(night)
            if night == next_post:
                self._post(now)
                self._list(now + NIGHT / 2)
                state = self._state()

    def _post(self, at: datetime) -> None:
        self.items[f"{self.pk}{len(self.items) + 2 * len(self.swaps):05}"] = at

    def _swap(self, night: int) -> Swap:
        newest = max(self.items, key=lambda pk: self.items[pk])
        out = self.dice.choice([pk for pk in self.items if pk != newest])
        into, until = f"{self.pk}9{len(self.swaps):04}", night + self.dice.randint(1, 300)
        swap = Swap(out, into, night, until, self.interval)
        self.items[into] = self.items.pop(out)
        if swap.until < NIGHTS:
            self.swaps.append(swap)
        return swap

    @property
    def _facts(self) -> TrayNumbers:
        return TrayNumbers(int(max(self.items.values()).timestamp()), len(self.items))

    def _list(self, now: datetime) -> None:
        shown = tray(highlight(self.pk, numbers=self._facts))
        self.catalog.write(record.record_tray, self.run_id, NATGEO.pk, shown, now)

    def _state(self) -> HighlightState:
        state = self.catalog.read(highlight_state, self.pk)
        assert state is not None
        return state

    def _fetch(self, state: HighlightState, now: datetime) -> None:
        items = tuple(video(pk, taken_at=self.items[pk], links=()) for pk in sorted(self.items))
        before: PageBefore = self.catalog.read(page_before, self.pk, self.run_id)
        gone, shrunk_to = believed_gone(before.items, [item.pk for item in items], before.shrunk_to)
        page = HighlightPage(highlight(self.pk, numbers=self._facts), items)
        numbers, write = state.numbers, self.catalog.write
        write(record.record_page, self.run_id, None, page, numbers, now, gone=gone, shrunk_to=shrunk_to)
        write(record.record_completion, self.pk, frozenset(), now)
        if self.fetches and set(before.items) != set(self.items):
            self.changed_at = now
        self.fetches, self.fetched_at = self.fetches + 1, now
        self.changed_at = max(self.changed_at, *self.items.values())
        assert set(self.catalog.read(page_before, self.pk, self.run_id).items) == set(self.items)
        assert sweep_interval(self._state(), now, self.options) == self.interval


@SQLITE_EVERYDAY
@pytest.mark.parametrize("options", [LADDER, MONTHLY], ids=["30 to 180 days", "30 days"])
def test_fault_e4_a_swap_that_lasts_longer_than_the_interval_is_found(
    catalog: Catalog, run_id: int, options: RunOptions
) -> None:
    """In twenty drawn histories of 760 nights. What was undone sooner may be missed, and is counted."""
    histories = [
        History(catalog, run_id, f"17{number:03}", Random(f"swaps {number}"), options)
        for number in range(HISTORIES)
    ]
    for history in histories:
        history.live()
    swaps = [swap for history in histories for swap in history.swaps]
    missed = [swap for swap in swaps if not swap.is_found]
    fetches = sum(history.fetches for history in histories)
    print(
        f"\n{options.sweep_days}/{options.sweep_days_max}: {len(swaps)} swaps, {len(missed)} missed; "
        f"{fetches} pages in {HISTORIES} histories of {NIGHTS} nights; the longest that was missed lasted "
        f"{max((swap.lasted for swap in missed), default=timedelta()).days} days"
    )
    assert len(swaps) > HISTORIES
    assert [swap for swap in missed if swap.lasted > swap.interval] == []


START = datetime(2027, 1, 20, 3, 0, tzinfo=UTC)
ACCOUNTS, HIGHLIGHTS = 5, 20


class Dated(ArchiveHarness):
    """An archive whose first night has a date of its own."""

    @property
    def now(self) -> datetime:
        """Three o'clock in the night, ``later`` by what a test adds."""
        return START + self.later


@pytest.mark.whole
def test_fault_e4_a_hundred_and_twenty_nights_follow_the_rule(tmp_path: Path) -> None:
    """Each page is paid for on the night of its turn, as the plan says, and a night costs what we promise."""
    world = EditableWorld.generate(ACCOUNTS, HIGHLIGHTS, 2)
    world.v1_page = world.v2_page = HIGHLIGHTS
    dice = Random("120 nights")
    changed_at = {}
    for account in world.accounts:
        for one in account.highlights:
            posted_at = int((START - timedelta(days=dice.uniform(0, 730))).timestamp())
            world.add_item(one.pk, taken_at=posted_at)
            changed_at[one.pk] = datetime.fromtimestamp(posted_at, UTC)
    swapped = dice.choice([pk for pk, at in changed_at.items() if timedelta(40) < START - at < timedelta(60)])
    names = [account_pk(number) for number in range(ACCOUNTS)]
    settings = {"ARCHIVER_SYNC_SWEEP_DAYS": "30", "ARCHIVER_SYNC_SWEEP_DAYS_MAX": "180"}
    with FaultyStandIn(world, balance=10**9) as upstream:
        harness = Dated(tmp_path / "archive", upstream, environ=settings)
        harness.night(*names)
        units, swap_found = [], None
        for night in range(1, 121):
            if night == 3:
                old = world.highlight(swapped).items[0]
                world.remove_item(swapped, old.pk)
                world.add_item(swapped, taken_at=old.taken_at)
            harness.later = night * NIGHT
            rows = harness.rows("select pk, fetched_at from highlights")
            fetched_at = {str(pk): datetime.fromisoformat(str(at)) for pk, at in rows}
            due = {
                pk
                for pk, at in fetched_at.items()
                if next_sweep_at(pk, at, min(max(at - changed_at[pk], 30 * NIGHT), 180 * NIGHT))
                <= harness.now
            }
            planned = harness.plan(*names)
            assert {job.pk for plan in planned for job in plan.highlights} == due
            units.append(harness.night(*names).units)
            assert {request.subject.highlight for request in upstream.requests.api_calls(PAGE)} == due
            assert units[-1] == sum(plan.units for plan in planned) == ACCOUNTS + len(due)
            if swapped in due and night >= 3 and swap_found is None:
                swap_found, changed_at[swapped] = night, harness.now
        price = sum(units) / len(units) / ACCOUNTS
        print(f"\n{price:.3f} units for an account and night; a swap after night 2 was found in {swap_found}")
        assert price <= 1.25
        assert swap_found is not None
        assert harness.one("select count(*) from changes where field = 'items'") == 2
