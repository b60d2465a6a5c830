"""What a visit does next, why, and what that costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.query.account_state import AccountState
from archiver.errors import Reason
from archiver.model.target import Target
from archiver.model.upstream import Highlight, Tray, TrayNumbers, User
from archiver.model.values import replace
from archiver.runner.absence import Doubt, Listing
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.decide import (
    FetchHighlights,
    ListTray,
    LookAtAccount,
    Step,
    StepWhy,
    Wait,
    decide,
    jobs_due,
)
from archiver.runner.due_highlights import Why
from archiver.runner.visit import Visit
from tests.support.states import (
    DAY,
    NOW,
    OTHER_FACTS,
    TARGET,
    account,
    failed_file,
    highlight,
    lacking,
    missing_page,
    unresolved,
)

NO_SWEEP = RunOptions(sweep_days=0)
USER = User("787132", "natgeo")
HIGHLIGHT_TARGET = Target("highlight:1", highlight_pk="1")


def first_step(
    state: AccountState, options: RunOptions = NO_SWEEP, units_left: int | None = None
) -> tuple[type, int, StepWhy | Doubt]:
    """Return kind, price and reason of the first step of a visit."""
    step = decide(Visit(state, state), options, units_left, NOW)
    return type(step), step.units, step.why


def test_only_what_the_tray_shows_and_the_target_wants_is_fetched() -> None:
    """In the order of the tray and with its numbers, at one unit each unless a stored answer serves."""
    state = account(
        highlight(pk="3", fetched_at=None),
        highlight(pk="1", fetched_numbers=OTHER_FACTS),
        highlight(pk="2", fetched_at=None, listed_at=NOW - 9 * DAY),
        highlight(pk="4", fetched_at=None, title="Friends"),
        highlight(pk="5", fetched_at=None, gone_at=NOW),
        target=replace(TARGET, highlights=("BOTW*",)),
    )
    visit = Visit(state, state, free_pks=frozenset({"3"}))
    jobs = jobs_due(visit, NO_SWEEP, NOW)
    assert [(job.pk, job.reason, job.units) for job in jobs] == [("3", Why.NEW, 0), ("1", Why.CHANGED, 1)]
    entries = (Highlight("1", USER, numbers=TrayNumbers()), Highlight("2", USER), Highlight("1", USER))
    listed = replace(visit, listing=Listing(Tray(USER, entries)), is_listed=True)
    assert [(job.pk, job.numbers) for job in jobs_due(listed, NO_SWEEP, NOW)] == [("2", TrayNumbers())]


def test_a_name_that_failed_before_is_looked_up_by_the_cheaper_call() -> None:
    """A new name costs two units. After a failure it costs nothing until its back-off ends, then one."""
    assert first_step(unresolved()) == (ListTray, 2, StepWhy.NEW_ACCOUNT)
    assert first_step(unresolved(), RunOptions(privacy_check=True)) == (ListTray, 3, StepWhy.NEW_ACCOUNT)
    failed = unresolved(has_failed=True, verdict=Reason.GONE, verdict_due_at=NOW)
    assert first_step(failed) == (LookAtAccount, 1, StepWhy.FAILED_BEFORE)
    assert first_step(unresolved(has_failed=True)) == (LookAtAccount, 1, StepWhy.FAILED_BEFORE)
    waiting = replace(failed, verdict_due_at=NOW + DAY)
    assert first_step(waiting) == (Wait, 0, StepWhy.HIDDEN)
    assert first_step(waiting, RunOptions(ignore_backoff=True)) == (LookAtAccount, 1, StepWhy.FAILED_BEFORE)


def test_an_id_is_listed_unless_nobody_had_it() -> None:
    """An error of the API makes nothing wait, and does not change the call."""
    known_id = unresolved(pk="4", target=Target("4", user_pk="4"))
    assert first_step(known_id) == (ListTray, 1, StepWhy.NEW_ACCOUNT)
    assert first_step(replace(known_id, has_failed=True)) == (ListTray, 1, StepWhy.NEW_ACCOUNT)
    gone = replace(known_id, has_failed=True, verdict=Reason.GONE, verdict_due_at=NOW)
    assert first_step(gone) == (LookAtAccount, 1, StepWhy.FAILED_BEFORE)
    looked = Visit(gone, gone, has_looked=True)
    assert isinstance(decide(looked, NO_SWEEP, None, NOW), ListTray)


def test_a_hidden_account_is_looked_at_when_its_verdict_is_due() -> None:
    """A private one costs nothing before. An empty one is listed each night, but a due look replaces that."""
    private = account(verdict=Reason.PRIVATE, verdict_at=NOW - 3 * DAY, verdict_due_at=NOW + DAY)
    assert decide(Visit(private, private), NO_SWEEP, None, NOW) == Wait(NOW + DAY, StepWhy.HIDDEN)
    assert first_step(replace(private, verdict_due_at=NOW)) == (LookAtAccount, 1, StepWhy.VERDICT_DUE)
    insisted = RunOptions(ignore_backoff=True)
    assert first_step(private, insisted) == (LookAtAccount, 1, StepWhy.VERDICT_DUE)
    empty = replace(private, verdict=Reason.EMPTY)
    assert first_step(empty) == (ListTray, 1, StepWhy.ROUTINE)
    due = replace(empty, verdict_due_at=NOW)
    assert first_step(due) == (LookAtAccount, 1, StepWhy.VERDICT_DUE)
    assert first_step(due, insisted)[0] is ListTray
    assert first_step(replace(due, listed_at=NOW - 4 * DAY)) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(replace(due, shrunk_to="half")) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(due, RunOptions(sweep_days=0, list_only=True)) == (ListTray, 1, StepWhy.ROUTINE)


def test_a_hidden_account_gets_the_files_that_stored_answers_offer() -> None:
    """Missing ones, of all highlights that are not gone, and without a call; not in a repair."""
    private = account(
        lacking(failed_file(NOW), pk="1"),
        lacking(failed_file(NOW), pk="2"),
        lacking(failed_file(NOW), pk="3", gone_at=NOW),
        highlight(pk="4", fetched_numbers=OTHER_FACTS),
        verdict=Reason.PRIVATE,
        verdict_due_at=NOW + DAY,
    )
    visit = Visit(private, private, free_pks=frozenset({"1", "3", "4"}))
    step = decide(visit, NO_SWEEP, None, NOW)
    assert isinstance(step, FetchHighlights)
    assert ([job.pk for job in step.jobs], step.units, step.may_pay) == (["1"], 0, False)
    assert isinstance(decide(replace(visit, has_fetched=True), NO_SWEEP, None, NOW), Wait)
    repair = RunOptions(repair=RepairScope(frozenset({"1"}), frozenset(), frozenset()))
    assert isinstance(decide(visit, repair, None, NOW), Wait)


def test_a_tray_is_read_page_by_page_on_its_turn() -> None:
    """Once in a sweep, or each night if needed; never the first time, nor if it costs all that is left."""
    monthly = RunOptions(sweep_days=30)
    on_turn = account(paged_at=NOW - 31 * DAY, pages_units=3)
    assert first_step(on_turn, monthly) == (ListTray, 3, StepWhy.PAGES_SWEPT)
    assert first_step(on_turn, monthly, units_left=3) == (ListTray, 1, StepWhy.PAGES_TOO_DEAR)
    assert first_step(account(needs_pages=True)) == (ListTray, 1, StepWhy.PAGES_NEEDED)
    failed = account(needs_pages=True, pages_failed_at=NOW - DAY)
    assert first_step(failed) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(replace(failed, paged_at=NOW - 31 * DAY)) == (ListTray, 1, StepWhy.PAGES_SWEPT)
    assert first_step(account(), RunOptions(full=True)) == (ListTray, 1, StepWhy.PAGES_FULL)
    assert first_step(account(listed_at=None), RunOptions(full=True)) == (ListTray, 1, StepWhy.NEW_ACCOUNT)


def test_fault_e6_a_tray_that_a_plan_has_paid_for_costs_nothing() -> None:
    """Whatever units are left, and also on the turn of the pages; a look that is due comes first."""
    tray = Tray(None, ())
    for state in (account(highlight(completed_at=None)), account(paged_at=NOW - 31 * DAY, pages_units=3)):
        for units_left in (None, 1, 0):
            step = decide(Visit(state, state, stored_tray=tray), RunOptions(), units_left, NOW)
            assert isinstance(step, ListTray)
            assert (step.units, step.why) == (0, StepWhy.LISTED_BY_PLAN)
    due = account(verdict=Reason.EMPTY, verdict_at=NOW - 3 * DAY, verdict_due_at=NOW)
    assert isinstance(decide(Visit(due, due, stored_tray=tray), RunOptions(), None, NOW), LookAtAccount)


def test_the_tray_in_one_answer_follows_pages_that_failed() -> None:
    """Also if it takes the last unit: only when it is recorded is it known that the pages were paid for."""
    unfinished = account(highlight(completed_at=None), needs_pages=True)
    visit = Visit(unfinished, unfinished, pages_failed=True, are_pages_paid=True)
    for units_left in (None, 2, 1, 0):
        step = decide(visit, NO_SWEEP, units_left, NOW)
        assert isinstance(step, ListTray)
        assert (step.is_paged, step.why) == (False, StepWhy.PAGES_FAILED)


def test_few_units_go_to_what_makes_progress() -> None:
    """One unit fetches a highlight, not the tray again; two look up a name, as listing would leave none."""
    unfinished = account(highlight(completed_at=None))
    assert first_step(unfinished, units_left=1) == (FetchHighlights, 1, StepWhy.FEW_UNITS)
    assert first_step(unfinished, units_left=2) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(unfinished, units_left=0) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(account(highlight()), units_left=1) == (ListTray, 1, StepWhy.ROUTINE)
    assert first_step(unresolved(), units_left=2) == (LookAtAccount, 1, StepWhy.FEW_UNITS)
    assert first_step(unresolved(), units_left=3) == (ListTray, 2, StepWhy.NEW_ACCOUNT)


def test_a_highlight_target_is_one_highlight_without_a_tray() -> None:
    """Fetched each time, unless its page was not found and waits; not at all if only trays are listed."""
    single = unresolved(target=HIGHLIGHT_TARGET, highlights=(highlight(),))
    step = decide(Visit(single, single), NO_SWEEP, None, NOW)
    assert isinstance(step, FetchHighlights)
    assert [(job.pk, job.title, job.reason) for job in step.jobs] == [("1", "BOTW", Why.ASKED)]
    assert first_step(unresolved(target=HIGHLIGHT_TARGET)) == (FetchHighlights, 1, StepWhy.DUE)
    assert first_step(single, RunOptions(list_only=True)) == (Wait, 0, StepWhy.DONE)
    missing = replace(single, has_failed=True, verdict=Reason.NOT_FOUND, verdict_due_at=NOW + DAY)
    assert first_step(missing) == (Wait, 0, StepWhy.HIDDEN)
    assert first_step(missing, RunOptions(ignore_backoff=True)) == (FetchHighlights, 1, StepWhy.DUE)


FLAGS = st.booleans()
DATES = st.none() | st.integers(-60, 60).map(lambda days: NOW + days * DAY)
FAILURES = st.lists(st.builds(failed_file, DATES) | st.builds(missing_page, DATES), max_size=2).map(tuple)
HIGHLIGHTS = st.builds(
    highlight,
    fetched_at=DATES,
    completed_at=DATES,
    tried_at=DATES,
    gone_at=DATES,
    failures=FAILURES,
    fetched_numbers=st.sampled_from([OTHER_FACTS, highlight().numbers]),
)
HIDDEN = {
    "verdict": st.sampled_from([None, Reason.PRIVATE, Reason.GONE, Reason.EMPTY]),
    "verdict_at": DATES,
    "verdict_due_at": DATES,
}
PAGES = {"paged_at": DATES, "pages_failed_at": DATES, "needs_pages": FLAGS, "pages_units": st.integers(0, 3)}
ACCOUNTS = st.builds(
    account, HIGHLIGHTS, listed_at=DATES, shrunk_to=st.sampled_from([None, "half"]), **PAGES, **HIDDEN
)
NAMES = st.builds(unresolved, has_failed=FLAGS, pk=st.sampled_from([None, "787132"]), **HIDDEN)
ALONE = st.builds(
    unresolved,
    target=st.just(HIGHLIGHT_TARGET),
    highlights=st.lists(HIGHLIGHTS, max_size=1).map(tuple),
    **HIDDEN,
)
REPAIRS = st.none() | st.just(RepairScope(frozenset({"1"}), frozenset(), frozenset()))


def run_options(
    sweep_days: int, full: bool, ignore_backoff: bool, list_only: bool, repair: RepairScope | None
) -> RunOptions:
    """Return the options that affect the decision."""
    return RunOptions(
        sweep_days=sweep_days, full=full, ignore_backoff=ignore_backoff, list_only=list_only, repair=repair
    )


OPTIONS = st.builds(run_options, st.sampled_from([0, 30]), FLAGS, FLAGS, FLAGS, REPAIRS)


def outcomes(step: Step, visit: Visit) -> list[Visit]:
    """Return what the visit may be after a step, one for each kind of answer."""
    if isinstance(step, FetchHighlights):
        return [replace(visit, has_fetched=True)]
    hidden = [replace(visit, verdict=verdict, doubt=None) for verdict in (Reason.GONE, Reason.EMPTY)]
    found = replace(visit, state=replace(visit.state, pk="787132"))
    listed = replace(found, is_listed=True, doubt=None)
    if isinstance(step, LookAtAccount):
        public = replace(found, has_looked=True, doubt=None)
        if visit.before.is_archived:
            public = replace(public, state=replace(public.state, verdict=None))
        return [*hidden, listed if visit.listing is not None else public]
    trays = [*hidden, listed]
    if not visit.has_looked:
        trays.append(replace(visit, doubt=Doubt.NOT_FOUND))
        trays.append(replace(found, doubt=Doubt.EMPTY, listing=Listing(Tray(None, ()))))
    return [*trays, replace(visit, pages_failed=True)] if step.is_paged else trays


def longest(visit: Visit, options: RunOptions, units_left: int | None, limit: int) -> int:
    """Return how many steps a visit takes at most, as far as ``limit``."""
    step = decide(visit, options, units_left, NOW)
    if isinstance(step, Wait) or limit == 0:
        return 0
    return 1 + max(longest(after, options, units_left, limit - 1) for after in outcomes(step, visit))


@given(
    state=ACCOUNTS | NAMES | ALONE,
    options=OPTIONS,
    units_left=st.none() | st.integers(0, 5),
    free=st.sampled_from([frozenset[str](), frozenset({"1"})]),
)
def test_a_visit_ends(
    state: AccountState, options: RunOptions, units_left: int | None, free: frozenset[str]
) -> None:
    """Whatever is stored and answered: at most a look, pages, the tray, a look behind it, and the fetch."""
    assert longest(Visit(state, state, free_pks=free), options, units_left, 9) <= 5
