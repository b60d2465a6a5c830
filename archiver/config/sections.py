"""The configuration as values. Every field of a section is a key of the file, and its default is the key's default.

What may hold a password stands in no repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from archiver.model.target import Target
from archiver.secret import Secret

KeepAnswers = Literal["all", "fetched"]
Reported = Literal["always", "news", "failure"]


@dataclass(frozen=True, slots=True)
class ArchiveSection:
    """Where everything is kept. ``directory`` is absolute once loaded; ``database`` a SQLAlchemy URL, None for ``archive.db``;
    ``query_database`` the same database under another role, for what users ask."""

    directory: Path = Path("archive")
    database: str | None = field(default=None, repr=False)
    query_database: str | None = field(default=None, repr=False)
    reserve: int = 10**9
    """Bytes of free space to leave."""
    keep_answers: KeepAnswers = "all"
    group_readable: bool = False


@dataclass(frozen=True, slots=True)
class ApiSection:
    """The paid API. ``requests_per_second`` None: what /sys/balance states. ``timeout``: seconds for a whole call."""

    base_url: str = "https://api.hikerapi.com"
    token_file: Path | None = None
    requests_per_second: float | None = None
    timeout: float = 20.0
    privacy_check: bool = False


@dataclass(frozen=True, slots=True)
class DownloadSection:
    """The CDN. Sizes in bytes, speeds in bytes a second; ``limit_rate`` None: as fast as it goes; ``min_speed`` 0: no matter how slow."""

    concurrency: int = 8
    max_file_size: int = 512 * 10**6
    limit_rate: int | None = None
    min_speed: int = 10**3
    proxy: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ("*.cdninstagram.com", "*.fbcdn.net")
    covers: bool = True
    avatars: bool = True


@dataclass(frozen=True, slots=True)
class SyncSection:
    """``sweep_days``: a highlight that did not change is looked at again after so many days; 0 never."""

    sweep_days: int = 30
    accounts_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BudgetSection:
    """Units that may be spent; None is no limit. Days and months are UTC."""

    max_units_per_run: int | None = None
    max_units_per_day: int | None = None
    max_units_per_month: int | None = None


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Where the report of a run is sent, ``on`` which nights, and which monitor is pinged when it begins and
    ends; None: nowhere. ``allow_link_local``: whether either may be at a link-local address, where clouds
    serve credentials."""

    url: str | None = field(default=None, repr=False)
    on: Reported = "always"
    ping_url: str | None = field(default=None, repr=False)
    allow_link_local: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that was configured. ``path`` is the file it came from, None without one; ``warnings`` are for a person to see."""

    archive: ArchiveSection = ArchiveSection()
    api: ApiSection = ApiSection()
    download: DownloadSection = DownloadSection()
    sync: SyncSection = SyncSection()
    budget: BudgetSection = BudgetSection()
    report: ReportSection = ReportSection()
    accounts: tuple[Target, ...] = ()
    token: Secret | None = None
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    accounts_archive: Path | None = None
    """The archive that ``accounts`` are for, where ``archive.directory`` may be another one (``--archive``).
    None: whichever it is."""
    database_archive: Path | None = None
    """As ``accounts_archive``, for ``archive.database`` and ``archive.query_database``."""


SECTIONS = {
    "archive": ArchiveSection,
    "api": ApiSection,
    "download": DownloadSection,
    "sync": SyncSection,
    "budget": BudgetSection,
    "report": ReportSection,
}

KEYS = frozenset(f"{name}.{key.name}" for name, section in SECTIONS.items() for key in fields(section))
"""Every key, as ``section.key``."""
