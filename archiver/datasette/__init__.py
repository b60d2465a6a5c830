"""What Datasette is told about an archive: the words for its tables, and a plug-in by which pictures show in them.

Nothing here imports Datasette but the plug-in itself, which is copied out and runs where Datasette is installed.
"""

from __future__ import annotations

from importlib import resources

from archiver.datasette.metadata import metadata

PLUGIN = "archiver_media.py"
"""The name under which the plug-in is copied out."""

__all__ = ["PLUGIN", "metadata", "plugin"]


def plugin() -> str:
    """The source of the plug-in."""
    return (resources.files("archiver.datasette") / "plugin.py").read_text(encoding="utf-8")
