"""Reading gzip members from a segment, strictly: a record is whole and its checksum right, or it is none."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from archiver.answers.warc_record import LARGEST

_CHUNK = 1 << 16
_MAGIC = b"\x1f\x8b\x08"
_HEAD = b"WARC/1.1\r\n"
_GZIP_HEAD = b"\x1f\x8b\x08" + bytes(6)
"""What every record of ours begins with: no name, no time, level 6."""
_SECTOR = 512
"""Bytes that a disk writes at once, at least."""
_BY_CHANCE = 8
"""Zeros at most that a record may have right behind a lost sector: 6 of them are in ``_GZIP_HEAD``."""
_EFFORT = 4 * LARGEST
"""Bytes of one segment that are unpacked in vain: damage there costs a second or so, whatever it unpacks to.
A kill leaves one torn record at most."""
_LEAST_EFFORT = 1 << 14
_MAGICS = 8
"""``_MAGIC`` this often in what is left of one record is no chance: compressed bytes have it twice in 32 MiB."""
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member of a segment: where it lies, and its bytes unpacked."""

    offset: int
    length: int
    plain: bytes


@dataclass(frozen=True, slots=True)
class UnreadableBytes:
    """Bytes of a segment that are no whole record."""

    offset: int
    length: int


def member_at(fd: int, offset: int) -> Member | None:
    """The record that starts at ``offset``; None if none does: torn, damaged, or larger than any record.
    Raises OSError."""
    found = _unpack(fd, offset)
    return found if isinstance(found, Member) else None


def members(fd: int, past: Mapping[int, int] = MappingProxyType({})) -> Iterator[Member]:
    """All whole records in file order; bytes between them that are none are passed over. Raises OSError.

    ``past``: members that are known, their lengths by their offsets; they are passed over unread.
    """
    return (piece for piece in pieces(fd, past) if isinstance(piece, Member))


def pieces(fd: int, past: Mapping[int, int] = MappingProxyType({})) -> Iterator[Member | UnreadableBytes]:
    """Yield all of a segment but what is ``past`` (see ``members``): whole records, and the bytes that are
    none. Raises OSError.

    Memory and time are bounded whatever the bytes are: after ``_EFFORT`` the next known member is the next
    one looked for.
    """
    known, end, effort = sorted(past), os.fstat(fd).st_size, _EFFORT
    offset = 0
    unreadable: int | None = None
    while offset < end:
        found = None if offset in past else _unpack(fd, offset)
        if isinstance(found, int):
            unreadable = offset if unreadable is None else unreadable
            effort -= found + _LEAST_EFFORT
            after = bisect_right(known, offset)
            limit = known[after] if after < len(known) else end
            offset = _next_magic(fd, offset + 1, limit) if effort > 0 else limit
            continue
        if unreadable is not None:
            yield UnreadableBytes(unreadable, offset - unreadable)
            unreadable = None
        if found is None:
            offset += max(1, past[offset])
        else:
            yield found
            offset += found.length
    if unreadable is not None:
        yield UnreadableBytes(unreadable, end - unreadable)


def is_cut_off(fd: int, start: int, end: int) -> bool:
    """Return whether the bytes from ``start`` to ``end`` can be what a kill or a power loss left of the
    records that were being written there. Raises OSError.

    That is the beginning of a record, and after it nothing or zeros; or a record in which whole sectors are
    zeros: they did not reach the disk. Other programs' gzip members are never a part of it. The caller bounds
    the length, which is read into memory.
    """
    data = _read(fd, start, end)
    written = data.rstrip(b"\0")
    if _holds_gzip(data):
        return False
    if _begins_record(written):
        return len(written) < len(data) or end == os.fstat(fd).st_size
    lost = _lost_sectors(written, start)
    return lost is not None and _begins_record(written[:lost])


def _read(fd: int, start: int, end: int) -> bytes:
    data = bytearray()
    while start + len(data) < end and (chunk := os.pread(fd, end - start - len(data), start + len(data))):
        data += chunk
    return bytes(data)


def _begins_record(packed: bytes) -> bool:
    """Return whether these bytes are the beginning of a gzip member of ours, or none at all; not whether the
    member is whole."""
    if not _GZIP_HEAD.startswith(packed[: len(_GZIP_HEAD)]):
        return False
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        if not _HEAD.startswith(unpacker.decompress(packed, len(_HEAD))):
            return False
        unpacked = _drain(unpacker, unpacker.unconsumed_tail)
    except zlib.error:
        return False
    return not unpacker.eof and unpacked <= LARGEST


def _drain(unpacker: Any, packed: bytes) -> int:
    """Unpack with a zlib decompressor to the end, or to more than ``LARGEST``, keeping nothing. Return how many
    bytes that were. Raises zlib.error."""
    unpacked = 0
    while not unpacker.eof and unpacked <= LARGEST:
        plain = unpacker.decompress(packed, _AT_ONCE)
        unpacked += len(plain)
        packed = unpacker.unconsumed_tail
        if not packed and len(plain) < _AT_ONCE:
            break
    return unpacked


def _lost_sectors(packed: bytes, start: int) -> int | None:
    """Return where the first zeros begin that fill whole sectors of the disk; None if there are none. The
    bytes lie at ``start`` in their file: their first sector may be the last one of the record before."""
    first = -start % _SECTOR
    edges = (*([0] if first else []), *range(first, len(packed), _SECTOR))
    for edge in edges:
        if not any(packed[edge : edge + _SECTOR - (start + edge) % _SECTOR]):
            end = len(packed) - len(packed[edge:].lstrip(b"\0"))
            whole = (start + end) % _SECTOR < _BY_CHANCE
            return len(packed[:edge].rstrip(b"\0")) if whole else None
    return None


def _is_whole(packed: bytes) -> bool:
    """Return whether a whole gzip member is here, whatever follows it; one that unpacks to more than any
    record counts as whole."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        return _drain(unpacker, packed) > LARGEST or unpacker.eof
    except zlib.error:
        return False


def _holds_gzip(data: bytes) -> bool:
    """Return whether there is a whole gzip member, or more that begins like one than compressed bytes have."""
    at = data.find(_MAGIC)
    for _ in range(_MAGICS):
        if at < 0 or _is_whole(data[at:]):
            return at >= 0
        at = data.find(_MAGIC, at + 1)
    return at >= 0


def _unpack(fd: int, offset: int) -> Member | int:
    """Return the record that starts there; if none does, how many bytes were unpacked before that was
    known."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = bytearray()
    at = offset
    while not unpacker.eof:
        packed = os.pread(fd, _CHUNK, at)
        if not packed:
            return len(plain)
        try:
            if not plain and not _HEAD.startswith(_begin(packed)):
                return len(_HEAD)
            plain += unpacker.decompress(packed, LARGEST + 1 - len(plain))
        except zlib.error:
            return len(plain)
        if len(plain) > LARGEST:
            return len(plain)
        at += len(packed)
    return Member(offset, at - len(unpacker.unused_data) - offset, bytes(plain))


def _begin(packed: bytes) -> bytes:
    """The first bytes that a gzip member unpacks to, as many as ``_HEAD`` has, and no more of it."""
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed, len(_HEAD))


def _next_magic(fd: int, start: int, limit: int) -> int:
    """Return where the next gzip member may begin, at or after ``start``; ``limit`` if that is not before
    it."""
    at = start
    while at < limit and (chunk := os.pread(fd, _CHUNK, at)):
        found = chunk.find(_MAGIC)
        if found >= 0:
            return min(at + found, limit)
        if len(chunk) < len(_MAGIC):
            break
        at += len(chunk) - len(_MAGIC) + 1
    return limit
