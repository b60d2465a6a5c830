"""SEAM 3: bytes kept under their SHA-256, and the marker that says whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archiver import lazily
from archiver.blobs.marker import Marker

if TYPE_CHECKING:
    from archiver.blobs.disk import DiskStore, free_bytes
    from archiver.blobs.handing import Handing
    from archiver.blobs.memory import MemoryStore
    from archiver.blobs.store import BlobStore, BlobWriter

__all__ = ["BlobStore", "BlobWriter", "DiskStore", "Handing", "Marker", "MemoryStore", "free_bytes"]

if not TYPE_CHECKING:  # a type checker must know what is not there
    __getattr__ = lazily.parts(
        __name__,
        {
            "disk": (
                "DiskStore",
                "free_bytes",
            ),
            "handing": ("Handing",),
            "memory": ("MemoryStore",),
            "store": (
                "BlobStore",
                "BlobWriter",
            ),
        },
    )
