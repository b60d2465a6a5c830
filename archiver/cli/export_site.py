"""``archiver export site``."""

from __future__ import annotations

from functools import partial

import click

from archiver.cli import load
from archiver.cli.export_command import ExportRequest, media_options, print_export
from archiver.cli.options import EPILOG, GlobalOptions


@click.command("site", epilog=EPILOG)
@media_options
def command(options: GlobalOptions, request: ExportRequest) -> int:
    """Export web pages into DIR that need no server and no network. Reads only, also during a run; costs
    nothing.

    Open DIR/index.html, from a disk, a USB stick or any web server. Each account has a page with its
    highlights and latest items, each highlight and each year a page with its items; what Instagram no longer
    shows is marked. Pictures and videos open in a viewer that works as stories do: tap to go on, hold to
    pause, swipe; or arrows, Home, End, space and Escape.

    The pages load nothing from elsewhere, and run only their own scripts. Running it again updates them.

    Media are clones if the file system supports them, else hard links, else copies. A hard link is the
    archive's own file under a second name: it is write-protected, and changing it changes the archive. --link
    copy avoids that.

    \b
    Examples:
      archiver export site ./natgeo --account natgeo
      archiver export site /media/usb --link copy --no-gone
    """
    with load.open_archive(options) as archive:
        export = partial(archive.export_site, request.directory, **request.media_options())
        return print_export(options, "site", request, export)
