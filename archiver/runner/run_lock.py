"""The lock of an archive: one writer at a time, by a kernel lock on ``<archive>/lock``.

The workers of a shared run hold it together, in shared mode.

The kernel releases it when the process ends, whatever the reason. Every command that writes takes it first,
so it is also where root is refused in the archive of another user.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import shlex
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from archiver.durable import open_levels, open_regular, storage_error
from archiver.errors import ArchiveLocked, StorageError
from archiver.model.identity import utcnow
from archiver.work import Work

_RETRY_SECONDS = 0.5
_LARGEST_NOTE = 4096


@contextmanager
def hold_run_lock(
    path: Path, command: str, work: Work | None = None, *, is_shared: bool = False
) -> Iterator[None]:
    """Hold the lock at ``path``, with the holder's pid, host and command written into it for others to read.

    With ``work.wait`` it is tried until the lock is free, otherwise once. ``is_shared``: hold it beside other
    workers. Raises ArchiveLocked, naming the holder, the cause of ``work.stop``, or StorageError if locks do
    not work, or if root must not write here.
    """
    try:
        _refuse_root(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(error, f"the lock file {path} cannot be opened") from error
    try:
        while not _try_lock(fd, path, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX):
            _wait_or_raise(_holder(fd), work)
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": command,
            "since": utcnow().isoformat(),
        }
        with suppress(OSError):  # a full disk must not prevent the lock: the note is a courtesy
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
        yield
        with suppress(OSError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def require_free(path: Path, work: Work | None = None) -> None:
    """Raise ArchiveLocked while another command holds the lock; for a dry run, which needs no lock file.

    ``work``: as for ``hold_run_lock``. So a dry run works where this user may not write.
    """
    while (holder := find_holder(path)) is not None and not _is_free(path):
        _wait_or_raise(str(holder), work)


def _is_free(path: Path) -> bool:
    """Return whether the lock is free, whatever its note says: its process may be gone."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _try_lock(fd, path, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _wait_or_raise(holder: str, work: Work | None) -> None:
    """Wait until the lock can be tried again. Raises ArchiveLocked unless the work waits for the lock."""
    if work is None or not work.wait:
        hint = "try again when it has ended; some commands have --wait for that"
        raise ArchiveLocked(f"the archive is locked by another run: {holder}", hint)
    work.stop.wait(_RETRY_SECONDS)


def _refuse_root(directory: Path) -> None:
    """Raise StorageError for root, if the directory belongs to somebody else, who could not write root's
    files. Raises OSError.

    Some file systems (exFAT, CIFS) give every file to the same user: there root may write.
    """
    owner = directory.stat().st_uid
    if os.geteuid() == 0 != owner:
        with tempfile.TemporaryFile(dir=directory) as probe:
            if os.fstat(probe.fileno()).st_uid == owner:
                return
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise StorageError(
            f"the archive {directory} belongs to {name}, who could not use what root writes to it",
            f"run it as that user: sudo -u {shlex.quote(name)} …",
        )


class LockHolder(Struct, frozen=True):
    """Who holds a lock, by the note in it. ``since`` is in UTC."""

    command: str
    pid: int
    host: str
    since: datetime

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.command}, pid {self.pid} on {self.host}, since {since}"


def find_holder(path: Path) -> LockHolder | None:
    """Return who holds the lock at ``path``, without touching it; None if nobody does, or it is unknown.

    The note of a process of this machine that was killed does not count.
    """
    try:
        with open_levels(path.parent, []) as opened:
            fd = open_regular(path.name, within=opened[-1])
        with os.fdopen(fd, "rb") as file:
            holder = _parse_note(file.read(_LARGEST_NOTE))
    except OSError:
        return None
    if holder is None or holder.host != socket.gethostname():
        return holder
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return holder  # a process of another user
    return holder


def _parse_note(text: bytes) -> LockHolder | None:
    try:
        note = json.loads(text)
        since = datetime.fromisoformat(note["since"]).astimezone(UTC)
        return LockHolder(str(note["command"]), int(note["pid"]), str(note["host"]), since)
    except (ValueError, KeyError, TypeError):
        return None


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
        holder = _parse_note(os.pread(fd, _LARGEST_NOTE, 0))
    except OSError:
        holder = None
    return "the process holding it is unknown" if holder is None else str(holder)
