"""``archiver export csv``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli.export_tables import options, tables_exported
from archiver.cli.filter_options import FilterOptions
from archiver.cli.options import EPILOG, Given


@click.command("csv", epilog=EPILOG)
@options
def command(
    given: Given, directory: Path, tables: tuple[str, ...], filters: FilterOptions, dry_run: bool
) -> int:
    """Every table for a spreadsheet: DIR/users.csv and so on (RFC 4180, UTF-8). Reads only, beside a run too; costs nothing.

    A text that a spreadsheet would run as a formula gets a leading apostrophe. A cell cannot tell a null from an empty text; for
    programs, export jsonl is exact. Tell the spreadsheet that pks are text: it would round them.

    With a filter only rows of the accounts, highlights and items that it selects are written, and only tables that have such rows: not runs,
    api_calls, answers, targets and archive. With - for DIR one table goes to stdout.

    A rerun replaces all the tables that an earlier one brought, and removes those that this one does not bring; no file of yours is touched.

    \b
    Examples:
      archiver export csv ./tables
      archiver export csv ./new --since 7d
      archiver export csv - --table highlights > highlights.csv
    """
    return tables_exported(given, "csv", directory, tables, filters, dry_run=dry_run)
