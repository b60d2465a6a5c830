"""The bytes of the world's files: small real pictures and videos, each with a mark of its own. Deterministic.

The files of ``sandbox/media/`` were made with ffmpeg 7.1 from its own test sources (``media/README.md`` has
the commands), so they are nobody's pictures. A mark is put where a format allows foreign bytes: a COM segment
of a JPEG, a ``free`` box after an MP4, an unknown chunk of a WebP. Decoders skip all three.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from pathlib import Path

from archiver.sandbox.world_objects import SandboxFile

PHOTOS = ("photo1.jpg", "photo2.jpg", "photo3.jpg", "photo4.jpg")
WEBP = "photo5.webp"
VIDEOS = ("video1.mp4", "video2.mp4")
COVER = "cover.jpg"
AVATAR = "avatar.jpg"

_TYPES = {"jpg": "image/jpeg", "webp": "image/webp", "mp4": "video/mp4"}
_COM_MAX = 65_533  # ITU T.81: a segment's two length bytes count themselves, so 65,535 - 2
_BLOCK = hashlib.shake_256(b"archiver sandbox").digest(1 << 16)  # padding that does not compress
_FILES = Path(__file__).with_name("media")


def content_type(media: SandboxFile) -> str:
    """Return the MIME type of the content, whatever the path says."""
    return _TYPES[media.base.rpartition(".")[2]]


def body(media: SandboxFile) -> bytes:
    """Return the bytes of a file.

    Raises ``ValueError`` for an unknown base, or a ``size`` that is too small.
    """
    plain = base(media.base)
    mark = f"archiver sandbox {media.mark}".encode()
    if plain[:2] == b"\xff\xd8":
        return _jpeg(plain, mark, media.size)
    if plain[:4] == b"RIFF":
        return _webp(plain, mark, media.size)
    return _mp4(plain, mark, media.size)


@cache
def base(name: str) -> bytes:
    """Return a file of ``sandbox/media/`` unchanged. Raises ``ValueError`` for an unknown name."""
    try:
        return (_FILES / name).read_bytes()
    except FileNotFoundError as exc:
        raise ValueError(f"the sandbox has no media file {name!r}") from exc


def _padding(count: int) -> bytes:
    whole, rest = divmod(count, len(_BLOCK))
    return _BLOCK * whole + _BLOCK[:rest]


def _room(size: int | None, least: int) -> int:
    """Return how many bytes of padding make a file of ``least`` bytes ``size`` bytes long."""
    if size is None:
        return 0
    if size < least:
        raise ValueError(f"cannot make a file of {size} bytes: the smallest valid one has {least}")
    return size - least


def _segment(payload: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(payload) + 2) + payload


def _jpeg(plain: bytes, mark: bytes, size: int | None) -> bytes:
    first = _segment(mark)
    room = _room(size, len(plain) + len(first))
    whole, rest = divmod(room, _COM_MAX + 4)
    segments = [_segment(_padding(_COM_MAX))] * whole
    if rest < 4:  # too little for a segment, whose frame alone takes four bytes
        first = _segment(mark + b"." * rest)
    else:
        segments.append(_segment(_padding(rest - 4)))
    return b"".join((plain[:2], first, *segments, plain[2:]))


def _mp4(plain: bytes, mark: bytes, size: int | None) -> bytes:
    payload = mark + _padding(_room(size, len(plain) + 8 + len(mark)))
    return b"".join((plain, struct.pack(">I", len(payload) + 8), b"free", payload))


def _webp(plain: bytes, mark: bytes, size: int | None) -> bytes:
    # RIFF pads a chunk of odd length, so every WebP has an even size: an odd one becomes a byte longer.
    mark += b" " * (len(mark) % 2)
    room = _room(size, len(plain) + 8 + len(mark))
    payload = mark + _padding(room + room % 2)
    chunk = b"ARCH" + struct.pack("<I", len(payload)) + payload
    riff = len(plain) - 8 + len(chunk)
    return b"".join((plain[:4], struct.pack("<I", riff), plain[8:], chunk))
