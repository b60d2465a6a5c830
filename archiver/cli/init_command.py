"""``archiver init``."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import click

from archiver.cli import load, show
from archiver.cli.options import EPILOG, Given, everywhere


@click.command("init", epilog=EPILOG)
@everywhere
@click.pass_obj
def command(given: Given) -> int:
    """Write a configuration and make the empty archive that it names. Costs nothing.

    The configuration goes to --config, else to ARCHIVER_CONFIG, else to archiver/config.toml in your config directory, readable
    by you alone. One that is there stays as it is, and so does an archive: run it as often as you like.

    \b
    Examples:
      archiver init
      archiver init --config ~/natgeo.toml --archive /mnt/disk/natgeo
    """
    from archiver import archive
    from archiver.config import locate

    path, named = locate(given.config, os.environ)
    written = write_configuration(path)
    config = load.config(given)
    made = archive.create(config)
    if not given.quiet:
        directory = config.archive.directory
        show.say(
            f"{'wrote' if written else 'left as it is:'} {path}",
            f"{'made the empty archive' if made else 'left as it is: the archive'} {directory}",
            *next_steps(path, named=named),
        )
    return 0


def write_configuration(path: Path) -> bool:
    """Write the example configuration to ``path``, 0600; False if something is there already. Raises StorageError."""
    from archiver.config import example
    from archiver.errors import StorageError

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageError(f"the configuration {path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(example())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a configuration would be taken for a whole one
        raise StorageError(f"the configuration {path} cannot be written: {error.strerror}") from error
    return True


def next_steps(path: Path, *, named: bool) -> tuple[str, ...]:
    """What to do now that a configuration and an archive stand; ``named``: the commands must name it too."""
    option = f" --config {shlex.quote(str(path))}" if named else ""
    return (
        "next:",
        f"  1. list your accounts in {path}",
        "  2. export HIKERAPI_TOKEN=...    (or name a token_file there)",
        f"  3. archiver plan{option}    (what the first night costs, for nothing)",
        f"  4. crontab -e: {cron_line(option)}",
    )


def cron_line(option: str = "") -> str:
    """A crontab line for a run each night."""
    program = shutil.which("archiver") or "archiver"
    return f"17 3 * * * HIKERAPI_TOKEN=... {program} run{option}"
