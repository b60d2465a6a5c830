"""Rows as an aligned table. Wide characters (East Asian, emoji) take two columns, combining marks none."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from archiver.cli.output import format_json
from archiver.text_format import json_value, make_safe

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
