"""Rows as aligned text. Wide characters (East Asian, emoji) count two columns, marks that combine none. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from archiver.cli.show import json_text, safe
from archiver.export.cells import plain

_GAP = "  "
_NARROWEST = 8
"""A column is cut down to so many places, not further: what then does not fit the terminal is wrapped by it."""


def lines(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """A head, a rule and the rows, each a safe line without trailing blanks; numbers stand right.

    ``width``: columns of the terminal, to which long cells are cut (with ``…``); None shows everything whole.
    """
    head = [safe(name) for name in columns]
    cells = [[cell(value) for value in row] for row in rows]
    right = [
        any(_is_number(row[n]) for row in rows) and all(row[n] is None or _is_number(row[n]) for row in rows)
        for n in range(len(head))
    ]
    widths = [max(map(places, column)) for column in zip(head, *cells, strict=True)]
    if width is not None:
        widths = fitted(widths, width)
    for row in (head, ["-" * w for w in widths], *cells):
        yield _GAP.join(_set(text, w, r) for text, w, r in zip(row, widths, right, strict=True)).rstrip(" ")


def cell(value: object) -> str:
    """One value as one safe line; nothing for NULL."""
    value = plain(value)
    if value is None:
        return ""
    return safe(value) if isinstance(value, str) else json_text(value)


def places(text: str) -> int:
    """How many columns of a terminal a safe text takes."""
    return len(text) if text.isascii() else sum(map(_places, text))


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with ``…`` where something is left out."""
    if places(text) <= width:
        return text
    kept, left = [], width - 1
    for c in text:
        left -= _places(c)
        if left < 0:
            break
        kept.append(c)
    return "".join(kept) + "…"


def fitted(widths: Sequence[int], width: int) -> list[int]:
    """The widths with the widest taken in until all fit into ``width`` columns, none below what stays readable."""
    room = width - len(_GAP) * (len(widths) - 1)
    limit = max(widths, default=0)
    while limit > _NARROWEST and sum(min(w, limit) for w in widths) > room:
        limit -= 1
    return [min(w, limit) for w in widths]


def _set(text: str, width: int, right: bool) -> str:
    text = cut(text, width)
    blanks = " " * (width - places(text))
    return blanks + text if right else text + blanks


def _places(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
