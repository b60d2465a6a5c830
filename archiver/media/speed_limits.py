"""Speed limits of downloads: an upper one for all, a lower one per file, and pauses that hosts ask for.

All times are monotonic seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from archiver.errors import DownloadFailed, Reason
from archiver.http.sockets import HttpFailure

SLICE = 0.5
"""Seconds that an operation blocks before ``tick`` is called, which may stop it."""

Clock = Callable[[], float]


class DownloadStalled(HttpFailure):
    """A part of an answer did not arrive in time."""


class Patience:
    """A TimeLimit: ``seconds`` for each part of an answer. ``tick``, called twice a second, may raise."""

    def __init__(self, seconds: float, tick: Callable[[], None]) -> None:
        self._seconds = seconds
        self._tick = tick
        self.begin_part()

    def begin_part(self) -> None:
        """Start the time for the next part."""
        self._deadline = time.monotonic() + self._seconds

    def next_timeout(self) -> float:
        """Return the seconds that the next operation may block. Raises Stalled, or what ``tick`` raises."""
        self._tick()
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DownloadStalled("nothing arrived for too long")
        return min(SLICE, left)


class TokenBucket:
    """The upper limit: ``rate`` bytes per second over all threads. It saves up one second's worth at most."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def take(self, count: int) -> float:
        """Count received bytes and return the seconds to wait before more are read."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - 1.0) + count / self._rate
            return max(0.0, self._paid_until - now)


class HostPauses:
    """Hosts that asked for a pause (``Retry-After``). A pause applies to all threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def begin(self, host: str, seconds: float) -> None:
        """Send no requests to a host for a number of seconds.

        A longer pause that has already begun is kept.
        """
        with self._lock:
            self._until[host] = max(self._until.get(host, 0.0), self._clock() + seconds)

    def seconds_left(self, host: str) -> float:
        """Return the seconds until requests to a host are allowed; 0 if they are now."""
        with self._lock:
            return max(0.0, self._until.get(host, 0.0) - self._clock())


class SpeedWatchdog:
    """The lower limit: ``min_speed`` bytes per second in each ``window``, and ``total`` seconds per file.

    A socket timeout would not detect a server that sends a byte now and then.
    """

    def __init__(self, *, min_speed: int, window: float, total: float, clock: Clock) -> None:
        self._min_count = min_speed * window
        self._window = window
        self._total = total
        self._clock = clock
        self._deadline = clock() + total
        self.begin()

    def begin(self) -> None:
        """Start a new attempt with a new window."""
        self._count = 0
        self._window_end = self._clock() + self._window

    def add(self, count: int) -> None:
        """Count received bytes, and check. Raises DownloadFailed (TOO_SLOW)."""
        self._count += count
        self.check()

    def excuse(self, seconds: float) -> None:
        """Leave an intended pause out of the measurement."""
        self._window_end += seconds
        self._deadline += seconds

    def check(self) -> None:
        """Raise DownloadFailed (TOO_SLOW) if a window had too few bytes or the time is over."""
        now = self._clock()
        if now >= self._deadline:
            raise DownloadFailed(Reason.TOO_SLOW, f"the file took more than {self._total:g} s")
        if now >= self._window_end:
            if self._count < self._min_count:
                rate = self._count / self._window
                raise DownloadFailed(
                    Reason.TOO_SLOW, f"{rate:.0f} bytes a second over {self._window:g} s", is_retryable=True
                )
            self._count = 0
            self._window_end = now + self._window
