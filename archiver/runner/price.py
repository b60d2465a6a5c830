"""What the next run would do and cost, from what is held: 0 units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from archiver import retry
from archiver.catalog import Catalog
from archiver.catalog.query import account_state
from archiver.errors import KeyRejected, Reason, UpstreamDown
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.model.archived import HeldUser
from archiver.model.billing import Meaning
from archiver.model.identity import Pk, Subject
from archiver.model.target import Target
from archiver.model.upstream import Balance, TrayFacts
from archiver.runner import plan, standing
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunOptions
from archiver.runner.plan import Job, Why


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """One target's share of the next run. ``exact`` is False where only its tray, which costs a unit, can
    tell the rest; ``listed`` is False where no tray of it was ever seen, so that nobody knows how many
    highlights there are to pay for. ``refused_by`` is the limit of the budget (``max_units_per_day``) that
    leaves the run nothing to pay for it with: ``units`` is 0 then."""

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
    kept: AnswerCache,
    target: Target,
    *,
    options: RunOptions,
    clock: Callable[[], datetime],
    since: datetime | None = None,
) -> AccountPlan:
    """The plan of one target. What its owner changed since the last look is not known, so that it is exact only where nothing will be
    looked at, or where the look was made after ``since``.
    """
    if target.highlight_pk is not None:
        job = _free_if_kept(kept, Job(target.highlight_pk, None, TrayFacts(), Why.ASKED))
        if not options.ignore_backoff and standing.waits(catalog, Subject.HIGHLIGHT, job.pk, clock()):
            return AccountPlan(target.text, None, None, 0, True, ())
        return AccountPlan(target.text, None, None, job.units, True, (job,))
    pk = target.user_pk
    if pk is None and target.username is not None:
        pk = catalog.read(account_state.bound, target.username) if options.from_config else None
        pk = pk or catalog.read(account_state.user_pk_by_name, target.username)
    held = catalog.read(account_state.user, pk) if pk is not None else None
    if pk is None or held is None:
        return _never_resolved(catalog, target, pk, options, clock(), since)
    if held.verdict is not None and _is_looked_at(held, options, clock()):
        exact = held.verdict is Reason.EMPTY or _is_after(
            held.verdict_at, since
        )  # an empty one is not listed tonight
        return AccountPlan(target.text, pk, held.username, 1, exact, ())
    if held.verdict in (Reason.PRIVATE, Reason.GONE):
        return AccountPlan(target.text, pk, held.username, 0, True, ())
    known = {h.pk: h for h in catalog.read(account_state.held, pk)}
    listed = plan.last_listed(held, known.values())
    if held.listed_at is None:
        listed = [h for h in known.values() if h.gone_at is None]
    found = plan.make(listed, known, plan.Policy.of(options, target), clock())
    jobs = tuple(_free_if_kept(kept, job) for job in found)
    units, exact = (
        endpoints.list_highlights(pk, privacy_check=options.privacy_check).units,
        _is_after(held.listed_at, since),
    )
    if plan.is_paged(held, options.sweep_days, clock(), full=options.full):
        units = max(units, catalog.read(account_state.units_of_pages, pk, endpoints.PAGED_TRAY))
        exact = exact and _is_after(held.paged_at, since)
    units += sum(job.units for job in jobs)
    return AccountPlan(target.text, pk, held.username, units, exact, jobs, held.listed_at is not None)


def _never_resolved(
    catalog: Catalog,
    target: Target,
    pk: Pk | None,
    options: RunOptions,
    now: datetime,
    since: datetime | None,
) -> AccountPlan:
    """The plan of a name or an id of which no account is stored; as ``account.Accounts`` asks for it."""
    name, key = target.username, target.key
    if not options.ignore_backoff and standing.waits(catalog, Subject.TARGET, key, now):
        return AccountPlan(target.text, pk, name, 0, True, (), False)
    failure = catalog.read(account_state.open_failure, Subject.TARGET, key, None)
    answered = failure is not None and failure.reason in (Reason.GONE, Reason.PRIVATE)
    # Asked for in vain before, the account comes first. After an error of the API the look may find it, and
    # its tray follows.
    if pk is not None:
        units = (
            endpoints.fetch_user(pk)
            if answered
            else endpoints.list_highlights(pk, privacy_check=options.privacy_check)
        ).units
    elif failure is not None:
        units = endpoints.fetch_user_by_username(key).units
    else:
        units = endpoints.list_highlights_by_username(key, privacy_check=options.privacy_check).units
    exact = answered and failure is not None and _is_after(failure.last_at, since)
    return AccountPlan(target.text, pk, name, units, exact, (), False)


def _is_looked_at(held: HeldUser, options: RunOptions, now: datetime) -> bool:
    """Whether the account itself is asked for in place of its tray (``standing.Standing.stands``)."""
    due = options.ignore_backoff or held.verdict_due_at is None or retry.is_due(held.verdict_due_at, now)
    return due and not (
        held.verdict is Reason.EMPTY and (options.ignore_backoff or not standing.tray_may_wait(held))
    )


def _is_after(at: datetime | None, since: datetime | None) -> bool:
    return at is not None and since is not None and at >= since


def balance(client: HikerClient) -> Balance:
    """Units left at the API, by one free call outside any run.

    Raises KeyRejected, UpstreamDown where the API answers no, CallFailed where it does not answer, AnswerMalformed.
    """
    answer = client.send(endpoints.balance())
    verdict = wire.parse_verdict(answer)
    if verdict.meaning is Meaning.KEY_REJECTED:
        raise KeyRejected(f"the API rejected the key: {verdict.detail}", "check HIKERAPI_TOKEN")
    if verdict.meaning is not Meaning.OK:
        raise UpstreamDown(f"the API does not tell its balance: {verdict.detail or verdict.meaning.value}")
    return wire.parse_balance(answer)


def _free_if_kept(kept: AnswerCache, job: Job) -> Job:
    return replace(job, units=0) if kept.page(job) is not None else job
