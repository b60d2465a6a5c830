"""Kept answers on a disk: ``answers/YYYY/MM/<run>-<kind>-*.warc.gz``, never changed once written, readable by any WARC tool."""

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
from archiver.answers.warc_record import LARGEST, answer_of, is_ours
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
from archiver.model.archived import Surplus
from archiver.model.billing import Answer, AnswerLocation, Origin
from archiver.model.identity import Digest

_SEGMENT = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9A-Za-z][0-9A-Za-z._-]*\.warc\.gz)")
_OF_A_RUN = re.compile(
    r"[0-9]{4}/[0-9]{2}/([0-9]{1,18})-(trays|fetched)-([0-9]{8}T[0-9]{6})Z-[0-9a-f]+\.warc\.gz"
)


_NO_FILE = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EINVAL, errno.ENXIO})
"""What opening a link, a directory or a FIFO in the place of a segment is refused with."""

_COPIED_AT_ONCE = 1 << 20
_LARGEST_APPEND = LARGEST // 2
"""Bytes that one answer, its request and the head of a segment take at most, packed: an answer is cut off at
16 MiB."""
_APPENDED_RECORDS = 3


def origin_of(segment: str) -> Origin | None:
    """The run whose answers a segment holds, by its name; None for a file that this program did not name."""
    named = _OF_A_RUN.fullmatch(segment)
    if named is None:
        return None
    try:
        began = datetime.strptime(named[3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Origin(began, int(named[1]))


def holds_trays(segment: str) -> bool:
    """Whether a segment is one of trays, by its name."""
    named = _OF_A_RUN.fullmatch(segment)
    return named is not None and named[2] == "trays"


class AnswerStore:
    """The kept answers below ``root`` (the archive's ``answers`` directory). Opening it touches nothing.

    ``software`` (name and version) stands at the head of each segment. ``group_readable`` gives 0750 and 0640 instead of 0700
    and 0600.
    """

    def __init__(self, root: Path, *, software: str = "archiver", group_readable: bool = False) -> None:
        self._root, self._software = root, software
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def writer(self, run_id: int, started_at: datetime) -> AnswerWriter:
        """The writer of one run; ``started_at`` (aware) decides the month. Files are made with the first answer."""
        return AnswerWriter(self._root, run_id, started_at.astimezone(UTC), self._software, self._modes)

    def read(self, kept: AnswerLocation) -> Answer:
        """The answer that lies there, its body checked against ``kept.sha256``.

        Raises AnswerMalformed if it is not there, or not what was kept: that answer is lost, the archive is not. StorageError
        if the disk refuses.
        """
        where = f"the answer kept in answers/{kept.segment} at {kept.offset}"
        with self._opened(kept.segment) as fd, storage_errors(f"{where} cannot be read"):
            member = member_at(fd, kept.offset)
        answer = None if member is None or member.length != kept.length else answer_of(member.plain)
        if answer is None or hashlib.sha256(answer.body).hexdigest() != kept.sha256:
            raise AnswerMalformed(f"{where} is damaged")
        return answer

    def size(self, segment: str) -> int | None:
        """Bytes of a segment; None if it is not there, or is no regular file in its place. Raises StorageError."""
        try:
            with self._opened(segment) as fd:
                return os.fstat(fd).st_size
        except AnswerMalformed:
            return None

    def segments(self) -> Iterator[str]:
        """All segments, oldest month first. Raises StorageError."""
        with storage_errors(f"{self._root} cannot be listed"):
            for path in sorted(self._root.glob("*/*/*.warc.gz")):
                segment = path.relative_to(self._root).as_posix()
                if _SEGMENT.fullmatch(segment):
                    yield segment

    def foreign_names(self) -> Iterator[str]:
        """Yield each name below ``answers/``, printable, that no writer of ours gives to a file. What is in a
        foreign directory is not listed. Raises StorageError."""
        with storage_errors(f"{self._root} cannot be listed"):
            for year in _entries(self._root):
                is_year = _is_directory(year, digits=4)
                for month in _entries(self._root / year.name) if is_year else ():
                    is_month = _is_directory(month, digits=2)
                    for file in _entries(self._root / year.name / month.name) if is_month else ():
                        segment = f"{year.name}/{month.name}/{file.name}"
                        if origin_of(segment) is None or not file.is_file(follow_symlinks=False):
                            yield _printable(segment)
                    if not is_month:
                        yield _printable(f"{year.name}/{month.name}")
                if not is_year:
                    yield _printable(year.name)

    def iterate(
        self, segment: str, past: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[tuple[AnswerLocation, Answer]]:
        """Every whole answer of a segment with its place, in the order kept, needing no database.

        ``past``: answers that are known, their lengths by their offsets; they are left out unread. A record torn by a kill, and
        damage, are passed over. Raises AnswerMalformed if there is no such segment, StorageError if the disk refuses.
        """
        with self._opened(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            for member in members(fd, past):
                try:
                    answer = answer_of(member.plain)
                except AnswerMalformed:
                    continue
                if answer is not None:
                    sha256 = Digest(hashlib.sha256(answer.body).hexdigest())
                    yield AnswerLocation(segment, member.offset, member.length, sha256), answer

    def surplus(self, segment: str, past: Mapping[int, int] = MappingProxyType({})) -> Iterator[Surplus]:
        """Yield what is in a segment beside records of ours: no writer of ours has put it there, or it is a
        record that rotted.

        ``past``: the answers that have rows, their lengths by their offsets; they are not read. What a kill
        or a power loss left of the last records, and what ``set_aside`` has copied already, is none. Raises
        as ``iterate``.
        """
        with self._opened(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            found: list[tuple[Surplus, int]] = []  # and how many records are before it
            last_row, whole = max(past, default=-1), 0
            for piece in pieces(fd, past):
                if isinstance(piece, Member) and is_ours(piece.plain):
                    whole += 1
                    continue
                start, before = piece.offset, whole
                if found and found[-1][0].end == start:
                    surplus, before = found.pop()
                    start = surplus.offset
                found.append((Surplus(segment, start, piece.offset + piece.length - start), before))
            for surplus, before in found:
                at_the_end = surplus.offset > last_row and whole - before < _APPENDED_RECORDS
                may_be_ours = at_the_end and surplus.length <= _LARGEST_APPEND
                if may_be_ours and is_cut_off(fd, surplus.offset, surplus.end):
                    continue
                if not self._is_set_aside(surplus):
                    yield surplus

    def _is_set_aside(self, surplus: Surplus) -> bool:
        copy = self._root.parent / "quarantine" / _name_aside(surplus)
        with suppress(OSError):
            found = copy.lstat()
            return stat.S_ISREG(found.st_mode) and found.st_size == surplus.length
        return False

    def set_aside(self, surplus: Surplus) -> None:
        """Copy surplus bytes to ``quarantine/``, durably, and cut them off where nothing follows them; else
        they stay, as known.

        The archive's lock is held. Raises DiskFull or StorageError; then the segment is as it was, or whole
        without them.
        """
        name, part = _name_aside(surplus), f"{_name_aside(surplus)}.part"
        failed = f"the surplus of answers/{surplus.segment} cannot be moved to quarantine/"
        with storage_errors(failed), ExitStack() as opened:
            fd = opened.enter_context(self._opened(surplus.segment, os.O_RDWR))
            root = _closed(opened, open_root(self._root.parent))
            place = _closed(opened, enter_directory("quarantine", self._modes[0], within=root))
            with suppress(FileNotFoundError):  # of one that was killed
                os.unlink(part, dir_fd=place)
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            copy = _closed(opened, os.open(part, new, self._modes[1], dir_fd=place))
            for at in range(surplus.offset, surplus.end, _COPIED_AT_ONCE):
                write_all(copy, os.pread(fd, min(_COPIED_AT_ONCE, surplus.end - at), at))
            sync(copy)
            os.replace(part, name, src_dir_fd=place, dst_dir_fd=place)
            sync_directory(place)
            if os.fstat(fd).st_size == surplus.end:
                os.ftruncate(fd, surplus.offset)
                sync(fd)

    @contextmanager
    def _opened(self, segment: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """A descriptor of a segment. The name comes from a row: nothing outside ``root`` is opened, whatever stands there."""
        named = _SEGMENT.fullmatch(segment)
        if named is None:
            raise AnswerMalformed(f"{segment!r} is no segment of kept answers")
        year, month, name = named.groups()
        fds: list[int] = []
        try:
            try:
                fds.append(open_root(self._root.parent))
                fds.append(open_directory(self._root.name, within=fds[-1]))  # not through a link
                fds.append(open_directory(year, within=fds[-1]))
                fds.append(open_directory(month, within=fds[-1]))
                fds.append(self._regular(name, segment, fds[-1], flags))
            except FileNotFoundError as exc:
                raise AnswerMalformed(f"answers/{segment} is not there any more") from exc
            except OSError as exc:
                raise storage_error(exc, f"answers/{segment} cannot be read") from exc
            yield fds[-1]
        finally:
            for fd in fds:
                os.close(fd)

    def _regular(self, name: str, segment: str, within: int, flags: int) -> int:
        try:
            return open_regular(name, within=within, flags=flags)
        except OSError as exc:
            if exc.errno in _NO_FILE:
                raise AnswerMalformed(f"answers/{segment} is no regular file") from exc
            raise


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """The entries of a directory by name; none if it is not there."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _is_directory(entry: os.DirEntry[str], *, digits: int) -> bool:
    """Whether it is a directory, no link to one, with a name of so many digits."""
    name = entry.name
    return len(name) == digits and name.isascii() and name.isdigit() and entry.is_dir(follow_symlinks=False)


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _name_aside(surplus: Surplus) -> str:
    return f"{surplus.segment.replace('/', '-')}-{surplus.offset}-{surplus.length}"


def _closed(opened: ExitStack, fd: int) -> int:
    """Return the descriptor, which ``opened`` closes."""
    opened.callback(os.close, fd)
    return fd
