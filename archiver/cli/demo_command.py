"""``archiver demo``."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, night, output, run_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.options import EPILOG, Given, everywhere
from archiver.errors import ArchiverError, NoArchive, UsageError
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.sandbox.standin import StandIn

_ACCOUNTS = ("natgeo", "salwaaa_ki")


@click.command("demo", epilog=EPILOG)
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@everywhere
@click.pass_obj
def command(given: Given, directory: Path | None) -> int:
    """See it work in a minute: two nights against a stand-in for the API and the CDN on this machine.

    No key, no network, no cost; your configuration is not read. The first night keeps two small accounts in DIR (./archiver-demo
    if left out), the second shows that a night without news costs one unit for an account and downloads nothing. On a demo
    archive that is there it makes one night; any other directory with something in it is refused.

    \b
    Example:
      archiver demo && archiver status --archive ./archiver-demo
    """
    from archiver import archive
    from archiver.sandbox.standin import StandIn
    from archiver.sandbox.world import World

    place = directory or given.archive or Path("archiver-demo")
    given.config, given.archive = None, place  # for the commands that are printed
    root = place.absolute()
    again = is_demo(root)
    with StandIn(World.seed()) as upstream:
        given.loaded = config = demo_config(upstream, root)
        if not again:
            archive.create(config, demo=True)
        code = one_night(given, config, upstream, "one more night" if again else "first night")
        if code == 0 and not again:
            code = one_night(given, config, upstream, "second night")
    if code == 0 and not given.quiet:
        output.print_messages(*next_steps(place))
    return code


def is_demo(root: Path) -> bool:
    """Whether a demo archive stands at ``root``; False where no archive stands. Raises UsageError for one that is no demo."""
    from archiver.blobs import marker

    try:
        if marker.read(root).demo:
            return True
    except NoArchive:
        return False  # what else may lie there is looked at by archive.create
    raise UsageError(f"the archive at {root} is no demo", "name a directory that does not exist")


def demo_config(upstream: StandIn, root: Path) -> Config:
    """A configuration for the stand-in: nothing of the person's own, neither file nor environment, is read."""
    from archiver.config import load as read

    flags: dict[str, object] = {
        "archive.directory": str(root),
        "archive.reserve": 0,
        "api.base_url": upstream.base_url,
        "api.requests_per_second": 50,
        "download.allowed_hosts": sorted({host.partition(":")[0] for host in upstream.cdn_hosts}),
        "sync.sweep_days": 0,  # else a second night after weeks would rightly cost more than a unit
    }
    with tempfile.TemporaryDirectory() as empty:
        path = Path(empty, "config.toml")
        path.touch(mode=0o600)
        return read(path, {"HIKERAPI_TOKEN": upstream.key}, flags)


def one_night(given: Given, config: Config, upstream: StandIn, title: str) -> int:
    """One run, and what it asked of the stand-in, by the stand-in's own count. Raises ArchiverError if the run counted otherwise."""
    from archiver.runner.context import RunOptions

    upstream.requests.reset()
    seen = RunChanges()
    summary = night.keep(
        given, config, load.targets(_ACCOUNTS), command="demo", manner=RunOptions(), news=seen
    )
    if summary.exit_code:
        return run_report.print_report(given, summary, seen)
    units, downloads = upstream.units, len(upstream.requests.cdn_requests())
    if units != summary.units:
        raise ArchiverError(f"the run counted {summary.units} units, the stand-in billed {units}")
    if not given.quiet:
        output.print_messages(f"{title}: {pluralize(units, 'unit')}, {pluralize(downloads, 'download')}")
        output.print_messages(*(f"  {line}" for line in run_report.report_lines(summary, seen)))
    return 0


def next_steps(directory: Path) -> tuple[str, ...]:
    """What to try on the demo archive."""
    option = f"--archive {shlex.quote(str(directory))}"
    program = advice.program_name()
    return (
        "now try:",
        f"  {program} status {option}",
        f'  {program} query {option} "SELECT title, media_count FROM highlights"',  # noqa: S608  # for a person to type
        f"  {program} verify --read-data -v {option}",
        "and with a key of your own, kept out of the shell's history:",
        f"  read -rs HIKERAPI_TOKEN && export HIKERAPI_TOKEN && {program} backup natgeo --archive ./natgeo",
    )
