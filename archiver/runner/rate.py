"""The rate at which a run calls the API: of one process. ``cluster`` has the one that workers share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from archiver.work import StopFlag


class CallRate(Protocol):
    """The rate of the API calls of a run."""

    @property
    def is_paused(self) -> bool:
        """Return whether a pause is not over yet."""

    def wait_for_slot(self) -> None:
        """Wait until this caller may make a call. Raises the cause of the stop flag once it is set."""

    def set_rate(self, per_second: float) -> None:
        """Set the number of calls per second."""

    def pause(self, seconds: float) -> None:
        """Make no call for some seconds, not even those that have a slot."""


class RateLimiter:
    """Spaces calls evenly, at ``per_second``. It uses monotonic time, so clock changes do not matter."""

    def __init__(
        self, per_second: float, stop: StopFlag, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._stop = stop
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = self._closed_until = monotonic()

    @property
    def is_paused(self) -> bool:
        with self._lock:
            return self._monotonic() < self._closed_until

    def wait_for_slot(self) -> None:
        while True:
            with self._lock:
                slot = max(self._next, self._monotonic())
                self._next = slot + self._interval
            while (left := slot - self._monotonic()) > 0:
                self._stop.wait(left)
            if slot >= self._closed_until:
                break  # else a pause has begun: take another slot, so that calls stay spaced after it
        self._stop.check()

    def set_rate(self, per_second: float) -> None:
        with self._lock:
            self._interval = 1.0 / per_second
            self._next = min(self._next, self._monotonic())

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._closed_until = max(self._closed_until, self._monotonic() + seconds)
            self._next = max(self._next, self._closed_until)
