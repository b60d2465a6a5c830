"""TOML, environment and flags → one frozen Config, read once. The only place that knows the names of the keys."""

from __future__ import annotations

from archiver.config.assemble import default_path, example, load, locate
from archiver.config.sections import (
    ApiSection,
    ArchiveSection,
    BudgetSection,
    Config,
    DownloadSection,
    Reported,
    ReportSection,
    SyncSection,
)

__all__ = [
    "ApiSection",
    "ArchiveSection",
    "BudgetSection",
    "Config",
    "DownloadSection",
    "ReportSection",
    "Reported",
    "SyncSection",
    "default_path",
    "example",
    "load",
    "locate",
]
