"""Sends a letter and pings a monitor, each once and within a time, whatever becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from archiver.report import services, web
from archiver.report.address import Address
from archiver.report.letter import Letter, Undelivered

SECONDS = 10.0
"""For a report or ping in all, from the name look-up to the answer."""

GRACE = 1.0
"""Seconds that one which is on its way still gets after a signal."""

_GLANCE = 0.05
_TEXT = "text/plain; charset=utf-8"

Work = tuple[str, Address, Callable[[], None]]
"""What to say if it fails, where it goes, and what sends it."""


class Courier:
    """Knows where reports and pings go, None for nowhere. Every method returns what went wrong, a line each,
    without any secret; what was wrong with an address at the beginning of a night, and still is at its end,
    is returned once.

    ``stopped`` says whether a signal asked for the end: then nobody waits longer than ``GRACE``. What takes longer than ``seconds`` is
    left to itself, on a thread that holds no process back.
    """

    def __init__(
        self,
        report: Address | None = None,
        ping: Address | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
        seconds: float = SECONDS,
    ) -> None:
        self._report, self._ping = report, ping
        self._stopped, self._seconds = stopped, seconds
        self._returned: set[tuple[str, str]] = set()

    def begun(self) -> list[str]:
        """A night begins: tell the monitor. What keeps the report from being sent is better known before the night than after it."""
        works = [*self._pings("start", b"")]
        if self._report is not None and not self._report.is_web:
            report = self._report
            works.append(("the report cannot be sent", report, lambda: services.require(report)))
        return self._sent(works)

    def ended(self, letter: Letter, *, reported: bool = True) -> list[str]:
        """A night is over: send its report, unless it is not to be ``reported``, and tell the monitor, both at the same time."""
        works = [*self._pings("" if letter.well else "fail", f"{letter.title}\n{letter.text}\n".encode())]
        if self._report is not None and reported:
            report = self._report
            works.append(("the report was not sent", report, lambda: self._send(report, letter)))
        return self._sent(works)

    def _send(self, to: Address, letter: Letter) -> None:
        if to.is_web:
            web.post(to, letter.document, "application/json", seconds=self._seconds)
        else:
            services.notify(to, letter)

    def _pings(self, meaning: str, body: bytes) -> Iterator[Work]:
        if self._ping is not None:
            to = self._ping.below(meaning) if meaning else self._ping
            yield "the ping was not sent", to, lambda: web.post(to, body, _TEXT, seconds=self._seconds)

    def _sent(self, works: list[Work]) -> list[str]:
        """Everything at once, each on a thread of its own: only so is a name look-up, or a service of Apprise, bounded in time."""
        attempts = [_Attempt(*work) for work in works]
        ends = time.monotonic() + self._seconds
        while any(attempt.is_alive() for attempt in attempts) and (now := time.monotonic()) < ends:
            if self._stopped():
                ends = min(ends, now + GRACE)
            for attempt in filter(_Attempt.is_alive, attempts):
                attempt.join(_GLANCE)
        why = "the run was stopped" if self._stopped() else f"not done within {self._seconds:g} seconds"
        late = Undelivered(why, "the next run tries again")
        lines = []
        for attempt in attempts:
            error = attempt.error(late)
            if error is not None and (attempt.to.key, str(error)) not in self._returned:
                self._returned.add((attempt.to.key, str(error)))
                lines.append(f"{attempt.failed} to {attempt.to}: {error} ({error.hint})")
        return lines


class _Attempt(threading.Thread):
    """One try, begun at once. As a daemon it holds no process back."""

    def __init__(self, failed: str, to: Address, work: Callable[[], None]) -> None:
        super().__init__(name="report", daemon=True)
        self.failed, self.to, self._work = failed, to, work
        self._error: Undelivered | None = None
        self._over = threading.Event()
        try:
            self.start()
        except RuntimeError:  # so many threads run already that the system allows no more
            self._error = Undelivered("no thread can be started", "ulimit -u says how many may run")
            self._over.set()

    def run(self) -> None:
        """Do the work, and note what came of it."""
        try:
            self._work()
        except Undelivered as error:
            self._error = error
        except BaseException as error:  # of a library that was given the address: its text may quote it
            self._error = Undelivered(
                f"an unexpected {type(error).__name__}", "check the settings of [report]"
            )
        self._over.set()

    def error(self, late: Undelivered) -> Undelivered | None:
        """Return what went wrong, if anything: ``late`` if it is not over."""
        return self._error if self._over.is_set() else late
