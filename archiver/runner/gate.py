"""One gate for all paid workers: so many calls a second, and a pause for all when the API asks for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from archiver.runner.workers import StopFlag


class Gate:
    """Lets ``per_second`` calls through, evenly spaced. Time is monotonic, so a clock that jumps changes nothing."""

    def __init__(
        self, per_second: float, stop: StopFlag, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._stop = stop
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = self._closed_until = monotonic()

    @property
    def paused(self) -> bool:
        """Whether a pause that was asked for is not over yet."""
        with self._lock:
            return self._monotonic() < self._closed_until

    def enter(self) -> None:
        """Wait for this caller's turn. Raises the cause of the stop flag if the run ends meanwhile."""
        while True:
            with self._lock:
                turn = max(self._next, self._monotonic())
                self._next = turn + self._interval
            while (left := turn - self._monotonic()) > 0:
                self._stop.wait(left)
            if turn >= self._closed_until:
                break  # else a pause has begun meanwhile: another turn, so that not all who waited go through at its end together
        self._stop.check()

    def pause(self, seconds: float) -> None:
        """Let nobody through for so many seconds, also who has drawn a turn before."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._monotonic() + seconds)
            self._next = max(self._next, self._closed_until)
