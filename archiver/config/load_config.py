"""Find the configuration, and combine its sources into one Config."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from archiver.blobs import marker
from archiver.config import account_list, config_files
from archiver.config.sections import (
    SECTIONS,
    ApiSection,
    ArchiveSection,
    BudgetSection,
    ClusterSection,
    Config,
    DownloadSection,
    OwnArchive,
    ReportSection,
    SyncSection,
)
from archiver.config.sources import (
    Setting,
    convert,
    read_settings,
    refuse_unknown_keys,
    section_values,
    warn_of_unknown_variables,
)
from archiver.config.value_formats import names_link_local_host
from archiver.errors import ConfigError, NoArchive, hide_keys
from archiver.hosts import is_this_machine
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.secret import Secret

_VENDOR_HOSTS = frozenset({"api.hikerapi.com", "api.instagrapi.com"})


def default_path() -> Path:
    """Return the path of the configuration if no other is given.

    It is never in the current directory: anyone who can write there could have the key sent to them.
    """
    import platformdirs  # slow, and not needed if a configuration is named

    return platformdirs.user_config_path("archiver") / "config.toml"


def locate(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the absolute path of the configuration, and whether it was given explicitly.

    ``path`` (a flag) overrides ARCHIVER_CONFIG. A leading ``~`` is expanded; raises ConfigError if that home
    directory does not exist.
    """
    named = path if path is not None else environ.get("ARCHIVER_CONFIG") or None
    if named is None:
        return default_path(), False
    try:
        return Path(named).expanduser().absolute(), True
    except RuntimeError:
        raise ConfigError(f"{named} (the configuration): there is no such home directory") from None


def example() -> str:
    """Return the text of ``config.example.toml``, which explains every key."""
    return Path(__file__).with_name("config.example.toml").read_text(encoding="utf-8")


def load(
    path: Path | None,
    environ: MutableMapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    with_accounts: bool = True,
) -> Config:
    """Read the configuration. Without a file, every key has its default.

    ``with_accounts``: False leaves ``sync.accounts_file`` unread.

    ``overrides`` are flags: ``{"archive.directory": "x"}``, None for a flag that was not given.
    HIKERAPI_TOKEN overrides ``api.token_file``. It is removed from ``environ``, so that no child process
    inherits it. Raises ConfigError, KeyMissing for a key that cannot be valid, or NoArchive if no directory
    is named and the archive is where earlier versions had it by default.
    """
    key = environ.pop("HIKERAPI_TOKEN", "")
    place, is_named = locate(path, environ)
    tables, is_writable = config_files.read_toml(place, is_required=is_named) or (None, False)
    sections = dict(tables or {})
    refuse_unknown_keys(sections, (*SECTIONS, "accounts"), place)
    account_tables = sections.pop("accounts", [])

    settings = read_settings(sections, place, environ, overrides or {})
    archive = _archive(settings, place)
    api = ApiSection(**section_values(settings, "api"))
    download = DownloadSection(**section_values(settings, "download"))
    budget = BudgetSection(**section_values(settings, "budget"))
    sync = _sync(settings)
    report = _report(settings)

    token, token_warning = _token(key, api)
    accounts, account_warnings = _accounts(account_tables, place, sync if with_accounts else SyncSection())
    archive_of_list, archive_of_database, archive_of_storage = _own_archives(sections, place, environ)
    if archive_of_storage.is_in(archive.directory) is False:
        archive = replace(archive, storage=None)
    warnings = (
        *warn_of_unknown_variables(environ),
        *_warn_of_writable(place, is_writable),
        *token_warning,
        *_warn_of_foreign_host(api),
        *(warn_of_plain_http(environ) if archive.storage is not None else ()),
        *account_warnings,
    )
    return Config(
        archive=archive,
        api=api,
        download=download,
        sync=sync,
        budget=budget,
        report=report,
        cluster=ClusterSection(**section_values(settings, "cluster")),
        accounts=accounts,
        token=token,
        path=place if tables is not None else None,
        warnings=tuple(map(hide_keys, warnings)),
        archive_of_list=archive_of_list,
        archive_of_database=archive_of_database,
    )


def warn_of_plain_http(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning if the environment allows a store that is reached over plain http."""
    from archiver.store.bucket_settings import PLAIN_HTTP_WARNING, allows_http  # most archives do not need it

    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    is_local = is_this_machine(urlsplit(endpoint).hostname or "")
    return (PLAIN_HTTP_WARNING,) if allows_http(environ) and not is_local else ()


def _archive(settings: Mapping[str, Setting], place: Path) -> ArchiveSection:
    values = section_values(settings, "archive")
    if "directory" not in values:
        values["directory"] = default = _default_directory()
        _require_moved(default, place)
    return ArchiveSection(**values)


def _sync(settings: Mapping[str, Setting]) -> SyncSection:
    sync = SyncSection(**section_values(settings, "sync"))
    if sync.sweep_days_max >= sync.sweep_days:
        return sync
    if (longest := settings.get("sync.sweep_days_max")) is not None:
        raise longest.refusal(f"at least the value of sync.sweep_days, which is {sync.sweep_days}")
    return replace(sync, sweep_days_max=sync.sweep_days)


def _report(settings: Mapping[str, Setting]) -> ReportSection:
    report = ReportSection(**section_values(settings, "report"))
    if not report.allow_link_local:
        for key, url in (("report.url", report.url), ("report.ping_url", report.ping_url)):
            if url is not None and names_link_local_host(url):
                raise settings[key].refusal(
                    "a host that is not link-local, as clouds serve credentials there "
                    "(report.allow_link_local = true permits it)"
                )
    return report


def _token(key: str, api: ApiSection) -> tuple[Secret | None, tuple[str, ...]]:
    if key.strip():
        return Secret(key), ()
    if api.token_file is None:
        return None, ()
    return config_files.read_token(api.token_file)


def _accounts(tables: object, place: Path, sync: SyncSection) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    accounts = [*account_list.read_account_tables(tables, place)]
    if sync.accounts_file is not None:
        accounts += account_list.read_account_file(sync.accounts_file)
    return account_list.deduplicate(accounts)


def _own_archives(
    sections: Mapping[str, object], place: Path, environ: Mapping[str, str]
) -> tuple[OwnArchive, OwnArchive, OwnArchive]:
    """Return what the accounts, the database and the storage of a configuration belong to.

    What the file has belongs to the directory that the file names; a database or storage in the environment
    belongs to the directory that the environment names. A directory given by a flag does not count, since it
    names another archive. If no directory is named, the default one is used if it contains an archive.
    """
    directory_in_file = _directory(read_settings(sections, place, {}, {}))
    directory = _directory(read_settings(sections, place, environ, {}))
    named = directory_in_file or directory
    of_file = OwnArchive(_default_directory(), is_default=True) if named is None else OwnArchive(named)

    def archive_of(variable: str) -> OwnArchive:
        return OwnArchive(directory) if directory is not None and environ.get(variable) else of_file

    return of_file, archive_of("ARCHIVER_ARCHIVE_DATABASE"), archive_of("ARCHIVER_ARCHIVE_STORAGE")


def _directory(settings: Mapping[str, Setting]) -> Path | None:
    setting = settings.get("archive.directory")
    return None if setting is None else convert(setting, Path)


def planned_directory(place: Path, environ: Mapping[str, str]) -> Path:
    """Return the directory of the archive for the configuration that ``init`` writes, which names none."""
    return _archive(read_settings({}, place, environ, {}), place).directory


def _require_moved(default: Path, place: Path) -> None:
    """Raise NoArchive if there is no archive in the default directory, and something in the earlier one.

    Otherwise a run would make another archive, and pay for everything again. The earlier one need not have a
    marker: the disk that is mounted there may be missing.
    """
    former = (place.parent / "archive").absolute()
    if former != default and os.path.lexists(former) and not marker.exists(default):
        free = (
            f"rmdir {shlex.quote(str(default))}"
            if os.path.lexists(default)
            else f"mkdir -p {shlex.quote(str(default.parent))}"
        )
        raise NoArchive(
            f"there is no archive in the default directory {default}; earlier versions had it in {former}",
            f"{free} && mv {shlex.quote(str(former))} {shlex.quote(str(default))}; or name a directory: "
            "--archive DIR",
        )


def _default_directory() -> Path:
    """Return the directory of the archive if none is named."""
    import platformdirs  # slow, and not needed if a directory is named

    return platformdirs.user_data_path("archiver") / "archive"


def _warn_of_writable(place: Path, is_writable: bool) -> Iterator[str]:
    if is_writable:
        yield (
            f"other users can write {place} or its directory and redirect your key to themselves: run "
            f"chmod go-w {shlex.quote(str(place))}; chmod o-w {shlex.quote(str(place.parent))}"
        )


def _warn_of_foreign_host(api: ApiSection) -> Iterator[str]:
    host = urlsplit(api.base_url).hostname or ""
    if host not in _VENDOR_HOSTS and not is_this_machine(host):
        yield f"the key is sent to {host}, which is not the vendor's"
