"""What ``archiver export jsonl`` and ``archiver export csv`` share."""

from __future__ import annotations

from functools import partial

from archiver.cli import load, output, signals
from archiver.cli.export_command import ExportRequest, print_empty, print_export
from archiver.cli.options import GlobalOptions
from archiver.errors import UsageError


def export_tables(options: GlobalOptions, form: str, tables: tuple[str, ...], request: ExportRequest) -> int:
    """Export tables into the directory, or one to stdout if that is ``-``. Return the exit code."""
    with load.open_archive(options) as archive:
        narrowing = request.filters.narrowing()
        if str(request.directory) != "-":
            export = partial(archive.export_tables, request.directory, form=form, tables=tables, **narrowing)
            return print_export(options, form, request, export)
        if len(tables) != 1 or options.blank is not None or request.dry_run:
            raise UsageError(
                "only one table can go to stdout, without --json and --dry-run",
                f"archiver export {form} - --table items",
            )
        on_empty = partial(print_empty, options, request.filters)
        with signals.die_on_interrupt():
            for piece in archive.table_lines(tables[0], form=form, on_empty=on_empty, **narrowing):
                output.print_data(piece.encode(errors="replace"))
    return 0
