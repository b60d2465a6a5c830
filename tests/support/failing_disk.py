"""A disk whose n-th call of a kind fails with an errno."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

R = TypeVar("R")

KINDS = ("open", "write", "fsync", "fsync_dir", "mkdir", "replace")


@dataclass
class FailingDisk:
    """Refuses what goes below ``root`` by descriptor.

    ``refuse`` arms it; ``refused`` then names the path, or stays None.

    Only calls of the program's own are met; SQLite goes to the disk by itself.
    """

    root: Path
    refused: str | None = None
    again: list[str] = field(default_factory=list)
    """Descriptors synced once more after their sync had failed."""
    replaced: list[str] = field(default_factory=list)
    _kind: str = ""
    _left: int = 0
    _errno: int = 0
    _unsynced: set[int] = field(default_factory=set)

    def refuse(self, kind: str, nth: int, errno: int) -> None:
        """Let the ``nth`` call of this kind fail, once."""
        self._kind, self._left, self._errno = kind, nth, errno
        self.refused = None
        self.replaced.clear()
        self._unsynced.clear()

    def _meet(self, kind: str, path: str) -> None:
        if kind != self._kind or self._left == 0 or not path.startswith(f"{self.root}/"):
            return
        self._left -= 1
        if self._left == 0:
            self.refused = path
            raise OSError(self._errno, os.strerror(self._errno))

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Intercept calls of ``os`` while the patch lasts."""
        real_open, real_write, real_fsync = os.open, os.write, os.fsync
        real_mkdir, real_replace, real_close = os.mkdir, os.replace, os.close

        def opened(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_CREAT:
                self._meet("open", _at(dir_fd, path))
            return real_open(path, flags, mode, dir_fd=dir_fd)

        def written(fd: int, data: bytes) -> int:
            self._meet("write", _at(fd))
            return real_write(fd, data)

        def synced(fd: int) -> None:
            if fd in self._unsynced:
                self.again.append(_at(fd))
            try:
                self._meet("fsync_dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "fsync", _at(fd))
            except OSError:
                self._unsynced.add(fd)
                raise
            real_fsync(fd)

        def made(path: str | Path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            self._meet("mkdir", _at(dir_fd, path))
            real_mkdir(path, mode, dir_fd=dir_fd)

        def replaced(
            src: str | Path, dst: str | Path, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
        ) -> None:
            self._meet("replace", _at(dst_dir_fd, dst))
            self.replaced.append(_at(dst_dir_fd, dst))
            real_replace(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        def closed(fd: int) -> None:
            self._unsynced.discard(fd)
            real_close(fd)

        stand_ins: dict[str, Callable[..., object]] = {
            "open": opened,
            "write": written,
            "fsync": synced,
            "mkdir": made,
            "replace": replaced,
            "close": closed,
        }
        for name, stand_in in stand_ins.items():
            patch.setattr(os, name, stand_in)


def _at(fd: int | None, name: str | Path = "") -> str:
    """Where a descriptor, or a name within one, lies. '' where nothing tells."""
    try:
        place = Path(f"/dev/fd/{fd}").readlink() if fd is not None else Path()
    except OSError:
        return ""
    return str(Path(place, name))
