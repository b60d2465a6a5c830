"""What bytes are, where they end and how large they show, by their structure alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.media.dimensions import MAX_SIDE, dimensions
from archiver.media.sniff import (
    AVIF,
    HEAD,
    HEIC,
    JPEG,
    MP4,
    PNG_SIGNATURE,
    QUICKTIME,
    MediaType,
    sniff,
)
from archiver.media.structure import MOOV_LIMIT, Extent, Structure
from tests.support.media_samples import WHOLE, box, gif, jpeg, mp4

_TYPES = sorted({media for media, _, _ in WHOLE.values()}, key=lambda media: media.mime)
_STARTS = [
    b"",
    b"\xff\xd8\xff",
    PNG_SIGNATURE,
    b"GIF89a",
    b"RIFF\x10\0\0\0WEBPVP8X",
    *(b[:40] for _, b, _ in WHOLE.values()),
]
_HOSTILE = st.builds(bytes.__add__, st.sampled_from(_STARTS), st.binary(max_size=300))


def extent(media: MediaType, body: bytes, step: int | None = None) -> Extent:
    structure = Structure(media)
    for at in range(0, len(body), step or len(body)):
        structure.feed(body[at : at + (step or len(body))])
    return structure.extent()


@pytest.mark.parametrize("name", WHOLE)
def test_type_end_and_dimensions_of_a_whole_file(name: str) -> None:
    """Every accepted type is known by its first bytes, ends where it says, and tells its dimensions."""
    media, body, size = WHOLE[name]
    structure = Structure(media)
    structure.feed(body)
    assert sniff(body[:HEAD]) == media
    assert structure.extent() is Extent.WHOLE
    assert dimensions(media, structure.moov or body) == size


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_every_truncation_is_found(name: str, data: st.DataObject) -> None:
    """A file that lacks any number of bytes at its end is cut, however it was fed."""
    media, body, _ = WHOLE[name]
    length = data.draw(st.integers(1, len(body) - 1))
    assert extent(media, body[:length], data.draw(st.integers(1, 700))) is Extent.CUT


@given(st.sampled_from(sorted(WHOLE)), st.integers(1, 4000), st.binary(max_size=20))
def test_chunks_do_not_matter(name: str, step: int, tail: bytes) -> None:
    """The verdict on a file, with or without a tail, is the same in chunks of any size."""
    media, body, _ = WHOLE[name]
    assert extent(media, body + tail, step) is extent(media, body + tail)


@pytest.mark.parametrize(
    "name", [name for name in WHOLE if "mp4" not in name and name not in ("heic", "avif")]
)
@given(tail=st.binary(min_size=1, max_size=200))
def test_bytes_after_the_end_are_a_tail(name: str, tail: bytes) -> None:
    """What follows the end of a picture is told from a cut."""
    media, body, _ = WHOLE[name]
    assert extent(media, body + tail) is Extent.TAIL


@pytest.mark.parametrize("tail", [b"\0\0\0", b"\0\0\0\x04junk", b"\xff" * 2])
def test_odd_bytes_after_an_mp4_are_a_tail(tail: bytes) -> None:
    """Bytes after the last box of a video that are no box are a tail."""
    assert extent(MP4, mp4() + tail) is Extent.TAIL


def test_a_box_that_reaches_to_the_end_leaves_the_end_open() -> None:
    """An mdat of size 0 has no end of its own: only a length can vouch for it."""
    body = mp4()
    at = body.index(b"mdat") - 4
    assert extent(MP4, body[:at] + bytes(4) + body[at + 4 :]) is Extent.OPEN


def test_fault_x16_an_index_of_hostile_size_is_not_held() -> None:
    """Only as much of a moov box is held as a story's can have."""
    structure = Structure(MP4)
    structure.feed(box(b"ftyp", b"isom", bytes(4)) + (MOOV_LIMIT + 9).to_bytes(4, "big") + b"moov")
    structure.feed(bytes(MOOV_LIMIT + 1) + box(b"mdat", bytes(9)))
    assert structure.moov == b""
    assert structure.extent() is Extent.WHOLE


def test_a_64_bit_box_size_is_read() -> None:
    """A box of size 1 states its size in 8 more bytes (ISO 14496-12, 4.2)."""
    start = mp4()[: mp4().index(b"mdat") - 4]
    body = start + b"\0\0\0\x01mdat" + (116).to_bytes(8, "big") + bytes(100)
    assert extent(MP4, body) is Extent.WHOLE
    assert extent(MP4, body[:-1]) is Extent.CUT


def test_an_mp4_cut_between_its_boxes_is_found() -> None:
    """A video that ends after its index, before its coded data, is cut though every box of it is whole."""
    assert extent(MP4, mp4()[: mp4().index(b"mdat") - 4]) is Extent.CUT


def test_an_end_marker_inside_a_jpeg_segment_is_not_the_end() -> None:
    """An EXIF thumbnail's EOI does not make a cut picture look whole."""
    exif = b"\xff\xe1\x00\x0aEXIF\xff\xd9\xff\xd9"
    body = jpeg(2000)
    assert extent(JPEG, body[:2] + exif + body[2:]) is Extent.WHOLE
    assert extent(JPEG, body[:2] + exif) is Extent.CUT


def test_a_jpeg_segment_ends_where_its_length_says() -> None:
    """A marker right behind a segment is seen, and so is one that two chunks share."""
    body = b"\xff\xd8\xff\xfe\x00\x06text\xff\xd9"
    assert extent(JPEG, body) is Extent.WHOLE
    structure = Structure(JPEG)
    for piece in (jpeg(2000)[:-1], jpeg(2000)[-1:]):
        structure.feed(piece)
    assert structure.extent() is Extent.WHOLE


@pytest.mark.parametrize("name", [name for name in WHOLE if "mp4" not in name])
def test_a_short_prefix_tells_the_right_dimensions_or_none(name: str) -> None:
    """Half a number is not taken for a number."""
    media, body, size = WHOLE[name]
    told = {dimensions(media, body[:length]) for length in range(len(body))}
    assert told == {None, size}


def test_a_gif_sub_block_may_hold_the_trailer_byte() -> None:
    """A GIF cut where its coded data happens to hold 3B is still cut."""
    body = gif().replace(bytes(255), b"\x3b" * 255)
    assert extent(_TYPES[1], body[:200]) is Extent.CUT


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (box(b"ftyp", b"mp42", bytes(8)), MP4),
        (box(b"ftyp", b"iso5", bytes(8)), MP4),
        (box(b"ftyp", b"M4V ", bytes(8)), MP4),
        (box(b"ftyp", b"qt  ", bytes(8)), QUICKTIME),
        (box(b"ftyp", b"mif1", bytes(4), b"miaf", b"heic"), HEIC),
        (box(b"ftyp", b"mif1", bytes(4), b"avif"), AVIF),
        (box(b"ftyp", b"mif1", bytes(4), b"isom"), None),
        (box(b"ftyp", b"M4A ", bytes(8)), None),
        (b"\0\0\0\x0cftypisom", None),
        (b"<!DOCTYPE html><html>", None),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', None),
        (b"\x7fELF\x02\x01\x01", None),
        (b"MZ\x90\x00", None),
        (b"#!/bin/sh\n", None),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b'{"detail": "gone"}', None),
        (b"\xff\xd8", None),
        (b"", None),
    ],
)
def test_the_allowlist(head: bytes, media: MediaType | None) -> None:
    """Brands decide between pictures and videos; what is not listed is no media."""
    assert sniff(head) == media


@given(_HOSTILE)
def test_fault_x16_no_bytes_make_it_raise(body: bytes) -> None:
    """Sniffing, structure and dimensions take any bytes; dimensions are unknown, or such as a picture can have."""
    sniff(body)
    for media in _TYPES:
        structure = Structure(media)
        structure.feed(body)
        structure.feed(body)
        structure.extent()
        for source in (body, structure.moov):
            size = dimensions(media, source)
            assert size is None or 0 < min(size) <= max(size) <= MAX_SIDE


@given(
    st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=8)
)
def test_fault_x16_damaged_headers_do_not_make_it_raise(name: str, damage: list[tuple[int, int]]) -> None:
    """A file with a few bytes changed anywhere in its header is read without an error."""
    media, body, _ = WHOLE[name]
    changed = bytearray(body)
    for at, value in damage:
        changed[at] = value
    structure = Structure(media)
    structure.feed(bytes(changed))
    assert structure.extent() in Extent
    dimensions(media, structure.moov or bytes(changed))
