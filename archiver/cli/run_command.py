"""``archiver run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli import load, run_report, signals
from archiver.cli.change_summary import RunChanges
from archiver.cli.decorators import plain
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions, run_options
from archiver.work import StopFlag

if TYPE_CHECKING:
    from archiver.cli.plan_command import PlanResult


@plain("run", json=run_report.empty_fields)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT...]", shell_complete=complete_account)
@run_options
def command(
    options: GlobalOptions,
    accounts: tuple[str, ...],
    full: bool,
    max_units: int | None,
    dry_run: bool,
    wait: bool,
) -> PlanResult | int:
    """Archive every account of the configuration, or those named (by username or id). Run it each night from
    cron.

    It costs 1 unit for each account, and 1 more for each highlight that is new, changed, incomplete or due
    for its sweep: what looks unchanged is fetched again within 30 to 180 days (sync.sweep_days and
    sweep_days_max), the later the longer it has not changed. An account of 20 highlights in which nothing
    changes costs 1.1 to 1.2 units a night, and up to 1.7 in the first months if its items are new. Named
    accounts are asked for even if they are private, gone or missing and not due yet.

    Without a terminal it prints nothing unless something failed. It never makes an archive, since an
    unmounted disk must not look like a new archive (exit code 10).

    It fetches files again that are missing in the archive. Each night it looks for one sixteenth of them, and
    for those of missed nights: all are looked for within 16 days, or at the account's next listing if that is
    later. With --full it looks for all.

    It ends with a report of at most ten lines: what is new, changed, gone or failed, and what it cost. The
    section [report] of the configuration sends the report, and pings a monitor.

    \b
    Examples:
      archiver run
      archiver run natgeo 75885841119 --max-units 50
      archiver run --json --wait
    """
    from archiver.cli import report_delivery
    from archiver.runner.context import RunOptions

    config = load.config(options)
    targets = load.entries(config, accounts)
    run_options = RunOptions(full=full, ignore_backoff=bool(accounts))
    if dry_run:
        from archiver.cli.plan_command import make_plan

        with load.open_archive(options) as archive:
            return make_plan(options, archive, targets, run_options, max_units=max_units)
    # The report is read elsewhere: its commands must not depend on the working directory.
    options.config = options.config.absolute() if options.config is not None else None
    options.archive = options.archive.absolute() if options.archive is not None else None
    stop, changes = StopFlag(), RunChanges()
    with (
        load.open_archive(options) as archive,
        signals.stop_on_signal(stop, quiet=options.quiet, hint=run_report.RESUME),
        report_delivery.deliver_report(config, stop) as send,
    ):
        summary = run_report.make_run(
            options,
            archive,
            targets,
            command="run",
            run_options=run_options,
            max_units=max_units,
            wait=wait,
            changes=changes,
            stop=stop,
        )
        code = run_report.print_report(options, summary, changes)
        send(summary, changes)
    return code
