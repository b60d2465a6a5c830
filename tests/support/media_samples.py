"""Small whole files of every accepted type: real ones of the demo, and some built byte by byte."""

from __future__ import annotations

import random
import struct
import zlib

from archiver.media.formats import AVIF, GIF, HEIC, JPEG, MP4, PNG, WEBP, MediaFormat
from tests.support import ROOT

_REAL = ROOT / "archiver" / "sandbox" / "media"

REAL_JPEG = (_REAL / "photo1.jpg").read_bytes()
REAL_WEBP = (_REAL / "photo5.webp").read_bytes()
REAL_MP4 = (_REAL / "video1.mp4").read_bytes()


def jpeg(size: int, seed: int = 1) -> bytes:
    """A JPEG by structure: frame header of 640 × 480, a scan of random bytes stuffed as the standard asks."""
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640) + b"\x03" + bytes(9)
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + frame + b"\xff\xda\x00\x08" + bytes(6)
    scan = random.Random(seed).randbytes(size).replace(b"\xff", b"\xff\x00")[: size - len(head) - 2]
    return head + (scan[:-1] + b"\x11" if scan.endswith(b"\xff") else scan) + b"\xff\xd9"


def png() -> bytes:
    """A picture of 40 × 30 pixels."""

    def chunk(name: bytes, payload: bytes) -> bytes:
        crc = zlib.crc32(name + payload)
        return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", crc)

    rows = random.Random(2).randbytes(30 * 121)
    header = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def gif() -> bytes:
    """A picture of 20 × 10 pixels with a global palette, a comment and one frame."""
    palette = bytes(range(12))
    blocks = b"\xff" + bytes(255) + b"\x30" + bytes(48) + b"\x00"
    return (
        b"GIF89a"
        + struct.pack("<HH", 20, 10)
        + b"\x81\x00\x00"
        + palette
        + b"\x21\xfe\x05hello\x00"
        + b"\x2c"
        + struct.pack("<HHHH", 0, 0, 20, 10)
        + b"\x00\x02"
        + blocks
        + b"\x3b"
    )


def box(name: bytes, *parts: bytes) -> bytes:
    """An ISO 14496-12 box."""
    payload = b"".join(parts)
    return struct.pack(">I", 8 + len(payload)) + name + payload


def heif(brand: bytes) -> bytes:
    """A picture of 1080 × 1920 with a smaller tile, coded data after its meta box."""
    tile, whole = (box(b"ispe", bytes(4), struct.pack(">II", *size)) for size in ((512, 512), (1080, 1920)))
    meta = box(b"meta", bytes(4), box(b"iprp", box(b"ipco", tile, whole)))
    return (
        box(b"ftyp", brand, bytes(4), b"mif1", brand) + meta + box(b"mdat", random.Random(3).randbytes(200))
    )


def mp4(*, moov_last: bool = False, size: int = 5000) -> bytes:
    """A video of 720 × 1280 by structure, with its index before or after the coded data."""
    header = box(b"tkhd", bytes(76), struct.pack(">II", 720 << 16, 1280 << 16))
    sound = box(b"tkhd", bytes(84))
    moov = box(b"moov", box(b"mvhd", bytes(100)), box(b"trak", sound), box(b"trak", header))
    mdat = box(b"mdat", random.Random(4).randbytes(size))
    return box(b"ftyp", b"isom", bytes(4), b"avc1") + (mdat + moov if moov_last else moov + mdat)


WHOLE: dict[str, tuple[MediaFormat, bytes, tuple[int, int]]] = {
    "jpeg": (JPEG, jpeg(3000), (640, 480)),
    "real jpeg": (JPEG, REAL_JPEG, (180, 320)),
    "png": (PNG, png(), (40, 30)),
    "gif": (GIF, gif(), (20, 10)),
    "real webp": (WEBP, REAL_WEBP, (180, 320)),
    "heic": (HEIC, heif(b"heic"), (1080, 1920)),
    "avif": (AVIF, heif(b"avif"), (1080, 1920)),
    "mp4": (MP4, mp4(), (720, 1280)),
    "mp4 with its index last": (MP4, mp4(moov_last=True), (720, 1280)),
    "real mp4": (MP4, REAL_MP4, (144, 256)),
}
