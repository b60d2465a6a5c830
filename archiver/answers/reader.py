"""Reading gzip members from a segment, strictly: a record is whole and its checksum right, or it is none."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from archiver.answers.record import LARGEST

_CHUNK = 1 << 16
_MAGIC = b"\x1f\x8b\x08"


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member of a segment: where it lies, and its bytes unpacked."""

    offset: int
    length: int
    plain: bytes


def member_at(fd: int, offset: int) -> Member | None:
    """The member that starts at ``offset``; None if none does: torn, damaged, or larger than any record. Raises OSError."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = bytearray()
    at = offset
    while not unpacker.eof:
        packed = os.pread(fd, _CHUNK, at)
        if not packed:
            return None
        try:
            plain += unpacker.decompress(packed, LARGEST + 1 - len(plain))
        except zlib.error:
            return None
        if len(plain) > LARGEST:
            return None
        at += len(packed)
    return Member(offset, at - len(unpacker.unused_data) - offset, bytes(plain))


def members(fd: int, past: Mapping[int, int] = MappingProxyType({})) -> Iterator[Member]:
    """All whole members in file order; bytes between them that are none are passed over. Raises OSError.

    ``past``: members that are known, their lengths by their offsets; they are passed over unread.
    """
    offset = 0
    while True:
        if offset in past:
            offset += past[offset]
            continue
        member = member_at(fd, offset)
        if member is not None:
            yield member
            offset += member.length
            continue
        found = _next_magic(fd, offset + 1)
        if found is None:
            return
        offset = found


def _next_magic(fd: int, start: int) -> int | None:
    """Where the next gzip member may begin, at or after ``start``."""
    at = start
    while chunk := os.pread(fd, _CHUNK, at):
        found = chunk.find(_MAGIC)
        if found >= 0:
            return at + found
        if len(chunk) < len(_MAGIC):
            return None
        at += len(chunk) - len(_MAGIC) + 1
    return None
