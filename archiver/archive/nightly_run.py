"""Runs, their price and their budget, with the settings of a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime

from archiver.archive.session import (
    Session,
    open_for_writing,
    read_download_rules,
    require_blobs,
    require_current_list,
    with_settings,
)
from archiver.blobs import marker
from archiver.catalog import ledger, record
from archiver.catalog.query import change_history
from archiver.config import Config
from archiver.durable import free_bytes
from archiver.errors import DiskFull, KeyMissing
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.api_calls import BudgetLeft, Limits
from archiver.model.archived import NamedChange
from archiver.model.identity import Pk, utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunLimits, RunOptions
from archiver.runner.forecast import AccountPlan, forecast
from archiver.runner.run import Visitor, begin_run, run
from archiver.runner.tally import Summary
from archiver.secret import Secret
from archiver.work import Work

Clock = Callable[[], datetime]


def run_targets(
    config: Config,
    targets: Sequence[Target],
    *,
    command: str,
    options: RunOptions,
    max_units: int | None,
    work: Work,
    on_changes: Callable[[Iterator[NamedChange]], None] | None,
) -> Summary:
    """Open what a run needs, perform it, and return its summary; see ``Archive.run``."""
    require_key(config)
    clock = work.clock
    removals = marker.read(config.archive.directory).removals
    with open_for_writing(config, command, work) as session:
        require_current_list(session, removals)
        require_blobs(session)
        drop_corrected_targets(session, options, clock())
        with open_connections(config, clock) as (client, downloader):
            context = begin_run(
                session.catalog,
                targets,
                command=command,
                options=replace(with_settings(config, options), rules=downloader.rules),
                work=work,
                require_space=lambda: require_space(config),
            )
            visitor = Visitor(
                context,
                client,
                downloader,
                session.store,
                session.answers,
                limits=run_limits(config, max_units),
            )
            summary = run(context, visitor, targets)
        session.journal.has_reported_failure = bool(summary.message)
        if not summary.message:
            session.journal.write_due_snapshot()
        if on_changes is not None:
            on_changes(session.catalog.stream(change_history.changes, run_id=summary.run_id))
        return summary


@contextmanager
def open_connections(config: Config, clock: Clock) -> Iterator[tuple[HikerClient, Downloader]]:
    """Yield what calls the API and what downloads files, with the settings of a configuration."""
    with (
        closing(make_client(config, clock)) as client,
        closing(make_downloader(config, clock)) as downloader,
    ):
        yield client, downloader


def drop_corrected_targets(session: Session, options: RunOptions, now: datetime) -> None:
    """Resolve the failures of targets that the configuration does not name any more."""
    config = session.config
    if options.from_config and config.accounts and config.has_own_list:
        session.catalog.write(record.drop_targets, [entry.key for entry in config.accounts], now)


def plan_targets(
    session: Session, targets: Iterable[Target], *, options: RunOptions, since: datetime | None, clock: Clock
) -> Iterator[AccountPlan]:
    """Yield what the next run would do and cost for each target; see ``Archive.plan``."""
    options = replace(with_settings(session.config, options), rules=read_download_rules(session.config))
    left = read_budget_left(session, clock)
    answers = AnswerCache(session.catalog, session.answers, clock, options=options)
    first: dict[Pk, AccountPlan] = {}
    paid: set[Pk] = set()
    for target in targets:
        plan = forecast(session.catalog, answers, target, options=options, clock=clock, since=since)
        # A run pays for a page once, also if an account and one of its highlights need it.
        again = sum(job.units for job in plan.highlights if job.pk in paid)
        plan = replace(
            plan,
            units=plan.units - again,
            highlights=tuple(job for job in plan.highlights if job.pk not in paid),
        )
        paid.update(job.pk for job in plan.highlights if job.units)
        if plan.user_pk is not None and first.setdefault(plan.user_pk, plan) is not plan:
            # A run visits an account once, under the first target that names it.
            plan = replace(plan, units=0, is_exact=True, highlights=())
        if plan.units and left is not None and not left.left:
            plan = replace(plan, units=0, is_exact=True, highlights=(), refused_by=f"max_units_{left.limit}")
        yield plan


def read_budget_left(session: Session, clock: Clock, max_units: int | None = None) -> BudgetLeft | None:
    """Return what the tightest limit leaves for a run that begins now; None without limits.

    ``max_units``: the limit of this run.
    """
    limits = run_limits(session.config, max_units).units
    return session.catalog.read(ledger.tightest_limit, 0, clock(), limits)


def require_key(config: Config) -> Secret:
    """Return the API key. Raises KeyMissing."""
    if config.token is None and config.api.token_file is not None:
        raise KeyMissing(
            f"no API key: api.token_file {config.api.token_file} cannot be read",
            "put the key into that file, or set HIKERAPI_TOKEN",
        )
    if config.token is None:
        raise KeyMissing("no API key is set", "set HIKERAPI_TOKEN, or name a token_file in the configuration")
    return config.token


def require_space(config: Config) -> None:
    """Raise DiskFull if the disk of the archive has less free space than ``archive.reserve``."""
    root, reserve = config.archive.directory, config.archive.reserve
    free = free_bytes(next(place for place in (root, *root.parents) if os.path.lexists(place)))
    if free < reserve:
        raise DiskFull(
            f"the disk of {root} has {free / 1e6:,.0f} MB of free space, "
            f"less than the reserve of {reserve / 1e6:,.0f} MB",
            "free some space, or lower archive.reserve",
        )


def make_client(config: Config, clock: Clock = utcnow) -> HikerClient:
    """Return what calls the API with the key and the settings of a configuration. Raises KeyMissing."""
    api = config.api
    return HikerClient(require_key(config), base_url=api.base_url, timeout=api.timeout, clock=clock)


def make_downloader(config: Config, clock: Clock) -> Downloader:
    """Return what downloads files with the settings of a configuration."""
    settings = config.download
    return Downloader(
        allowed_hosts=settings.allowed_hosts,
        max_file_size=settings.max_file_size,
        min_speed=settings.min_speed,
        limit_rate=settings.limit_rate,
        proxy=settings.proxy,
        concurrency=settings.concurrency,
        now=clock,
    )


def run_limits(config: Config, max_units: int | None) -> RunLimits:
    """Return the limits of a run. ``max_units`` may only lower the configured budget of a run."""
    budget = config.budget
    per_run = min(
        (limit for limit in (budget.max_units_per_run, max_units) if limit is not None), default=None
    )
    return RunLimits(
        calls_per_second=config.api.requests_per_second,
        downloads=config.download.concurrency,
        units=Limits(
            per_run,
            budget.max_units_per_day,
            budget.max_units_per_month,
            is_flag=max_units is not None and per_run == max_units,
        ),
    )
