"""What the next run would do and cost, from what is stored: the steps of a visit without its calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from archiver.catalog import Catalog
from archiver.errors import Reason
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.account import with_answers
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunOptions
from archiver.runner.decide import FetchHighlights, ListTray, LookAtAccount, Step, StepWhy, Wait, decide
from archiver.runner.due_highlights import Job
from archiver.runner.visit import Visit, begin_visit


class AccountPlan(Struct, frozen=True):
    """One target's share of the next run.

    ``is_exact`` is False if the price may be higher, which only listing the tray (one unit) can tell.
    ``is_listed`` is False if the tray was never listed: the number of highlights is unknown. ``refused_by``
    is the budget limit that leaves no units (``max_units_per_day``); ``units`` is then 0.
    """

    target: str
    user_pk: Pk | None
    username: str | None
    units: int
    is_exact: bool
    highlights: tuple[Job, ...]
    is_listed: bool = True
    refused_by: str | None = None


def forecast(
    catalog: Catalog,
    answers: AnswerCache,
    target: Target,
    *,
    options: RunOptions,
    clock: Callable[[], datetime],
    since: datetime | None = None,
) -> AccountPlan:
    """Return the plan of one target, as if the budget had no limit.

    Changes since the last tray are unknown. The plan is exact only if no call could show more, or if the
    calls were made after ``since``, the start of a run that listed the trays.
    """
    performer = Forecast(lambda visit: with_answers(visit, answers, options, clock()), since)
    visit = performer.look_up(begin_visit(catalog, answers, target, options))
    while not isinstance(step := decide(visit, options, None, clock()), Wait):
        visit = performer.perform(step, visit)
    state = visit.state
    is_listed = state.listed_at is not None if performer.has_listed else state.is_archived
    return AccountPlan(
        target.text,
        state.pk,
        state.username if state.is_archived else target.username,
        performer.units,
        performer.is_exact,
        performer.jobs,
        is_listed or target.highlight_pk is not None,
    )


class Forecast:
    """Simulates the steps of a visit: makes no call, records nothing, adds up the units.

    Each answer is assumed to repeat what is stored. That is a guess, so ``is_exact`` becomes False, unless
    the same call was answered after ``since``.
    """

    def __init__(self, look_up: Callable[[Visit], Visit], since: datetime | None) -> None:
        """``look_up`` finds the highlights that stored answers serve."""
        self.look_up = look_up
        self.units = 0
        self.is_exact = True
        self.has_listed = False
        self.jobs: tuple[Job, ...] = ()
        self._since = since

    def perform(self, step: Step, visit: Visit) -> Visit:
        """Add the price of a step, and return the visit as if the answer said nothing new."""
        self.units += step.units
        state = visit.state
        match step:
            case FetchHighlights():
                self.jobs = step.jobs
                return replace(visit, has_fetched=True)
            case ListTray():
                self.has_listed = True
                if step.why is StepWhy.LISTED_BY_PLAN:
                    return replace(visit, is_listed=True)
                self._assume(state.listed_at)
                if step.is_paged:
                    self._assume(state.paged_at)
                return replace(visit, is_listed=True)
            case LookAtAccount():
                # A look at an empty account replaces its tray whatever it says: its price is certain.
                if state.verdict is not Reason.EMPTY:
                    self._assume(state.verdict_at)
                return self.look_up(replace(visit, verdict=state.verdict or Reason.GONE))

    def _assume(self, answered_at: datetime | None) -> None:
        if self._since is None or answered_at is None or answered_at < self._since:
            self.is_exact = False
