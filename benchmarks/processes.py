"""Run a program to its end and measure the whole process: wall and processor time, peak memory.

On Linux the peak memory of a process begins with that of the process that started it. So a benchmark that
reports it imports little and prepares large archives in other processes (``apart``).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ARCHIVER = str(Path(sys.executable).with_name("archiver"))
"""The installed command."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A finished process: what it printed, wall and processor time in seconds, peak memory in MiB."""

    out: bytes
    wall: float
    cpu: float
    peak: float

    @property
    def summary(self) -> dict[str, Any]:
        """What it printed, as JSON."""
        summary: dict[str, Any] = json.loads(self.out)
        return summary


def measure(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> Measurement:
    """Run a command. ``environ`` is added to the environment. Any other exit code ends this program."""
    started = time.monotonic()
    process = start(command, cwd=cwd, environ=environ)
    cost = measure_end(process, started)
    if process.returncode not in accept:
        printed = cost.out.decode()[-2000:]
        raise SystemExit(f"{' '.join(command[:2])} ended with {process.returncode}: {printed}")
    return cost


def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    stderr: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command, for ``measure_end``. ``environ`` is added to the environment."""
    return subprocess.Popen(
        command, cwd=cwd, env=_own_environ() | dict(environ or {}), stdout=subprocess.PIPE, stderr=stderr
    )


def measure_end(process: subprocess.Popen[bytes], started: float) -> Measurement:
    """Wait until a process has ended, and measure it from ``started`` on, which is a monotonic time."""
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return Measurement(out, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20)


def cpu_so_far(pid: int) -> float:
    """Return the processor seconds of a process that runs, in steps of 10 ms. Only on Linux."""
    return _read_stat(pid)[1]


def cpu_of_siblings(pid: int) -> float:
    """Return the processor seconds so far of the parent of a process and of all its children. Only on Linux.

    Those that have ended are included.
    """
    main = _read_stat(pid)[0]
    total = sum(_read_stat(main)[1:])
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                parent, own, _ = _read_stat(int(place.name))
                total += own if parent == main else 0.0
    return total


def _read_stat(pid: int) -> tuple[int, float, float]:
    """Return the parent of a process, and processor seconds: its own, and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, ended_user, ended_system = (int(word) / os.sysconf("SC_CLK_TCK") for word in words[11:15])
    return int(words[1]), user + system, ended_user + ended_system


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns that runs in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def describe_machine() -> str:
    """Return a line for the head of a report: date, machine, Python, and the load before the measurements."""
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def _own_environ() -> dict[str, str]:
    """Return the environment of this process without the variables of archiver and of S3 stores.

    Some containers forbid bytecode files: every start would compile the whole program.
    """
    own = ("ARCHIVER_", "AWS_", "HIKERAPI_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
