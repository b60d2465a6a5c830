"""The metadata and the plug-in for a Datasette that serves an archive."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from archiver.datasette.schema_page import TableDescription, parse_tables

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
