"""``archiver export wacz``."""

from __future__ import annotations

from functools import partial

import click

from archiver.cli import load
from archiver.cli.export_command import ExportRequest, file_options, print_export
from archiver.cli.options import EPILOG, GlobalOptions, RiskyOption


@click.command("wacz", epilog=EPILOG)
@click.option(
    "--with-answers",
    cls=RiskyOption,
    is_flag=True,
    help="Add the stored answers of the API. They contain signed links, and all that the API returned.",
)
@click.option("--force", cls=RiskyOption, is_flag=True, help="Replace FILE if it exists.")
@file_options
def command(options: GlobalOptions, with_answers: bool, force: bool, request: ExportRequest) -> int:
    """Export the web pages that export site makes as one WACZ file, for a web archive or a player. Reads
    only, also during a run; costs nothing.

    Open it in ReplayWeb.page or serve it with pywb: both list its pages, and can seek within a video. The
    pages have an address that does not exist on the web. Every picture and video is compared with its SHA-256
    while it is copied.

    The file is written as .FILE.part, and renamed to FILE when it is complete. An existing FILE is refused
    (exit code 2), unless --force is given.

    \b
    Examples:
      archiver export wacz natgeo.wacz --account natgeo
      archiver export wacz archive.wacz --with-answers --force
    """
    with load.open_archive(options) as archive:
        export = partial(
            archive.export_wacz,
            request.directory,
            with_answers=with_answers,
            force=force,
            gone=request.filters.gone,
            **request.filters.narrowing(),
        )
        return print_export(options, "wacz", request, export)
