"""Answers on a disk: ``answers/YYYY/MM/<run>-<kind>-*.warc.gz``, which every WARC tool can read.

A whole record is never changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.answers.answer_storage import name_aside
from archiver.answers.segment_names import SEGMENT, holds_trays, new_segment, pack_head, parse_origin
from archiver.answers.warc_record import pack_answer
from archiver.durable import (
    enter_levels,
    open_levels,
    open_regular,
    storage_error,
    storage_errors,
    sync,
    sync_directory,
    write_all,
    write_whole,
)
from archiver.errors import AnswerMalformed
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.archived import Surplus
from archiver.model.identity import Digest
from archiver.store.growing_file import GrowingFile

_NOT_REGULAR = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EINVAL, errno.ENXIO})
"""The errors of opening a link, a directory or a FIFO instead of a segment."""

_CHUNK = 1 << 20


class DiskAnswers:
    """The ``AnswerStorage`` below ``root``, the archive's ``answers`` directory.

    ``spool``: the levels of the spool below that directory, if the answers wait there: ``root`` is
    ``tmp/answers`` then. ``group_readable`` makes directories 0750 and files 0640, instead of 0700 and 0600.
    """

    def __init__(self, root: Path, *, spool: Sequence[str] = (), group_readable: bool = False) -> None:
        self._root = root
        self._top, self._spool = root.parents[len(spool)], tuple(spool)
        self._drafts = () if spool else ("tmp",)
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def writer(self, run_id: int, started_at: datetime, archive_id: str) -> DiskAnswerWriter:
        def enter_month() -> int:
            with storage_errors(f"{self._root} cannot be created"):
                return self._enter(self._root.name, f"{started_at:%Y}", f"{started_at:%m}")

        return DiskAnswerWriter(enter_month, run_id, started_at, archive_id, self._modes[1])

    def read(self, segment: str, offset: int, length: int) -> bytes:
        with self._open(segment) as fd, storage_errors(f"answers/{segment} cannot be read"):
            return os.pread(fd, length, offset)

    def open(self, segment: str) -> AbstractContextManager[int]:
        return self._open(segment)

    def size(self, segment: str) -> int | None:
        try:
            with self._open(segment) as fd:
                return os.fstat(fd).st_size
        except AnswerMalformed:
            return None

    def segments(self) -> Iterator[str]:
        with storage_errors(f"{self._root} cannot be listed"):
            for path in sorted(self._root.glob("*/*/*.warc.gz")):
                segment = path.relative_to(self._root).as_posix()
                if SEGMENT.fullmatch(segment):
                    yield segment

    def sizes(self) -> Iterator[tuple[str, int]]:
        for segment in self.segments():
            with storage_errors(f"answers/{segment} cannot be read"), suppress(FileNotFoundError):
                status = (self._root / segment).lstat()
                if stat.S_ISREG(status.st_mode):
                    yield segment, status.st_size

    def foreign_names(self) -> Iterator[str]:
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

    def copy_in(self, segment: str, pieces: Iterable[bytes]) -> None:
        year, month, file = segment.split("/")
        with storage_errors(f"answers/{segment} cannot be written"), ExitStack() as stack:
            tmp = _close_with(stack, self._enter(*self._drafts))
            within = _close_with(stack, self._enter(self._root.name, year, month))
            write_whole(file, pieces, self._modes[1], tmp=tmp, within=within)

    def _enter(self, *levels: str) -> int:
        """Open a directory beside ``root``, or in it; missing ones are created."""
        return enter_levels(self._top, self._modes[0], *self._spool, *levels)

    def remove(self, segment: str) -> None:
        """Remove a segment of the spool, which is stored elsewhere now."""
        with (
            storage_errors(f"answers/{segment} cannot be removed"),
            self._open_month(segment) as (month, name),
            suppress(FileNotFoundError),
        ):
            os.unlink(name, dir_fd=month)

    def is_set_aside(self, surplus: Surplus) -> bool:
        copy = self._root.parent / "quarantine" / name_aside(surplus)
        with suppress(OSError):
            status = copy.lstat()
            return stat.S_ISREG(status.st_mode) and status.st_size == surplus.length
        return False

    def set_aside(self, surplus: Surplus) -> None:
        name, part = name_aside(surplus), f"{name_aside(surplus)}.part"
        problem = f"the surplus bytes of answers/{surplus.segment} cannot be moved to quarantine/"
        with storage_errors(problem), ExitStack() as stack:
            fd = stack.enter_context(self._open(surplus.segment, os.O_RDWR))
            quarantine = _close_with(stack, self._enter("quarantine"))
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
        """Open a segment."""
        with ExitStack() as opened:
            try:
                month, name = opened.enter_context(self._open_month(segment))
                fd = _close_with(opened, self._open_regular(name, segment, month, flags))
            except FileNotFoundError as exc:
                raise AnswerMalformed(f"answers/{segment} no longer exists") from exc
            except OSError as exc:
                raise storage_error(exc, f"answers/{segment} cannot be read") from exc
            yield fd

    @contextmanager
    def _open_month(self, segment: str) -> Iterator[tuple[int, str]]:
        """Open the directory of a segment, and yield it with the name there.

        The segment comes from the database, so nothing outside ``root`` may be opened. Raises
        AnswerMalformed, OSError.
        """
        match = SEGMENT.fullmatch(segment)
        if match is None:
            raise AnswerMalformed(f"{segment!r} is not a segment of stored answers")
        year, month, name = match.groups()
        with open_levels(self._top, (*self._spool, self._root.name, year, month)) as levels:
            yield levels[-1], name

    def _open_regular(self, name: str, segment: str, within: int, flags: int) -> int:
        try:
            return open_regular(name, within=within, flags=flags)
        except OSError as exc:
            if exc.errno in _NOT_REGULAR:
                raise AnswerMalformed(f"answers/{segment} is not a regular file") from exc
            raise


class DiskAnswerWriter:
    """The ``AnswerWriter`` on a disk: trays in one segment, everything else in another."""

    def __init__(
        self,
        enter_month: Callable[[], int],
        run_id: int,
        started_at: datetime,
        archive_id: str,
        file_mode: int,
    ) -> None:
        """``enter_month`` opens the directory of the run's month, which it makes if it is missing."""
        self._run_id, self._started_at, self._archive_id = run_id, started_at, archive_id
        self._enter_month, self._file_mode = enter_month, file_mode
        self._lock = threading.Lock()
        self._month_fd: int | None = None
        self._segments: dict[str, GrowingFile] = {}  # by path below answers/
        self._current: dict[bool, str] = {}
        self._closed = False

    def prepare(self) -> None:
        """Create the file for trays now, so that DiskFull or StorageError is raised before any payment.

        ``close`` removes it if it stays empty.
        """
        self._segment(is_tray=True)

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        response, request = pack_answer(answer)
        name, segment = self._segment(is_tray)
        offset = segment.append(response + request)
        return AnswerLocation(name, offset, len(response), Digest(hashlib.sha256(answer.body).hexdigest()))

    def check(self) -> None:
        """Do nothing: an answer that cannot be stored has no location."""

    def _segment(self, is_tray: bool) -> tuple[str, GrowingFile]:
        with self._lock:
            self._check_open()
            name = self._current.get(is_tray)
            if name is None or not self._segments[name].is_usable:
                name = self._new_segment(is_tray=is_tray)
                self._current[is_tray] = name
            return name, self._segments[name]

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the answer writer is closed")

    def _new_segment(self, *, is_tray: bool) -> str:
        if self._month_fd is None:
            self._month_fd = self._enter_month()
        name = new_segment(self._run_id, self._started_at, is_tray=is_tray)
        self._segments[name] = GrowingFile(
            os.dup(self._month_fd),
            name.rpartition("/")[2],
            self._file_mode,
            f"answers/{name}",
            lambda: pack_head(name, self._started_at, self._archive_id),
        )
        return name

    @property
    def tray_segments(self) -> tuple[str, ...]:
        return tuple(name for name in tuple(self._segments) if holds_trays(name))

    def drop_trays(self) -> None:
        with self._lock:
            self._check_open()
            for name in self.tray_segments:
                self._segments.pop(name).remove()
            self._current.pop(True, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for segment in self._segments.values():
                segment.close()
            if self._month_fd is not None:
                os.close(self._month_fd)
                self._month_fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _close_with(stack: ExitStack, fd: int) -> int:
    """Return the descriptor; the stack closes it."""
    stack.callback(os.close, fd)
    return fd
