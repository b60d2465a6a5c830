"""The files are real media, unlike each other, and valid at any size."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archiver.sandbox
from archiver.sandbox import media_files
from archiver.sandbox.world_objects import SandboxFile

PICTURES = (*media_files.PHOTOS, media_files.COVER, media_files.AVATAR)
ALL = (*PICTURES, media_files.WEBP, *media_files.VIDEOS)
LEAST = 40_000  # above the smallest size of every file


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG whose segments follow each other without a gap up to its scan, and which
    ends with EOI.
    """
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    at, size = 2, (0, 0)
    while True:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        assert marker >> 8 == 0xFF
        if marker in (0xFFC0, 0xFFC2):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        if marker == 0xFFDA:
            return size
        at += 2 + length


def mp4_boxes(data: bytes) -> list[str]:
    """The names of an MP4's outer boxes, which end exactly where the file ends."""
    at, names = 0, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        assert length >= 8
        names.append(name.decode())
        at += length
    assert at == len(data)
    return names


def webp_chunks(data: bytes) -> list[str]:
    """The names of a WebP's chunks, which end exactly where RIFF and the file end."""
    assert data[:4] + data[8:12] == b"RIFFWEBP"
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    at, names = 12, []
    while at < len(data):
        name, length = struct.unpack("<4sI", data[at : at + 8])
        names.append(name.decode())
        at += 8 + length + length % 2
    assert at == len(data)
    return names


@settings(deadline=None)
@given(
    base=st.sampled_from(PICTURES),
    mark=st.text("0123456789 ab", max_size=40),
    size=st.integers(LEAST, 400_000),
)
def test_jpegs_are_valid_at_any_size(base: str, mark: str, size: int) -> None:
    """A JPEG of any asked size has exactly that size, whole segments and its own dimensions."""
    data = media_files.body(SandboxFile("/x.jpg", base, mark, size))
    assert len(data) == size
    assert jpeg_size(data) == ((150, 150) if base in (media_files.COVER, media_files.AVATAR) else (180, 320))


@settings(deadline=None)
@given(extra=st.integers(0, 12), segments=st.integers(0, 3))
def test_jpegs_are_valid_around_a_full_segment(extra: int, segments: int) -> None:
    """A rest too small for a segment of its own is never left over: sizes around whole numbers of segments
    come out exactly.
    """
    least = len(media_files.body(SandboxFile("/x.jpg", media_files.COVER, "1")))
    size = max(least, least + segments * 65_537 + extra - 6)
    data = media_files.body(SandboxFile("/x.jpg", media_files.COVER, "1", size))
    assert (len(data), jpeg_size(data)) == (size, (150, 150))


@settings(deadline=None)
@given(
    base=st.sampled_from(media_files.VIDEOS),
    mark=st.text("0123456789", max_size=40),
    size=st.integers(LEAST, 400_000),
)
def test_videos_are_valid_at_any_size(base: str, mark: str, size: int) -> None:
    """An MP4 of any asked size has exactly that size, whole boxes, and its index before its frames."""
    data = media_files.body(SandboxFile("/x.mp4", base, mark, size))
    names = mp4_boxes(data)
    assert len(data) == size
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


@settings(deadline=None)
@given(mark=st.text("0123456789", max_size=40), size=st.integers(LEAST, 400_000))
def test_webps_are_valid_at_any_size(mark: str, size: int) -> None:
    """A WebP of any asked size has that size, or one byte more where it is odd, and whole chunks."""
    data = media_files.body(SandboxFile("/x.webp", media_files.WEBP, mark, size))
    assert len(data) == size + size % 2
    assert webp_chunks(data)[0] == "VP8 "


@pytest.mark.parametrize("base", ALL)
def test_marks_make_bytes_unique(base: str) -> None:
    """Two marks give different bytes, one mark always the same, padded or not."""
    for size in (None, LEAST):
        one, two, again = (media_files.body(SandboxFile("/x", base, mark, size)) for mark in ("1", "2", "1"))
        assert one != two
        assert one == again


def test_a_size_below_the_least_is_refused() -> None:
    """A file cannot be made smaller than it is."""
    with pytest.raises(ValueError, match="the smallest valid one has"):
        media_files.body(SandboxFile("/x", media_files.COVER, "1", 10))


def test_all_files_are_small() -> None:
    """What is shipped for the stand-in stays below 300 kB."""
    folder = Path(archiver.sandbox.__file__).parent / "media"
    assert {f.name for f in folder.iterdir()} == {*ALL, "README.md"}
    assert sum(f.stat().st_size for f in folder.iterdir()) < 300_000
