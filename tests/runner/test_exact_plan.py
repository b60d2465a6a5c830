"""``plan --list``: the trays are paid for, and then the price of the next run is known to the unit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from archiver.archive.archive import Archive
from archiver.model.events import HighlightRead
from archiver.model.target import Target, parse_target
from archiver.model.values import replace
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.forecast import AccountPlan
from tests.support.api_faults import PAGE, account_pk
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(accounts=3, highlights=4, items=1)

TRAY = "/v1/user/highlights"


class Still(ArchiveHarness):
    """An archive whose clock stands but for what a test adds: no sweep comes due between a plan and the run
    after it.
    """

    @property
    def now(self) -> datetime:
        """A day in spring, ``later`` by what a test adds."""
        return datetime(2026, 3, 1, tzinfo=UTC) + self.later


def exactly(harness: ArchiveHarness, names: list[str]) -> tuple[int, int]:
    """The price that a plan made now tells, and what a run costs right after it: no sweep may come due in
    between. Nothing is a guess.
    """
    since = harness.now
    listed = harness.night(*names, lists=True)
    assert listed.exit_code in (0, 6), listed
    assert harness.upstream.requests.api_calls(PAGE) == harness.upstream.requests.cdn_requests() == []
    plans = harness.plan(*names, since=since)
    assert [plan for plan in plans if not plan.is_exact] == []
    told = {plan.target: plan.units for plan in plans}
    harness.sleep(milliseconds=1)
    night = harness.night(*names)
    assert night.units == harness.upstream.units
    return sum(told.values()), night.units


EDITS: list[Callable[[EditableWorld, str, random.Random], object]] = [
    lambda world, account, dice: world.add_highlight(account, f"new {dice.random()}", 1),
    lambda world, account, dice: world.add_item(any_of(world, account, dice)),
    lambda world, account, dice: world.add_item(
        any_of(world, account, dice), "video", taken_at=1_600_000_000
    ),
    lambda world, account, dice: world.retitle(any_of(world, account, dice), f"called {dice.random()}"),
    lambda world, account, dice: world.remove_highlight(any_of(world, account, dice)),
    lambda world, account, dice: world.restore_highlight(any_of(world, account, dice)),
    lambda world, account, dice: world.lose_page(any_of(world, account, dice)),
    lambda world, account, dice: world.reorder_tray(account, [any_of(world, account, dice)]),
    lambda world, account, dice: world.rename(account, f"renamed{dice.randrange(10**9)}"),
    lambda world, account, dice: world.set_private(account),
    lambda world, account, dice: world.set_public(account),
    lambda world, account, dice: world.delete_account(account),
    lambda world, account, dice: world.restore_account(account),
    lambda world, account, dice: each(world, account, world.remove_highlight),
    lambda world, account, dice: each(world, account, world.restore_highlight),
]


def each(world: EditableWorld, account: str, edit: Callable[[str], object]) -> None:
    """One edit of all highlights of an account."""
    for highlight in world.account(account).highlights:
        edit(highlight.pk)


def any_of(world: EditableWorld, account: str, dice: random.Random) -> str:
    """The pk of one of an account's highlights."""
    return dice.choice([h.pk for h in world.account(account).highlights])


@pytest.mark.whole
def test_the_next_run_costs_what_a_plan_with_the_trays_said(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Round after round of edits of every kind, with sweeps and paged trays: to the unit.

    ``--whole``: 50 accounts of 20 highlights.
    """
    accounts, highlights, rounds = (50, 20, 20) if request.config.getoption("--whole") else (4, 4, 4)
    dice = random.Random(f"exact {accounts}")
    world = EditableWorld.generate(accounts, highlights, 1)
    world.v1_page = world.v2_page = highlights
    names = [account_pk(n) for n in range(accounts)]
    with FaultyStandIn(world, balance=10**9) as upstream:
        harness = Still(
            tmp_path / "archive",
            upstream,
            environ={"ARCHIVER_SYNC_SWEEP_DAYS": "4", "ARCHIVER_DOWNLOAD_COVERS": "false"},
        )
        prices = []
        for _ in range(rounds):
            prices.append(exactly(harness, names))
            for name in dice.sample(names, accounts // 2):
                dice.choice(EDITS)(world, name, dice)
            harness.sleep(days=1)
    assert [told for told, _ in prices] == [paid for _, paid in prices]
    assert len({paid for _, paid in prices}) > 1, "nothing was edited"


@pytest.mark.parametrize("is_first", [True, pytest.param(False, marks=pytest.mark.whole)])
def test_a_page_for_two_targets_has_one_price(harness: ArchiveHarness, is_first: bool) -> None:
    """A highlight beside its account, before or after it, on the first night and the next."""
    one = f"highlight:{harness.upstream.world.accounts[0].highlights[0].pk}"
    names = [one, "account0000"] if is_first else ["account0000", one]
    for _ in range(2):
        told, paid = exactly(harness, names)
        assert told == paid
        harness.sleep(days=1)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.whole)])
def test_what_a_plan_calls_exact_is_what_a_run_does(
    tmp_path: Path, request: pytest.FixtureRequest, seed: int
) -> None:
    """Whatever the state of the target and the options are: the same units, calls and stored answers."""
    dice = random.Random(f"same decision {seed}")
    world = EditableWorld.generate(4, 4, 1)
    world.v1_page, world.v2_page = 3, 2
    accounts = [account_pk(n) for n in range(4)]
    alone = f"highlight:{world.accounts[0].highlights[0].pk}"
    targets = [*accounts, "account0001", "account0002", "nobody.here", "4", alone]
    seen: set[tuple[bool, bool]] = set()
    with FaultyStandIn(world, balance=10**9) as upstream:
        harness = Still(tmp_path / "archive", upstream, environ={"ARCHIVER_SYNC_SWEEP_DAYS": "4"})
        harness.night(*accounts[:2])
        for number in range(200 if request.config.getoption("--whole") else 10):
            account = dice.choice(accounts)
            text = dice.choice([account, account, account, dice.choice(targets)])
            dice.choice(EDITS)(world, account, dice)
            harness.sleep(days=dice.choice((0, 0, 1, 4, 40)))
            with missing_files(upstream, account if dice.random() < 0.4 else None):
                plan, done = planned_and_done(harness, text, options(world, account, dice), dice)
            if plan.is_exact:
                planned = Done(
                    plan.units,
                    sorted(job.pk for job in plan.highlights if job.units),
                    sorted(job.pk for job in plan.highlights if not job.units),
                )
                assert planned == done, (number, text, plan)
            seen.add((plan.is_exact, bool(plan.highlights)))
    assert seen == {(True, True), (True, False), (False, True), (False, False)}


class Done(NamedTuple):
    """What a run paid for and read: units, highlights fetched by a call, and those that an answer served."""

    units: int
    fetched: list[str]
    served: list[str]


def planned_and_done(
    harness: ArchiveHarness, text: str, asked: RunOptions, dice: random.Random
) -> tuple[AccountPlan, Done]:
    """Return the plan of a target, often after its tray was listed, and what the run after it did."""
    target, since = parse_target(text), None
    if dice.random() < 0.7:
        since = harness.now
        run_with(harness, target, replace(asked, list_only=True, full=False, repair=None))
    with Archive(harness.config) as archive:
        (plan,) = archive.plan([target], options=asked, since=since, clock=lambda: harness.now)
    harness.sleep(milliseconds=1)
    limit = plan.units + 1 if plan.is_exact and dice.random() < 0.3 else None
    units = run_with(harness, target, asked, limit)
    last_run = "run_id = (select max(id) from runs)"
    rows = harness.rows(f"select subject from api_calls where path = ? and {last_run}", PAGE)
    served = [event.pk for event in harness.events if isinstance(event, HighlightRead) and not event.is_paid]
    return plan, Done(units, sorted(str(pk) for (pk,) in rows), sorted(served))


def run_with(harness: ArchiveHarness, target: Target, asked: RunOptions, max_units: int | None = None) -> int:
    """Run over one target and return the units."""
    harness.events.clear()
    with Archive(harness.config) as archive:
        return archive.run(
            [target],
            options=asked,
            max_units=max_units,
            observe=harness.events.append,
            clock=lambda: harness.now,
        ).units


def options(world: EditableWorld, account: str, dice: random.Random) -> RunOptions:
    """Return options of a run: often the usual ones, else full, insisting, listing only, or a repair."""
    lost = frozenset({any_of(world, account, dice), any_of(world, account, dice)})
    special = [
        {"full": True},
        {"ignore_backoff": True, "from_config": False},
        {"list_only": True},
        {"repair": RepairScope(lost, frozenset(), frozenset())},
    ]
    return RunOptions(**(dice.choice(special) if dice.random() < 0.4 else {}))  # type: ignore[arg-type]


@contextmanager
def missing_files(upstream: FaultyStandIn, account: str | None) -> Iterator[None]:
    """Let the CDN have no file of an account meanwhile."""
    if account is None:
        yield
        return
    fault = upstream.faults.add(actions.respond(404), listener="cdn", user=account, count=None)
    yield
    upstream.faults.remove(fault)


def test_a_plan_with_the_trays_is_a_run_of_its_own(harness: ArchiveHarness) -> None:
    """A row in ``runs``, the tray's history, a unit an account, and neither a page nor a file."""
    harness.night(account_pk(0))
    harness.upstream.world.retitle(next(iter(harness.upstream.world.accounts[0].highlights)).pk, "another")
    summary = harness.night(account_pk(0), lists=True)
    assert (summary.exit_code, summary.units, summary.highlights_fetched, summary.files_new) == (0, 1, 0, 0)
    assert harness.rows("select command, outcome, units from runs order by id desc limit 1") == [
        ("plan", "ok", 1)
    ]
    assert harness.rows("select field, new from changes") == [("title", "another")]


def test_a_name_that_nobody_has_is_priced_as_it_will_be_asked_for(harness: ArchiveHarness) -> None:
    """A first look by name costs two units; after one in vain the account is asked for, which costs one."""
    since = harness.now
    harness.night("nobody.here", lists=True)
    (plan,) = harness.plan("nobody.here", since=since)
    assert (plan.units, plan.is_exact) == (1, True)
    assert harness.night("nobody.here").units == 1


def test_an_id_that_nobody_has_is_priced_as_it_will_be_asked_for(harness: ArchiveHarness) -> None:
    """A unit a night until it waits, as a run does; while it waits it costs nothing, and the plan knows."""
    found = []
    for _ in range(3):
        since = harness.now
        harness.night("4", lists=True)
        (plan,) = harness.plan("4", since=since)
        assert plan.is_exact
        found.append((plan.units, harness.night("4").units))
    assert found == [(1, 1), (0, 0), (0, 0)]


@pytest.mark.whole
def test_a_name_whose_look_up_failed_is_no_exact_plan(harness: ArchiveHarness) -> None:
    """That nobody could be asked is no answer: the next run finds the account, and pays for its tray and
    highlights too.
    """
    harness.upstream.faults.add(
        actions.respond(500, headers={"retry-after": "0"}), path=f"{TRAY}/by/username", count=3
    )
    since = harness.now
    assert harness.night("account0000", lists=True).units == 0
    (plan,) = harness.plan("account0000", since=since)
    assert not plan.is_exact
    assert harness.night("account0000").units > plan.units


def test_an_account_under_two_targets_is_priced_once(harness: ArchiveHarness) -> None:
    """As it is paid for once."""
    harness.night("account0000")
    plans = harness.plan("account0000", account_pk(0))
    assert [plan.units for plan in plans] == [1, 0]
    assert harness.night("account0000", account_pk(0)).units == 1


def test_what_could_not_be_asked_is_no_exact_plan(harness: ArchiveHarness) -> None:
    """The account whose tray failed is a guess, the others are not."""
    harness.night(account_pk(0), account_pk(1))
    harness.upstream.faults.add(actions.html(), path=TRAY, user=account_pk(1), count=None)
    since = harness.now
    assert harness.night(account_pk(0), account_pk(1), lists=True).exit_code == 3
    plans = harness.plan(account_pk(0), account_pk(1), since=since)
    assert [(plan.units, plan.is_exact) for plan in plans] == [(0, True), (1, False)]


@pytest.mark.whole
def test_a_highlight_that_the_last_tray_did_not_list_is_no_job(harness: ArchiveHarness) -> None:
    """One that waits for a second look before it counts as gone is not paid for in between, and so not
    planned either.
    """
    harness.night(account_pk(0))
    world = harness.upstream.world
    _, *others = [h.pk for h in world.accounts[0].highlights]
    harness.upstream.faults.add(
        actions.respond(500, headers={"retry-after": "0"}), path=PAGE, highlight=others[0], count=None
    )
    for pk in others:
        world.add_item(pk)
    harness.night(account_pk(0))
    for pk in others:
        world.remove_highlight(pk)
    since = harness.now
    harness.night(account_pk(0), lists=True)
    (plan,) = harness.plan(account_pk(0), since=since)
    assert (plan.units, plan.highlights) == (0, ())
    assert harness.night(account_pk(0)).units == 0


@pytest.mark.whole
def test_an_empty_account_s_tray_is_asked_for_by_a_plan(harness: ArchiveHarness) -> None:
    """On a night when its verdict is due a run looks at the account instead; a plan with the trays wants the
    tray, and then knows.
    """
    for highlight in harness.upstream.world.accounts[0].highlights:
        harness.upstream.world.remove_highlight(highlight.pk)
    for days in (0, 1, 40):  # its tray with a look behind it, a look, its tray: next comes a look
        harness.sleep(days=days)
        harness.night(account_pk(0))
    harness.sleep(days=40)
    harness.upstream.world.add_highlight(account_pk(0), "new", 1)
    since = harness.now
    harness.night(account_pk(0), lists=True)
    assert [a.path for a in paid_calls(harness.upstream.requests)] == [TRAY]
    (plan,) = harness.plan(account_pk(0), since=since)
    assert (plan.units, plan.is_exact) == (1, True)
    assert harness.night(account_pk(0)).units == 1
