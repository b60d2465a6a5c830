"""Stored answers on a disk: ``answers/YYYY/MM/<run>-<kind>-*.warc.gz``, which every WARC tool can read.

A whole record is never changed. This module reads the segments (the files) and checks what is in them;
``answer_writer`` writes them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from archiver.answers.answer_writer import AnswerWriter
from archiver.answers.warc_reader import Member, is_cut_off, member_at, members, pieces
from archiver.answers.warc_record import LARGEST, is_own_record, parse_answer
from archiver.durable import (
    enter_directory,
    open_directory,
    open_regular,
    open_root,
    storage_error,
    storage_errors,
    sync,
    sync_directory,
    write_all,
)
from archiver.errors import AnswerMalformed
from archiver.model.api_calls import Answer, AnswerLocation, Origin
from archiver.model.archived import Surplus
from archiver.model.identity import Digest

_SEGMENT = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9A-Za-z][0-9A-Za-z._-]*\.warc\.gz)")
_SEGMENT_OF_RUN = re.compile(
    r"[0-9]{4}/[0-9]{2}/([0-9]{1,18})-(trays|fetched)-([0-9]{8}T[0-9]{6})Z-[0-9a-f]+\.warc\.gz"
)

_NOT_REGULAR = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EINVAL, errno.ENXIO})
"""The errors of opening a link, a directory or a FIFO instead of a segment."""

_CHUNK = 1 << 20
_LARGEST_APPEND = LARGEST // 2
"""The largest size in bytes of a compressed answer with its request and the head of a segment.

An answer itself has at most 16 MiB.
"""
_RECORDS_PER_APPEND = 3


def parse_origin(segment: str) -> Origin | None:
    """Return the run that a segment belongs to; None for a name that this program does not create."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    if match is None:
        return None
    try:
        started_at = datetime.strptime(match[3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Origin(started_at, int(match[1]))


def holds_trays(segment: str) -> bool:
    """Return whether a segment holds trays, according to its name."""
    match = _SEGMENT_OF_RUN.fullmatch(segment)
    return match is not None and match[2] == "trays"


class AnswerStore:
    """The stored answers below ``root``, the archive's ``answers`` directory. Opening it accesses no file.

    ``software`` (name and version) is written to the head of each segment. ``group_readable`` makes
    directories 0750 and files 0640, instead of 0700 and 0600.
    """

    def __init__(self, root: Path, *, archive_id: str = "", group_readable: bool = False) -> None:
        """Use the folder ``root``. New segments name the archive to which they belong."""
        self._root, self._archive_id = root, archive_id
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def writer(self, run_id: int, started_at: datetime) -> AnswerWriter:
        """Return the writer of one run. It creates its files when it stores the first answer.

        ``started_at`` (aware) decides the directory of the month.
        """
        return AnswerWriter(self._root, run_id, started_at.astimezone(UTC), self._archive_id, self._modes)

    def read(self, location: AnswerLocation) -> Answer:
        """Return the answer at a location, after checking its body against ``location.sha256``.

        Raises AnswerMalformed if it is missing or differs: only this answer is lost. Raises StorageError if
        the disk fails.
        """
        where = f"the answer in answers/{location.segment} at offset {location.offset}"
        with self._open(location.segment) as fd, storage_errors(f"{where} cannot be read"):
            member = member_at(fd, location.offset)
        answer = None if member is None or member.length != location.length else parse_answer(member.plain)
        if answer is None or hashlib.sha256(answer.body).hexdigest() != location.sha256:
            raise AnswerMalformed(f"{where} is damaged")
        return answer

    def size(self, segment: str) -> int | None:
        """Return the size of a segment; None if there is no such regular file. Raises StorageError."""
        try:
            with self._open(segment) as fd:
                return os.fstat(fd).st_size
        except AnswerMalformed:
            return None

    def segments(self) -> Iterator[str]:
        """Yield all segments, the oldest month first. Raises StorageError."""
        with storage_errors(f"{self._root} cannot be listed"):
            for path in sorted(self._root.glob("*/*/*.warc.gz")):
                segment = path.relative_to(self._root).as_posix()
                if _SEGMENT.fullmatch(segment):
                    yield segment

    def foreign_names(self) -> Iterator[str]:
        """Yield each name below ``answers/`` that this program does not create, in printable form.

        The contents of a foreign directory are not listed. Raises StorageError.
        """
        with storage_errors(f"{self._root} cannot be listed"):
            for year in _list_entries(self._root):
                is_year = _is_directory(year, digits=4)
                for month in _list_entries(self._root / year.name) if is_year else ():
                    is_month = _is_directory(month, digits=2)
                    for file in _list_entries(self._root / year.name / month.name) if is_month else ():
                        segment = f"{year.name}/{month.name}/{file.name}"
                        if parse_origin(segment) is None or not file.is_file(follow_symlinks=False):
                            yield _printable(segment)
                    if not is_month:
                        yield _printable(f"{year.name}/{month.name}")
                if not is_year:
                    yield _printable(year.name)

    def iterate(
        self, segment: str, known_lengths: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[tuple[AnswerLocation, Answer]]:
        """Yield the whole answers of a segment with their locations, in file order. Needs no database.

        ``known_lengths``: the lengths of known answers, by offset. These answers are skipped without reading.
        Damage and a record that a kill left incomplete are skipped too. Raises AnswerMalformed if there is no
        such segment, StorageError if the disk fails.
        """
        with self._open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for member in members(fd, known_lengths):
                try:
                    answer = parse_answer(member.plain)
                except AnswerMalformed:
                    continue
                if answer is not None:
                    sha256 = Digest(hashlib.sha256(answer.body).hexdigest())
                    yield AnswerLocation(segment, member.offset, member.length, sha256), answer

    def records(self, segment: str) -> Iterator[tuple[bytes, Answer | None]]:
        """Yield the whole records of a segment in file order: the stored bytes, and the answer or None.

        Damage, foreign bytes and a record that a kill left incomplete are skipped. Raises the same errors as
        ``iterate``.
        """
        with self._open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for member in members(fd):
                try:
                    answer = parse_answer(member.plain)
                except AnswerMalformed:
                    continue
                if answer is not None or is_own_record(member.plain):
                    yield os.pread(fd, member.length, member.offset), answer

    def surplus(
        self, segment: str, known_lengths: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[Surplus]:
        """Yield the bytes of a segment that are not whole records of this program: foreign or damaged bytes.

        ``known_lengths``: the lengths of answers that have rows, by offset. These answers are not read. An
        incomplete last record left by a kill or a power loss is not surplus, nor are bytes that ``set_aside``
        has already copied. Raises the same errors as ``iterate``.
        """
        with self._open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            spans: list[tuple[Surplus, int]] = []  # each with the number of whole records before it
            last_row, records = max(known_lengths, default=-1), 0
            for piece in pieces(fd, known_lengths):
                if isinstance(piece, Member) and is_own_record(piece.plain):
                    records += 1
                    continue
                start, before = piece.offset, records
                if spans and spans[-1][0].end == start:
                    surplus, before = spans.pop()
                    start = surplus.offset
                spans.append((Surplus(segment, start, piece.offset + piece.length - start), before))
            for surplus, before in spans:
                is_last = surplus.offset > last_row and records - before < _RECORDS_PER_APPEND
                may_be_ours = is_last and surplus.length <= _LARGEST_APPEND
                if may_be_ours and is_cut_off(fd, surplus.offset, surplus.end):
                    continue
                if not self._is_set_aside(surplus):
                    yield surplus

    def _is_set_aside(self, surplus: Surplus) -> bool:
        copy = self._root.parent / "quarantine" / _name_aside(surplus)
        with suppress(OSError):
            status = copy.lstat()
            return stat.S_ISREG(status.st_mode) and status.st_size == surplus.length
        return False

    def set_aside(self, surplus: Surplus) -> None:
        """Copy surplus bytes to ``quarantine/`` durably, and truncate the segment if nothing follows them.

        Otherwise they stay in the segment, where ``surplus`` no longer reports them. The caller holds the
        archive's lock. Raises DiskFull or StorageError; the segment is then unchanged, or complete without
        them.
        """
        name, part = _name_aside(surplus), f"{_name_aside(surplus)}.part"
        problem = f"the surplus bytes of answers/{surplus.segment} cannot be moved to quarantine/"
        with storage_errors(problem), ExitStack() as stack:
            fd = stack.enter_context(self._open(surplus.segment, os.O_RDWR))
            root = _close_with(stack, open_root(self._root.parent))
            quarantine = _close_with(stack, enter_directory("quarantine", self._modes[0], within=root))
            with suppress(FileNotFoundError):  # left by a killed process
                os.unlink(part, dir_fd=quarantine)
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            copy = _close_with(stack, os.open(part, new, self._modes[1], dir_fd=quarantine))
            for at in range(surplus.offset, surplus.end, _CHUNK):
                write_all(copy, os.pread(fd, min(_CHUNK, surplus.end - at), at))
            sync(copy)
            os.replace(part, name, src_dir_fd=quarantine, dst_dir_fd=quarantine)
            sync_directory(quarantine)
            if os.fstat(fd).st_size == surplus.end:
                os.ftruncate(fd, surplus.offset)
                sync(fd)

    @contextmanager
    def _open(self, segment: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Open a segment. The name comes from the database, so nothing outside ``root`` may be opened."""
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise AnswerMalformed(f"{segment!r} is not a segment of stored answers")
        year, month, name = match.groups()
        fds: list[int] = []
        try:
            try:
                fds.append(open_root(self._root.parent))
                fds.append(open_directory(self._root.name, within=fds[-1]))  # not through a link
                fds.append(open_directory(year, within=fds[-1]))
                fds.append(open_directory(month, within=fds[-1]))
                fds.append(self._open_regular(name, segment, fds[-1], flags))
            except FileNotFoundError as exc:
                raise AnswerMalformed(f"answers/{segment} no longer exists") from exc
            except OSError as exc:
                raise storage_error(exc, f"answers/{segment} cannot be read") from exc
            yield fds[-1]
        finally:
            for fd in fds:
                os.close(fd)

    def _open_regular(self, name: str, segment: str, within: int, flags: int) -> int:
        try:
            return open_regular(name, within=within, flags=flags)
        except OSError as exc:
            if exc.errno in _NOT_REGULAR:
                raise AnswerMalformed(f"answers/{segment} is not a regular file") from exc
            raise


def _list_entries(directory: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a directory, sorted by name; none if it does not exist."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _is_directory(entry: os.DirEntry[str], *, digits: int) -> bool:
    """Return whether an entry is a directory, not a link to one, whose name has this many digits."""
    name = entry.name
    return len(name) == digits and name.isascii() and name.isdigit() and entry.is_dir(follow_symlinks=False)


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _name_aside(surplus: Surplus) -> str:
    return f"{surplus.segment.replace('/', '-')}-{surplus.offset}-{surplus.length}"


def _close_with(stack: ExitStack, fd: int) -> int:
    """Return the descriptor; the stack closes it."""
    stack.callback(os.close, fd)
    return fd
