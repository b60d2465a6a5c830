"""Archives the story highlights of a list of Instagram accounts, every night.

``open_archive`` opens an archive from Python: docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archiver import errors
    from archiver.archive.archive import Archive, open_archive
    from archiver.archive.archive_base import Reading
    from archiver.model.archived import Blob, KeptAccount, KeptFile, KeptHighlight, KeptItem, Owner, Placed
    from archiver.model.foreign_files import AdoptionReport, ForeignTool, RefusedFile, WaitingFile
    from archiver.model.identity import Role, Subject
    from archiver.model.query_results import Dated, Field, Hit, Kind, Rows, Said
    from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink
    from archiver.runner.context import RunOptions

__version__ = "0.1.0"

__all__ = [
    "AdoptionReport",
    "Archive",
    "Blob",
    "Dated",
    "Field",
    "ForeignTool",
    "Hashtag",
    "Hit",
    "KeptAccount",
    "KeptFile",
    "KeptHighlight",
    "KeptItem",
    "Kind",
    "Location",
    "Mention",
    "Owner",
    "Placed",
    "Reading",
    "RefusedFile",
    "Reshare",
    "Role",
    "Rows",
    "RunOptions",
    "Said",
    "Sponsor",
    "Sticker",
    "Subject",
    "WaitingFile",
    "WebLink",
    "__version__",
    "errors",
    "open_archive",
]

_MODULES = (
    "archive.archive",
    "archive.archive_base",
    "model.archived",
    "model.foreign_files",
    "model.identity",
    "model.query_results",
    "model.upstream",
    "runner.context",
)
"""Where the names of ``__all__`` are defined."""


if not TYPE_CHECKING:  # a type checker must see which names do not exist

    def __getattr__(name: str) -> object:
        """Import a name of ``__all__`` at its first use: ``archiver --help`` uses none."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name == "errors":
            return import_module("archiver.errors")
        modules = (import_module(f"archiver.{module}") for module in _MODULES)
        return next(getattr(module, name) for module in modules if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
