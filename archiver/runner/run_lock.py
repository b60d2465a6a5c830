"""The lock of an archive: one writer at a time, by a kernel lock on ``<archive>/lock``.

The workers of a shared run hold it together, in shared mode.

The kernel releases it when the process ends, whatever the reason.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from archiver.durable import storage_error
from archiver.errors import ArchiveLocked, StorageError

_RETRY_SECONDS = 0.5


@contextmanager
def hold_run_lock(
    path: Path,
    command: str,
    now: datetime,
    *,
    wait: Callable[[float], None] | None = None,
    is_shared: bool = False,
) -> Iterator[None]:
    """Hold the lock at ``path``, with the holder's pid, host and command written into it for others to read.

    ``wait`` is called with seconds between two tries until the lock is free (it may raise to give up);
    without it the lock is tried once. ``is_shared``: hold it beside other workers. Raises ArchiveLocked,
    naming the holder, or StorageError if locks do not work.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(error, f"the lock file {path} cannot be opened") from error
    try:
        while not _try_lock(fd, path, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX):
            if wait is None:
                raise ArchiveLocked(
                    f"the archive is locked by another run: {_holder(fd)}",
                    "wait for it to end, or use --wait",
                )
            wait(_RETRY_SECONDS)
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": command,
            "since": now.isoformat(),
        }
        with suppress(OSError):  # a full disk must not prevent the lock: the note is a courtesy
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
        yield
        with suppress(OSError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _try_lock(fd: int, path: Path, mode: int) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StorageError(
            f"cannot lock {path}: {error.strerror}", "is the archive on a file system without locks?"
        ) from error
    return True


def _holder(fd: int) -> str:
    try:
        note = json.loads(os.pread(fd, 4096, 0))
        since = datetime.fromisoformat(note["since"]).astimezone(UTC)
        return f"{note['command']}, pid {note['pid']} on {note['host']}, since {since:%Y-%m-%d %H:%M:%S} UTC"
    except (OSError, ValueError, KeyError, TypeError):
        return "the process holding it is unknown"
