"""SEAM 3: bytes kept under their SHA-256, and the marker that says whose they are."""

from __future__ import annotations

from archiver.blobs.disk import DiskStore, free_bytes
from archiver.blobs.handing import Handing
from archiver.blobs.marker import Marker
from archiver.blobs.memory import MemoryStore
from archiver.blobs.store import BlobStore, BlobWriter

__all__ = ["BlobStore", "BlobWriter", "DiskStore", "Handing", "Marker", "MemoryStore", "free_bytes"]
