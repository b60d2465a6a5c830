"""``archiver export csv``."""

from __future__ import annotations

import click

from archiver.cli.export_command import ExportRequest, table_options
from archiver.cli.export_tables import export_tables
from archiver.cli.options import EPILOG, GlobalOptions


@click.command("csv", epilog=EPILOG)
@table_options
def command(options: GlobalOptions, tables: tuple[str, ...], request: ExportRequest) -> int:
    """Export every table for a spreadsheet: DIR/users.csv and so on (RFC 4180, UTF-8). Reads only, also
    during a run; costs nothing.

    A text that a spreadsheet would run as a formula gets a leading apostrophe. In a cell, null and an empty
    text look the same; for programs, export jsonl is exact. Import pks as text: a spreadsheet would round
    them.

    With a filter it has only rows of the selected accounts, highlights and items, and only the tables that
    have such rows: not runs, api_calls, answers, targets and archive. With - for DIR one table goes to
    stdout.

    Running it again replaces all tables of an earlier export, and removes those that are not exported now;
    your own files are never changed.

    \b
    Examples:
      archiver export csv ./tables
      archiver export csv ./new --since 7d
      archiver export csv - --table highlights > highlights.csv
    """
    return export_tables(options, "csv", tables, request)
