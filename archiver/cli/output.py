"""Writes to stdout and stderr: the command's product to stdout, messages to stderr; rows as an aligned table.

Wide characters (East Asian, emoji) take two columns, combining marks none.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

import click

from archiver.cli import signals
from archiver.cli.options import GlobalOptions
from archiver.errors import ArchiverError, StorageError
from archiver.text_format import json_value, make_safe

_MAX_IN_MEMORY = 8_000_000  # characters of a list that is not yet in a temporary file
_PIECE = 65_536
_LATE = 0.5
"""Seconds that a line may wait to be written together with others."""


def print_data(text: str | bytes) -> None:
    """Write text or bytes to stdout and flush. Raises StorageError if it cannot be written.

    If the reader has closed the pipe (``| head``), the process dies of SIGPIPE, as other programs do.
    """
    if sys.stdout is None:
        raise StorageError("there is no standard output to write to")
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        signals.die(signals.SIGPIPE)
    except OSError as exc:
        _discard_buffer(sys.stdout)
        raise StorageError(f"standard output cannot be written: {exc.strerror}") from exc


def print_lines(lines: Iterable[str]) -> bool:
    """Write lines to stdout, as they come. Return whether there were any."""
    has_lines = False
    for text in join_pieces(f"{line}\n" for line in lines):
        print_data(text)
        has_lines = True
    return has_lines


def join_pieces(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines in pieces of moderate size; in smaller ones if the lines come slowly.

    If reading a line raises, what came before it is yielded first.
    """
    held: list[str] = []
    size, since = 0, time.monotonic()
    try:
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= _PIECE or time.monotonic() - since > _LATE:
                yield "".join(held)
                held.clear()
                size, since = 0, time.monotonic()
    except ArchiverError:
        if held:
            yield "".join(held)
        raise
    if held:
        yield "".join(held)


def print_json(fields: Mapping[str, object]) -> None:
    """Write the one object of ``--json`` to stdout."""
    print_data(format_json(_complete_head(fields), indent=2) + "\n")


def print_json_list(head: Mapping[str, object], name: str, rows: Iterable[object]) -> None:
    """Write the one object of ``--json``: ``head`` and, last, the list ``name``, which may exceed memory.

    Nothing is written before all rows have been read: if reading raises, stdout stays empty.
    """
    import tempfile  # not needed by commands without --json

    from archiver.durable import storage_errors

    with (
        storage_errors("the JSON object cannot be buffered in the temporary directory"),
        tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY, "w+", encoding="utf-8", newline="") as spool,
    ):
        spool.writelines(f"{',' if n else ''}\n    {format_json(row)}" for n, row in enumerate(rows))
        spool.seek(0)
        print_data(format_json({**_complete_head(head), name: []}, indent=2).removesuffix("]\n}"))
        while chunk := spool.read(_PIECE):
            print_data(chunk)
        print_data("]\n}\n")


def _complete_head(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return the object of ``--json``; its head says if the rows come from an older copy of the database."""
    context = click.get_current_context(silent=True)
    options = context.find_object(GlobalOptions) if context is not None else None
    if options is None or not options.is_behind:
        return fields
    head = {name: fields[name] for name in ("exit_code", "outcome") if name in fields}
    return {**head, "behind": True, **fields}


def format_json(value: object, *, indent: int | None = None) -> str:
    """Return ``value`` as JSON that is safe for a terminal, escaping only what stdout cannot encode."""
    is_utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(json_value(value), ensure_ascii=not is_utf8, allow_nan=False, indent=indent)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or make_safe(c) == c else json.dumps(c)[1:-1] for c in text)


def terminal_width() -> int | None:
    """Return the columns of the terminal on stdout; None if stdout is not a terminal."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def print_messages(*lines: str) -> None:
    """Write lines to stderr, made safe for a terminal. A stderr that cannot be written is ignored."""
    _write_stderr("".join(f"{make_safe(line)}\n" for line in lines))


def print_help(text: str) -> None:
    """Write the help of a command group to stderr, as if it were a message."""
    _write_stderr(f"{text}\n")


def _write_stderr(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or None because there is no stderr
        _discard_buffer(sys.stderr)


def _discard_buffer(stream: TextIO | None) -> None:
    """Point the stream at /dev/null, so that Python does not fail on its buffer again at exit."""
    if stream is None:
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return


_SEPARATOR = "  "
_READABLE = 12
"""Columns of a terminal in which a cut cell still says something."""
_MIN_WIDTH = 8  # no cell is cut further: the terminal wraps lines that still do not fit


def format_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None = None,
    *,
    wraps_last: bool = False,
) -> Iterator[str]:
    """Yield a head, a rule and the rows as safe lines without trailing blanks, numbers aligned right.

    ``width``: columns of the terminal, to which long cells are cut (with ``…``); None cuts nothing.
    ``wraps_last``: the last column goes on in further lines instead.
    """
    head = [make_safe(name) for name in columns]
    cells = [[format_cell(value) for value in row] for row in rows]
    is_numeric = [
        any(_is_number(row[n]) for row in rows) and all(row[n] is None or _is_number(row[n]) for row in rows)
        for n in range(len(head))
    ]
    widths = [max(map(text_width, column)) for column in zip(head, *cells, strict=True)]
    if width is not None:
        widths = fit_widths(widths, width)
    for row in (head, ["-" * w for w in widths], *cells):
        for line in _wrap_last(row, widths[-1]) if wraps_last else (row,):
            padded = (_pad(text, w, right) for text, w, right in zip(line, widths, is_numeric, strict=True))
            yield _SEPARATOR.join(padded).rstrip(" ")


def is_readable(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> bool:
    """Return whether a table fits into a terminal without cutting a cell to less than a few words."""
    cells = [list(map(make_safe, columns)), *([format_cell(value) for value in row] for row in rows)]
    widths = [max(map(text_width, column)) for column in zip(*cells, strict=True)]
    return all(
        new == old or new >= _READABLE for new, old in zip(fit_widths(widths, width), widths, strict=True)
    )


def format_vertically(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield each row as lines, one a column, below a head with its number; nothing is cut."""
    names = [make_safe(name) for name in columns]
    width = max(map(text_width, names), default=0)
    for number, row in enumerate(rows, 1):
        yield f"-[ row {number:,} ]{'-' * max(1, width)}"
        for name, value in zip(names, row, strict=True):
            yield f"{_pad(name, width, False)}{_SEPARATOR}{format_cell(value)}".rstrip(" ")


def format_cell(value: object) -> str:
    """Return a value as one safe line; NULL is empty."""
    value = json_value(value)
    if value is None:
        return ""
    return make_safe(value) if isinstance(value, str) else format_json(value)


def text_width(text: str) -> int:
    """Return how many columns of a terminal a safe text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def truncate(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, ending in ``…`` if it was cut."""
    if text_width(text) <= width:
        return text
    characters, room = [], width - 1
    for c in text:
        room -= _character_width(c)
        if room < 0:
            break
        characters.append(c)
    return "".join(characters) + "…"


def fit_widths(widths: Sequence[int], width: int) -> list[int]:
    """Return the column widths with the widest reduced until all fit into ``width``, none to less than 8."""
    room = width - len(_SEPARATOR) * (len(widths) - 1)
    limit = max(widths, default=0)
    while limit > _MIN_WIDTH and sum(min(w, limit) for w in widths) > room:
        limit -= 1
    return [min(w, limit) for w in widths]


def _wrap_last(row: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """Yield the row with the first line of its last cell, then the other lines of that cell."""
    *others, last = row
    for line in textwrap.wrap(last, width, break_on_hyphens=False) or [""]:
        yield [*others, line]
        others = [""] * len(others)


def _pad(text: str, width: int, align_right: bool) -> str:
    text = truncate(text, width)
    blanks = " " * (width - text_width(text))
    return blanks + text if align_right else text + blanks


def _character_width(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
