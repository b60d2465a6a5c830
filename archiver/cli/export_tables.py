"""What ``archiver export jsonl`` and ``archiver export csv`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from archiver.cli import load, output, signals
from archiver.cli.export_command import NOTHING, dry_running, exported, warn
from archiver.cli.filter_options import FilterOptions, filter_options
from archiver.cli.options import Given, everywhere, json_output
from archiver.cli.parameter_types import OutputDirectoryType
from archiver.errors import UsageError


def options(command: Callable[..., int]) -> Callable[..., int]:
    """DIR, ``--table`` and the filters."""
    return _directory(
        _table(dry_running(filter_options(json_output(NOTHING)(everywhere(click.pass_obj(command))))))
    )


_directory = click.argument("directory", metavar="DIR", type=OutputDirectoryType(allows_stdout=True))

_table = click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    help="Only this table; may be repeated. [default: all]",
)


def tables_exported(
    given: Given,
    form: str,
    directory: Path,
    tables: tuple[str, ...],
    filters: FilterOptions,
    *,
    dry_run: bool,
) -> int:
    """Do it, into the directory, or to stdout for ``-``."""
    from archiver import archive
    from archiver.catalog.query import dump
    from archiver.export.table_files import TableForm

    for name in tables:
        if name not in dump.TABLES:
            raise UsageError(f"there is no table {name}", f"known are {', '.join(dump.TABLES)}")
    config = load.config(given)
    chosen = filters.to_chosen()
    if str(directory) == "-":
        if len(tables) != 1 or given.blank is not None or dry_run:
            raise UsageError(
                "stdout takes one table, no --json and no --dry-run",
                f"archiver export {form} - --table items",
            )
        with signals.die_on_interrupt():
            for piece in archive.table_lines(
                config, chosen, form=TableForm(form), name=tables[0], bare=lambda: warn(given, filters)
            ):
                output.print_data(piece.encode(errors="replace"))
        return 0
    return exported(
        given,
        form,
        directory,
        filters,
        lambda watch, bare, dry: archive.export_tables(
            config,
            directory,
            chosen,
            form=TableForm(form),
            names=tables,
            dry_run=dry,
            progress=watch,
            bare=bare,
        ),
        dry_run=dry_run,
    )
