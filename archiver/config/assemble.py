"""Where the configuration is found, and how its parts become one Config."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, MutableMapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from archiver.blobs import marker
from archiver.config import accounts, files, values
from archiver.config.sections import (
    SECTIONS,
    ApiSection,
    ArchiveSection,
    BudgetSection,
    Config,
    DownloadSection,
    KeepAnswers,
    Reported,
    ReportSection,
    SyncSection,
)
from archiver.config.settings import Settings, refuse_unknown, unknown_variables
from archiver.errors import ConfigError
from archiver.secret import Secret

_VENDOR = frozenset({"api.hikerapi.com", "api.instagrapi.com"})


def default_path() -> Path:
    """Where the configuration is when nobody names one. Never the current directory: whoever can write there would name the API."""
    return platformdirs.user_config_path("archiver") / "config.toml"


def locate(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """The absolute path of the configuration, and whether a person named it: ``path`` (a flag), else
    ARCHIVER_CONFIG.

    A leading ``~`` is expanded. Raises ConfigError where that is nobody's home.
    """
    named = path if path is not None else environ.get("ARCHIVER_CONFIG") or None
    if named is None:
        return default_path(), False
    try:
        return Path(named).expanduser().absolute(), True
    except RuntimeError:
        raise ConfigError(f"{named} (the configuration): there is no such home directory") from None


def example() -> str:
    """The text of ``config.example.toml``: every key, its default and what it means. In a checkout a link to the one at the top."""
    return Path(__file__).with_name("config.example.toml").read_text(encoding="utf-8")


def load(
    path: Path | None, environ: MutableMapping[str, str], overrides: Mapping[str, object] | None = None
) -> Config:
    """Read everything once. ``overrides`` are flags: ``{"archive.directory": "x"}``, None for one that was not given.

    HIKERAPI_TOKEN is taken out of ``environ``, so that no child process inherits it; it counts before ``api.token_file``. Without a
    file all is as if an empty one stood at ``default_path()``. Raises ConfigError; KeyMissing for a text that cannot be a key.
    """
    key = environ.pop("HIKERAPI_TOKEN", "")
    warnings = list(unknown_variables(environ))
    where, named = locate(path, environ)
    found = files.toml(where, required=named)
    tables, writable = found or ({}, False)
    if writable:
        warnings.append(
            f"others can write {where}, or its directory: they can have your key sent to them; "
            f"chmod go-w {shlex.quote(str(where))}; chmod o-w {shlex.quote(str(where.parent))}"
        )
    refuse_unknown(tables, (*SECTIONS, "accounts"), where)

    sections = {name: table for name, table in tables.items() if name != "accounts"}
    settings = Settings(sections, where, environ, overrides or {})
    accounts_archive, database_archive = _own_archives(sections, where, environ)
    api, sync = _api(settings), _sync(settings)
    token = Secret(key) if key.strip() else None
    if token is None and api.token_file is not None:
        token, warning = files.token(api.token_file)
        warnings += [warning] if warning else []
    host = urlsplit(api.base_url).hostname or ""
    if host not in _VENDOR and not values.is_loopback(host):
        warnings.append(f"the key is sent to {host}, which is not the vendor's")
    listed = [*accounts.from_tables(tables.get("accounts", []), where)]
    if sync.accounts_file is not None:
        listed += accounts.from_file(sync.accounts_file)
    targets, doubts = accounts.each_once(listed)
    return Config(
        archive=_archive(settings, where),
        api=api,
        download=_download(settings),
        sync=sync,
        budget=_budget(settings),
        report=_report(settings),
        accounts=targets,
        token=token,
        path=where if found is not None else None,
        warnings=(*warnings, *doubts),
        accounts_archive=accounts_archive,
        database_archive=database_archive,
    )


def _own_archives(
    sections: Mapping[str, object], where: Path, environ: Mapping[str, str]
) -> tuple[Path | None, Path | None]:
    """Return the archives that the accounts and the database of a configuration are for: never that of a
    flag, which names another.

    What stands in the file is for the directory that the file names; a database in the environment for the
    one that it names. A configuration that names none, and has no archive at the default place, has none of
    its own.
    """
    in_file = Settings(sections, where, {}, {}).path("archive.directory", None)
    without_flags = Settings(sections, where, environ, {}).path("archive.directory", None)
    default = _default_directory(where)
    of_file = in_file or without_flags or (default if marker.stands(default) else None)
    if environ.get("ARCHIVER_ARCHIVE_DATABASE"):
        return of_file, without_flags or of_file
    return of_file, of_file


def _default_directory(where: Path) -> Path:
    return (where.parent / ArchiveSection().directory).absolute()


def _archive(settings: Settings, where: Path) -> ArchiveSection:
    default = ArchiveSection()
    return ArchiveSection(
        directory=settings.path("archive.directory", _default_directory(where)),
        database=settings.text("archive.database", default.database, values.database),
        query_database=settings.text("archive.query_database", default.query_database, values.database),
        reserve=settings.size("archive.reserve", default.reserve, values.size),
        keep_answers=settings.text("archive.keep_answers", default.keep_answers, _keep_answers),
        group_readable=settings.flag("archive.group_readable", default.group_readable),
    )


def _api(settings: Settings) -> ApiSection:
    default = ApiSection()
    return ApiSection(
        base_url=settings.text("api.base_url", default.base_url, values.base_url),
        token_file=settings.path("api.token_file", default.token_file),
        requests_per_second=settings.number(
            "api.requests_per_second", default.requests_per_second, 0.01, 1000
        ),
        timeout=settings.number("api.timeout", default.timeout, 1, 300),
        privacy_check=settings.flag("api.privacy_check", default.privacy_check),
    )


def _download(settings: Settings) -> DownloadSection:
    default = DownloadSection()
    return DownloadSection(
        concurrency=settings.whole("download.concurrency", default.concurrency, 1, 64),
        max_file_size=settings.size("download.max_file_size", default.max_file_size, values.size, least=1),
        limit_rate=settings.size("download.limit_rate", default.limit_rate, values.speed, least=1000),
        min_speed=settings.size("download.min_speed", default.min_speed, values.speed),
        proxy=settings.text("download.proxy", default.proxy, values.proxy),
        allowed_hosts=settings.texts("download.allowed_hosts", default.allowed_hosts, values.host_pattern),
        covers=settings.flag("download.covers", default.covers),
        avatars=settings.flag("download.avatars", default.avatars),
    )


def _sync(settings: Settings) -> SyncSection:
    default = SyncSection()
    return SyncSection(
        sweep_days=settings.whole("sync.sweep_days", default.sweep_days, 0, 3650),
        accounts_file=settings.path("sync.accounts_file", default.accounts_file),
    )


def _budget(settings: Settings) -> BudgetSection:
    default, most = BudgetSection(), 10**9
    return BudgetSection(
        max_units_per_run=settings.whole("budget.max_units_per_run", default.max_units_per_run, 0, most),
        max_units_per_day=settings.whole("budget.max_units_per_day", default.max_units_per_day, 0, most),
        max_units_per_month=settings.whole(
            "budget.max_units_per_month", default.max_units_per_month, 0, most
        ),
    )


def _report(settings: Settings) -> ReportSection:
    default = ReportSection()
    allowed = settings.flag("report.allow_link_local", default.allow_link_local)
    return ReportSection(
        url=settings.text("report.url", default.url, partial(values.report_url, link_local=allowed)),
        on=settings.text("report.on", default.on, _reported),
        ping_url=settings.text(
            "report.ping_url", default.ping_url, partial(values.web_url, link_local=allowed)
        ),
        allow_link_local=allowed,
    )


def _keep_answers(text: str) -> KeepAnswers:
    match text:
        case "all" | "fetched":
            return text
    raise ValueError('"all" or "fetched"')


def _reported(text: str) -> Reported:
    match text:
        case "always" | "news" | "failure":
            return text
    raise ValueError('"always", "news" or "failure"')
