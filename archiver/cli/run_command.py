"""``archiver run``."""

from __future__ import annotations

import click

from archiver.cli import load, night, run_report, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.options import EPILOG, Given, Unsuggested, everywhere, json_output


@click.command("run", epilog=EPILOG)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT...]")
@click.option("--full", cls=Unsuggested, is_flag=True, help="Pay for every highlight again, changed or not.")
@click.option("--max-units", type=click.IntRange(min=0), metavar="N", help="Spend no more than N units.")
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of code 11.")
@json_output(run_report.EMPTY_FIELDS)
@everywhere
@click.pass_obj
def command(given: Given, accounts: tuple[str, ...], full: bool, max_units: int | None, wait: bool) -> int:
    """Keep every account of the configuration, or these of them, by username or id. What cron calls each night.

    Costs 1 unit for an account where nothing changed, and 1 more for each highlight that is new, changed, incomplete or due for
    its sweep. Without a terminal it is silent unless something failed. It never makes an archive: an unmounted disk must not
    look like a new one (code 10).

    It ends with a report of at most ten lines: what is new, changed, gone, failed, and what it cost. [report] in the configuration
    has it sent, and a monitor pinged.

    \b
    Examples:
      archiver run
      archiver run natgeo 75885841119 --max-units 50
      archiver run --json --wait
    """
    from archiver.cli import report_delivery
    from archiver.runner.context import RunOptions
    from archiver.runner.workers import StopFlag

    config = load.config(given)
    targets = load.entries(config, accounts)
    # Who reads the report of a night is in another directory.
    given.config = given.config.absolute() if given.config is not None else None
    given.archive = given.archive.absolute() if given.archive is not None else None
    stop, seen = StopFlag(), RunChanges()
    with (
        signals.stop_on_signal(stop, quiet=given.quiet, hint=night.RESUME),
        report_delivery.deliver_report(config, stop) as send,
    ):
        summary = night.keep(
            given,
            config,
            targets,
            command="run",
            manner=RunOptions(full=full),
            max_units=max_units,
            wait=wait,
            news=seen,
            stop=stop,
        )
        code = run_report.print_report(given, summary, seen)
        send(summary, seen)
    return code
