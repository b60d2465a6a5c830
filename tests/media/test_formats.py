"""What bytes are, where they end and how large they show, by their structure; and checksums sent along."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.media.checked_writer import Checksum, parse_checksums
from archiver.media.formats import (
    AVIF,
    HEAD_SIZE,
    HEIC,
    JPEG,
    MAX_SIDE,
    MP4,
    QUICKTIME,
    Completeness,
    MediaFormat,
    StreamParser,
    detect_format,
)
from tests.support.media_samples import WHOLE, box, gif, jpeg, mp4

BODY = b"the bytes of a picture" * 20
SHA = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
ADLER = zlib.adler32(BODY)

_TYPES = sorted({media for media, _, _ in WHOLE.values()}, key=lambda media: media.mime)
_STARTS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x10\0\0\0WEBPVP8X",
    *(b[:40] for _, b, _ in WHOLE.values()),
]
_HOSTILE = st.builds(bytes.__add__, st.sampled_from(_STARTS), st.binary(max_size=300))


def parsed(media: MediaFormat, body: bytes, step: int | None = None) -> StreamParser:
    parser = StreamParser(media)
    for at in range(0, len(body), step or len(body)):
        parser.feed(body[at : at + (step or len(body))])
    return parser


def extent(media: MediaFormat, body: bytes, step: int | None = None) -> Completeness:
    return parsed(media, body, step).completeness()


@pytest.mark.parametrize("name", WHOLE)
def test_type_end_and_dimensions_of_a_whole_file(name: str) -> None:
    """Every accepted type is known by its first bytes, ends where it says, and tells its dimensions."""
    media, body, size = WHOLE[name]
    parser = parsed(media, body)
    assert detect_format(body[:HEAD_SIZE]) == media
    assert parser.completeness() is Completeness.WHOLE
    assert parser.dimensions == size


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_every_truncation_is_found(name: str, data: st.DataObject) -> None:
    """A file that lacks any number of bytes at its end is cut, however it was fed."""
    media, body, _ = WHOLE[name]
    length = data.draw(st.integers(1, len(body) - 1))
    assert extent(media, body[:length], data.draw(st.integers(1, 700))) is Completeness.CUT


@given(st.sampled_from(sorted(WHOLE)), st.integers(1, 4000), st.binary(max_size=20))
def test_chunks_do_not_matter(name: str, step: int, tail: bytes) -> None:
    """What is said of a file, with or without a tail, is the same in chunks of any size."""
    media, body, size = WHOLE[name]
    parser = parsed(media, body + tail, step)
    assert parser.completeness() is extent(media, body + tail)
    assert parser.dimensions == size


@pytest.mark.parametrize(
    "name", [name for name in WHOLE if "mp4" not in name and name not in ("heic", "avif")]
)
@given(tail=st.binary(min_size=1, max_size=200))
def test_bytes_after_the_end_are_a_tail(name: str, tail: bytes) -> None:
    """What follows the end of a picture is told from a cut."""
    media, body, _ = WHOLE[name]
    assert extent(media, body + tail) is Completeness.TAIL
    parser = parsed(media, body, 7)
    parser.feed(tail[:1])
    assert parser.completeness() is Completeness.TAIL


@pytest.mark.parametrize("tail", [b"\0\0\0", b"\0\0\0\x04junk", b"\xff" * 2])
def test_odd_bytes_after_an_mp4_are_a_tail(tail: bytes) -> None:
    """Bytes after the last box of a video that are no box are a tail."""
    assert extent(MP4, mp4() + tail) is Completeness.TAIL


def test_a_box_that_reaches_to_the_end_leaves_the_end_open() -> None:
    """An mdat of size 0 has no end of its own: only a length can vouch for it."""
    body = mp4()
    at = body.index(b"mdat") - 4
    assert extent(MP4, body[:at] + bytes(4) + body[at + 4 :]) is Completeness.OPEN


def test_fault_x16_an_index_of_hostile_size_is_not_held() -> None:
    """However large a moov box claims to be, and whatever it claims to contain, its bytes are not
    collected.
    """
    size = 8 << 20
    parser, chunk = StreamParser(MP4), bytes(64 * 1024)
    parser.feed(box(b"ftyp", b"isom", bytes(4)))
    parser.feed((size + 16).to_bytes(4, "big") + b"moov" + (size + 8).to_bytes(4, "big") + b"trak")
    tracemalloc.start()
    try:
        for _ in range(size // len(chunk)):
            parser.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(chunk)
    finally:
        tracemalloc.stop()
    parser.feed(box(b"mdat", bytes(9)))
    assert (parser.completeness(), parser.dimensions) == (Completeness.WHOLE, None)


def test_a_box_that_is_larger_than_its_container_does_not_move_what_follows() -> None:
    """The boxes inside a container are followed up to its end only; the next top-level box is found there."""
    for child in (b"\0\0\xff\xfftkhd", b"\0\0\0\x01trak" + b"\xff" * 8, b"\0\0\0\x07trak", b"\0\0\0\x01trak"):
        for container in (box(b"trak", child), box(b"trak", child, bytes(90)), child):
            body = box(b"ftyp", b"isom", bytes(4)) + box(b"moov", container) + box(b"mdat", bytes(9))
            assert extent(MP4, body) is Completeness.WHOLE
            assert extent(MP4, body[:-1]) is Completeness.CUT


def test_a_64_bit_box_size_is_read() -> None:
    """A box of size 1 states its size in 8 more bytes (ISO 14496-12, 4.2)."""
    start = mp4()[: mp4().index(b"mdat") - 4]
    body = start + b"\0\0\0\x01mdat" + (116).to_bytes(8, "big") + bytes(100)
    assert extent(MP4, body) is Completeness.WHOLE
    assert extent(MP4, body[:-1]) is Completeness.CUT


def test_an_mp4_cut_between_its_boxes_is_found() -> None:
    """A video that ends after its index, before its coded data, is cut though every box of it is whole."""
    assert extent(MP4, mp4()[: mp4().index(b"mdat") - 4]) is Completeness.CUT


def test_an_end_marker_inside_a_jpeg_segment_is_not_the_end() -> None:
    """An EXIF thumbnail's EOI does not make a cut picture look whole."""
    exif = b"\xff\xe1\x00\x0aEXIF\xff\xd9\xff\xd9"
    body = jpeg(2000)
    assert extent(JPEG, body[:2] + exif + body[2:]) is Completeness.WHOLE
    assert extent(JPEG, body[:2] + exif) is Completeness.CUT


def test_a_jpeg_segment_ends_where_its_length_says() -> None:
    """A marker right behind a segment is seen, and so is one that two chunks share."""
    body = b"\xff\xd8\xff\xfe\x00\x06text\xff\xd9"
    assert extent(JPEG, body) is Completeness.WHOLE
    assert extent(JPEG, jpeg(2000), len(jpeg(2000)) - 1) is Completeness.WHOLE


@pytest.mark.parametrize("name", WHOLE)
def test_a_short_prefix_tells_the_right_dimensions_or_none(name: str) -> None:
    """Half a number is not taken for a number."""
    media, body, size = WHOLE[name]
    # The last box with dimensions is the largest one: those of a tile may be seen before it.
    smaller = {(512, 512)} if name in ("heic", "avif") else set()
    lengths = range(1, min(len(body), 3000))
    found = {parsed(media, body[:length]).dimensions for length in (*lengths, len(body))}
    assert found == {None, size} | smaller


def test_a_gif_sub_block_may_hold_the_trailer_byte() -> None:
    """A GIF cut where its coded data happens to hold 3B is still cut."""
    body = gif().replace(bytes(255), b"\x3b" * 255)
    assert extent(_TYPES[1], body[:200]) is Completeness.CUT


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
def test_the_allowlist(head: bytes, media: MediaFormat | None) -> None:
    """Brands decide between pictures and videos; what is not listed is no media."""
    assert detect_format(head) == media


@given(_HOSTILE)
def test_fault_x16_no_bytes_make_it_raise(body: bytes) -> None:
    """Detection and structure take any bytes; dimensions are unknown, or such as a picture can have."""
    detect_format(body)
    for media in _TYPES:
        parser = StreamParser(media)
        parser.feed(body)
        parser.feed(body)
        assert parser.completeness() in Completeness
        size = parser.dimensions
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
    assert parsed(media, bytes(changed)).completeness() in Completeness


def verdict(headers: dict[str, str], body: bytes = BODY) -> bool | None:
    checksum = Checksum(parse_checksums(headers))
    checksum.feed(body[:7])
    checksum.feed(body[7:])
    return checksum.verdict()


@pytest.mark.parametrize(
    "headers",
    [
        {"content-digest": f"adler32={ADLER}"},
        {"content-digest": f"adler32={ADLER:08x}"},
        {"content-digest": f"sha-256=:{SHA}:"},
        {"content-digest": f"md5=:AAAA:, sha-256=:{SHA}:"},
        {"repr-digest": f"sha-256=:{SHA}:"},
        {"digest": f"SHA-256={SHA}"},
    ],
)
def test_a_known_checksum_vouches_or_denies(headers: dict[str, str]) -> None:
    """Each form that is known vouches for the right bytes and denies others."""
    assert verdict(headers) is True
    assert verdict(headers, BODY + b"!") is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-digest": "crc32c=12"},
        {"content-digest": "sha-256=:short:"},
        {"content-digest": "adler32=zz"},
    ],
)
def test_an_unknown_checksum_is_ignored(headers: dict[str, str]) -> None:
    """What is not understood neither vouches nor denies."""
    assert verdict(headers) is None


def test_a_needle_checksum_may_vouch_but_never_condemns() -> None:
    """Nobody knows the algorithm behind x-needle-checksum: a match counts, a difference does not."""
    assert verdict({"x-needle-checksum": str(ADLER)}) is True
    assert verdict({"x-needle-checksum": "12345"}) is None


def test_one_denial_outweighs_a_match() -> None:
    """With two checksums, both must match."""
    assert verdict({"repr-digest": f"sha-256=:{SHA}:", "content-digest": "adler32=1"}) is False


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_makes_it_raise(digest: str, needle: str) -> None:
    """Any text in the headers is read or ignored."""
    verdict({"content-digest": digest, "digest": f"sha-256={digest}", "x-needle-checksum": needle})
