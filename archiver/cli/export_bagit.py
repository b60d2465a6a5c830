"""``archiver export bagit``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import load
from archiver.cli.export_command import NOTHING, directory, dry_running, exported, linking, pruning
from archiver.cli.filter_options import FilterOptions, filter_options, gone_option
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.errors import UsageError


@click.command("bagit", epilog=EPILOG)
@directory
@click.option(
    "--info",
    "fields",
    multiple=True,
    metavar="LABEL=VALUE",
    help="A field of your own for bag-info.txt, as in 'Source-Organization=City Archive'. A rerun keeps it; LABEL= ends it. May be repeated, with the same label too.",
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
    fields: tuple[str, ...],
    way: str,
    prune: bool,
    yes: bool,
    dry_run: bool,
    filters: FilterOptions,
) -> int:
    """A BagIt 1.0 bag (RFC 8493) in DIR, with SHA-256 manifests: what libraries and archives take over. Reads only, beside a run too;
    costs nothing.

    data/media holds every picture and video by pks, each with a JSON file that tells what is known of it; data/tables the tables as
    JSON lines. The API's own answers stay in the archive, since they hold signed links. Every file is read and compared with its SHA-256
    before it goes in.

    A hard link is the archive's own file: --link copy for a bag that is given away.

    A rerun completes an interrupted bag and updates a whole one. bagit.txt comes last and goes first: what is not whole is no bag.

    \b
    Examples:
      archiver export bagit ./bag --info 'Source-Organization=City Archive'
      archiver export bagit ./bag --account natgeo --link copy
      bagit.py --validate ./bag
    """
    from archiver import archive
    from archiver.export.export_entry import LinkMethod

    info = []
    for field in fields:
        label, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"--info {field!r} is not LABEL=VALUE", "see archiver export bagit --help")
        info.append((label.strip(), value.strip()))
    config = load.config(given)
    chosen = filters.to_chosen()
    return exported(
        given,
        "bagit",
        directory,
        filters,
        lambda watch, bare, dry: archive.export_bag(
            config,
            directory,
            chosen,
            info=info,
            way=LinkMethod(way),
            prune=prune,
            dry_run=dry,
            progress=watch,
            bare=bare,
        ),
        dry_run=dry_run,
        asks=prune and not yes,
    )
