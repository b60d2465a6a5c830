"""The media types of stored files, and the file extension of each."""

from __future__ import annotations

EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/avif": "avif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
}


def extension_for(mime: str) -> str:
    """Return the file extension for the media type of the bytes, ``bin`` if it is unknown."""
    return EXTENSIONS.get(mime, "bin")
