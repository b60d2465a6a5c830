"""``archiver worker``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli.decorators import writes
from archiver.cli.options import GlobalOptions, WholeNumber
from archiver.cli.run_report import observe_events

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.work import StopFlag


@writes("worker", hint="start it again: the next run needs it", with_accounts=False)
@click.option(
    "--concurrency", type=WholeNumber(1, 64), metavar="N", help="Download N files at a time (1 to 64)."
)
@click.option(
    "--until-idle",
    is_flag=True,
    help="End once no account of an open run waits, instead of waiting for more.",
)
def command(
    options: GlobalOptions, archive: Archive, stop: StopFlag, concurrency: int | None, until_idle: bool
) -> None:
    """Visit accounts for the runs that "archiver run" opens, beside other workers, on this machine or on
    several. It needs cluster.enabled = true, a PostgreSQL database and the API key. See docs/cluster.md.

    It waits for a run, takes accounts one by one, and pays for what is due, within the limits of the run and
    at the rate that all workers share. It can be started before the run, and stopped at any time: other
    workers take up the accounts that it has begun, and pay for their lists of highlights again.

    \b
    Examples:
      archiver worker
      archiver worker --concurrency 16
      archiver worker --until-idle
    """
    with observe_events(options, "the worker ended") as observer:
        archive.work(concurrency=concurrency, until_idle=until_idle, observe=observer, stop=stop)
