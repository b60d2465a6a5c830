"""``archiver storage``: move."""

from __future__ import annotations

import click

from archiver.cli import load, output, progress, signals
from archiver.cli.lazy import CommandGroup
from archiver.cli.options import EPILOG, GlobalOptions, global_options
from archiver.errors import UsageError
from archiver.text_format import pluralize


@click.group("storage", cls=CommandGroup, invoke_without_command=True, epilog=EPILOG)
@global_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """Move pictures, videos, answers and journal to a bucket, or back. Costs nothing."""
    if ctx.invoked_subcommand is None:
        output.print_help(ctx.get_help())
        return UsageError.exit_code
    return 0


@command.command("move", short_help="Move the archive to a bucket, or back.", epilog=EPILOG)
@click.argument("destination", metavar="s3://BUCKET/PREFIX|directory")
@global_options
@click.pass_obj
def move(options: GlobalOptions, destination: str) -> int:
    """Move pictures, videos, answers and journal to a bucket of an S3-compatible store, or from there into
    the directory of the archive ("directory"). Costs nothing. Not possible during a run (exit code 11).

    Every file is checked while it is copied. The database and both markers then name the new place, and the
    old one is refused from then on. Nothing is removed from it, and quarantine/ stays there. If the command
    is interrupted, run it again. Afterwards set archive.storage in the configuration, as it is printed.

    \b
    Examples:
      archiver storage move s3://my-bucket/archive
      archiver storage move directory
    """
    from archiver.archive.storage_move import move_storage
    from archiver.config import value_formats
    from archiver.runner.workers import StopFlag

    try:
        place = None if destination == "directory" else value_formats.parse_storage_url(destination)
    except ValueError as error:
        raise UsageError(f"{error} is expected, or directory") from None
    stop = StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint="run it again"),
        progress.show_steps(options, " files") as steps,
    ):
        moved = move_storage(load.config(options), place, stop=stop, progress=steps)
    if not options.quiet:
        output.print_messages(
            f"{pluralize(moved.blobs, 'file')} moved from {moved.old} to {moved.new}",
            f'now set storage = "{place}" in [archive]' if place else "now remove storage from [archive]",
        )
    return 0
