"""Writing the answers of one run.

The files are WARC files of whole records, each durable before its location is returned.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.answers.warc_record import pack_answer, pack_warcinfo
from archiver.append_file import AppendFile
from archiver.durable import enter_directory, open_root, storage_errors
from archiver.model.api_calls import Answer, AnswerLocation
from archiver.model.identity import Digest


class AnswerWriter:
    """Stores the answers of one run: trays in one segment, everything else in another.

    Several threads may use it. Closed by ``with`` or ``close``.
    """

    def __init__(
        self, root: Path, run_id: int, started_at: datetime, archive_id: str, modes: tuple[int, int]
    ) -> None:
        self._root, self._run_id, self._started_at, self._archive_id = root, run_id, started_at, archive_id
        self._directory_mode, self._file_mode = modes
        self._lock = threading.Lock()
        self._month_fd: int | None = None
        self._segments: dict[str, AppendFile] = {}  # by path below answers/
        self._current: dict[bool, str] = {}
        self._closed = False

    def prepare(self) -> None:
        """Create the file for trays now, so that DiskFull or StorageError is raised before any payment.

        ``close`` removes it if it stays empty.
        """
        self._segment(is_tray=True)

    def keep(self, answer: Answer, *, is_tray: bool) -> AnswerLocation:
        """Store an answer durably and return its location. Raises DiskFull or StorageError."""
        response, request = pack_answer(answer)
        name, segment = self._segment(is_tray)
        offset = segment.append(response + request)
        return AnswerLocation(name, offset, len(response), Digest(hashlib.sha256(answer.body).hexdigest()))

    def _segment(self, is_tray: bool) -> tuple[str, AppendFile]:
        with self._lock:
            self._check_open()
            name = self._current.get(is_tray)
            if name is None or not self._segments[name].is_usable:
                name = self._new_segment("trays" if is_tray else "fetched")
                self._current[is_tray] = name
            return name, self._segments[name]

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the answer writer is closed")

    def _new_segment(self, kind: str) -> str:
        """Create a segment.

        Its name is partly random, since a restored database assigns the same run ids again.
        """
        if self._month_fd is None:
            self._month_fd = self._enter_month()
        at = f"{self._started_at:%Y%m%dT%H%M%SZ}"
        file = f"{self._run_id}-{kind}-{at}-{secrets.token_hex(4)}.warc.gz"
        name = f"{self._started_at:%Y/%m}/{file}"
        facts = {
            "software": "archiver",
            "format": "WARC File Format 1.1",
            "description": f"answers of run {self._run_id}: {kind}",
        }
        if self._archive_id:
            facts["isPartOf"] = self._archive_id
        self._segments[name] = AppendFile(
            self._month_fd,
            file,
            self._file_mode,
            f"answers/{name}",
            lambda: pack_warcinfo(file, self._started_at, facts),
        )
        return name

    def _enter_month(self) -> int:
        with storage_errors(f"{self._root} cannot be created"):
            fd = open_root(self._root.parent)
            for level in (self._root.name, f"{self._started_at:%Y}", f"{self._started_at:%m}"):
                above = fd
                try:
                    fd = enter_directory(level, self._directory_mode, within=above)
                finally:
                    os.close(above)
            return fd

    @property
    def tray_segments(self) -> tuple[str, ...]:
        """The segments of this run's trays. Their rows must be deleted before ``drop_trays``."""
        return tuple(name for name in tuple(self._segments) if "-trays-" in name)

    def drop_trays(self) -> None:
        """Remove this run's trays, as ``keep_answers = "fetched"`` requires after a successful run.

        Call it before ``close``. Raises StorageError.
        """
        with self._lock:
            self._check_open()
            for name in self.tray_segments:
                self._segments.pop(name).remove()
            self._current.pop(True, None)

    def close(self) -> None:
        """Close the segments.

        Nothing is lost if this is skipped: every answer was durable when it was stored.
        """
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
