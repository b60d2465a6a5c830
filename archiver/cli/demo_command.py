"""``archiver demo``."""

from __future__ import annotations

import shlex
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.blobs import marker
from archiver.cli import advice, load, output, run_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions
from archiver.config import Config
from archiver.config import load as read
from archiver.errors import ArchiverError, NoArchive, UsageError
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.sandbox.standin import StandIn

_ACCOUNTS = ("natgeo", "salwaaa_ki")


@plain("demo")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def command(options: GlobalOptions, directory: Path | None) -> int:
    """Try it in a minute: two nights against a stand-in for the API and the CDN on this machine.

    It needs no key and no network, costs nothing, and does not read your configuration. The first night
    archives two small accounts in DIR (default: ./archiver-demo). The second shows that a night without
    changes costs one unit for each account (the sweep is off here) and downloads nothing. In an existing
    demo archive it runs one more night; any other directory that is not empty is refused.

    \b
    Example:
      archiver demo && archiver status --archive ./archiver-demo
    """
    from archiver.archive.creation import create_archive
    from archiver.sandbox.standin import StandIn
    from archiver.sandbox.world import World

    place = directory or options.archive or Path("archiver-demo")
    options.config, options.archive = None, place  # so that the printed commands name the demo
    root = place.absolute()
    again = _holds_demo(root)
    with StandIn(World.seed()) as upstream:
        options.loaded = config = demo_config(upstream, root)
        if not again:
            create_archive(config, demo=True)
        code = make_demo_run(options, upstream, "one more night" if again else "first night")
        if code == 0 and not again:
            code = make_demo_run(options, upstream, "second night")
    if code == 0 and not options.quiet:
        output.print_messages(*next_steps(place))
    return code


def _holds_demo(root: Path) -> bool:
    """Return whether there is a demo archive at ``root``. Raises UsageError for any other archive."""
    try:
        if marker.read(root).is_demo:
            return True
    except NoArchive:
        return False  # create_archive refuses anything else
    raise UsageError(f"the archive at {root} is not a demo", "name a directory that does not exist")


def demo_config(upstream: StandIn, root: Path) -> Config:
    """Return a configuration for the stand-in. Neither the user's file nor the environment is read."""
    flags: dict[str, object] = {
        "archive.directory": str(root),
        "archive.reserve": 0,
        "api.base_url": upstream.base_url,
        "api.requests_per_second": 50,
        "download.allowed_hosts": sorted({host.partition(":")[0] for host in upstream.cdn_hosts}),
        "sync.sweep_days": 0,  # with a sweep, a second night weeks later would rightly cost more than a unit
    }
    with tempfile.TemporaryDirectory() as empty:
        path = Path(empty, "config.toml")
        path.touch(mode=0o600)
        return read(path, {"HIKERAPI_TOKEN": upstream.key}, flags)


def make_demo_run(options: GlobalOptions, upstream: StandIn, title: str) -> int:
    """Make a run, and print what the stand-in counted. Raises ArchiverError if the counts differ."""
    from archiver.runner.context import RunOptions

    upstream.requests.reset()
    changes = RunChanges()
    with load.open_archive(options) as archive:
        summary = run_report.make_run(
            options,
            archive,
            load.targets(_ACCOUNTS),
            command="demo",
            run_options=RunOptions(),
            changes=changes,
        )
    if summary.exit_code:
        return run_report.print_report(options, summary, changes)
    units, downloads = upstream.units, len(upstream.requests.cdn_requests())
    if units != summary.units:
        raise ArchiverError(f"the run counted {summary.units} units, the stand-in billed {units}")
    if not options.quiet:
        output.print_messages(f"{title}: {pluralize(units, 'unit')}, {pluralize(downloads, 'download')}")
        output.print_messages(*(f"  {line}" for line in run_report.report_lines(summary, changes)))
    return 0


def next_steps(directory: Path) -> tuple[str, ...]:
    """Return what to try on the demo archive."""
    option = f"--archive {shlex.quote(str(directory))}"
    program = advice.program_name()
    return (
        "now try:",
        *([f"  {program} serve {option}     # pages for your browser"] if find_spec("uvicorn") else []),
        f"  {program} status {option}",
        f'  {program} query {option} "SELECT title FROM highlights"',  # noqa: S608  # for a person to type
        f"  {program} verify --read-data -v {option}",
        "and with a key of your own, kept out of the shell's history:",
        f"  read -rs HIKERAPI_TOKEN && export HIKERAPI_TOKEN && {program} backup natgeo --archive ./natgeo",
    )
