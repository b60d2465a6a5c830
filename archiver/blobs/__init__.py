"""SEAM 3: bytes kept under their SHA-256, and the marker that says whose they are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from archiver.blobs.marker import Marker

if TYPE_CHECKING:
    from archiver.blobs.disk import DiskStore, free_bytes
    from archiver.blobs.handing import Handing
    from archiver.blobs.memory import MemoryStore
    from archiver.blobs.store import BlobStore, BlobWriter

__all__ = ["BlobStore", "BlobWriter", "DiskStore", "Handing", "Marker", "MemoryStore", "free_bytes"]

_HOMES = {
    "BlobStore": "store",
    "BlobWriter": "store",
    "DiskStore": "disk",
    "Handing": "handing",
    "MemoryStore": "memory",
    "free_bytes": "disk",
}


def __getattr__(name: str) -> object:
    """Each part when it is asked for: who reads rows needs the marker alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
