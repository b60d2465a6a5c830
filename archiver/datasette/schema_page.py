"""docs/schema.md, the one description of the tables, read for what programs show of it. Pure.

The page is written for people: what is not said of a column in one of its two ways (a row of a table; a parenthesis behind the
name) is simply not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD = re.compile(r"\*\*`(\w+)`\*\*:?\s*")
_ROW = re.compile(r"\| ((?:`\w+`(?:, )?)+) \| (.+) \|")
_NAMED = re.compile(r"`(\w+)`")
_INLINE = re.compile(r"`(\w+)` \(([^()]+)\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class TableDescription:
    """What the page says of a table and of its columns."""

    text: str
    columns: dict[str, str] = field(default_factory=dict)


def table_descriptions(page: str) -> dict[str, TableDescription]:
    """Every table that the page describes, by its name."""
    found: dict[str, TableDescription] = {}
    last, before = "", ""
    for block in page.partition("\n## Examples")[0].split("\n\n"):
        head = _HEAD.match(block)
        if head is not None:
            last = head[1]
            told = block[head.end() :]
            found[last] = TableDescription(_plain(told), _inline(told))
        elif block.startswith("| column |") and last:
            found[last].columns.update(_columns(block))
        elif block.startswith("| table |"):
            found |= {name: TableDescription(_plain(before), _inline(told)) for name, told in _rows(block)}
        elif not block.startswith("|"):
            last = ""
        before = block
    return found


def _rows(block: str) -> Iterator[tuple[str, str]]:
    """The rows of a table on the page; several names in a row share what is told."""
    for names, told in _ROW.findall(block):
        yield from ((name, told) for name in _NAMED.findall(names))


def _columns(block: str) -> dict[str, str]:
    return {name: _plain(told) for name, told in _rows(block)}


def _inline(text: str) -> dict[str, str]:
    """The columns that are told in parentheses behind their names."""
    return {name: _plain(told) for name, told in _INLINE.findall(text)}


def _plain(text: str) -> str:
    """Markdown as a line of text."""
    return " ".join(_LINK.sub(r"\1", text).replace("`", "").replace("**", "").split())
