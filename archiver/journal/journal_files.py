"""The files of the journal: ``journal/YYYY/MM/<first seq, 12 digits>-<8 hex digits>.jsonl.gz``.

Only the process that began a file appends to it. Each time, it appends one gzip member. So every file is
complete gzip up to its last sync, and an incomplete member that a kill left at the end can be cut off. One
member for each line would take twice the bytes.
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from archiver.append_file import AppendFile
from archiver.durable import (
    enter_directory,
    open_directory,
    open_regular,
    open_root,
    storage_errors,
    sync,
    sync_directory,
    write_all,
)
from archiver.errors import JournalDamaged
from archiver.journal.journal_line import (
    LONGEST,
    FileHeader,
    JournalLine,
    encode_header,
    parse_header,
    parse_line,
)

_NAME = re.compile(r"[0-9]{4}/[0-9]{2}/([0-9]{12})-[0-9a-f]{8}\.jsonl\.gz")
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
    """The files of the journal of the archive at ``root``. Creating this object reads and writes nothing."""

    def __init__(self, root: Path, *, group_readable: bool = False) -> None:
        self._root = root
        self.torn: dict[str, int] = {}
        """Files that were read and have an incomplete end, each with the length in bytes before it."""
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def names(self, since: str = "") -> list[str]:
        """Return the files from ``since`` on, in the order of their lines. Raises StorageError.

        Their names below ``journal/`` sort in that order, because a month never goes back.
        """
        found: list[str] = []
        base = self._root / "journal"
        with storage_errors(f"{base} cannot be listed"):
            for year in _names_in(base):
                for month in _names_in(base / year):
                    place = f"{year}/{month}"
                    if place >= since[:7]:
                        found += [f"{place}/{name}" for name in _names_in(base / place)]
        return sorted(name for name in found if _NAME.fullmatch(name) and name >= since)

    def scratch(self) -> Path | None:
        """Return the folder for temporary files on the archive's disk; None if it cannot be written."""
        tmp = self._root / "tmp"
        return tmp if os.access(tmp, os.W_OK | os.X_OK) else None

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it is missing. Raises StorageError."""
        with storage_errors(f"journal/{name} cannot be read"):
            try:
                return (self._root / "journal" / name).lstat().st_size
            except FileNotFoundError:
                return None

    def read(self, name: str, start: int = 0) -> Iterator[ReadLine]:
        """Yield the lines of a file, without its header. ``start``: the offset of the first member to read.

        An incomplete last member is not an error, since a kill may leave one: it is noted in ``torn``. Raises
        JournalDamaged and StorageError.
        """
        header: FileHeader | None = None
        if start:
            for lines, _ in self._members(name, 0):
                header = parse_header(next(lines, b""), f"journal/{name}")
                break
        for lines, end in self._members(name, start):
            for number, line in enumerate(lines, 1):
                place = f"journal/{name}, line {number} of the part that ends at byte {end}"
                if header is None:
                    header = parse_header(line, place)
                else:
                    yield ReadLine(parse_line(line, place), header, name, start, end)
            start = end

    def cut(self, name: str, length: int) -> None:
        """Cut a file to ``length`` bytes, durably: what follows is incomplete. Raises StorageError."""
        with storage_errors(f"journal/{name} cannot be cut"):
            fd = self._open(name, os.O_WRONLY)
            try:
                os.ftruncate(fd, length)
                sync(fd)
            finally:
                os.close(fd)

    def sync(self, name: str) -> None:
        """Make a file that another process wrote durable, and its name. Raises StorageError."""
        with storage_errors(f"journal/{name} cannot be synced"), ExitStack() as opened:
            fd = self._open(name)
            opened.callback(os.close, fd)
            sync(fd)
            month = self._enter("journal", *name.split("/")[:-1])
            opened.callback(os.close, month)
            sync_directory(month)

    def set_aside(self, now: datetime) -> None:
        """Move the whole journal to ``quarantine/``. Raises StorageError."""
        name = f"journal-{now:%Y%m%dT%H%M%S.%fZ}"
        with storage_errors("journal/ cannot be moved to quarantine/"):
            fd = open_root(self._root)
            try:
                quarantine = enter_directory("quarantine", self._modes[0], within=fd)
                try:
                    with suppress(FileNotFoundError):
                        os.rename("journal", name, src_dir_fd=fd, dst_dir_fd=quarantine)
                    sync_directory(quarantine)
                finally:
                    os.close(quarantine)
                sync_directory(fd)
            finally:
                os.close(fd)

    def new_file(self, name: str, header: FileHeader) -> NewFile:
        """Begin a file under a name from ``new_name``. Raises DiskFull or StorageError."""
        with storage_errors(f"{self._root / 'journal'} cannot be created"):
            month = self._enter("journal", *name.split("/")[:-1])
            return NewFile(name, month, self._modes[1], header)

    def write_snapshot(self, name: str, header: FileHeader, lines: Iterable[bytes]) -> int:
        """Write a file with a snapshot, which gets its name only once it is whole; return its length.

        Raises DiskFull or StorageError.
        """
        file = name.rpartition("/")[2]
        with storage_errors(f"journal/{name} cannot be written"), ExitStack() as opened:
            tmp = self._enter("tmp")
            opened.callback(os.close, tmp)
            fd = os.open(
                file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, self._modes[1], dir_fd=tmp
            )
            try:
                opened.callback(os.close, fd)
                os.fchmod(fd, self._modes[1])
                write_all(fd, gzip.compress(encode_header(header), _LEVEL, mtime=0))
                for line in lines:
                    write_all(fd, gzip.compress(line + b"\n", _LEVEL, mtime=0))
                sync(fd)
                month = self._enter("journal", *name.split("/")[:-1])
                opened.callback(os.close, month)
                os.replace(file, file, src_dir_fd=tmp, dst_dir_fd=month)
                sync_directory(month)
            except BaseException:
                with suppress(OSError):
                    os.unlink(file, dir_fd=tmp)
                raise
            return os.fstat(fd).st_size

    def new_name(self, first_seq: int, after: str, now: datetime) -> str:
        """Return the name of a new file, whose first line has the number ``first_seq``.

        ``after``: the name of the last file. The month never goes back, whatever the clock does.
        """
        month = max(f"{now:%Y/%m}", after[:7])
        return f"{month}/{first_seq:012d}-{secrets.token_hex(4)}.jsonl.gz"

    def _enter(self, *levels: str) -> int:
        fd = open_root(self._root)
        for level in levels:
            above = fd
            try:
                fd = enter_directory(level, self._modes[0], within=above)
            finally:
                os.close(above)
        return fd

    def _open(self, name: str, flags: int = os.O_RDONLY) -> int:
        fd = open_root(self._root)
        *levels, file = ("journal", *name.split("/"))
        for level in levels:
            above = fd
            try:
                fd = open_directory(level, within=above)
            finally:
                os.close(above)
        try:
            return open_regular(file, within=fd, flags=flags)
        finally:
            os.close(fd)

    def _members(self, name: str, start: int) -> Iterator[tuple[Iterator[bytes], int]]:
        """Yield the lines of each whole gzip member, to be read before the next one, and where it ends.

        Whatever follows the last whole member counts as torn: a power loss may leave anything there.
        """
        end = start
        for lines, end in self._whole_members(name, start):
            yield lines, end
        size = self.size(name) or 0
        if end < size:
            self.torn[name] = end

    def _whole_members(self, name: str, start: int) -> Iterator[tuple[Iterator[bytes], int]]:
        with storage_errors(f"journal/{name} cannot be read"):
            fd = self._open(name)
        with os.fdopen(fd, "rb") as file:
            while True:
                member = _Member(file, start, name)
                try:
                    end = member.check()
                except (zlib.error, EOFError) as error:
                    if _has_member_after(file, start, name):
                        raise JournalDamaged(
                            f"journal/{name} is damaged after byte {start}: {error}"
                        ) from error
                    return
                yield member.lines(), end
                start = end


class NewFile:
    """A file of the journal that this process writes."""

    def __init__(self, name: str, directory: int, mode: int, header: FileHeader) -> None:
        self.name = name
        self._directory = directory
        head = gzip.compress(encode_header(header), _LEVEL, mtime=0)
        self._file = AppendFile(directory, name.rpartition("/")[2], mode, f"journal/{name}", lambda: head)
        self.length = 0
        self._head = len(head)

    @property
    def is_usable(self) -> bool:
        """Whether lines can be appended: the file is neither closed nor given up after a disk error."""
        return self._file.is_usable

    def append(self, lines: Sequence[bytes]) -> int:
        """Append lines durably, as one gzip member; return its size. Raises DiskFull or StorageError."""
        member = gzip.compress(b"".join(line + b"\n" for line in lines), _LEVEL, mtime=0)
        self.length = self._file.append(member) + len(member)
        return len(member)

    def close(self) -> None:
        """Close the file; an empty one is removed."""
        self._file.close()
        os.close(self._directory)


class _Member:
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


def _has_member_after(file: BinaryIO, start: int, name: str) -> bool:
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
            _Member(file, at + found, name).check()
            return True
        at += found + 1


def _names_in(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
