"""What the next run would do and cost, from what is stored: the steps of a visit without its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.catalog import Catalog
from archiver.errors import Reason
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.runner.account import begin_visit, find_answers, take_steps
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunOptions
from archiver.runner.decide import FetchHighlights, Job, ListTray, LookAtAccount, Step, Visit


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """One target's share of the next run.

    ``exact`` is False if only its tray, which costs a unit, can tell the rest. ``listed`` is False if no tray
    of it was ever seen, so that nobody knows how many highlights there are to pay for. ``refused_by`` is the
    limit of the budget (``max_units_per_day``) that leaves nothing to pay with: ``units`` is 0 then.
    """

    target: str
    user_pk: Pk | None
    username: str | None
    units: int
    exact: bool
    highlights: tuple[Job, ...]
    listed: bool = True
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

    What its owner changed since the last tray is not known. The plan is exact only if no call would tell
    more, or if the calls were made after ``since``, the start of a run that listed the trays.
    """
    performer = Forecast(lambda visit: find_answers(visit, answers, options, clock()), since)
    visit = performer.look_up(begin_visit(catalog, target, options))
    take_steps(visit, performer.perform, options, lambda _: None, clock)
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
    """Takes the steps of a visit on paper: calls nobody, records nothing, adds up the units.

    Each answer is assumed to say what was stored last. That is a guess, and ``is_exact`` turns False, unless
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
        """Add up the price of a step and return what is known if its answer says nothing new."""
        self.units += step.units
        state = visit.state
        match step:
            case FetchHighlights():
                self.jobs = step.jobs
                return replace(visit, is_done=True)
            case ListTray():
                self.has_listed = True
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
