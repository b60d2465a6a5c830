"""``archiver verify``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from archiver.cli import load, progress, show, signals, table
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.runner.workers import StopFlag

if TYPE_CHECKING:
    from archiver.verify import VerifyReport

_DAMAGED = 12
_NOTHING = {"checked": 0, "bytes_read": 0, "damaged": [], "orphans": 0, "foreign": [], "lost": 0}


@click.command("verify", epilog=EPILOG)
@click.option(
    "--read-data/--quick",
    default=False,
    help="Read every byte and compare its SHA-256, or look at presence and size only (the default).",
)
@json_output(_NOTHING)
@everywhere
@click.pass_obj
def command(given: Given, read_data: bool) -> int:
    """Check what is kept: every row's blob is there, of the right size, and with --read-data of the right bytes. Costs nothing.

    It changes no file and may run beside a run. --read-data notes when each blob was read (verified_at), unless another run holds
    the lock or the archive is read-only. Damage that is not yet recorded as lost gives code 12. Blobs without a row are
    harmless and only counted: a later run adopts equal bytes.

    \b
    Examples:
      archiver verify
      archiver verify --read-data --json
    """
    from archiver import archive

    config = load.config(given)
    stop = StopFlag()
    with signals.watched(stop, quiet=given.quiet), progress.Counting(given, stop.check) as count:
        report = archive.verify(config, read_data=read_data, progress=count)
    code = _DAMAGED if report.damaged else 0
    if given.blank is not None:
        show.document({"exit_code": code, "outcome": "damaged" if code else "ok", **fields_of(report)})
    elif report.damaged:
        blobs = config.archive.directory / "blobs"
        rows = [
            (d.problem.value, str(blobs / d.sha256[:2] / d.sha256), "; ".join(d.owners))
            for d in report.damaged
        ]
        show.data("".join(f"{line}\n" for line in table.lines(("problem", "file", "belongs to"), rows)))
    if code or given.talkative:
        show.say(*told(report))
    return code


def fields_of(report: VerifyReport) -> dict[str, object]:
    """The report as ``--json`` shows it."""
    damaged = [
        {"sha256": d.sha256, "problem": d.problem.value, "owners": list(d.owners)} for d in report.damaged
    ]
    return {
        "checked": report.checked,
        "bytes_read": report.bytes_read,
        "damaged": damaged,
        "orphans": report.orphans,
        "foreign": list(report.foreign),
        "lost": report.lost,
    }


def told(report: VerifyReport) -> Iterator[str]:
    """The report for people."""
    read = f", {show.size(report.bytes_read)} read" if report.bytes_read else ""
    yield f"{show.count(report.checked, 'blob')} checked{read}: {len(report.damaged):,} damaged"
    if report.damaged:
        yield "move a damaged file away, and the next run fetches it again if it is still offered"
    if report.lost:
        yield f"{show.count(report.lost, 'blob')} recorded as lost"
    if report.orphans:
        yield f"{show.count(report.orphans, 'blob')} without a row (harmless)"
    if report.foreign:
        yield f"{show.count(len(report.foreign), 'name')} in blobs/ that no blob can have: {', '.join(report.foreign[:5])}"
