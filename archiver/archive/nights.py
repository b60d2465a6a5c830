"""Runs of an archive: what they are given of the configuration, and what the next one would cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from archiver.archive.opening import create, download_rules, reading, require_blobs, writing
from archiver.blobs import marker
from archiver.blobs.disk import free_bytes
from archiver.catalog import Catalog, ledger
from archiver.catalog.query import change_history
from archiver.catalog.query.account_state import archived_pks, resolve
from archiver.config import Config
from archiver.errors import DiskFull, KeyMissing
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.archived import NamedChange
from archiver.model.billing import BudgetLeft, Limits
from archiver.model.events import Observer
from archiver.model.identity import Pk, utcnow
from archiver.model.target import Target
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunLimits, RunOptions
from archiver.runner.forecast import AccountPlan, forecast
from archiver.runner.run import Resources
from archiver.runner.run import run as run_night
from archiver.runner.tally import Summary
from archiver.runner.workers import StopFlag
from archiver.secret import Secret


def run(
    config: Config,
    targets: Sequence[Target],
    *,
    command: str,
    manner: RunOptions,
    observe: Observer,
    stop: StopFlag,
    accounts: int | None = None,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    hear: Callable[[Iterator[NamedChange]], None] | None = None,
    clock: Callable[[], datetime] = utcnow,
) -> Summary:
    """Keep the targets; see ``runner.run.run``. ``max_units`` lowers the budget of this run, ``clock`` is the night's (aware, UTC).

    ``hear`` is given the changes that the run saw, while the archive is still open; it must not raise.

    Raises what keeps a run from starting: KeyMissing, NoArchive, ArchiveLocked, an unusable store or database.
    """
    secret = require_key(config)
    if create_missing:
        if not marker.exists(config.archive.directory):
            _check_reserve(config)  # before anything is made
        create(config)
    with writing(config, command, stop, wait) as opened, ExitStack() as stack:
        require_blobs(opened)
        client = HikerClient(secret, base_url=config.api.base_url, timeout=config.api.timeout, clock=clock)
        stack.callback(client.close)
        downloader = _downloader(config, clock)
        stack.callback(downloader.close)
        summary = run_night(
            Resources(client, downloader, opened.store, opened.answers, opened.catalog),
            targets,
            command=command,
            options=replace(
                manner,
                sweep_days=config.sync.sweep_days,
                privacy_check=config.api.privacy_check,
                covers=config.download.covers,
                avatars=config.download.avatars,
            ),
            limits=_pace(config, max_units),
            observe=observe,
            stop=stop,
            accounts=accounts,
            keep_trays=config.archive.keep_answers == "all",
            may_spend=lambda: _check_reserve(config),
            clock=clock,
        )
        if hear is not None:
            hear(opened.catalog.stream(change_history.changes, run_id=summary.run_id))
        return summary


def plan(
    config: Config,
    targets: Iterable[Target],
    *,
    manner: RunOptions,
    since: datetime | None = None,
    clock: Callable[[], datetime] = utcnow,
) -> Iterator[AccountPlan]:
    """What the next run would do and cost for each target, from what is held: 0 units. ``since``: the start
    of a run that asked for the trays (``RunOptions.list_only``); what it has seen is exact. A budget that leaves
    nothing refuses all that costs units."""
    manner = replace(
        manner,
        sweep_days=config.sync.sweep_days,
        privacy_check=config.api.privacy_check,
        rules=download_rules(config),
    )
    with reading(config) as opened:
        left = _room(config, opened.catalog, clock)
        kept = AnswerCache(opened.catalog, opened.answers, clock, sweep_days=manner.sweep_days)
        first: dict[Pk, AccountPlan] = {}
        for target in targets:
            found = forecast(
                opened.catalog,
                kept,
                target,
                options=manner,
                clock=clock,
                since=since,
            )
            if found.user_pk is not None and first.setdefault(found.user_pk, found) is not found:
                found = replace(
                    found, units=0, exact=True, highlights=()
                )  # kept once, under its first target
            if found.units and left is not None and not left.left:
                found = replace(
                    found, units=0, exact=True, highlights=(), refused_by=f"max_units_{left.limit}"
                )
            yield found


def room(config: Config, clock: Callable[[], datetime] = utcnow) -> BudgetLeft | None:
    """Return what the tightest limit of the budget leaves for a run that begins now; None without limits."""
    with reading(config) as opened:
        return _room(config, opened.catalog, clock)


def _room(config: Config, catalog: Catalog, clock: Callable[[], datetime]) -> BudgetLeft | None:
    return catalog.read(ledger.tightest_limit, 0, clock(), _pace(config, None).units)


def configured(config: Config, asked: Target) -> Target | None:
    """Return the entry of the configuration that means the same account, by what the archive knows: an
    account may be named by its id or by any name that it has or had, whichever the configuration has. None
    where no entry does, or several do."""
    if asked.highlight_pk is not None:
        return None
    with reading(config) as opened:
        catalog = opened.catalog
        meant = catalog.read(archived_pks, asked)
        found = [e for e in config.accounts if catalog.read(resolve, e, from_config=True) in meant]
    return found[0] if len(found) == 1 else None


def require_key(config: Config) -> Secret:
    """The key. Raises KeyMissing."""
    if config.token is None:
        raise KeyMissing("no API key is set", "set HIKERAPI_TOKEN, or name a token_file in the configuration")
    return config.token


def _downloader(config: Config, clock: Callable[[], datetime]) -> Downloader:
    d = config.download
    return Downloader(
        allowed_hosts=d.allowed_hosts,
        max_file_size=d.max_file_size,
        min_speed=d.min_speed,
        limit_rate=d.limit_rate,
        proxy=d.proxy,
        concurrency=d.concurrency,
        now=clock,
    )


def _pace(config: Config, max_units: int | None) -> RunLimits:
    b = config.budget
    per_run = min((n for n in (b.max_units_per_run, max_units) if n is not None), default=None)
    return RunLimits(
        calls_per_second=config.api.requests_per_second,
        downloads=config.download.concurrency,
        units=Limits(per_run, b.max_units_per_day, b.max_units_per_month),
    )


def _check_reserve(config: Config) -> None:
    root, reserve = config.archive.directory, config.archive.reserve
    free = free_bytes(next(place for place in (root, *root.parents) if os.path.lexists(place)))
    if free < reserve:
        raise DiskFull(
            f"the disk of {config.archive.directory} has {free / 1e6:,.0f} MB of free space, "
            f"less than the reserve of {reserve / 1e6:,.0f} MB",
            "free some space, or lower archive.reserve",
        )
