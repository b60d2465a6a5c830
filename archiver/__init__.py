"""archiver: keeps the story highlights of a list of Instagram accounts, every night, durable and queryable.

``open_archive`` reads an archive from Python: docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archiver import errors
    from archiver.archive.iterating import Reading
    from archiver.archive.reader import Archive, open_archive
    from archiver.model.archived import (
        Blob,
        KeptAccount,
        KeptFile,
        KeptHighlight,
        KeptItem,
        Owner,
        Placed,
        Rows,
    )
    from archiver.model.identity import Role, Subject
    from archiver.model.search_hits import Dated, Field, Hit, Kind, Said
    from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink

    __version__: str

__all__ = [
    "Archive",
    "Blob",
    "Dated",
    "Field",
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
    "Reshare",
    "Role",
    "Rows",
    "Said",
    "Sponsor",
    "Sticker",
    "Subject",
    "WebLink",
    "__version__",
    "errors",
    "open_archive",
]

_HOMES = (
    "archiver.archive.reader",
    "archiver.archive.iterating",
    "archiver.model.archived",
    "archiver.model.search_hits",
    "archiver.model.identity",
    "archiver.model.upstream",
)


if not TYPE_CHECKING:  # a type checker must know what is not there

    def __getattr__(name: str) -> object:
        """What stands in ``__all__``, imported when it is asked for: the command line asks for nothing, and starts the sooner."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import (  # the latter is a third of the time of ``archiver --help``
            import_module,
            metadata,
        )

        if name == "__version__":
            version = globals()[name] = metadata.version(
                "highlight-archiver"
            )  # it reads the whole description
            return version
        if name == "errors":
            return import_module("archiver.errors")
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
        raise AssertionError(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
