"""The metadata and the plug-in for a Datasette that serves an archive.

The descriptions of tables and columns come from docs/schema.md, which is written for people. A column is
described in a row of a table, or in parentheses after its name; columns that are described in any other way
are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from msgspec import Struct, field

PLUGIN_NAME = "archiver_media.py"
"""The file name under which the plug-in is copied out."""

# How Datasette shows each table: which column names a row, the order, the columns to filter by.
_DISPLAY: Mapping[str, Mapping[str, object]] = {
    "users": {"label_column": "username", "sort": "username", "facets": ["verdict"]},
    "highlights": {"label_column": "title", "sort_desc": "last_seen_at", "facets": ["user_pk", "is_pinned"]},
    "items": {"label_column": "code", "sort_desc": "taken_at", "facets": ["user_pk", "media_type"]},
    "highlight_items": {"facets": ["highlight_pk"]},
    "files": {"sort_desc": "kept_at", "facets": ["role"]},
    "blobs": {"sort_desc": "stored_at", "facets": ["mime"]},
    "mentions": {"facets": ["username"]},
    "links": {"facets": ["source"]},
    "hashtags": {"facets": ["name"]},
    "locations": {"facets": ["name"]},
    "stickers": {"facets": ["kind"]},
    "changes": {"sort_desc": "id", "facets": ["subject", "field"]},
    "failures": {"sort_desc": "last_at", "facets": ["reason", "subject"]},
    "runs": {"sort_desc": "id", "facets": ["command", "outcome"]},
    "api_calls": {"sort_desc": "id", "facets": ["path", "status"]},
    "answers": {"sort_desc": "id"},
    "alembic_version": {"hidden": True},
}
_UNITS = {"blobs": {"size": "byte"}, "items": {"video_duration": "s"}, "answers": {"length": "byte"}}

_PICTURES = """
SELECT u.username, h.title, i.taken_at, i.code, f.role, f.sha256
FROM files f
JOIN items i ON i.pk = f.item_pk
JOIN highlight_items hi ON hi.item_pk = i.pk
JOIN highlights h ON h.pk = hi.highlight_pk
JOIN users u ON u.pk = h.user_pk
JOIN blobs b ON b.sha256 = f.sha256
WHERE b.lost_at IS NULL
  AND (coalesce(:username, '') = '' OR u.username = :username)
  AND (coalesce(:title, '') = '' OR h.title LIKE '%' || :title || '%')
ORDER BY i.taken_at DESC, f.id DESC
LIMIT 100
""".strip()
_QUERIES = {
    "pictures": {
        "title": "Pictures and videos",
        "description": "The latest hundred; optionally of one account, or with a text in the title.",
        "sql": _PICTURES,
    }
}
_DESCRIPTION = (
    "Story highlights of Instagram accounts, archived by archiver. Times are UTC."
    " An empty cell means that upstream never gave the value."
)
_RIGHTS = (
    "Pictures, videos and texts belong to those who made them."
    " This copy gives nobody the right to publish them."
)


def build_metadata(
    database: str, place: Mapping[str, object], queries: Traversable | None = None
) -> dict[str, object]:
    """Return the metadata. The descriptions of tables and columns are those of docs/schema.md.

    ``database`` is the name of the database file without ``.db``, ``place`` the settings of the plug-in that
    say where the blobs are, ``queries`` a directory of named queries, by default the built-in ones.
    """
    queries = queries or resources.files("archiver") / "queries"
    tables = {
        name: {
            **_DISPLAY.get(name, {}),
            **({"description": table.text} if table.text else {}),
            **({"columns": table.columns} if table.columns else {}),
            **({"units": _UNITS[name]} if name in _UNITS else {}),
        }
        for name, table in describe_tables().items()
    }
    content = {"description": _DESCRIPTION, "tables": tables, "queries": _QUERIES | _named_queries(queries)}
    return {
        "title": "Instagram highlights",
        "description": _DESCRIPTION,
        "license": _RIGHTS,
        "databases": {database: content},
        "plugins": {"archiver": {"database": database, **place}},
    }


def describe_tables() -> dict[str, TableDescription]:
    """Return the descriptions of tables, views and columns that docs/schema.md has, by table."""
    page = (resources.files("archiver.datasette") / "schema.md").read_text(encoding="utf-8")
    return parse_tables(page)


def _named_queries(folder: Traversable) -> dict[str, dict[str, str]]:
    """Return a query for each ``.sql`` file. Its title is the comment in the first line, up to `` -p``.

    Names begin with ``ask-``: a query and a table of the same name would have the same address, and the query
    would hide the table.
    """
    if not folder.is_dir():
        return {}
    queries = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            sql = file.read_text(encoding="utf-8")
            title = sql.partition("\n")[0].removeprefix("--").partition(" -p ")[0].strip()
            queries[f"ask-{file.name.removesuffix('.sql')}"] = {"title": title, "sql": sql}
    return queries


def plugin_source() -> str:
    """Return the source of the plug-in."""
    return (resources.files("archiver.datasette") / "plugin.py").read_text(encoding="utf-8")


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
