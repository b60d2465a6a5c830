"""``archiver export jsonl``."""

from __future__ import annotations

import click

from archiver.cli.export_command import ExportRequest, table_options
from archiver.cli.export_tables import export_tables
from archiver.cli.options import EPILOG, GlobalOptions


@click.command("jsonl", epilog=EPILOG)
@table_options
def command(options: GlobalOptions, tables: tuple[str, ...], request: ExportRequest) -> int:
    """Export every table as JSON lines: DIR/users.jsonl and so on, one object a row. Reads only, also during
    a run; costs nothing.

    The export is exact: pks are texts, times are texts (UTC), numbers are whole, null is null. docs/schema.md
    describes the tables and columns.

    With a filter it has only rows of the selected accounts, highlights and items, and only the tables that
    have such rows: not runs, api_calls, answers, targets and archive. With - for DIR one table goes to
    stdout.

    Running it again replaces all tables of an earlier export, and removes those that are not exported now;
    your own files are never changed.

    \b
    Examples:
      archiver export jsonl ./tables
      archiver export jsonl ./natgeo --account natgeo
      archiver export jsonl - --table mentions | jq -r .username | sort | uniq -c
    """
    return export_tables(options, "jsonl", tables, request)
