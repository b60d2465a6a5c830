"""``archiver query``: SQL, or a query by name, and what it brings in one of four forms."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

import click

from archiver.cli import load, output, signals, text_table
from archiver.cli.options import EPILOG, Given, everywhere
from archiver.cli.parameter_types import parse_time
from archiver.config import Config, default_path
from archiver.errors import TargetError, UsageError
from archiver.model.archived import NO_LIMIT, Rows, RowStream, Value
from archiver.model.target import parse_target
from archiver.queries import named_queries
from archiver.text_format import CsvLines, format_csv_cell, make_safe

_TABLE_ROWS = 1_000
_LARGEST = 1_000_000
_STREAMED = ("csv", "ndjson")
_PIECE = 65_536
_LATE = 0.5
"""Seconds that a row may wait for others to be written with it."""


def _no_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Other commands have it, so people try it: rows are many objects, in a format that has to be named."""
    if value:
        raise click.UsageError("there is no --json here: --format json prints the rows", ctx)


@click.command("query", epilog=EPILOG)
@click.argument("sql", required=False, metavar="SQL")
@click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="Read the SQL from a file."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "ndjson"]),
    default="table",
    show_default=True,
    help="How rows are written.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="At most N rows, 0 for all. [default: 1000 in a table, else all]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long, 0 for no limit.",
)
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of :NAME in the SQL, a text; NAME:=VALUE is a number. May be given again.",
)
@click.option("--list", "listed", is_flag=True, help="List the named queries and their parameters.")
@click.option("--json", is_flag=True, hidden=True, expose_value=False, callback=_no_json)
@everywhere
@click.pass_obj
def command(
    given: Given,
    sql: str | None,
    file: Path | None,
    form: str,
    limit: int | None,
    timeout: float,
    pairs: tuple[str, ...],
    listed: bool,
) -> int:
    """Ask the archive with SQL, or by the name of a query. Reads only, beside a run too; costs nothing.

    SQL is the statement, a name of --list, @FILE or "-" for stdin. docs/schema.md tells the tables and the views that need no join:
    accounts, account_highlights, account_items, highlight_contents, item_mentions, item_links and more. Your own named queries are the
    files queries/NAME.sql beside the configuration, or where that would be. Values are bound, never put into the SQL: as texts, or as
    numbers with :=, since SQLite takes no text for equal to a number that was counted. :since of a named query may be a date, a time
    (UTC) or so long ago (7d), :username as @natgeo, in any case. A pk is a text: pk = '787132', and CAST(pk AS numeric) > 5 where a number is meant.

    csv and ndjson are written as rows are read, table and json when all are known. --timeout ends a query
    that would never end; a whole table may need --timeout 0. Time that a pager keeps it waiting does not
    count (on PostgreSQL it does). In csv a text that a spreadsheet would run as a formula gets a leading
    apostrophe; json and ndjson are exact.

    \b
    Examples:
      archiver query mentions-of -p username=natgeo
      archiver query "SELECT title, items FROM account_highlights WHERE username = :who AND items > :n" -p who=natgeo -p n:=20
      archiver query new-items -p since=7d
      archiver query @report.sql --format csv > report.csv
      archiver query "SELECT * FROM changes" --format ndjson | jq .field
    """
    from archiver import archive

    config = load.config(given)
    own = (config.path or default_path()).parent / "queries"
    if listed:
        _list(own, form, postgresql=archive.on_postgresql(config))
        if not given.quiet:
            output.print_messages(*(f"archiver: note: {why}" for why in named_queries.describe_ignored(own)))
        return 0
    statement = read_statement(sql, file, own)
    if limit is None:
        limit = _TABLE_ROWS if form == "table" else 0
    values = parameters(pairs)
    by_name = file is None and sql is not None and named_queries.is_name(sql)
    if by_name and isinstance(since := values.get("since"), str):
        values["since"] = since_of(since)
    if by_name and isinstance(name := values.get("username"), str):
        values["username"] = username_of(name)
    with signals.die_on_interrupt():
        any_row, truncated = _answer(
            config, statement, values, form, min(limit or NO_LIMIT, NO_LIMIT), timeout or math.inf
        )
        name = values.get("username")
        if by_name and isinstance(name, str) and not any_row and not given.quiet:
            why = archive.nobody(config, name)
            output.print_messages(*([f"archiver: query: {why}"] if why else []))
    if truncated and not given.quiet:
        output.print_messages(f"archiver: query: only the first {limit:,} rows are shown (--limit 0 for all)")
    return 0


def _answer(
    config: Config, statement: str, values: dict[str, Value], form: str, most: int, seconds: float
) -> tuple[bool, bool]:
    """Write what the query brings, at most so many rows: whether there was any, and whether there are more."""
    from archiver import archive

    if form not in _STREAMED:
        rows = archive.ask(config, statement, values, limit=most, seconds=seconds)
        for text in written(rows, form):
            output.print_data(text)
        return bool(rows.rows), rows.truncated
    with archive.asking(config, statement, values, seconds=seconds) as found:
        first = list(islice(found.rows, 1))
        for text in written(RowStream(found.columns, islice(chain(first, found.rows), most)), form):
            output.print_data(text)
        return bool(first), next(found.rows, None) is not None


def _list(own: Path, form: str, *, postgresql: bool) -> None:
    lines = tuple(
        (query.name, " ".join(query.parameters(postgresql=postgresql)), query.about)
        for query in named_queries.all_queries(own).values()
    )
    for text in written(Rows(("name", "parameters", "answers"), lines, truncated=False), form):
        output.print_data(text)


def parameters(pairs: Sequence[str]) -> dict[str, Value]:
    """``NAME=VALUE`` texts and ``NAME:=VALUE`` numbers by name. Raises UsageError for another form, and for a name that comes twice."""
    values: dict[str, Value] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        is_number = name.endswith(":")
        name = name.removeprefix(":").removesuffix(":")
        if not equals or not name.isidentifier():
            raise UsageError(f"{pair!r} is no parameter", "write -p NAME=VALUE")
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
        raise UsageError(f"the parameter {name} is no number", f"-p {name}=VALUE is a text")
    return number


def since_of(text: str) -> str:
    """A moment as both databases take it for one. Raises UsageError."""
    try:
        at = parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"the parameter since is no time: {error}") from error
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def username_of(text: str) -> str:
    """A username as the archive holds it: without its ``@``, in lower case. What is none stays as it is."""
    try:
        return parse_target(text).username or text
    except TargetError:
        return text


def read_statement(sql: str | None, file: Path | None, own: Path | None = None) -> str:
    """The SQL from the argument or of the query that it names, from ``@FILE`` or ``--file``, or from stdin for ``-``.

    ``own`` is the folder of the user's named queries. Raises UsageError, if the SQL is empty too.
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


def written(rows: Rows | RowStream, form: str) -> Iterator[str]:
    """The rows in one of the four forms, in pieces that end with a line: csv and ndjson as the rows come."""
    if form == "csv":
        yield from _pieces(_csv(rows))
    elif form == "ndjson":
        yield from _pieces(f"{line}\n" for line in _objects(rows))
    elif form == "table":
        if rows.columns:
            yield "".join(
                f"{line}\n"
                for line in text_table.format_table(rows.columns, tuple(rows.rows), output.terminal_width())
            )
    else:
        objects = list(_objects(rows))
        yield "".join(f"{line}\n" for line in (["[", ",\n".join(objects), "]"] if objects else ["[]"]))


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines in pieces that are neither small nor large, unless the lines come slowly."""
    held: list[str] = []
    size, since = 0, time.monotonic()
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE or time.monotonic() - since > _LATE:
            yield "".join(held)
            held.clear()
            size, since = 0, time.monotonic()
    yield "".join(held)


def _objects(rows: Rows | RowStream) -> Iterator[str]:
    names = distinct(rows.columns)
    return (output.format_json(dict(zip(names, row, strict=True))) for row in rows.rows)


def distinct(columns: tuple[str, ...]) -> list[str]:
    """Column names as keys of an object: a name that comes twice is numbered, so that no value is lost."""
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
