"""A program to be run under strace: ``archiver db upgrade`` again and again, each killed at another system
call that changes a file.

strace kills each process at its ``BOUNDS[name]``-th call of a name. So each child makes that many calls less
k in vain, and dies at the k-th call of the upgrade. What it leaves stays for the test to look at:
``<work>/<call>-<k>/``.

Arguments: the archive, the folder of migrations, where to work, and whether to look at all (``whole``). One
line a call: its name, and the number of the first of it that was too many.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from archiver.catalog import schema
from archiver.cli import main

_NULL = os.open(os.devnull, os.O_RDWR)
_NOTHING = Path("/dev/null/nothing")
_IN_VAIN: dict[str, Callable[[], object]] = {
    "pwrite64": lambda: os.pwrite(_NULL, b"x", 0),
    "fdatasync": lambda: os.fdatasync(_NULL),
    "fsync": lambda: os.fsync(_NULL),
    "ftruncate": lambda: os.ftruncate(_NULL, 0),
    "unlink": lambda: _NOTHING.unlink(),
    "rename": lambda: _NOTHING.rename(_NOTHING),
}
BOUNDS = {"pwrite64": 800, "fdatasync": 40, "fsync": 40, "ftruncate": 40, "unlink": 40, "rename": 40}
"""The system calls that change a file, each with more than an upgrade makes of it."""


def stride(name: str, *, whole: bool) -> int:
    """Of the calls of this name one in so many: dozens of pages are copied alike."""
    if whole:
        return 20 if name == "pwrite64" else 1
    return {"pwrite64": 100, "unlink": 2}.get(name, 12)


def calls(*, whole: bool) -> tuple[str, ...]:
    """The system calls at which upgrades are killed: each takes an upgrade more, to see where it ends."""
    return tuple(BOUNDS) if whole else ("pwrite64", "fdatasync", "unlink")


def _upgraded(there: Path) -> int:
    return main.main(["db", "upgrade", "-q", "--archive", str(there)])


def _killed(there: Path, name: str, k: int) -> bool:
    """Upgrade the archive in ``there`` in a child; whether it was killed at its ``k``-th call, or ended
    well.
    """
    child = os.fork()
    if child == 0:
        for _ in range(BOUNDS[name] - k):
            with suppress(OSError):
                _IN_VAIN[name]()
        os._exit(_upgraded(there))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def kill_everywhere(archive: Path, migrations: Path, work: Path, *, whole: bool) -> None:
    schema.migrations = lambda: migrations
    assert (
        _upgraded(shutil.copytree(archive, work / "whole")) == 0
    )  # here, so that the children find all imported
    for name in calls(whole=whole):
        bound = BOUNDS[name]
        for k in range(1, bound, stride(name, whole=whole)):
            if not _killed(shutil.copytree(archive, work / f"{name}-{k}"), name, k):
                print(name, k, flush=True)
                break
        else:
            raise AssertionError(f"there are more calls of {name} than {bound}")


if __name__ == "__main__":
    kill_everywhere(*map(Path, sys.argv[1:4]), whole=sys.argv[4] == "whole")
