"""Where runs are begun and killed: a home with room for archives, and the kill at the moment that a round
asks for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.crash import phase_marks
from tests.support.crash.forked_runs import ForkedRuns, Order, exit_code_of

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
