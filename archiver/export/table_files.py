"""Tables as text: JSON lines for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice

from archiver.text_format import format_csv_cell, format_json_line

_BATCH = 500


class TableForm(StrEnum):
    """``JSONL``: an exact object per line. ``CSV``: RFC 4180; no text is run as a formula."""

    JSONL = "jsonl"
    CSV = "csv"


def table_text(
    form: TableForm, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> Iterator[str]:
    """Yield a table as text, a few hundred rows at a time."""
    remaining = iter(rows)
    if form is TableForm.CSV:
        yield _csv([columns])
    while batch := list(islice(remaining, _BATCH)):
        if form is TableForm.CSV:
            yield _csv([format_csv_cell(value) for value in row] for row in batch)
        else:
            yield "".join(f"{format_json_line(dict(zip(columns, row, strict=True)))}\n" for row in batch)


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
