"""``archiver export site``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import load
from archiver.cli.export_command import NOTHING, directory, dry_running, exported, linking, pruning
from archiver.cli.filter_options import FilterOptions, filter_options, gone_option
from archiver.cli.options import EPILOG, Given, everywhere, json_output


@click.command("site", epilog=EPILOG)
@directory
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
    way: str,
    prune: bool,
    yes: bool,
    dry_run: bool,
    filters: FilterOptions,
) -> int:
    """Web pages in DIR that need no server and no network. Reads only, beside a run too; costs nothing.

    Open DIR/index.html, from a disk, a USB stick or any web server. Each account has a page with its highlights and latest items, each
    highlight one with its items; what Instagram shows no more is marked. Pictures and videos open in a viewer: arrows, Home and
    End move, the space bar plays and pauses, Escape closes; fingers swipe.

    The pages load nothing from anywhere, and run no script but the viewer's. A rerun updates.

    Media are clones where the file system can, else hard links, else copies. A hard link is the archive's own file under a second
    name: it is write-protected, and who changes it in place changes the archive. --link copy avoids that.

    \b
    Examples:
      archiver export site ./natgeo --account natgeo
      archiver export site /media/usb --link copy --no-gone
    """
    from archiver import archive
    from archiver.export.export_entry import LinkMethod

    config = load.config(given)
    chosen = filters.to_chosen()
    return exported(
        given,
        "site",
        directory,
        filters,
        lambda watch, bare, dry: archive.export_site(
            config,
            directory,
            chosen,
            way=LinkMethod(way),
            prune=prune,
            dry_run=dry,
            progress=watch,
            bare=bare,
        ),
        dry_run=dry_run,
        asks=prune and not yes,
    )
