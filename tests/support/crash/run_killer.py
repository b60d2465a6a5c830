"""Where runs are begun and killed: a home with room for archives, and the kill at the moment that a round
asks for.

Runs are processes that can be killed: forked from one that has imported the program already, or executed from
nothing. A start of Python with all imports takes six times as long as a quiet run. So one process, the fork
server, imports the program once and forks a child for each run; the child gets a session and an environment
of its own and goes through ``main`` like any other.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tests.support.crash import phase_marks

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
            [sys.executable, "-P", "-m", "tests.support.crash.run_killer"],
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


_PATIENCE = 60.0  # seconds after which a run hangs


@dataclass(frozen=True, slots=True)
class Kill:
    """When and how every process of a run is killed."""

    phase: str  # when this phase was passed so often, or "": at a moment of the run's whole time
    passed: int
    wait: float  # seconds after the phase, or the share of the time that the run would take
    grace: float | None  # seconds from SIGTERM to SIGKILL, None: SIGKILL at once

    def __str__(self) -> str:
        after = f"{self.wait * 1000:.1f} ms after «{self.phase}» no. {self.passed}"
        when = after if self.phase else f"after {self.wait:.2f} of its time"
        how = "SIGKILL" if self.grace is None else f"SIGTERM, and SIGKILL {self.grace * 1000:.0f} ms later,"
        return f"{how} {when}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the processes of one run ended, and how long the longest took from its first to its last moment."""

    codes: tuple[int, ...]
    seconds: float

    @property
    def killed(self) -> int:
        """How many processes a signal has ended."""
        return sum(code < 0 for code in self.codes)


class RunKiller:
    """A home with room for one archive after another, and the fork server whose children work there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._said = home / "said"
        self._outside = home / "outside"
        self._closing = ExitStack()
        self._forked_runs: ForkedRuns | None = None
        self._outside.mkdir(parents=True)
        (self._outside / "untouched").write_text("by any run")

    def run(
        self,
        environ: Mapping[str, str],
        words: Sequence[str],
        *,
        kill: Kill | None = None,
        usual: float = 0.0,
        writers: int = 1,
        executed: bool = False,
    ) -> Outcome:
        """Run the program to its end, or to the kill; ``usual`` is the time that it would take, in seconds.

        ``writers``: so many at once. ``executed``: Python starts from nothing. Raises TimeoutError for a run
        that hangs.
        """
        if self._forked_runs is None:
            self._forked_runs = self._closing.enter_context(ForkedRuns(environ))
        self._said.unlink(missing_ok=True)
        self._forked_runs.begin(Order(words, environ, str(self._said), writers, executed))
        course = _Course(self._forked_runs, writers)
        if kill is not None:
            course.strike(kill, usual)
        course.finish()
        return Outcome(tuple(course.codes.values()), time.monotonic() - course.begun)

    def said(self) -> str:
        """What the last run wrote on stdout and stderr."""
        return self._said.read_text()

    def touched(self) -> Iterator[str]:
        """What a run did outside its archive."""
        names = sorted(p.name for p in self.home.iterdir() if not p.name.startswith("archive"))
        inside = [(p.name, p.read_text()) for p in self._outside.iterdir()]
        if names != ["outside", "said"] or inside != [("untouched", "by any run")]:
            yield f"I9: outside the archive there are {names}, {inside}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


class _Course:
    """The processes of one order on their way."""

    def __init__(self, forked_runs: ForkedRuns, copies: int) -> None:
        self._forked_runs = forked_runs
        self._copies = copies
        self._passed: dict[str, int] = {}
        self._pids: set[int] = set()
        self.codes: dict[int, int] = {}
        self._until(phase_marks.BEGUN, copies)
        self.begun = time.monotonic()

    def strike(self, kill: Kill, usual: float) -> None:
        """Wait for the moment, then send the signals to every process and what it has begun."""
        if kill.phase:
            self._until(kill.phase, kill.passed)
            time.sleep(kill.wait)
        else:
            time.sleep(max(0.0, self.begun + kill.wait * usual - time.monotonic()))
        if kill.grace is not None:
            self._send(signal.SIGTERM)
            time.sleep(kill.grace)
        self._send(signal.SIGKILL)

    def finish(self) -> None:
        """Hear all that is left until every process has ended."""
        self._until("", 1)

    def _until(self, phase: str, often: int) -> None:
        """Until the phase was passed so often, by all processes together, or all have ended.

        Raises TimeoutError for a run that hangs.
        """
        while len(self.codes) < self._copies and self._passed.get(phase, 0) < often:
            heard = self._forked_runs.hear(_PATIENCE)
            if heard is None:
                self._send(signal.SIGKILL)
                raise TimeoutError(f"nothing is heard of the run for {_PATIENCE:.0f} s")
            pid, what = heard
            code = exit_code_of(what)
            if code is not None:
                self.codes[pid] = code
            else:
                self._pids.add(pid)
                self._passed[what] = self._passed.get(what, 0) + 1

    def _send(self, signum: signal.Signals) -> None:
        for pid in self._pids - self.codes.keys():
            with suppress(ProcessLookupError):  # it has ended, and we have not heard of it yet
                os.killpg(pid, signum)


if __name__ == "__main__":
    _serve()
