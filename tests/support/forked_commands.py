"""The real command as processes of their own, forked from one that has imported it: a start of Python costs more than a quiet night."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import ROOT, leak_detector


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
    """Begins ``archiver WORDS`` in processes that share nothing but the imported code. For one thread."""

    def __init__(self, place: Path) -> None:
        """``place``: a directory for what the processes write."""
        self._place = place
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.support.forked_commands"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, environ: Mapping[str, str], *words: str) -> int:
        """Start one, and return its pid."""
        return self._ask({"words": words, "environ": dict(environ), "place": str(self._place)})[0]

    def end(self, pid: int = -1) -> ProcessResult:
        """Wait until this one ends, or the first of all."""
        pid, code = self._ask({"pid": pid})
        out, err = ((self._place / f"{pid}.{name}").read_text() for name in ("out", "err"))
        leak_detector.note_output(out, err)
        return ProcessResult(pid, code, out, err)

    def run(self, environ: Mapping[str, str], *words: str) -> ProcessResult:
        """Start one and wait until it ends."""
        return self.end(self.begin(environ, *words))

    def said(self, pid: int) -> str:
        """What a running one has written on stderr so far."""
        return (self._place / f"{pid}.err").read_text()

    def _ask(self, order: Mapping[str, object]) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return [int(number) for number in self._process.stdout.readline().split()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=20)


def _serve() -> None:
    from archiver import archive  # noqa: F401  # with all that a run imports, once for all
    from archiver.cli import backup_command, night, run_command  # noqa: F401

    gc.freeze()  # a child that looks for garbage in what it has inherited copies all of it

    with open(os.dup(0)) as orders:  # noqa: PTH123  # stdin itself is to be new to each child
        for line in orders:
            order = json.loads(line)
            if "pid" in order:
                pid, status = os.waitpid(order["pid"], 0)
                print(pid, os.waitstatus_to_exitcode(status), flush=True)
                continue
            pid = os.fork()
            if pid == 0:
                sys.exit(_archiver(order["words"], order["environ"], Path(order["place"], str(os.getpid()))))
            print(pid, flush=True)


def _archiver(words: list[str], environ: dict[str, str], says: Path) -> int:
    from archiver.cli.main import main

    written = os.O_WRONLY | os.O_CREAT
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{says}.out", written),
        (2, f"{says}.err", written),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    return main(words)


if __name__ == "__main__":
    _serve()
