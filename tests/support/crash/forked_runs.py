"""The real program as processes that can be killed: forked from one that has imported it already, or executed
from nothing.

A start of Python with all imports takes six times as long as a quiet run. So one process, the fork server,
imports the program once and forks a child for each run; the child gets a session and an environment of its
own and goes through ``main`` like any other.
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

_ENDED = "ended "
_EXECUTED = (
    "import sys; from tests.support.crash import phase_marks; phase_marks.plant(int(sys.argv.pop(1))); "
    "from archiver.__main__ import main; sys.exit(main())"
)


@dataclass(frozen=True, slots=True)
class Order:
    """A run to begin: ``copies`` processes at once, each from nothing if ``executed``; what they say goes to
    the file ``said``.
    """

    words: Sequence[str]
    environ: Mapping[str, str]
    said: str
    copies: int = 1
    executed: bool = False


class ForkedRuns:
    """Begins runs, and hears of what they pass (see ``phase_marks``) and how they end.

    One order at a time.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """``environ`` needs PYTHONPATH only: each run has its own."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.support.crash.forked_runs"],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout.fileno()
        self._heard = b""

    def begin(self, order: Order) -> None:
        """Start the processes of this order."""
        self._to.write(json.dumps(asdict(order)).encode() + b"\n")

    def hear(self, within: float) -> tuple[int, str] | None:
        """The next thing that a process passed: its pid and the phase, or «ended CODE».

        None if nothing comes in so many seconds.
        """
        end = time.monotonic() + within
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            more = os.read(self._from, 65_536)
            if not more:
                raise RuntimeError("the nursery has ended")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        pid, _, what = line.decode().partition(" ")
        return int(pid), what

    def close(self) -> None:
        """End it; nothing that it started is running any more."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exit_code_of(what: str) -> int | None:
    """Return the exit code, negative for a signal, if the message is one."""
    return int(what.removeprefix(_ENDED)) if what.startswith(_ENDED) else None


def _serve() -> None:
    from alembic import command  # noqa: F401  # what makes an archive

    # With all that a run imports, once for all children.
    from archiver.archive import creation, exports, nightly_run, verification  # noqa: F401
    from archiver.blobs import store  # noqa: F401
    from archiver.catalog.query import account_state, content, gaps  # noqa: F401
    from archiver.cli import backup_command, main, verify_command  # noqa: F401
    from archiver.store import disk  # noqa: F401

    # A child that looks for garbage in what it has inherited copies all of it: twice the time of a quiet run.
    gc.freeze()

    channel = os.dup(1)
    with open(os.dup(0), "rb") as orders:  # noqa: PTH123  # not sys.stdin, which is to be new to each child
        for line in orders:
            order = Order(**json.loads(line))
            for _ in range(order.copies):
                if os.fork() == 0:
                    sys.exit(_child(order, channel))
            for _ in range(order.copies):
                pid, status = os.wait()
                os.write(channel, f"{pid} {_ENDED}{os.waitstatus_to_exitcode(status)}\n".encode())


def _child(order: Order, channel: int) -> int:
    from archiver.cli.main import main
    from tests.support.crash import phase_marks

    os.setsid()
    said = os.open(order.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for theirs, ours in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(theirs, ours)
    os.close(nothing)
    os.close(said)
    if order.executed:
        os.set_inheritable(channel, True)
        words = [sys.executable, "-P", "-c", _EXECUTED, str(channel), *order.words]
        os.execve(sys.executable, words, dict(order.environ))
    os.environ.clear()
    os.environ.update(order.environ)
    phase_marks.plant(channel)
    return main(order.words)


if __name__ == "__main__":
    _serve()
