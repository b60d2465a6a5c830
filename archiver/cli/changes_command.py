"""``archiver changes``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals
from archiver.cli.change_summary import ChangeSummary
from archiver.cli.name_completion import complete_account
from archiver.cli.options import EPILOG, GlobalOptions, global_options, json_option
from archiver.cli.parameter_types import TimeType, WholeNumber
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.model.archived import NamedChange

_USUAL = timedelta(days=7)


@click.command("changes", epilog=EPILOG)
@click.option(
    "--since",
    type=TimeType(),
    metavar="WHEN",
    help="From a date (2026-11-01), a time (2026-11-01T03:17, UTC), or for the last 36h, 7d."
    " [default: 7d; with --run everything]",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_account,
    help="Only this account, by its username, a former one, or its id. May be repeated.",
)
@click.option("--run", "run_id", type=WholeNumber(min=1), metavar="ID", help="Only what this run saw.")
@json_option({"changes": []})
@global_options
@click.pass_obj
def command(
    options: GlobalOptions, since: datetime | None, accounts: tuple[str, ...], run_id: int | None
) -> int:
    """List what owners edited, added and removed, by default in the last 7 days. Reads only, also during a
    run; costs nothing.

    It prints a line for each account and highlight, day by day (UTC). Several edits of one thing on a day are
    combined: renamed from its first name to its last; added and removed again. --json prints every row as it
    is. What is seen for the first time is not a change. Accounts and highlights have their current names.

    \b
    Examples:
      archiver changes
      archiver changes --since 2026-11-01 --account natgeo
      archiver changes --run 12 --json
    """
    asked = load.targets(accounts) if accounts else None
    if since is None and run_id is None:
        since = datetime.now(UTC) - _USUAL
    with load.open_archive(options) as archive, signals.die_on_interrupt():
        found = archive.changes(asked, since=since, run_id=run_id)
        if options.blank is not None:
            output.print_json_list({"exit_code": 0, "outcome": "ok"}, "changes", found)
        elif not print_changes(found) and not options.quiet:
            output.print_messages(f"nothing changed{_within(since, run_id)}")
    return 0


def print_changes(changes: Iterable[NamedChange]) -> bool:
    """Print the changes for people, day by day. Return whether there were any."""
    any_day = False
    for day, seen in groupby(changes, key=lambda change: change.at.date()):
        head = f"\n{day}" if any_day else f"{day}"
        lines = [head, *(f"  {make_safe(line)}" for line in ChangeSummary(seen).lines())]
        output.print_data("".join(f"{line}\n" for line in lines))
        any_day = True
    return any_day


def _within(since: datetime | None, run_id: int | None) -> str:
    in_run = f" in run {run_id}" if run_id is not None else ""
    return in_run + (f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else "")
