"""``archiver init``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from archiver.cli import advice, load, output
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions, dry_run_option
from archiver.config import account_list, example, locate, planned_directory
from archiver.config import load as read
from archiver.durable import destination_errors, real_path, require_permission
from archiver.errors import ArchiverError, StorageError, UsageError


@plain("init")
@dry_run_option("Write and make nothing; print what would be.")
def command(options: GlobalOptions, dry_run: bool) -> None:
    """Write a configuration and make the empty archive that it names. Costs nothing.

    The configuration is written to --config, else to ARCHIVER_CONFIG, else to archiver/config.toml in your
    config directory, readable only by you, and names the directory of --archive if that is given. Otherwise
    the archive is made in archiver/archive in your data directory or, if --config or ARCHIVER_CONFIG names
    the configuration, in the directory "archive" beside it. An existing configuration or archive stays
    as it is; only a missing marker archive.json is written again. An --archive that an existing configuration
    does not name is refused.

    \b
    Examples:
      archiver init
      archiver init --config ~/natgeo.toml --archive /mnt/disk/natgeo
    """
    from archiver.archive.creation import create_archive, require_configured_storage, restore_marker

    path, is_named = locate(options.config, os.environ)
    with destination_errors(path):
        exists = path.exists()
    directory = options.archive.absolute() if options.archive is not None else None
    if directory is None and is_named and not exists and not os.environ.get("ARCHIVER_ARCHIVE"):
        directory = path.absolute().parent / "archive"  # two configurations must not share one by default
    if dry_run:
        _print_dry_run(options, path, directory, exists=exists)
        return
    written = write_configuration(path, directory)
    is_key_set = bool(os.environ.get("HIKERAPI_TOKEN", "").strip())
    try:
        if not written and directory is not None:
            require_named(path, directory)
        config = load.config(options)
        is_restored = restore_marker(config)
        is_made = not is_restored and create_archive(config)
        require_configured_storage(config)
    except ArchiverError:
        if written:
            path.unlink(missing_ok=True)  # else the next init would keep it, and its useless directory
        raise
    if not options.quiet:
        output.print_messages(
            f"{'wrote' if written else 'kept the existing'} {path}",
            ("made the empty archive" if is_made else "kept the existing archive")
            + f" {config.archive.directory}",
            *(["its marker archive.json was missing; it was written again"] if is_restored else []),
            *next_steps(
                path,
                config.api.token_file,
                is_named=is_named,
                accounts_file=config.sync.accounts_file,
                is_key_set=is_key_set,
            ),
        )


def _print_dry_run(options: GlobalOptions, path: Path, directory: Path | None, *, exists: bool) -> None:
    """Print what would be written and made."""
    from archiver.archive.creation import is_archive

    if not exists:
        require_permission(path)
    if exists and directory is not None:
        require_named(path, directory)
    planned = directory or planned_directory(path, os.environ)
    root = load.config(options).archive.directory if exists else planned
    output.print_messages(
        f"dry run: {path} {'exists, and stays as it is' if exists else 'would be written'}",
        f"dry run: the archive {root} {'exists' if is_archive(root) else 'would be made'}",
    )


def require_named(path: Path, directory: Path) -> None:
    """Raise UsageError if the configuration at ``path`` names another archive than ``--archive``."""
    current = read(path, {}).archive.directory
    if real_path(current) != real_path(directory):
        raise UsageError(
            f"{path} exists, and names the archive {current}, not {directory}",
            f"change archive.directory in it, or write another configuration: {advice.command_line('init')}",
        )


def configuration(directory: Path | None) -> str:
    """Return the example configuration with this directory. Raises UsageError if it is not UTF-8."""
    if directory is None:
        return example()
    try:
        str(directory).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{directory} is not UTF-8, and a configuration cannot contain it") from error
    before, mark, after = example().partition('# directory = "~/.local/share/archiver/archive"\n')
    assert mark, "the example configuration shows the directory"
    return f"{before}directory = {account_list.toml_value(str(directory))}\n{after}"


def write_configuration(path: Path, directory: Path | None) -> bool:
    """Write the example configuration with mode 0600. Return False if it exists. Raises StorageError."""
    text = configuration(directory)
    with destination_errors(path):
        _make_private(path.parent)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a configuration would be mistaken for a complete one
        raise StorageError(f"the configuration {path} cannot be written: {error.strerror}") from error
    return True


def _make_private(directory: Path) -> None:
    """Make the directory and its parents, all 0700: ``mkdir(parents=True)`` obeys the umask for parents."""
    for missing in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def next_steps(
    path: Path,
    token_file: Path | None,
    *,
    is_named: bool,
    accounts_file: Path | None = None,
    is_key_set: bool = False,
) -> Iterator[str]:
    """Yield what to do after ``init``. ``path``: the configuration.

    ``token_file`` and ``accounts_file``: its settings. ``is_named``: the commands must name the configuration
    too. ``is_key_set``: whether HIKERAPI_TOKEN is set.
    """
    option = advice.config_option(path, is_named=is_named)
    key_steps = list(advice.key_file_steps(path, token_file))
    if key_steps and is_key_set:
        key_steps.append("(HIKERAPI_TOKEN is set in this shell, but cron does not know it)")
    program = advice.program_name()
    steps = [
        [f"list your accounts in {accounts_file or path}, or with: {program} add{option} NAME"],
        key_steps,
        [f"{program} plan{option}    # what the first night costs at least; free"],
        [f"crontab -e: {advice.cron_line(option)}"],
    ]
    yield "next:"
    for number, (first, *others) in enumerate(filter(None, steps), 1):
        yield f"  {number}. {first}"
        yield from (f"     {line}" for line in others)
