"""``archiver changes``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals
from archiver.cli.change_summary import ChangeSummary
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.cli.parameter_types import TimeType
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.model.archived import NamedChange

_USUAL = timedelta(days=7)


@click.command("changes", epilog=EPILOG)
@click.option(
    "--since",
    type=TimeType(),
    metavar="WHEN",
    help="From a date (2026-11-01), a time (2026-11-01T03:17, UTC), or so long ago (36h, 7d). [default: 7d, with --run everything]",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    help="Only this account, by its username, one that it bore once, or its id; may be repeated.",
)
@click.option("--run", "run_id", type=click.IntRange(min=1), metavar="ID", help="Only what this run saw.")
@json_output({"changes": []})
@everywhere
@click.pass_obj
def command(given: Given, since: datetime | None, accounts: tuple[str, ...], run_id: int | None) -> int:
    """What owners edited, added and removed: the last 7 days, or what is asked for. Reads only, beside a run too; costs nothing.

    A line for each account and highlight, day by day (UTC). What happened to one thing several times on a day is folded: renamed
    from its first name to its last; what came and went again is told as that. --json has every row as it is. The first look at a
    thing is no change. Accounts and highlights go by the names that they have now.

    \b
    Examples:
      archiver changes
      archiver changes --since 2026-11-01 --account natgeo
      archiver changes --run 12 --json
    """
    from archiver import archive

    config = load.config(given)
    asked = load.targets(accounts) if accounts else ()
    if since is None and run_id is None:
        since = datetime.now(UTC) - _USUAL
    with signals.die_on_interrupt():
        found = archive.changes(config, since=since, run_id=run_id, accounts=asked)
        if given.blank is not None:
            output.print_json_list({"exit_code": 0, "outcome": "ok"}, "changes", found)
        elif not told(found) and not given.quiet:
            output.print_messages(f"nothing changed{_within(since, run_id)}")
    return 0


def told(changes: Iterable[NamedChange]) -> bool:
    """Write the changes for people, day by day; returns whether there were any."""
    any_day = False
    for day, seen in groupby(changes, key=lambda change: change.at.date()):
        head = f"\n{day}" if any_day else f"{day}"
        lines = [head, *(f"  {make_safe(line)}" for line in ChangeSummary(seen).lines())]
        output.print_lines(lines)
        any_day = True
    return any_day


def _within(since: datetime | None, run_id: int | None) -> str:
    in_run = f" in run {run_id}" if run_id is not None else ""
    return in_run + (f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else "")
