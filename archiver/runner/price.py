"""What the next run would do and cost, from what is held alone: 0 units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from archiver import retry
from archiver.catalog import Catalog, query
from archiver.errors import KeyRejected, Reason, UpstreamDown
from archiver.hiker import tariff, wire
from archiver.hiker.client import HikerClient
from archiver.model import Balance, Meaning, Pk, Subject, Target, TrayFacts
from archiver.runner import plan, standing
from archiver.runner.kept import Kept
from archiver.runner.manner import Manner
from archiver.runner.plan import Job, Policy, Why


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """One target's share of the next run. ``exact`` is False where only its tray, which costs a unit, can tell the rest."""

    target: str
    user_pk: Pk | None
    username: str | None
    units: int
    exact: bool
    highlights: tuple[Job, ...]


def forecast(
    catalog: Catalog,
    kept: Kept,
    target: Target,
    *,
    manner: Manner,
    force: bool,
    clock: Callable[[], datetime],
) -> AccountPlan:
    """The plan of one target. What its owner changed since the last tray is not known, so a listed account is never exact."""
    if target.highlight_pk is not None:
        job = _free_if_kept(kept, Job(target.highlight_pk, None, TrayFacts(), Why.ASKED))
        if not manner.insist and standing.waits(catalog, Subject.HIGHLIGHT, job.pk, clock()):
            return AccountPlan(target.text, None, None, 0, True, ())
        return AccountPlan(target.text, None, None, job.units, True, (job,))
    pk = target.user_pk
    if pk is None and target.username is not None:
        pk = catalog.read(query.bound, target.username) if manner.bound else None
        pk = pk or catalog.read(query.user_pk_by_name, target.username)
    held = catalog.read(query.user, pk) if pk is not None else None
    if (
        pk is None
        and not manner.insist
        and standing.waits(catalog, Subject.TARGET, target.username or "", clock())
    ):
        return AccountPlan(target.text, None, target.username, 0, True, ())
    if pk is None:
        units = tariff.list_highlights_by_username(target.username or "", force=force).units
        return AccountPlan(target.text, None, target.username, units, False, ())
    if held is not None and held.verdict in (Reason.PRIVATE, Reason.GONE):
        due = manner.insist or held.verdict_due_at is None or retry.is_due(held.verdict_due_at, clock())
        return AccountPlan(target.text, pk, held.username, int(due), not due, ())
    known = {h.pk: h for h in catalog.read(query.held, pk)}
    listed = [h for h in known.values() if h.gone_at is None]
    policy = Policy(manner.sweep_days, manner.full, target.highlights, manner.only)
    jobs = tuple(_free_if_kept(kept, job) for job in plan.make(listed, known, policy, clock()))
    units = tariff.list_highlights(pk, force=force).units + sum(job.units for job in jobs)
    return AccountPlan(target.text, pk, held.username if held else None, units, False, jobs)


def balance(client: HikerClient) -> Balance:
    """Units left at the API, by one free call outside any run.

    Raises KeyRejected, UpstreamDown where the API answers no, CallFailed where it does not answer, AnswerMalformed.
    """
    answer = client.send(tariff.balance())
    verdict = wire.verdict(answer)
    if verdict.meaning is Meaning.KEY_REJECTED:
        raise KeyRejected(f"the API rejected the key: {verdict.detail}", "check HIKERAPI_TOKEN")
    if verdict.meaning is not Meaning.OK:
        raise UpstreamDown(f"the API does not tell its balance: {verdict.detail or verdict.meaning.value}")
    return wire.balance(answer)


def _free_if_kept(kept: Kept, job: Job) -> Job:
    return replace(job, units=0) if kept.page(job) is not None else job
