"""The stand-in in a process of its own, and the real command run against it and measured from outside."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running stand-in: the environment that a program needs to reach it."""

    environ: dict[str, str]

    def counts(self, *, reset: bool = False) -> dict[str, Any]:
        """What was asked since the last reset."""
        base = self.environ["ARCHIVER_API_BASE_URL"]
        with urllib.request.urlopen(f"{base}/_standin/counts", timeout=60) as answer:
            counts: dict[str, Any] = json.load(answer)
        if reset:
            request = urllib.request.Request(f"{base}/_standin/reset", method="POST")
            with urllib.request.urlopen(request, timeout=60):
                pass
        return counts


@dataclass(frozen=True, slots=True)
class Measured:
    """One command: its result object, seconds of wall and CPU time, and peak memory in MiB."""

    summary: dict[str, Any]
    wall: float
    cpu: float
    peak: float


@contextmanager
def upstream(*options: str) -> Iterator[Upstream]:
    """Start ``python -m archiver.sandbox`` with these options, end it afterwards."""
    command = [sys.executable, "-m", "archiver.sandbox", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = (server.stdout.readline().removeprefix("export ").strip() for _ in range(3))
        environ = dict(line.split("=", 1) for line in lines)
        try:
            yield Upstream(environ)
        finally:
            server.send_signal(signal.SIGTERM)
            server.stdout.read()  # its last line, which nobody needs


def init(environ: dict[str, str], *, cwd: Path) -> None:
    """Make the archive that the environment names."""
    program = Path(sys.executable).with_name("archiver")
    subprocess.run([program, "init"], cwd=cwd, env=_clean() | environ, check=True, capture_output=True)


def archiver(environ: dict[str, str], *arguments: str, cwd: Path) -> Measured:
    """Run the installed command with ``--json`` and measure the whole process."""
    program = Path(sys.executable).with_name("archiver")
    before = time.monotonic()
    process = subprocess.Popen(
        [program, *arguments, "--json"], cwd=cwd, env=_clean() | environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - before
    if process.returncode not in (0, 3):
        raise SystemExit(f"archiver {arguments[0]} ended with {process.returncode}: {out.decode()}")
    return Measured(json.loads(out), wall, usage.ru_utime + usage.ru_stime, _mebibytes(usage))


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("ARCHIVER_", "HIKERAPI_"))}


def _mebibytes(usage: resource.struct_rusage) -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return usage.ru_maxrss * unit / 2**20
