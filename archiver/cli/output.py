"""Writes to stdout and stderr: the command's product to stdout, messages to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
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
