"""``archiver export jsonl``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli.export_tables import options, tables_exported
from archiver.cli.filter_options import FilterOptions
from archiver.cli.options import EPILOG, Given


@click.command("jsonl", epilog=EPILOG)
@options
def command(
    given: Given, directory: Path, tables: tuple[str, ...], filters: FilterOptions, dry_run: bool
) -> int:
    """Every table as JSON lines: DIR/users.jsonl and so on, one object a row. Reads only, beside a run too; costs nothing.

    Exact: pks are text, times are text (UTC), numbers are whole, null is null. What the tables and columns mean stands in docs/schema.md.

    With a filter only rows of the accounts, highlights and items that it selects are written, and only tables that have such rows: not runs,
    api_calls, answers, targets and archive. With - for DIR one table goes to stdout.

    A rerun replaces all the tables that an earlier one brought, and removes those that this one does not bring; no file of yours is touched.

    \b
    Examples:
      archiver export jsonl ./tables
      archiver export jsonl ./natgeo --account natgeo
      archiver export jsonl - --table mentions | jq -r .username | sort | uniq -c
    """
    return tables_exported(given, "jsonl", directory, tables, filters, dry_run=dry_run)
