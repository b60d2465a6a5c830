"""archiver: keeps the story highlights of a list of Instagram accounts, every night, durable and queryable."""

from __future__ import annotations

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # a third of the time of ``archiver --help``

        return version("archiver")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
