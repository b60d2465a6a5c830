"""``archiver export folder``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import load
from archiver.cli.export_command import NOTHING, directory, dry_running, exported, linking, pruning
from archiver.cli.filter_options import FilterOptions, filter_options, gone_option
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.export.path_template import DEFAULT_TEMPLATE, FIELDS


@click.command("folder", epilog=f"Fields of a template: {', '.join(sorted(FIELDS))}.\n\n{EPILOG}")
@directory
@click.option(
    "--template",
    "text",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    metavar="PATH",
    help="Where each picture or video goes below DIR; must end in .{ext}. Fields see below; {{ and }} stand for themselves.",
)
@click.option(
    "--sidecars", is_flag=True, help="Write what the archive knows of each item beside it, as JSON."
)
@gone_option
@linking
@pruning
@dry_running
@filter_options
@json_output(NOTHING)
@everywhere
@click.pass_obj
def command(
    given: Given,
    directory: Path,
    text: str,
    sidecars: bool,
    way: str,
    prune: bool,
    yes: bool,
    dry_run: bool,
    filters: FilterOptions,
) -> int:
    """A tree of pictures and videos under names for people, in DIR. Reads only, beside a run too; costs nothing.

    An item that several highlights show is in each. Covers and avatars are there too. Each file says that it was changed when
    the item was taken (a cover, an avatar: when it was kept). Names are such that Linux, macOS and Windows can all have them.

    Files are clones where the file system can, else hard links, else copies. A hard link is the archive's own file under a second
    name: it is write-protected, and who changes it in place changes the archive. --link copy avoids that.

    A rerun updates: what has another name now moves, what is new comes, nothing is there twice. A file in DIR that is not
    the export's, or that you changed, is left alone; what wants its name gets another one.

    \b
    Examples:
      archiver export folder ~/highlights
      archiver export folder /media/usb --account natgeo --type video --link copy
      archiver export folder ./new --since 7d --template '{username}/{date} {code}.{ext}'
    """
    from archiver import archive
    from archiver.export.export_entry import LinkMethod
    from archiver.export.path_template import parse_template

    template = parse_template(text)
    config = load.config(given)
    chosen = filters.to_chosen()
    return exported(
        given,
        "folder",
        directory,
        filters,
        lambda watch, bare, dry: archive.export_folder(
            config,
            directory,
            chosen,
            template=template,
            sidecars=sidecars,
            way=LinkMethod(way),
            prune=prune,
            dry_run=dry,
            progress=watch,
            bare=bare,
        ),
        dry_run=dry_run,
        asks=prune and not yes,
    )
