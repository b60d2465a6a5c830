"""Composition root: builds the seams from a Config, opens and closes them, and calls what does the work. No logic of its own.

Every function opens the archive that the configuration names and closes it again; a command is one call of one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from archiver.archive.checking import Checked, Mended, mend, verify
from archiver.archive.opening import create, place, reading, require_blobs, upgrade, writing
from archiver.blobs import free_bytes, marker
from archiver.catalog import query, schema
from archiver.config import Config
from archiver.errors import DiskFull, KeyMissing
from archiver.hiker.client import HikerClient
from archiver.media import Downloader
from archiver.model import Balance, Limits, Rows, Status, Target, utcnow
from archiver.runner import price
from archiver.runner.events import Observer
from archiver.runner.kept import Kept
from archiver.runner.manner import Manner
from archiver.runner.price import AccountPlan
from archiver.runner.run import Pace, Seams
from archiver.runner.run import run as run_night
from archiver.runner.tally import Summary
from archiver.runner.workers import StopFlag

__all__ = [
    "Checked",
    "Mended",
    "ask",
    "backup_database",
    "balance",
    "create",
    "mend",
    "plan",
    "revision",
    "run",
    "status",
    "upgrade",
    "verify",
]


def run(
    config: Config,
    targets: Sequence[Target],
    *,
    command: str,
    manner: Manner,
    observe: Observer,
    stop: StopFlag,
    accounts: int | None = None,
    max_units: int | None = None,
    wait: bool = False,
    create_missing: bool = False,
    clock: Callable[[], datetime] = utcnow,
) -> Summary:
    """Keep the targets; see ``runner.run.run``. ``max_units`` lowers the budget of this run, ``clock`` is the night's (aware, UTC).

    Raises what keeps a run from starting: KeyMissing, NoArchive, ArchiveLocked, an unusable store or database.
    """
    secret = config.token
    if secret is None:
        raise KeyMissing("no API key is set", "set HIKERAPI_TOKEN, or name a token_file in the configuration")
    if create_missing:
        create(config)
    with writing(config, command, stop, wait) as opened, ExitStack() as stack:
        require_blobs(opened)
        client = HikerClient(secret, base_url=config.api.base_url, timeout=config.api.timeout)
        stack.callback(client.close)
        downloader = _downloader(config, clock)
        stack.callback(downloader.close)
        return run_night(
            Seams(client, downloader, opened.store, opened.answers, opened.catalog),
            targets,
            command=command,
            manner=replace(
                manner,
                sweep_days=config.sync.sweep_days,
                covers=config.download.covers,
                avatars=config.download.avatars,
            ),
            pace=_pace(config, max_units),
            observe=observe,
            stop=stop,
            accounts=accounts,
            keep_trays=config.archive.keep_answers == "all",
            may_spend=lambda: _check_reserve(config),
            clock=clock,
        )


def plan(config: Config, targets: Iterable[Target], *, manner: Manner) -> Iterator[AccountPlan]:
    """What the next run would do and cost for each target, from what is held: 0 units."""
    manner = replace(manner, sweep_days=config.sync.sweep_days)
    with reading(config) as opened:
        kept = Kept(opened.catalog, opened.answers, utcnow)
        for target in targets:
            yield price.forecast(
                opened.catalog, kept, target, manner=manner, force=not config.api.privacy_check, clock=utcnow
            )


def status(config: Config) -> Status:
    """The archive in numbers."""
    with reading(config) as opened:
        return opened.catalog.read(query.status)


def balance(config: Config) -> Balance:
    """Units left at the API, by a free call. Raises KeyMissing, KeyRejected, or what keeps the API from answering."""
    if config.token is None:
        raise KeyMissing("no API key is set", "set HIKERAPI_TOKEN, or name a token_file in the configuration")
    client = HikerClient(config.token, base_url=config.api.base_url, timeout=config.api.timeout)
    try:
        return price.balance(client)
    finally:
        client.close()


def ask(config: Config, sql: str, *, limit: int, seconds: float) -> Rows:
    """What a read-only query brings: at most ``limit`` rows, within so many seconds. Raises QueryRefused."""
    with reading(config) as opened:
        return opened.catalog.ask(sql, rows=limit, seconds=seconds)


def revision(config: Config) -> tuple[str, str]:
    """The schema's revision in the database, and the one that this version needs."""
    marker.read(config.archive.directory)
    return schema.current(place(config)), schema.head()


def backup_database(config: Config, to: Path) -> None:
    """Write a consistent copy of the SQLite database, also while a run is on. Raises UsageError for PostgreSQL, naming ``pg_dump``."""
    with reading(config) as opened:
        opened.catalog.backup(to)


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


def _pace(config: Config, max_units: int | None) -> Pace:
    b = config.budget
    per_run = min((n for n in (b.max_units_per_run, max_units) if n is not None), default=None)
    return Pace(
        calls_per_second=config.api.requests_per_second,
        downloads=config.download.concurrency,
        limits=Limits(per_run, b.max_units_per_day, b.max_units_per_month),
        force=not config.api.privacy_check,
    )


def _check_reserve(config: Config) -> None:
    free, reserve = free_bytes(config.archive.directory), config.archive.reserve
    if free < reserve:
        raise DiskFull(
            f"{free / 1e6:,.0f} MB are free at {config.archive.directory}, less than the reserve of {reserve / 1e6:,.0f} MB",
            "free some space, or lower archive.reserve",
        )
