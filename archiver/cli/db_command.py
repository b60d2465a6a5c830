"""``archiver db``: upgrade, current, backup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from archiver.cli import advice, load, output
from archiver.cli.lazy import Group
from archiver.cli.options import EPILOG, Given, everywhere
from archiver.errors import UsageError
from archiver.text_format import make_safe


@click.group("db", cls=Group, invoke_without_command=True, epilog=EPILOG)
@everywhere
@click.pass_context
def command(ctx: click.Context) -> int:
    """The archive's database: bring its schema up to date, say its revision, copy it. Costs nothing."""
    if ctx.invoked_subcommand is None:
        output.print_help(ctx.get_help())
        return UsageError.exit_code
    return 0


@command.command(
    "upgrade", short_help="Bring the schema to the one that this version works with.", epilog=EPILOG
)
@everywhere
@click.pass_obj
def upgrade(given: Given) -> int:
    """Bring the schema to the one that this version works with; an SQLite file is copied first. Takes the lock.

    Other commands refuse an older schema and name this command; a newer one is never touched (code 9).
    """
    from archiver import archive

    before, after = archive.upgrade(load.config(given))
    if not given.quiet:
        output.print_messages(
            f"the schema is at {after} already"
            if before == after
            else f"the schema went from {before} to {after}"
        )
    return 0


@command.command("current", short_help="Print the schema's revision.", epilog=EPILOG)
@everywhere
@click.pass_obj
def current(given: Given) -> int:
    """Print the schema's revision, and what to do if this version needs another."""
    from archiver import archive

    found, needed = archive.revision(load.config(given))
    output.print_data(f"{found}\n")
    if found != needed and not given.quiet:
        upgrade_it = advice.command_line("db upgrade")
        output.print_messages(
            f"archiver: db current: this version works with revision {needed} ({upgrade_it})"
        )
    return 0


@command.command("backup", short_help="Copy the SQLite database, also while a run is on.", epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to; must not exist.",
)
@everywhere
@click.pass_obj
def backup(given: Given, file: Path | None) -> int:
    """Copy the SQLite database, consistent also while a run is on, and print where it is. For PostgreSQL use pg_dump.

    Without -o it goes to archive-<time>.db in the current directory. Pictures and videos are plain files: copy blobs/ as it is.
    """
    from archiver import archive

    to = file if file is not None else Path(f"archive-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db")
    archive.backup_database(load.config(given), to.absolute())
    output.print_data(f"{make_safe(str(to))}\n")
    return 0
