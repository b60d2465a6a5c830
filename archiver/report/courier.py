"""Sends a letter and pings a monitor, each once and within a time, whatever becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

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
    """Knows where reports and pings go, None for nowhere. Every method returns what went wrong, a line each, without any secret.

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

    def begun(self) -> list[str]:
        """A night begins: tell the monitor. What keeps the report from being sent is better known before the night than after it."""
        works = [*self._pings("start", b"")]
        if self._report is not None and not self._report.is_web:
            report = self._report
            works.append(("the report cannot be sent", report, lambda: services.require(report)))
        return self._sent(works)

    def ended(self, letter: Letter) -> list[str]:
        """A night is over: send its report and tell the monitor, both at the same time."""
        works = [*self._pings("" if letter.well else "fail", f"{letter.title}\n{letter.text}\n".encode())]
        if self._report is not None:
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
        waiting = [(what, to, _begin(work)) for what, to, work in works]
        ends = time.monotonic() + self._seconds
        troubles = []
        for what, to, outcome in waiting:
            error = self._outcome(outcome, ends)
            if error is not None:
                troubles.append(f"{what} to {to}: {error} ({error.hint})")
        return troubles

    def _outcome(self, outcome: SimpleQueue[Undelivered | None], ends: float) -> Undelivered | None:
        while True:
            if self._stopped():
                ends = min(ends, time.monotonic() + GRACE)
            try:
                return outcome.get(timeout=_GLANCE)
            except Empty:
                if time.monotonic() >= ends:
                    why = (
                        "the run was stopped"
                        if self._stopped()
                        else f"not done within {self._seconds:g} seconds"
                    )
                    return Undelivered(why, "the next run tries again")


def _begin(work: Callable[[], None]) -> SimpleQueue[Undelivered | None]:
    """Start the work; its outcome comes into the queue: None where it was sent."""
    outcome: SimpleQueue[Undelivered | None] = SimpleQueue()

    def attempt() -> None:
        try:
            work()
        except Undelivered as error:
            outcome.put(error)
        except BaseException as error:  # of a library that was given the address: its text may quote it
            outcome.put(Undelivered(f"an unexpected {type(error).__name__}", "please report this"))
        else:
            outcome.put(None)

    threading.Thread(target=attempt, name="report", daemon=True).start()
    return outcome
