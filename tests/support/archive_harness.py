"""A whole archive in a temporary directory, against the stand-in over real sockets."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.archive.verification import Verification
from archiver.config import Config, load
from archiver.model.archived import Gap
from archiver.model.events import Event
from archiver.model.identity import utcnow
from archiver.model.run_status import Status
from archiver.model.target import Target, parse_target
from archiver.reread import RereadReport
from archiver.runner.context import RunOptions
from archiver.runner.decide import digits_due
from archiver.runner.forecast import AccountPlan
from archiver.runner.tally import Summary
from archiver.work import StopFlag
from tests.support import leak_detector
from tests.support.standin.faulty_standin import FaultyStandIn


@dataclass
class ArchiveHarness:
    """An archive and its upstream. ``events`` are those of the last run."""

    root: Path
    upstream: FaultyStandIn
    database: str | None = None  # a PostgreSQL URL
    environ: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    later: timedelta = timedelta()
    storage: str | None = None  # where a bucket is, as ``archive.storage`` names it

    def __post_init__(self) -> None:
        self.upstream.settings.clock = lambda: self.now.timestamp()
        self._watched()

    def _watched(self) -> None:
        leak_detector.watch_archive(
            self.root, lambda: self.environ.get("HIKERAPI_TOKEN") or self.upstream.key, self.database
        )

    @property
    def now(self) -> datetime:
        """The time of the archive and of upstream: the real time plus ``later``."""
        return utcnow() + self.later

    def sleep(self, **how_long: float) -> None:
        """Advance the clock of the archive and of upstream."""
        self.later += timedelta(**how_long)

    def sleep_until_turn(self, digest: str) -> None:
        """Advance the clock to the next noon of a day on which every run looks for this blob."""
        noon = self.now.replace(hour=12, minute=0)
        while noon < self.now or digest[0] not in (digits_due(noon, noon) or ""):
            noon += timedelta(days=1)
        self.later += noon - self.now

    @property
    def config(self) -> Config:
        """The configuration, from the environment alone."""
        return load(None, self.variables)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that runs on this archive."""
        variables = {
            "HIKERAPI_TOKEN": self.upstream.key,
            "ARCHIVER_ARCHIVE": str(self.root),
            "ARCHIVER_ARCHIVE_RESERVE": "1 MB",
            "ARCHIVER_API_BASE_URL": self.upstream.base_url,
            "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
            "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
            "ARCHIVER_SYNC_SWEEP_DAYS": "0",
            **({"ARCHIVER_ARCHIVE_DATABASE": self.database} if self.database else {}),
            **({"ARCHIVER_ARCHIVE_STORAGE": self.storage} if self.storage else {}),
            **self.environ,
        }
        # Without a test's own limit, every highlight is swept within the days that the test sets.
        variables.setdefault(
            "ARCHIVER_SYNC_SWEEP_DAYS_MAX", str(max(1, int(variables["ARCHIVER_SYNC_SWEEP_DAYS"])))
        )
        return variables

    def blob_file(self, digest: str) -> Path:
        """Return the file that must hold a blob."""
        return self.root / "blobs" / digest[:2] / digest

    def night(
        self,
        *targets: str | Target,
        insist: bool = False,
        bound: bool = True,
        full: bool = False,
        lists: bool = False,
    ) -> Summary:
        """One run over these targets; the log of the upstream shows this night only.

        ``lists``: it only asks for the trays.
        """
        self._watched()  # again: an archive may outlive the test that it was made in
        self.upstream.requests.reset()
        self.events.clear()
        parsed = [parse_target(t) if isinstance(t, str) else t for t in targets]
        config = self.config
        create_for_run(config)
        with Archive(config) as archive:
            return archive.run(
                parsed,
                options=RunOptions(from_config=bound, ignore_backoff=insist, full=full, list_only=lists),
                command="plan" if lists else "run",
                observe=self.events.append,
                stop=StopFlag(),  # from this module, where ``skip_waits`` replaces it
                clock=lambda: self.now,
            )

    def plan(self, *targets: str, since: datetime | None = None) -> list[AccountPlan]:
        """Return what the next run would do and cost. ``since``: the start of the run that listed."""
        with Archive(self.config) as archive:
            return archive.plan(targets, options=RunOptions(), since=since, clock=lambda: self.now)

    def gaps(self) -> list[Gap]:
        """What the archive knows that it lacks."""
        with Archive(self.config) as archive:
            return list(archive.gaps())

    def status(self) -> Status:
        """The archive in numbers."""
        with Archive(self.config) as archive:
            return archive.status()

    def verify(self) -> Verification:
        """What a check of all bytes finds."""
        with Archive(self.config) as archive:
            return archive.verify(read_data=True)

    def reread(self, stop: StopFlag | None = None, *, dry_run: bool = False) -> RereadReport:
        """All kept answers mapped anew; the log of the upstream shows what that asked, which is nothing."""
        self._watched()
        self.upstream.requests.reset()
        with Archive(self.config) as archive:
            return archive.reread(dry_run=dry_run, stop=stop, clock=lambda: self.now)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query, read without the program; ``?`` stands for a value."""
        if self.database is not None:
            with psycopg.connect(self.database.replace("+psycopg", "")) as connection:
                return connection.execute(query.replace("?", "%s").encode(), values).fetchall()
        with closing(sqlite3.connect(self.root / "archive.db")) as lite:
            return lite.execute(query, values).fetchall()

    def one(self, sql: str, *values: object) -> object:
        """Return the single value of a query."""
        return self.rows(sql, *values)[0][0]
