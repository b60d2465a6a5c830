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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

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
    process = subprocess.Popen(
        command, cwd=cwd, env=_own_environ() | dict(environ or {}), stdout=subprocess.PIPE
    )
    cost = measure_end(process, started)
    if process.returncode not in accept:
        printed = cost.out.decode()[-2000:]
        raise SystemExit(f"{' '.join(command[:2])} ended with {process.returncode}: {printed}")
    return cost


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
