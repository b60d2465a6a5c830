"""Start the stand-in as a process, run the installed command against it, and measure that process."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import ARCHIVER, Measurement, measure


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running stand-in. ``environ``: the variables that the program needs to reach it."""

    environ: dict[str, str]

    def counts(self, *, reset: bool = False) -> dict[str, Any]:
        """Return how many requests were made since the last reset."""
        base = self.environ["ARCHIVER_API_BASE_URL"]
        with urllib.request.urlopen(f"{base}/_standin/counts", timeout=60) as answer:
            counts: dict[str, Any] = json.load(answer)
        if reset:
            request = urllib.request.Request(f"{base}/_standin/reset", method="POST")
            with urllib.request.urlopen(request, timeout=60):
                pass
        return counts

    def init_nights(self, home: Path, accounts: int, command: str = ARCHIVER) -> dict[str, str]:
        """Make an archive in ``home`` for nights of so many accounts, without sweep; return its variables."""
        (home / "config.toml").touch()
        (home / "accounts.txt").write_text("".join(f"account{n:04}\n" for n in range(accounts)))
        environ = self.environ | {
            "ARCHIVER_ARCHIVE": str(home / "archive"),
            "ARCHIVER_API_REQUESTS_PER_SECOND": "1000",
            "ARCHIVER_SYNC_SWEEP_DAYS": "0",
            "ARCHIVER_SYNC_ACCOUNTS_FILE": str(home / "accounts.txt"),
            "ARCHIVER_CONFIG": str(home / "config.toml"),
        }
        init(environ, cwd=home, command=command)
        return environ


@contextmanager
def upstream(*options: str) -> Iterator[Upstream]:
    """Start ``python -m archiver.sandbox`` with these options, and stop it at the end of the block."""
    command = [sys.executable, "-m", "archiver.sandbox", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        lines = (server.stdout.readline().removeprefix("export ").strip() for _ in range(3))
        environ = dict(line.split("=", 1) for line in lines)
        try:
            yield Upstream(environ)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def add_against_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--against``, which takes the command of another version, installed in another environment."""
    parser.add_argument(
        "--against",
        type=find_command,
        metavar="COMMAND",
        help="also measure this archiver, in turns, for example ../before/.venv/bin/archiver",
    )


def find_command(name: str) -> str:
    """Return the absolute path of a command. Raises ArgumentTypeError if there is none."""
    command = shutil.which(name)
    if command is None:
        raise argparse.ArgumentTypeError(f"there is no such command: {name}")
    return str(Path(command).absolute())


def init(environ: dict[str, str], *, cwd: Path, command: str = ARCHIVER) -> None:
    """Make the archive that the environment names, with ``archiver init``."""
    measure([command, "-q", "init"], cwd=cwd, environ=environ)


def archiver(environ: dict[str, str], *arguments: str, cwd: Path, command: str = ARCHIVER) -> Measurement:
    """Run the installed command with ``--json`` and measure the whole process.

    Exit codes 0 and 3 are accepted.
    """
    return measure([command, *arguments, "--json"], cwd=cwd, environ=environ, accept=(0, 3))
