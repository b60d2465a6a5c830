"""``archiver backup``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli import load, night, report, show
from archiver.cli.options import EPILOG, Given, everywhere, json_output, on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from archiver.model import Target


@click.command("backup", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--full", is_flag=True, help="Pay for every highlight again, changed or not.")
@click.option("--max-units", type=click.IntRange(min=0), metavar="N", help="Spend no more than N units.")
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of code 11.")
@json_output(report.NOTHING)
@everywhere
@click.pass_obj
def command(given: Given, targets: tuple[str, ...], full: bool, max_units: int | None, wait: bool) -> int:
    """Keep accounts or highlights now, once. Needs no configuration, only HIKERAPI_TOKEN and a place.

    A TARGET is a username, @username, numeric user id, profile or highlight link, highlight:<pk> or /s/ share link; "-" reads a
    list from stdin, one a line. The archive is made where the directory is absent or empty.

    Costs 1 or 2 units for an account and 1 for each highlight that is new or changed; pictures and videos are free.

    \b
    Examples:
      archiver backup natgeo --archive ./natgeo
      archiver backup https://www.instagram.com/stories/highlights/17983407089364361/
      archiver backup - --max-units 100 < accounts.txt
    """
    from archiver.runner.account import Manner

    asked = load.targets(targets)
    config = load.config(given)
    first = not (config.archive.directory / "archive.json").exists()
    manner = Manner(full=full, bound=False, insist=True)
    summary = night.keep(
        given,
        config,
        asked,
        command="backup",
        manner=manner,
        max_units=max_units,
        wait=wait,
        create_missing=True,
    )
    code = report.finish(given, summary)
    if code == 0 and (first or on_terminal()) and not given.quiet and given.blank is None:
        show.say(*nightly(asked))
    return code


def nightly(targets: Sequence[Target]) -> Iterator[str]:
    """How to keep these every night."""
    from archiver.cli.init_command import cron_line

    yield "to keep this every night: archiver init, then add to the configuration"
    for target in targets[:3]:
        key, value = ("username", target.username) if target.username else ("target", target.text)
        yield "  [[accounts]]"
        yield f'  {key} = "{value}"'
    yield f"and to your crontab: {cron_line()}"
