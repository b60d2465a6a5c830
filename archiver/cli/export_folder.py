"""``archiver export folder``."""

from __future__ import annotations

from functools import partial

import click

from archiver.cli import load
from archiver.cli.export_command import ExportRequest, media_options, print_export
from archiver.cli.options import EPILOG, GlobalOptions
from archiver.export.path_template import DEFAULT_TEMPLATE, FIELDS


@click.command("folder", epilog=f"Fields of a template: {', '.join(sorted(FIELDS))}.\n\n{EPILOG}")
@click.option(
    "--template",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    metavar="PATH",
    help="Where each picture or video goes below DIR; must end in .{ext}. The fields are listed below;"
    " write {{ and }} for braces.",
)
@click.option(
    "--sidecars", is_flag=True, help="Write what the archive knows of each item beside it, as JSON."
)
@click.option(
    "--xmp",
    is_flag=True,
    help="Write an XMP sidecar beside each picture and video of an item (NAME.jpg.xmp), which photo programs"
    " such as Immich and digiKam read.",
)
@media_options
def command(options: GlobalOptions, template: str, sidecars: bool, xmp: bool, request: ExportRequest) -> int:
    """Export pictures and videos under readable names into DIR. Reads only, also during a run; costs nothing.

    An item that several highlights show is in each. Covers and avatars are included. The modification time of
    a file is when the item was taken (of a cover or avatar, when it was stored). The names work on Linux,
    macOS and Windows.

    Files are clones if the file system supports them, else copies; a folder that was made with hard links
    goes on with them. --link hardlink takes no space on the disk of the archive. A hard link is the archive's
    own file under a second name: it is write-protected, and changing it changes the archive.

    Running it again updates the export: files whose names changed are moved, new ones are added, and nothing
    is duplicated. A file in DIR that is not the export's, or that you changed, is left alone; if its name is
    needed, the export uses another one.

    \b
    Examples:
      archiver export folder ~/highlights
      archiver export folder /media/usb --account natgeo --type video --link copy
      archiver export folder ./new --since 7d --template '{username}/{date} {code}.{ext}'
    """
    with load.open_archive(options) as archive:
        export = partial(
            archive.export_folder,
            request.directory,
            template=template,
            sidecars=sidecars,
            xmp=xmp,
            **request.media_options(),
        )
        return print_export(options, "folder", request, export)
