"""Gzip members: a file of the journal is a header and lines, in gzip members one after another.

One member for each line would take twice the bytes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from archiver.durable import storage_errors
from archiver.errors import JournalDamaged
from archiver.journal.journal_line import LONGEST, FileHeader, encode_header

_CHUNK = 1 << 18
_LEVEL = 4  # level 6 takes 50 % longer, and saves only 2 % of the bytes
_LARGEST_MEMBER = 4 * LONGEST
_MAGIC = b"\x1f\x8b\x08"


def pack_header(header: FileHeader) -> bytes:
    """Return the first member of a file."""
    return gzip.compress(encode_header(header), _LEVEL, mtime=0)


def pack_lines(lines: Sequence[bytes]) -> bytes:
    """Return a member with these lines."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), _LEVEL, mtime=0)


class JournalMember:
    """A gzip member of an open file. It is unpacked in pieces: memory holds one line, however large it is."""

    def __init__(self, file: BinaryIO, start: int, name: str) -> None:
        self._file, self._start, self._name = file, start, name
        self._end = start

    def check(self) -> int:
        """Read all of it, and return where it ends.

        Raises EOFError if the file ends before it does, zlib.error, and JournalDamaged if it or a line is too
        long, or the last line is not complete.
        """
        total = line = 0
        for piece in self._pieces():
            total += len(piece)
            *lines, rest = piece.split(b"\n")
            longest = max(map(len, lines), default=0)
            longest = max(longest, line + len(lines[0] if lines else rest))
            line = len(rest) if lines else line + len(rest)
            if longest > LONGEST or total > _LARGEST_MEMBER:
                raise JournalDamaged(
                    f"journal/{self._name} has too much data in one part or line, after byte {self._start}"
                )
        if line:
            raise JournalDamaged(
                f"journal/{self._name}: the line that ends at byte {self._end} is not complete"
            )
        return self._end

    def lines(self) -> Iterator[bytes]:
        """Yield its lines. ``check`` comes first."""
        parts: list[bytes] = []
        for piece in self._pieces():
            *lines, rest = piece.split(b"\n")
            for line in lines:
                yield b"".join((*parts, line))
                parts.clear()
            parts.append(rest)

    def _pieces(self) -> Iterator[bytes]:
        unpack, data = zlib.decompressobj(wbits=31), b""
        with storage_errors(f"journal/{self._name} cannot be read"):
            self._file.seek(self._start)
        while not unpack.eof:
            with storage_errors(f"journal/{self._name} cannot be read"):
                data = data or self._file.read(_CHUNK)
            piece = unpack.decompress(data, _CHUNK)
            if not data and not piece:
                raise EOFError("the file ends too early")
            data = unpack.unconsumed_tail
            yield piece
        self._end = self._file.tell() - len(unpack.unused_data)


def has_member_after(file: BinaryIO, start: int, name: str) -> bool:
    """Return whether a whole gzip member begins somewhere after ``start``: the damage is in the middle."""
    at = start + 1
    while True:
        file.seek(at)
        chunk = file.read(_CHUNK)
        found = chunk.find(_MAGIC)
        if found < 0:
            if len(chunk) < len(_MAGIC):
                return False
            at += len(chunk) - len(_MAGIC) + 1
            continue
        with suppress(zlib.error, EOFError, JournalDamaged):
            JournalMember(file, at + found, name).check()
            return True
        at += found + 1
