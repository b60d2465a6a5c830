"""Read the descriptions of tables and columns from docs/schema.md.

The page is written for people. A column is described in a row of a table, or in parentheses after its name;
columns that are described in any other way are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, field

_HEADING = re.compile(r"\*\*`(\w+)`\*\*:?\s*")
_ROW = re.compile(r"\| ((?:`\w+`(?:, )?)+) \| (.+) \|")
_NAME = re.compile(r"`(\w+)`")
_INLINE = re.compile(r"`(\w+)` \(([^()]+)\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class TableDescription(Struct, frozen=True):
    """The description of a table, and those of its columns by name."""

    text: str
    columns: dict[str, str] = field(default_factory=dict)


def parse_tables(page: str) -> dict[str, TableDescription]:
    """Return the description of each table by its name."""
    tables: dict[str, TableDescription] = {}
    table, previous = "", ""
    for block in page.partition("\n## Examples")[0].split("\n\n"):
        heading = _HEADING.match(block)
        if heading is not None:
            table = heading[1]
            text = block[heading.end() :]
            tables[table] = TableDescription(_plain(text), _inline_columns(text))
        elif block.startswith("| column |") and table:
            tables[table].columns.update((name, _plain(text)) for name, text in _rows(block))
        elif block.startswith("| table |"):
            text = _plain(previous)
            tables |= {name: TableDescription(text, _inline_columns(cell)) for name, cell in _rows(block)}
        elif not block.startswith("|"):
            table = ""
        previous = block
    return tables


def _rows(block: str) -> Iterator[tuple[str, str]]:
    """Yield the rows of a Markdown table. Several names in one row share the description."""
    for names, text in _ROW.findall(block):
        yield from ((name, text) for name in _NAME.findall(names))


def _inline_columns(text: str) -> dict[str, str]:
    """Return the columns that are described in parentheses after their names."""
    return {name: _plain(inner) for name, inner in _INLINE.findall(text)}


def _plain(text: str) -> str:
    """Return Markdown as a line of text."""
    return " ".join(_LINK.sub(r"\1", text).replace("`", "").replace("**", "").split())
