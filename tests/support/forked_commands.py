"""The real command as processes of their own, forked from one that has imported it already.

To start Python and import the program takes longer than most commands; a fork takes a few milliseconds.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests.support import ROOT, leak_detector

_PATIENCE = 60.0  # seconds after which a command counts as hung, and is killed


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a process ended: its code (negative for a signal), and what it wrote."""

    pid: int
    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, object]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class ForkedCommands:
    """Starts ``archiver WORDS`` in processes that share nothing but the imported code. For one thread."""

    def __init__(self, place: Path) -> None:
        """``place``: a directory for what the processes write."""
        self._place = place
        self._started = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-m", "tests.support.forked_commands"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._outputs: dict[int, tuple[Path, Path]] = {}

    def begin(
        self,
        environ: Mapping[str, str],
        *words: str,
        cwd: Path | None = None,
        stdin: str | Path = os.devnull,
        stdout: str | Path = "",
        stderr: str | Path = "",
    ) -> int:
        """Start one, and return its pid. The streams are files; without a name, those that ``end`` reads."""
        self._started += 1
        out, err = (self._place / f"{self._started}.{name}" for name in ("out", "err"))
        order: dict[str, Any] = {
            "words": words,
            "environ": dict(environ),
            "cwd": str(cwd or "."),
            "streams": [str(stdin), str(stdout or out), str(stderr or err)],
            "umask": _umask(),
        }
        (pid,) = self._ask(order)
        self._outputs[pid] = out, err
        return pid

    def end(self, pid: int = -1) -> ProcessResult:
        """Wait until this one ends, or the first of all. One that hangs is killed."""
        pid, code = self._ask({"pid": pid})
        out, err = (path.read_text("utf-8") if path.exists() else "" for path in self._outputs.pop(pid))
        leak_detector.note_output(out, err)
        return ProcessResult(pid, code, out, err)

    def run(self, environ: Mapping[str, str], *words: str) -> ProcessResult:
        """Start one and wait until it ends."""
        return self.end(self.begin(environ, *words))

    def said(self, pid: int) -> str:
        """What a running one has written on stderr so far."""
        return self._outputs[pid][1].read_text("utf-8")

    def close(self) -> None:
        """End the process that the others are forked from."""
        self._process.communicate(timeout=20)

    def _ask(self, order: Mapping[str, object]) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return [int(number) for number in self._process.stdout.readline().split()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def shared_commands() -> ForkedCommands:
    """Return what starts commands for all tests of this process; it ends with this process."""
    place = tempfile.TemporaryDirectory(prefix="archiver-commands-")
    commands = ForkedCommands(Path(place.name))
    atexit.register(place.cleanup)
    atexit.register(commands.close)
    return commands


def needs_own_interpreter(environ: Mapping[str, str]) -> bool:
    """Whether an environment changes how Python itself starts, so that a fork would not show its effect."""
    return environ.get("LC_ALL") != "C.UTF-8" or any(
        name.startswith(("PYTHON", "COVERAGE")) and name != "PYTHONPATH" for name in environ
    )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _serve() -> None:
    from alembic import command  # noqa: F401  # what makes an archive

    # With all that commands import: parts that are imported when first used are imported here, once.
    from archiver.archive import creation, exports, nightly_run, verification  # noqa: F401
    from archiver.cli import backup_command, run_command, verify_command  # noqa: F401

    gc.freeze()  # a child that looks for garbage in what it has inherited copies all of it

    with open(os.dup(0)) as orders:  # noqa: PTH123  # stdin itself is to be new to each child
        for line in orders:
            order = json.loads(line)
            if "pid" in order:
                print(*_wait(order["pid"]), flush=True)
                continue
            # Opened before the caller goes on: it may close its end of a terminal.
            streams = [
                os.open(path, os.O_NOCTTY | (os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), 0o600)
                for number, path in enumerate(order["streams"])
            ]
            pid = os.fork()
            if pid == 0:
                sys.exit(_run_command(order, streams))
            for stream in streams:
                os.close(stream)
            print(pid, flush=True)


def _wait(pid: int) -> tuple[int, int]:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return ended, os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if pid > 0:
        os.kill(pid, 9)
    ended, status = os.waitpid(pid, 0)
    return ended, os.waitstatus_to_exitcode(status)


def _run_command(order: Mapping[str, Any], streams: list[int]) -> int:
    from archiver import __main__ as program

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")  # noqa: SIM115
    sys.stdout = _output(1, "surrogateescape")
    sys.stderr = _output(2, "backslashreplace")
    sys.argv = [str(program.__file__), *order["words"]]
    os.environ.clear()
    os.environ.update(order["environ"])
    os.umask(order["umask"])
    os.chdir(order["cwd"])
    time.tzset()
    return program.main()


def _output(number: int, errors: str) -> io.TextIOWrapper:
    binary = open(number, "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(binary, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))


if __name__ == "__main__":
    _serve()
