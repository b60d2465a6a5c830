"""The metadata for Datasette: what the tables and columns mean, how they are sorted, which questions are ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from archiver.datasette.schema_page import table_descriptions

_SHOWN: Mapping[str, Mapping[str, object]] = {
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
        "description": "The hundred latest, of one account and of titles that contain a text if these are given.",
        "sql": _PICTURES,
    }
}
_ABOUT = "Story highlights of Instagram accounts, kept by archiver. Times are UTC. An empty cell means that upstream never said it."
_RIGHTS = "Pictures, videos and texts belong to those who made them; this copy gives nobody a right to publish them."


def metadata(database: str, blobs: Path, queries: Traversable | None = None) -> dict[str, object]:
    """The metadata for a Datasette that serves an archive: ``database`` is the name of its file without ``.db``, ``blobs`` the directory
    of its files, ``queries`` a directory of named queries (by default the program's own).

    Descriptions are those of docs/schema.md, which ships with the package.
    """
    named = _named(queries or resources.files("archiver") / "queries")
    page = (resources.files("archiver.datasette") / "schema.md").read_text(encoding="utf-8")
    tables = {
        name: {
            **_SHOWN.get(name, {}),
            **({"description": told.text} if told.text else {}),
            **({"columns": told.columns} if told.columns else {}),
            **({"units": _UNITS[name]} if name in _UNITS else {}),
        }
        for name, told in table_descriptions(page).items()
    }
    return {
        "title": "Instagram highlights",
        "description": _ABOUT,
        "license": _RIGHTS,
        "databases": {database: {"description": _ABOUT, "tables": tables, "queries": _QUERIES | named}},
        "plugins": {"archiver": {"database": database, "blobs": str(blobs)}},
    }


def _named(place: Traversable) -> dict[str, dict[str, str]]:
    """Named queries: a file each, whose first line is a comment that says what is asked, and after ``-p`` with which parameters.

    ``ask-`` comes before their names: a question of a table's name would stand in its place.
    """
    if not place.is_dir():
        return {}
    found = {}
    for file in sorted(place.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            sql = file.read_text(encoding="utf-8")
            asked = sql.partition("\n")[0].removeprefix("--").partition(" -p ")[0].strip()
            found[f"ask-{file.name.removesuffix('.sql')}"] = {"title": asked, "sql": sql}
    return found
