"""The configuration: a TOML file, the environment and flags, read once into a frozen ``Config``.

Only this package knows the names of the keys.
"""

from __future__ import annotations

from archiver.config.load_config import (
    default_path,
    example,
    load,
    locate,
    planned_directory,
)
from archiver.config.sections import (
    ApiSection,
    ArchiveSection,
    BudgetSection,
    Config,
    DownloadSection,
    ReportSection,
    ReportWhen,
    SyncSection,
)

__all__ = [
    "ApiSection",
    "ArchiveSection",
    "BudgetSection",
    "Config",
    "DownloadSection",
    "ReportSection",
    "ReportWhen",
    "SyncSection",
    "default_path",
    "example",
    "load",
    "locate",
    "planned_directory",
]
