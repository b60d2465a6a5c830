"""``archiver query``: SQL, or a query by name; rows in one of five formats."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import load, output, signals
from archiver.cli.decorators import plain
from archiver.cli.filter_options import complete_query
from archiver.cli.options import GlobalOptions, WholeNumber, parse_time
from archiver.errors import NotHeld, TargetError, UsageError
from archiver.model.query_results import NO_LIMIT, Rows, RowStream, Value
from archiver.model.target import Target, parse_target
from archiver.queries import named_queries
from archiver.text_format import CsvLines, format_csv_cell, make_safe

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

_TABLE_ROWS = 1_000
_LARGEST = 1_000_000
_STREAMED = ("csv", "ndjson")
_FOR_PEOPLE = ("table", "vertical")
_WRAPPED_WIDTH = 100
"""Columns of a table of sentences off a terminal: in a pager, or in a file."""


def _no_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Refuse ``--json``, which other commands have: rows are many objects, in a format to be chosen."""
    if value:
        raise click.UsageError("there is no --json here: --format json prints the rows", ctx)


@plain("query")
@click.argument("sql", required=False, metavar="SQL", shell_complete=complete_query)
@click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="Read the SQL from a file."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "vertical", "json", "csv", "ndjson"]),
    help="The format of the rows. [default: table; vertical on a terminal that is too narrow for a table]",
)
@click.option(
    "-x", "--vertical", is_flag=True, help="Print each row as lines, one a column: --format vertical."
)
@click.option(
    "--limit",
    type=WholeNumber(min=0),
    metavar="N",
    help="At most N rows, 0 for all. [default: 1000 as table or vertical, else all]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop after this time, 0 for no limit.",
)
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of :NAME in the SQL, a text; NAME:=VALUE is a number. May be repeated.",
)
@click.option("--list", "list_queries", is_flag=True, help="List the named queries and their parameters.")
@click.option(
    "--schema",
    "list_columns",
    is_flag=True,
    help="List tables, views and columns with their meaning; of one table if its name is given.",
)
@click.option("--json", is_flag=True, hidden=True, expose_value=False, callback=_no_json)
def command(
    options: GlobalOptions,
    sql: str | None,
    file: Path | None,
    form: str | None,
    vertical: bool,
    limit: int | None,
    timeout: float,
    pairs: tuple[str, ...],
    list_queries: bool,
    list_columns: bool,
) -> None:
    """Query the archive with SQL, or with a named query. Reads only, also during a run; costs nothing.

    SQL is the statement, a name of --list, @FILE, or "-" for stdin. --schema lists the tables, and
    views that need no join: accounts, account_highlights, account_items, highlight_contents, item_mentions,
    item_links and more. Your own named queries are the files queries/NAME.sql beside the configuration.
    Values are bound, never put into the SQL: as texts, or as numbers with :=, since in SQLite a text never
    equals a computed number. :since of a named query may be a date, a time (UTC) or 7d for the last 7 days,
    :username may be @natgeo, in any case. A pk is a text: pk = '787132', or CAST(pk AS numeric) > 5 to
    compare numbers.

    csv and ndjson are written as rows are read, the other formats when all are known. --timeout stops a query
    that would never end; a whole table may need --timeout 0. Time spent waiting for a pager does not count
    (on PostgreSQL it does). In csv a text that a spreadsheet would run as a formula gets a leading
    apostrophe; json and ndjson are exact.

    \b
    Examples:
      archiver query --schema account_items
      archiver query mentions-of -p username=natgeo
      archiver query -x "SELECT * FROM accounts WHERE username = 'natgeo'"
      archiver query "SELECT title FROM account_highlights WHERE items > :n" -p n:=20
      archiver query new-items -p since=7d
      archiver query @report.sql --format csv > report.csv
      archiver query "SELECT * FROM changes" --format ndjson | jq .field
    """
    from archiver.archive import database

    form = _choose_form(form, vertical=vertical)
    config = load.config(options)
    if list_columns:
        with load.open_archive(options, database=database.find_query_database(config)) as archive:
            _print_schema(archive.tables(), sql, form)
        return
    own = load.queries_folder(config)
    if list_queries:
        _list(own, form, database.locate_database(config).parameter_names)
        if not options.quiet:
            output.print_messages(*(f"archiver: note: {why}" for why in named_queries.describe_ignored(own)))
        return
    statement = read_statement(sql, file, own)
    if limit is None:
        limit = _TABLE_ROWS if form in _FOR_PEOPLE else 0
    values = parameters(pairs)
    by_name = file is None and sql is not None and named_queries.is_name(sql)
    if by_name and isinstance(since := values.get("since"), str):
        values["since"] = read_since(since)
    if by_name and isinstance(name := values.get("username"), str):
        values["username"] = read_username(name)
    limit_rows = min(limit or NO_LIMIT, NO_LIMIT)
    with (
        load.open_archive(options, database=database.find_query_database(config)) as archive,
        signals.die_on_interrupt(),
    ):
        has_rows, truncated = _print_rows(archive, statement, values, form, limit_rows, timeout or math.inf)
        name = values.get("username")
        if by_name and isinstance(name, str) and not has_rows and not options.quiet:
            _explain_missing(archive, name)
    if truncated and not options.quiet:
        output.print_messages(f"archiver: query: only the first {limit:,} rows are shown (--limit 0 for all)")


def _choose_form(form: str | None, *, vertical: bool) -> str:
    """Return the format. Raises click's usage error if ``--vertical`` contradicts ``--format``."""
    if vertical and form not in (None, "vertical"):
        raise click.UsageError(f"--vertical and --format {form} cannot be combined")
    return "vertical" if vertical else form or "table"


def _print_schema(schema: Rows, table: str | None, form: str) -> None:
    """Print the rows of one table, or all. Raises UsageError, naming similar tables."""
    rows = tuple(row for row in schema.rows if table in (None, row[0]))
    if not rows:
        import difflib  # only after a mistake

        names = sorted({str(row[0]) for row in schema.rows})
        similar = difflib.get_close_matches(table or "", names, n=2)
        meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
        raise UsageError(f"there is no table {table}{meant}", "archiver query --schema lists them")
    for text in format_rows(Rows(schema.columns, rows), form, wraps_last=True):
        output.print_data(text)


def _print_rows(
    archive: Archive, statement: str, values: dict[str, Value], form: str, most: int, seconds: float
) -> tuple[bool, bool]:
    """Print at most ``most`` rows of a query. Return whether there were any, and whether there are more."""
    if form not in _STREAMED:
        rows = archive.query(statement, values, limit=most, seconds=seconds, own_process=True)
        for text in format_rows(rows, form):
            output.print_data(text)
        return bool(rows.rows), rows.truncated
    with archive.stream_query(statement, values, seconds=seconds) as found:
        first = list(islice(found.rows, 1))
        for text in format_rows(RowStream(found.columns, islice(chain(first, found.rows), most)), form):
            output.print_data(text)
        return bool(first), next(found.rows, None) is not None


def _explain_missing(archive: Archive, username: str) -> None:
    """Print that no account has or had that name, if that is why a query found nothing."""
    try:
        archive.account(Target(username or "''", username=username))
    except NotHeld as error:
        output.print_messages(f"archiver: query: {error}")
    except UsageError:  # several accounts have had the name
        return


def _list(own: Path, form: str, parameter_names: Callable[[str], Sequence[str]]) -> None:
    lines = tuple(
        (query.name, " ".join(parameter_names(query.sql)), query.about)
        for query in named_queries.all_queries(own).values()
    )
    rows = Rows(("name", "parameters", "answers"), lines, truncated=False)
    for text in format_rows(rows, form, wraps_last=True):
        output.print_data(text)


def parameters(pairs: Sequence[str]) -> dict[str, Value]:
    """Return ``NAME=VALUE`` texts and ``NAME:=VALUE`` numbers by name.

    Raises UsageError for anything else, and for a repeated name.
    """
    values: dict[str, Value] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        is_number = name.endswith(":")
        name = name.removeprefix(":").removesuffix(":")
        if not equals or not name.isidentifier():
            raise UsageError(f"invalid parameter {pair!r}", "use -p NAME=VALUE")
        if name in values:
            raise UsageError(f"the parameter {name} is given twice")
        values[name] = _number(name, value) if is_number else value
    return values


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"the parameter {name} is not a number", f"-p {name}=VALUE is a text")
    return number


def read_since(text: str) -> str:
    """Return a time as both databases compare it. Raises UsageError."""
    try:
        at = parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"the parameter since is not a time: {error}") from error
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def read_username(text: str) -> str:
    """Return a username as it is stored: without ``@``, in lower case. Anything else stays as it is."""
    try:
        return parse_target(text).username or text
    except TargetError:
        return text


def read_statement(sql: str | None, file: Path | None, own: Path | None = None) -> str:
    """Return the SQL of the argument, or of the query that it names, of ``@FILE`` or ``--file``, or of stdin.

    ``own`` is the folder of the user's named queries. Raises UsageError, also if the SQL is empty.
    """
    if file is None and sql is not None and named_queries.is_name(sql):
        return named_queries.find_query(sql, own).sql
    statement = _statement(sql, file)
    if not statement.strip():
        raise UsageError("the SQL is empty", "see archiver query --help")
    return statement


def _statement(sql: str | None, file: Path | None) -> str:
    if (sql is None) == (file is None):
        raise UsageError(
            "give the SQL once: as an argument, by name, as @FILE or --file, or - for stdin",
            "see archiver query --help, archiver query --list",
        )
    if sql == "-":
        return "".join(load.stdin())
    if sql is not None and not sql.startswith("@"):
        return sql
    path = file if file is not None else Path((sql or "")[1:])
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as source:
            return source.read(_LARGEST)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"the SQL file {path} cannot be read: {why}") from error


def format_rows(rows: Rows | RowStream, form: str, *, wraps_last: bool = False) -> Iterator[str]:
    """Yield the rows in one of the five formats, in pieces of whole lines; csv and ndjson as read.

    ``wraps_last``: in a table, the last column goes on in further lines, also off a terminal.
    """
    if form == "csv":
        yield from output.join_pieces(_csv(rows))
    elif form == "ndjson":
        yield from output.join_pieces(f"{line}\n" for line in _objects(rows))
    elif form in _FOR_PEOPLE:
        if rows.columns:
            yield "".join(f"{line}\n" for line in _format_for_people(rows, form, wraps_last))
    else:
        objects = list(_objects(rows))
        yield "".join(f"{line}\n" for line in (["[", ",\n".join(objects), "]"] if objects else ["[]"]))


def _format_for_people(rows: Rows | RowStream, form: str, wraps_last: bool) -> Iterator[str]:
    columns, values = rows.columns, tuple(rows.rows)
    width = output.terminal_width() or (_WRAPPED_WIDTH if wraps_last else None)
    if form == "table" and (width is None or output.is_readable(columns, values, width)):
        return output.format_table(columns, values, width, wraps_last=wraps_last)
    return output.format_vertically(columns, values)


def _objects(rows: Rows | RowStream) -> Iterator[str]:
    names = distinct(rows.columns)
    return (output.format_json(dict(zip(names, row, strict=True))) for row in rows.rows)


def distinct(columns: tuple[str, ...]) -> list[str]:
    """Return column names as keys of an object: a repeated name is numbered, so that no value is lost."""
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in names:
            name, number = f"{column}_{number}", number + 1
        names.append(name)
    return names


def _csv(rows: Rows | RowStream) -> Iterator[str]:
    lines = CsvLines()
    writer = csv.writer(lines, lineterminator="\r\n")
    on_terminal = output.terminal_width() is not None
    for row in chain((rows.columns,), rows.rows):
        cells = [format_csv_cell(value, output.format_json) for value in row]
        writer.writerow([make_safe(c) for c in cells] if on_terminal else cells)
        yield from lines
        lines.clear()
