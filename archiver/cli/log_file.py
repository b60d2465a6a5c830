"""``<archive>/log/archiver.log``: one line an event, with the time in UTC, for whoever asks in the morning what the night did."""

from __future__ import annotations

import logging
import os
import re
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from archiver.cli.event_text import describe_event
from archiver.model.events import Event, FailureRecorded, Pause, RunStarted
from archiver.secret import Secret
from archiver.text_format import format_time, make_safe

LOGGER = logging.getLogger("archiver")
LOGGER.addHandler(
    logging.NullHandler()
)  # else logging writes warnings to stderr where no file could be opened

_LARGEST = 10_000_000  # bytes
_OLDER = 4
_QUERY = re.compile(r"(\bhttps?://[^\s?'\"]+)\?[^\s'\"]*")


def redact(text: str, secret: Secret | None = None) -> str:
    """``text`` with the queries of its URLs left out, which are signatures, and ``***`` for the key."""
    return _QUERY.sub(r"\1?…", text if secret is None else secret.redact(text))


class LogFile(RotatingFileHandler):
    """Appends to ``archiver.log`` in the directory, made 0700 if absent, the file 0600; rotated at 10 MB, four older ones kept.

    ``group_readable`` makes that 0750 and 0640. The umask takes nothing from either: a log that is there keeps its mode. A log that cannot be written never disturbs what is logged.
    """

    def __init__(self, directory: Path, *, group_readable: bool = False) -> None:
        self._mode = 0o640 if group_readable else 0o600
        if directory.is_symlink():
            raise NotADirectoryError(f"{directory} is a link")  # it could lead out of the archive
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            directory.chmod(0o750 if group_readable else 0o700)
        super().__init__(directory / "archiver.log", "a", _LARGEST, _OLDER, encoding="utf-8", delay=True)
        self.setFormatter(_Line())

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.baseFilename, flags | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, self._mode)
        except FileExistsError:
            fd = os.open(self.baseFilename, flags)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123  # logging closes it

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Nothing: the log is a courtesy, and stderr is not the place for its troubles."""


class LogObserver:
    """An Observer that logs each event; the file is opened at the first, when the archive is known to stand."""

    def __init__(self, root: Path, *, group_readable: bool = False) -> None:
        self._root, self._group_readable = root, group_readable
        self._file: LogFile | None = None
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            with self._lock:
                self._open()
        level = logging.WARNING if isinstance(event, FailureRecorded | Pause) else logging.INFO
        LOGGER.log(level, "%s", describe_event(event))

    def _open(self) -> None:
        if self._file is None:
            self._file = attach_log(self._root, group_readable=self._group_readable)

    def close(self, last: str = "") -> None:
        """Log a last line, if there was a first one, and close the file."""
        if self._file is not None:
            if last:
                LOGGER.info("%s", last)
            detach_log(self._file)
            self._file = None


def attach_log(root: Path, *, group_readable: bool = False) -> LogFile | None:
    """Let the logger ``archiver`` write into the archive's log; None where that cannot be."""
    try:
        file = LogFile(root / "log", group_readable=group_readable)
    except OSError:
        return None
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.addHandler(file)
    for library in ("httpx", "httpcore"):  # at INFO they log whole URLs
        logging.getLogger(library).setLevel(logging.WARNING)
    return file


def detach_log(file: LogFile) -> None:
    """Take the file from the logger again."""
    LOGGER.removeHandler(file)
    file.close()


def log_bug(root: Path, error: BaseException, secret: Secret | None = None) -> Path | None:
    """Write the traceback, without the key, into the log of the archive at ``root``.

    Returns where it stands, or None if there is no archive or no way.
    """
    if not (root / "archive.json").is_file():
        return None
    file = attach_log(root)
    if file is None:
        return None
    for line in redact("".join(traceback.format_exception(error)), secret).splitlines():
        LOGGER.error("%s", line)
    written = Path(file.baseFilename)
    detach_log(file)
    return written if written.is_file() else None


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = format_time(datetime.fromtimestamp(record.created, UTC))
        return f"{at} {record.levelname} {make_safe(redact(record.getMessage()))}"
