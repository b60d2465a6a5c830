"""Tables as text, for programs (JSON lines) or for spreadsheets (CSV). Pure, but for where they are written first."""

from __future__ import annotations

import csv
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice

from archiver.durable import storage_errors, sync, write_all
from archiver.export.wanted import Scratch
from archiver.model.identity import Digest
from archiver.text_format import format_csv_cell, format_json_line

_ROWS_AT_ONCE = 500
_NOWHERE = -1


class TableForm(StrEnum):
    """``JSONL``: an object a line, exact. ``CSV``: RFC 4180, where no text is run as a formula."""

    JSONL = "jsonl"
    CSV = "csv"


def lines(form: TableForm, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """The table as text, in pieces of some hundred lines."""
    found = iter(rows)
    if form is TableForm.CSV:
        yield _csv([columns])
    while some := list(islice(found, _ROWS_AT_ONCE)):
        if form is TableForm.CSV:
            yield _csv([format_csv_cell(value) for value in row] for row in some)
        else:
            yield "".join(f"{format_json_line(dict(zip(columns, row, strict=True)))}\n" for row in some)


class _Lines(list[str]):
    def write(self, line: str) -> None:
        self.append(line)


def _csv(rows: Iterable[Iterable[str]]) -> str:
    written = _Lines()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return "".join(written)


def scratched(pieces: Iterable[str], scratch: int | None) -> tuple[Scratch, int]:
    """Write the pieces into a new file of the open directory ``scratch``, in bounded memory; what that is, and its bytes.

    None for ``scratch`` writes nothing. Raises DiskFull, StorageError.
    """
    name, hashed, size = f"{secrets.token_hex(12)}.part", hashlib.sha256(), 0
    fd = _NOWHERE
    if scratch is not None:
        with storage_errors("the export cannot be written"):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=scratch)
    try:
        for piece in pieces:
            chunk = piece.encode(errors="replace")
            hashed.update(chunk)
            size += len(chunk)
            if fd != _NOWHERE:
                with storage_errors("the export cannot be written"):
                    write_all(fd, chunk)
        if fd != _NOWHERE:
            with storage_errors("the export cannot be written"):
                sync(fd)
    finally:
        if fd != _NOWHERE:
            os.close(fd)
    return Scratch(name, Digest(hashed.hexdigest())), size
