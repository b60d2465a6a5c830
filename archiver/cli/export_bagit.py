"""``archiver export bagit``."""

from __future__ import annotations

from functools import partial

import click

from archiver.cli import load
from archiver.cli.export_command import ExportRequest, media_options, print_export
from archiver.cli.options import EPILOG, GlobalOptions
from archiver.errors import UsageError


@click.command("bagit", epilog=EPILOG)
@click.option(
    "--info",
    "fields",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Your own field for bag-info.txt, as in 'Source-Organization=City Archive'. Later exports keep it;"
    " LABEL= removes it. May be repeated, also with the same label.",
)
@media_options
def command(options: GlobalOptions, fields: tuple[str, ...], request: ExportRequest) -> int:
    """Export a BagIt 1.0 bag (RFC 8493) with SHA-256 manifests into DIR, for libraries and archives. Reads
    only, also during a run; costs nothing.

    data/media has every picture and video, named by pks, each with a JSON file that describes it; data/tables
    has the tables as JSON lines. The API's own answers stay in the archive, since they contain signed links.
    Every file is read and compared with its SHA-256 before it is added.

    A hard link is the archive's own file: use --link copy for a bag that you give away.

    Running it again completes an interrupted bag and updates a complete one. bagit.txt is written last and
    removed first: an incomplete bag never looks like a bag.

    \b
    Examples:
      archiver export bagit ./bag --info 'Source-Organization=City Archive'
      archiver export bagit ./bag --account natgeo --link copy
      bagit.py --validate ./bag
    """
    with load.open_archive(options) as archive:
        export = partial(
            archive.export_bagit, request.directory, info=parse_fields(fields), **request.media_options()
        )
        return print_export(options, "bagit", request, export)


def parse_fields(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return ``LABEL=VALUE`` texts as pairs. Raises UsageError."""
    pairs = []
    for text in texts:
        label, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"invalid --info {text!r}: use LABEL=VALUE", "see archiver export bagit --help")
        pairs.append((label.strip(), value.strip()))
    return pairs
