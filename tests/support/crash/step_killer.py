"""Work in a process of its own that is killed before its n-th step.

A step is a call of Python's that may change a file, or one side of a commit, on any thread. What SQLite asks
of the kernel is not among them.

Run as a program, it is ``archiver``, killed so. Arguments: n, a file for the number of steps if it comes to
its end before, and those of ``archiver``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from unittest import mock

from sqlalchemy.engine import RootTransaction

from archiver.cli.main import main

_CALLS = (
    *("open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "fchmod", "chmod"),
    *("rename", "replace", "link", "unlink", "remove"),
)
NEVER = 1_000_000_000


def work_and_die(work: Callable[[], object], step: int, counted: Path) -> int:
    """Work until this step; return how many steps it took, if it came to its end before, or ``step``.

    ``counted``: a file for the number.
    """
    pid = os.fork()
    if pid == 0:
        try:
            steps = count_steps(step)
            work()
            counted.write_text(str(next(steps)))
            os._exit(0)
        finally:
            os._exit(1)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    return step if ended else int(counted.read_text())


def count_steps(fatal: int) -> count[int]:
    """Count the steps of this process from now on, and kill it before the one with this number."""
    steps = count(1)

    def step() -> None:
        if next(steps) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **options: object) -> object:
            step()
            return call(*args, **options)

        return counted

    commit = RootTransaction.commit

    def commit_between(transaction: RootTransaction) -> None:
        step()
        commit(transaction)
        step()

    for name in _CALLS:
        mock.patch.object(os, name, counting(getattr(os, name))).start()
    mock.patch.object(RootTransaction, "commit", commit_between).start()
    return steps


if __name__ == "__main__":
    steps = count_steps(int(sys.argv[1]))
    code = main(sys.argv[3:])
    Path(sys.argv[2]).write_text(str(next(steps)))
    sys.exit(code)
