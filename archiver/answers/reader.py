"""Reading gzip members from a segment, strictly: a record is whole and its checksum right, or it is none."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from archiver.answers.record import LARGEST

_CHUNK = 1 << 16
_MAGIC = b"\x1f\x8b\x08"
_HEAD = b"WARC/1.1\r\n"
_LOST = bytes(64)
"""Zeros in a record that is packed: a part of it that a power loss kept from the disk."""
_EFFORT = 4 * LARGEST
"""Bytes of one segment that are unpacked in vain: damage there costs a second or so, whatever it unpacks to.
A kill leaves one torn record at most."""


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member of a segment: where it lies, and its bytes unpacked."""

    offset: int
    length: int
    plain: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes of a segment that are no whole record. ``torn``: they begin as a record that was not written to
    its end."""

    offset: int
    length: int
    torn: bool


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


def pieces(fd: int, past: Mapping[int, int] = MappingProxyType({})) -> Iterator[Member | Unreadable]:
    """Yield all of a segment but what is ``past`` (see ``members``): whole records, and the bytes that are
    none. Raises OSError.

    Memory and time are bounded whatever the bytes are: after ``_EFFORT`` the next known member is the next
    one looked for.
    """
    known, end, effort = sorted(past), os.fstat(fd).st_size, _EFFORT
    offset, unreadable = 0, None
    while offset < end:
        found = None if offset in past else _unpack(fd, offset)
        if isinstance(found, _Failed):
            unreadable = unreadable or (offset, found.torn)
            effort -= found.unpacked
            after = bisect_right(known, offset)
            limit = known[after] if after < len(known) else end
            offset = _next_magic(fd, offset + 1, limit) if effort > 0 else limit
            continue
        if unreadable is not None:
            yield Unreadable(unreadable[0], offset - unreadable[0], unreadable[1])
            unreadable = None
        if found is None:
            offset += max(1, past[offset])
        else:
            yield found
            offset += found.length
    if unreadable is not None:
        yield Unreadable(unreadable[0], end - unreadable[0], unreadable[1])


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why no record starts here: ``torn`` where one may have been begun, and how many bytes were unpacked
    before that was known."""

    torn: bool
    unpacked: int


def _unpack(fd: int, offset: int) -> Member | _Failed:
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = bytearray()
    at = offset
    while not unpacker.eof:
        packed = os.pread(fd, _CHUNK, at)
        if not packed:
            return _Failed(True, len(plain))
        try:
            if not plain and not _HEAD.startswith(_begin(packed)):
                return _Failed(_LOST in packed, len(_HEAD))
            plain += unpacker.decompress(packed, LARGEST + 1 - len(plain))
        except zlib.error:
            return _Failed(packed[:1] in b"\0\x1f" or at > offset, len(plain))
        if len(plain) > LARGEST:
            return _Failed(False, len(plain))
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
