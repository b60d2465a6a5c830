"""``archiver storage``: move."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from archiver.blobs.marker import DIRECTORY
from archiver.cli import load, output, progress, signals
from archiver.cli.decorators import group, plain
from archiver.cli.options import GlobalOptions, dry_run_option
from archiver.config import Config, value_formats
from archiver.config.load_config import warn_of_plain_http
from archiver.errors import UsageError
from archiver.text_format import format_size, pluralize
from archiver.work import StopFlag, Work

if TYPE_CHECKING:
    from archiver.archive.storage_move import MovePreview, StorageMove


@group("storage")
def command() -> None:
    """Move pictures, videos, answers and journal to a bucket, or back. Costs nothing."""


@plain("move", short_help="Move the archive to a bucket, or back.", group=command)
@click.argument("destination", metavar="s3://BUCKET/PREFIX|directory")
@dry_run_option("Copy nothing; print how much would be copied.")
def move(options: GlobalOptions, destination: str, dry_run: bool) -> None:
    """Move pictures, videos, answers and journal to a bucket of an S3-compatible store, or from there into
    the directory of the archive ("directory"). Costs nothing. Not possible during a run (exit code 11).

    Every file is checked while it is copied. The database and both markers then name the new place, and the
    old one is refused from then on. Nothing is removed from it, and quarantine/ stays there. Afterwards set
    archive.storage in the configuration, as it is printed.

    If the command is interrupted, run it again. To give it up, name the place where the archive is.

    \b
    Examples:
      archiver storage move s3://my-bucket/archive
      archiver storage move directory
    """
    from archiver.archive.storage_move import move_storage, preview_move

    place = _parse_destination(destination)
    configuration = load.config(options)
    if place is not None and configuration.archive.storage is None and not options.quiet:
        output.print_messages(*(f"archiver: note: {text}" for text in warn_of_plain_http(os.environ)))
    if dry_run:
        preview = preview_move(configuration, place)
        output.print_messages(f"dry run, nothing was copied: {_describe_preview(preview)}")
        return
    stop = StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint="run it again"),
        progress.show_steps(options, "files") as steps,
    ):
        moved = move_storage(configuration, place, Work(stop=stop, progress=steps))
    if not options.quiet:
        output.print_messages(_describe(moved), *_describe_setting(configuration, place))


def _parse_destination(text: str) -> str | None:
    """Return the storage that is meant, None for the directory. Raises UsageError; quotes no access key."""
    from archiver.store.bucket_settings import parse_location

    if text == DIRECTORY:
        return None
    if not text.startswith("s3://"):
        raise UsageError("the destination is neither s3://BUCKET/PREFIX nor the word directory")
    parse_location(text)  # says what is wrong
    return value_formats.parse_storage_url(text)


def _describe(moved: StorageMove) -> str:
    if moved.old == moved.new:
        return f"the archive is in {moved.new}: there is nothing to move"
    return f"{pluralize(moved.blobs, 'file')} moved from {moved.old} to {moved.new}"


def _describe_preview(preview: MovePreview) -> str:
    if preview.old == preview.new:
        return f"the archive is in {preview.new}: there is nothing to move"
    files = f"{pluralize(preview.blobs, 'file')}, {format_size(preview.size)},"
    return f"{files} the answers and the journal would be copied from {preview.old} to {preview.new}"


def _describe_setting(configuration: Config, place: str | None) -> Iterator[str]:
    """Yield what must be changed in the configuration, if anything."""
    if configuration.archive.storage != place:
        yield f'now set storage = "{place}" in [archive]' if place else "now remove storage from [archive]"
