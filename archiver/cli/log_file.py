"""The log ``<archive>/log/archiver.log``: a line for each event of a run, and tracebacks of bugs, in UTC."""

from __future__ import annotations

import logging
import os
import re
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from msgspec import Struct

from archiver.cli.progress import describe_event
from archiver.model.events import Event, FailureRecorded, Pause, RunStarted
from archiver.secret import Secret
from archiver.text_format import format_time, make_safe

LOGGER = logging.getLogger("archiver")
LOGGER.addHandler(logging.NullHandler())  # else logging writes warnings to stderr if there is no log file

_MAX_BYTES = 10_000_000
_OLD_FILES = 4
_URL_QUERY = re.compile(r"(\bhttps?://[^\s?'\"]+)\?[^\s'\"]*")


def redact(text: str, secret: Secret | None = None) -> str:
    """Return ``text`` without the key and without the queries of URLs, which contain signatures."""
    return _URL_QUERY.sub(r"\1?…", text if secret is None else secret.redact(text))


class LogFile(RotatingFileHandler):
    """Appends to ``archiver.log``, which is rotated at 10 MB; four old files are kept.

    The directory is made with mode 0700 if it is missing, the file with 0600; with ``group_readable`` 0750
    and 0640, whatever the umask. An existing log keeps its modes. A log that cannot be written is ignored.
    """

    def __init__(self, directory: Path, *, group_readable: bool = False) -> None:
        self._mode = 0o640 if group_readable else 0o600
        self._lines = 0
        if directory.is_symlink():
            raise NotADirectoryError(f"{directory} is a link")  # it could lead out of the archive
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            directory.chmod(0o750 if group_readable else 0o700)
        super().__init__(
            directory / "archiver.log", "a", _MAX_BYTES, _OLD_FILES, encoding="utf-8", delay=True
        )
        self.setFormatter(_LineFormatter())

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.baseFilename, flags | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, self._mode)
        except FileExistsError:
            fd = os.open(self.baseFilename, flags)
        return os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  # logging's name
        """Return whether the file is too large.

        Checked at every hundredth line, because the check costs as much as writing one.
        """
        self._lines += 1
        return self._lines % 100 == 1 and bool(super().shouldRollover(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Do nothing: a log that cannot be written must not write to stderr."""

    def close(self) -> None:
        """Close the file. What a full or broken disk does not take is lost: closing writes it once more."""
        with suppress(OSError):
            super().close()


class GatheredLog(logging.Handler):
    """Gathers records, and writes them to ``file`` from a thread of its own: each second, and at the end.

    So a thread that logs an event does not wait for the disk. A kill loses the last second at most.
    """

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file
        self._records: deque[logging.LogRecord] = deque()
        self._writing = threading.Lock()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._write_each_second, name="log", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The log."""
        return Path(self._file.baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        """Gather a record. Its text is made when it is written."""
        self._records.append(record)

    def flush(self) -> None:
        """Write what was gathered."""
        with self._writing, suppress(IndexError):
            while True:
                self._file.handle(self._records.popleft())

    def close(self) -> None:
        """Write what was gathered, and close the file."""
        self._is_closing.set()
        self._thread.join()
        self._file.close()
        super().close()

    def _write_each_second(self) -> None:
        while not self._is_closing.wait(1.0):
            self.flush()
        self.flush()


class LogObserver:
    """Logs each event of a run, and then shows it.

    It opens the file at the first one, when the archive is known to exist. ``last_line``: the last line of
    the log; it may be changed until the end.
    """

    def __init__(
        self,
        root: Path,
        *,
        group_readable: bool = False,
        last_line: str = "",
        show: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.last_line = last_line
        self._root, self._group_readable, self._show = root, group_readable, show
        self._file: GatheredLog | None = None
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Log and show an event."""
        if isinstance(event, RunStarted):
            with self._lock:
                if self._file is None:
                    self._file = attach_log(self._root, group_readable=self._group_readable)
        level = logging.WARNING if isinstance(event, FailureRecorded | Pause) else logging.INFO
        LOGGER.log(level, "%s", _EventText(event))
        self._show(event)

    def close(self) -> None:
        """Log the last line and close the file, if it was opened."""
        if self._file is not None:
            if self.last_line:
                LOGGER.info("%s", self.last_line)
            detach_log(self._file)
            self._file = None


def attach_log(root: Path, *, group_readable: bool = False) -> GatheredLog | None:
    """Make the logger ``archiver`` write to the archive's log; return None if that is impossible."""
    try:
        file = GatheredLog(LogFile(root / "log", group_readable=group_readable))
    except OSError:
        return None
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.addHandler(file)
    for library in ("httpx", "httpcore"):  # at INFO they log whole URLs
        logging.getLogger(library).setLevel(logging.WARNING)
    return file


def detach_log(file: GatheredLog) -> None:
    """Remove the file from the logger, and close it."""
    LOGGER.removeHandler(file)
    file.close()


def log_bug(root: Path, error: BaseException, secret: Secret | None = None) -> Path | None:
    """Write a traceback, without the key, to the log of the archive at ``root``.

    Returns the path of the log; None if there is no archive or its log cannot be written.
    """
    if not (root / "archive.json").is_file():
        return None
    file = attach_log(root)
    if file is None:
        return None
    for line in redact("".join(traceback.format_exception(error)), secret).splitlines():
        LOGGER.error("%s", line)
    detach_log(file)
    return file.path if file.path.is_file() else None


class _EventText(Struct, frozen=True):
    """The line of an event, made when it is needed."""

    event: Event

    def __str__(self) -> str:
        return describe_event(self.event)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = format_time(datetime.fromtimestamp(record.created, UTC))
        return f"{time} {record.levelname} {make_safe(redact(record.getMessage()))}"
