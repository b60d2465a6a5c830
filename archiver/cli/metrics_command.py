"""``archiver metrics``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import output
from archiver.cli.decorators import reads
from archiver.cli.options import OutputFileType
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

_SUFFIX = ".prom"


@reads("metrics")
@click.option(
    "--textfile",
    "file",
    type=OutputFileType(),
    metavar="FILE",
    help="Write FILE (*.prom, mode 0644) for node_exporter's textfile collector, instead of stdout.",
)
@click.option(
    "--by-account",
    is_flag=True,
    help="Add items, gaps and time of each account, whose name is then in a label.",
)
def command(archive: Archive, file: Path | None, by_account: bool) -> None:
    """Write the numbers of the archive for Prometheus. Reads only, also during a run; makes no call and costs
    nothing.

    Every metric is a gauge without labels; only archiver_missing_target_since_timestamp_seconds has one, for
    each name, id or highlight that does not exist. Times are Unix seconds, 0 if it never happened; a number
    that is not known is NaN. The units left are those that the API stated at the last run. FILE is replaced
    at once: a reader never sees half of it.

    \b
    Examples:
      archiver metrics
      archiver metrics --textfile /var/lib/prometheus/node-exporter/archiver.prom
    """
    if file is not None and file.suffix != _SUFFIX:
        raise click.BadParameter(
            f"the name must end with {_SUFFIX}: node_exporter reads no other files", param_hint="--textfile"
        )
    text = archive.metrics(by_account=by_account)
    if file is None:
        if output.terminal_width() is not None:
            text = "".join(f"{make_safe(line)}\n" for line in text.removesuffix("\n").split("\n"))
        output.print_data(text)
        return
    from archiver.metrics import write_textfile

    write_textfile(file, text)
