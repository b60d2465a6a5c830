"""The files of a journal: ``journal/YYYY/MM/<first seq, 12 digits>-<8 hex digits>.jsonl.gz``.

Only the process that began a file writes to it, one gzip member after another, each of them durable before it
counts. The first line is a header. One member for each line would take twice the bytes.
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from typing import BinaryIO

from msgspec import Struct

from archiver.durable import storage_errors
from archiver.errors import JournalDamaged
from archiver.journal.journal_line import (
    LONGEST,
    FileHeader,
    JournalLine,
    encode_header,
    parse_header,
    parse_line,
)
from archiver.model.journal_entries import LAST_FILE, JournalHead, JournalPoint
from archiver.store.objects import MOST_IN_MEMORY, Appender, Folder, Objects

JOURNAL_FILE = re.compile(r"[0-9]{4}/[0-9]{2}/(00[0-9]{10})-[0-9a-f]{8}\.jsonl\.gz")
"""The name of a file below ``journal/``."""
JOURNAL = Folder(
    "journal", (re.compile("[0-9]{4}"), re.compile("[0-9]{2}")), JOURNAL_FILE, most=MOST_IN_MEMORY
)

_CHUNK = 1 << 18
_LEVEL = 4  # level 6 takes 50 % longer, and saves only 2 % of the bytes
_LARGEST_MEMBER = 4 * LONGEST
_MAGIC = b"\x1f\x8b\x08"


class ReadLine(Struct, frozen=True):
    """A line, the header of its file, and where the gzip member that contains it begins and ends there."""

    line: JournalLine
    header: FileHeader
    file: str
    start: int
    end: int


class JournalFiles:
    """The files of a journal, among the ``objects`` of an archive. Creating this reads and writes nothing."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.torn: dict[str, int] = {}
        """Files that were read and have an incomplete end, each with the length in bytes before it."""

    def names(self, since: str = "", until: str = "") -> list[str]:
        """Return the files from ``since`` until ``until``, in the order of their lines. Raises StorageError.

        The number of its first line is in the name of a file. No month has a file with a smaller number than
        an earlier month, so a listing can begin at ``since``; see ``find_misplaced``.
        """
        found = self._own_names(since)
        if since:
            found = [name for name in found if place_of(name) >= place_of(since)]
        if until:
            found = [name for name in found if place_of(name) <= place_of(until)]
        return sorted(found, key=place_of)

    def find_misplaced(self) -> list[str]:
        """Return the files whose number does not fit their month: somebody put them there.

        No file has a smaller number than one of an earlier month. Where that is not so, the fewest files that
        can be wrong are: the others are the longest series that ascends. Of two such series, it is the one
        with the greater numbers.
        """
        names = self._own_names("")
        if names == sorted(names, key=place_of):
            return []
        # A copy has the same name as the other, so a series never has both.
        ranks = {file: rank for rank, file in enumerate(sorted({name[8:] for name in names}, reverse=True))}
        # From the last file to the first: with which file the best series of each length begins, with its
        # rank, and which file follows each file in its series.
        begins: list[str] = []
        lowest: list[int] = []
        follows: dict[str, str | None] = {}
        for name in reversed(names):
            rank = ranks[name[8:]]
            length = bisect_left(lowest, rank)
            follows[name] = begins[length - 1] if length else None
            begins[length : length + 1], lowest[length : length + 1] = [name], [rank]
        fitting: set[str] = set()
        following: str | None = begins[-1]
        while following is not None:
            fitting.add(following)
            following = follows[following]
        return [name for name in names if name not in fitting]

    def _own_names(self, since: str) -> list[str]:
        """Return the names of files that are ``since`` or greater, in ascending order."""
        listed = self.objects.list(JOURNAL, since[:-1])  # the name itself is to be listed too
        return [each.name for each in listed if each.name >= since and JOURNAL_FILE.fullmatch(each.name)]

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it is missing. Raises StorageError."""
        return self.objects.size(JOURNAL.path(name))

    def location(self, name: str) -> str:
        """Return where a file is, for people."""
        return self.objects.location(JOURNAL.path(name))

    def cut(self, name: str, length: int) -> None:
        """Cut a file to ``length`` bytes, durably: what follows is incomplete.

        Raises StorageError, and JournalDamaged in a bucket, where no kill leaves an incomplete file.
        """
        if not self.objects.cut(JOURNAL.path(name), length):
            raise JournalDamaged(f"{self.location(name)} is damaged after byte {length}")

    def sync(self, name: str) -> None:
        """Make a file that another process wrote durable, and its name. Raises StorageError."""
        self.objects.sync(JOURNAL.path(name))

    def set_aside(self, now: datetime) -> None:
        """Move the whole journal to ``quarantine/``. ``now`` becomes part of its name there.

        Raises StorageError; then what is left lacks its end, and this can be repeated.
        """
        self.objects.set_aside_folder(JOURNAL, f"quarantine/journal-{now:%Y%m%dT%H%M%S.%fZ}")

    def read(self, name: str, start: int = 0) -> Iterator[ReadLine]:
        """Yield the lines of a file, without its header. ``start``: the offset of the first member to read.

        An incomplete last member is not an error, since a kill may leave one: it is noted in ``torn``. Raises
        JournalDamaged, also if the number in the name is not that of the first line; StorageError.
        """
        header: FileHeader | None = None
        first = None if start else place_of(name)[0]
        with self.objects.open_file(JOURNAL.path(name)) as file:
            if start:
                for lines, _ in _whole_members(file, name, 0):
                    header = parse_header(next(lines, b""), f"journal/{name}")
                    break
            for lines, end in _whole_members(file, name, start):
                for number, line in enumerate(lines, 1):
                    place = f"journal/{name}, line {number} of the part that ends at byte {end}"
                    if header is None:
                        header = parse_header(line, place)
                        continue
                    parsed = parse_line(line, place)
                    if first not in (None, parsed.seq):
                        raise JournalDamaged(
                            f"journal/{name} begins with line {parsed.seq}, not with the one in its name",
                            "somebody renamed this file: move it elsewhere",
                        )
                    first = None
                    yield ReadLine(parsed, header, name, start, end)
                start = end
            if start < file.seek(0, os.SEEK_END):  # whatever follows: a power loss may leave anything there
                self.torn[name] = start

    def before_snapshot(self, head: JournalHead) -> JournalPoint | None:
        """Return the last line before the snapshot with which the journal ends, if that changes nothing.

        None if the journal does not end with such a snapshot. Raises StorageError.
        """
        # A row of the database has the name: another program may have written it.
        is_file = JOURNAL_FILE.fullmatch(head.file) is not None
        if head.entry_bytes or not is_file or self.size(head.file) is None:
            return None
        with suppress(JournalDamaged):  # then the next entry does not say what it follows
            for read in self.read(head.file):
                return read.line.after if read.line.snapshot is not None else None
        return None

    def write_snapshot(self, name: str, header: FileHeader, lines: Iterable[bytes]) -> int:
        """Write a file with a snapshot, which gets its name only once it is whole; return its length.

        Raises DiskFull or StorageError.
        """
        length = 0

        def members() -> Iterator[bytes]:
            nonlocal length
            for member in chain([pack_header(header)], (pack_lines([line]) for line in lines)):
                length += len(member)
                yield member

        self.objects.put(JOURNAL.path(name), members())
        return length

    def appender(self, header: FileHeader, new_name: Callable[[], str]) -> Appender:
        """Return what appends gzip members to new files. ``new_name`` returns the name of the next one."""
        head = pack_header(header)
        return self.objects.appender(lambda _: (JOURNAL.path(new_name()), head))

    def new_name(self, first_seq: int, after: str, now: datetime) -> str:
        """Return the name of a new file, whose first line has the number ``first_seq``.

        ``after``: the name of the last file. The month never goes back, whatever the clock does. Raises
        JournalDamaged if no file may begin with that number.
        """
        if first_seq >= LAST_FILE:
            raise JournalDamaged(
                f"the database says that the journal has {first_seq - 1:,} lines, which no archive writes",
                "another program has changed it: put archive.db and journal/ of the same copy back",
            )
        month = max(f"{now:%Y/%m}", after[:7])
        return f"{month}/{first_seq:012d}-{secrets.token_hex(4)}.jsonl.gz"


def place_of(name: str) -> tuple[int, str]:
    """Return what the files of a journal are ordered by: the number of the first line, then the name."""
    return int(name.rpartition("/")[2].partition("-")[0]), name


def _whole_members(file: BinaryIO, name: str, start: int) -> Iterator[tuple[Iterator[bytes], int]]:
    """Yield the lines of each whole gzip member, to be read before the next one, and where it ends."""
    while True:
        member = JournalMember(file, start, name)
        try:
            end = member.check()
        except (zlib.error, EOFError) as error:
            if has_member_after(file, start, name):
                raise JournalDamaged(f"journal/{name} is damaged after byte {start}: {error}") from error
            return
        yield member.lines(), end
        start = end


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
