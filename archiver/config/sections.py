"""The configuration as values. Each field of a section is a key; its type says what is allowed.

The default of a field is the default of its key. Fields that may contain a password are left out of ``repr``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from archiver.blobs import marker
from archiver.config import value_formats
from archiver.errors import ArchiverError
from archiver.model.target import Target
from archiver.model.values import repr_without
from archiver.secret import Secret

KeepAnswers = Literal["all", "fetched"]
ReportWhen = Literal["always", "news", "failure"]


def _text(parse: Callable[[str], str]) -> Meta:
    """Return the type of a string that ``parse`` checks and converts."""
    return Meta(extra={"parse": parse})


def _whole_number(least: int, most: int) -> Meta:
    return Meta(ge=least, le=most, description=f"a whole number from {least} to {most}")


def _number(least: float, most: float) -> Meta:
    return Meta(ge=least, le=most, description=f"a number from {least:g} to {most:g}")


def _byte_count(parse: Callable[[str], int], least: int = 0) -> Meta:
    """Return the type of a size or a speed: a string such as "10 MB", or a plain number of bytes."""
    expected = f"a size in quotes, or a number of bytes: {least} or more"
    return Meta(ge=least, le=value_formats.MOST_BYTES, description=expected, extra={"parse": parse})


def _price() -> Meta:
    return Meta(
        description='a price such as "0.60 EUR" or 0.6',
        extra={"parse": value_formats.parse_price, "takes_numbers": True},
    )


DatabaseUrl = Annotated[str, _text(value_formats.parse_database_url)]
StorageUrl = Annotated[str, _text(value_formats.parse_storage_url)]
HostPattern = Annotated[str, _text(value_formats.parse_host_pattern)]
Units = Annotated[int, _whole_number(0, 10**9)]


class ArchiveSection(Struct, frozen=True):
    """Where the archive is. ``directory`` is absolute once loaded.

    Without ``database``, the database is ``archive.db`` in the directory. ``query_database`` is the same
    database under another role, for the statements of ``archiver query``. Without ``storage``, blobs, answers
    and journal are in the directory. ``use_metadata_service``: ask the instance metadata service for the keys
    of the store. ``reserve``: bytes of disk space to leave free.
    """

    directory: Path = Path("archive")
    database: DatabaseUrl | None = None
    query_database: DatabaseUrl | None = None
    storage: StorageUrl | None = None
    use_metadata_service: bool = False
    reserve: Annotated[int, _byte_count(value_formats.parse_size)] = 10**9
    keep_answers: KeepAnswers = "all"
    group_readable: bool = False

    def __repr__(self) -> str:
        return repr_without(self, "database", "query_database")

    @property
    def keeps_trays(self) -> bool:
        """Whether answers with trays stay stored after a run, not only those with pages of highlights."""
        return self.keep_answers == "all"


class ApiSection(Struct, frozen=True):
    """The paid API. Without ``requests_per_second`` the rate is what /sys/balance states.

    ``timeout``: seconds for a whole call.
    """

    base_url: Annotated[str, _text(value_formats.parse_api_url)] = "https://api.hikerapi.com"
    token_file: Path | None = None
    requests_per_second: Annotated[float, _number(0.01, 1000)] | None = None
    timeout: Annotated[float, _number(1, 300)] = 20.0
    privacy_check: bool = False


class DownloadSection(Struct, frozen=True):
    """The CDN. Sizes are in bytes, speeds in bytes per second.

    If ``limit_rate`` is None, there is no limit; if ``min_speed`` is 0, no download is too slow.
    """

    concurrency: Annotated[int, _whole_number(1, 64)] = 8
    max_file_size: Annotated[int, _byte_count(value_formats.parse_size, least=1)] = 512 * 10**6
    limit_rate: Annotated[int, _byte_count(value_formats.parse_speed, least=1000)] | None = None
    min_speed: Annotated[int, _byte_count(value_formats.parse_speed)] = 10**3
    proxy: Annotated[str, _text(value_formats.parse_proxy)] | None = None
    allowed_hosts: Annotated[
        tuple[HostPattern, ...],
        Meta(min_length=1, description="a list of strings, at least one"),
    ] = ("*.cdninstagram.com", "*.fbcdn.net")
    covers: bool = True
    avatars: bool = True

    def __repr__(self) -> str:
        return repr_without(self, "proxy")


class SyncSection(Struct, frozen=True):
    """An unchanged highlight is fetched again within ``sweep_days`` to ``sweep_days_max`` days.

    It is never fetched again if ``sweep_days`` is 0. ``sweep_days_max`` is at least ``sweep_days`` once
    loaded.
    """

    sweep_days: Annotated[int, _whole_number(0, 3650)] = 30
    sweep_days_max: Annotated[int, _whole_number(1, 3650)] = 180
    accounts_file: Path | None = None


class BudgetSection(Struct, frozen=True):
    """Units that may be spent; None means no limit. Days and months are UTC.

    ``price_per_1000``: what 1,000 units cost, with a currency or without: ``0.60 EUR``.
    """

    max_units_per_run: Units | None = None
    max_units_per_day: Units | None = None
    max_units_per_month: Units | None = None
    price_per_1000: Annotated[str, _price()] | None = None


class ReportSection(Struct, frozen=True):
    """Where and when (``on``) the report of a run is sent, and the monitor to ping at its start and end.

    ``allow_link_local``: whether either may have a link-local address, where clouds serve credentials.
    """

    url: Annotated[str, _text(value_formats.parse_report_url)] | None = None
    on: ReportWhen = "always"
    ping_url: Annotated[str, _text(value_formats.parse_web_url)] | None = None
    allow_link_local: bool = False

    def __repr__(self) -> str:
        return repr_without(self, "url", "ping_url")


class ClusterSection(Struct, frozen=True):
    """Runs whose accounts are visited by workers. ``lease``: see ``archiver.catalog.leases``, in seconds."""

    enabled: bool = False
    lease: Annotated[int, _whole_number(10, 3600)] = 60


class OwnArchive(Struct, frozen=True):
    """The directory of the archive that a setting belongs to.

    ``is_default``: no directory was named, so this one counts only if there is an archive in it.
    """

    directory: Path
    is_default: bool = False

    def is_in(self, root: Path) -> bool | None:
        """Return whether the archive in ``root`` is this one; None if the setting belongs to any archive.

        The spelling of the path does not matter, and a copy is the same archive: its marker has the same id.
        The markers are read again each time, since a disk may be mounted late.
        """
        if self.is_default and not marker.exists(self.directory):
            return None
        if os.path.realpath(root) == os.path.realpath(self.directory):
            return True
        with suppress(ArchiverError):
            return marker.read(root).id == marker.read(self.directory).id
        return False


class Config(Struct, frozen=True):
    """The whole configuration. ``path`` is its file, None if there is none.

    ``warnings`` must be shown to the user. ``archive_of_list``: what ``accounts`` belong to, since
    ``--archive`` may name another archive; None: to any. ``archive_of_database`` is the same for the two
    databases. The storage of another archive is left out.
    """

    archive: ArchiveSection = ArchiveSection()
    api: ApiSection = ApiSection()
    download: DownloadSection = DownloadSection()
    sync: SyncSection = SyncSection()
    budget: BudgetSection = BudgetSection()
    report: ReportSection = ReportSection()
    cluster: ClusterSection = ClusterSection()
    accounts: tuple[Target, ...] = ()
    token: Secret | None = None
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    archive_of_list: OwnArchive | None = None
    archive_of_database: OwnArchive | None = None

    @property
    def has_own_list(self) -> bool:
        """Return whether ``accounts`` are for the archive in ``archive.directory``."""
        return self.archive_of_list is None or self.archive_of_list.is_in(self.archive.directory) is not False

    @property
    def has_own_database(self) -> bool | None:
        """Return the same for the two databases; None if nothing says so."""
        own = self.archive_of_database
        return None if own is None else own.is_in(self.archive.directory)


SECTIONS = {
    "archive": ArchiveSection,
    "api": ApiSection,
    "download": DownloadSection,
    "sync": SyncSection,
    "budget": BudgetSection,
    "report": ReportSection,
    "cluster": ClusterSection,
}

KEYS = frozenset(f"{name}.{key}" for name, section in SECTIONS.items() for key in section.__struct_fields__)
"""Every key, as ``section.key``."""
