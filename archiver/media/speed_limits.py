"""How fast: a shared limit, a lower bound, and hosts that asked for quiet. Clocks count monotonic seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from archiver.errors import DownloadFailed, Reason

Clock = Callable[[], float]


class TokenBucket:
    """A limit of ``rate`` bytes a second over all threads together, with at most a second's worth saved up."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def take(self, count: int) -> float:
        """Count bytes that have come; returns the seconds to wait before more are read."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - 1.0) + count / self._rate
            return max(0.0, self._paid_until - now)


class HostPauses:
    """Hosts that asked to be left alone for a while: one thread hears it, all obey."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def ask(self, host: str, seconds: float) -> None:
        """``host`` wants no request for so many seconds."""
        with self._lock:
            self._until[host] = max(self._until.get(host, 0.0), self._clock() + seconds)

    def left(self, host: str) -> float:
        """Seconds until ``host`` may be asked."""
        with self._lock:
            return max(0.0, self._until.get(host, 0.0) - self._clock())


class SpeedWatchdog:
    """The lower bound for one file: ``min_speed`` bytes a second in each ``window`` seconds, and ``total`` seconds in all.

    A socket timeout cannot see this: a byte now and then keeps it quiet for ever. ``check`` raises DownloadFailed(TOO_SLOW).
    """

    def __init__(self, *, min_speed: int, window: float, total: float, clock: Clock) -> None:
        self._needed = min_speed * window
        self._window = window
        self._total = total
        self._clock = clock
        self._deadline = clock() + total
        self.begin()

    def begin(self) -> None:
        """A new attempt starts: its windows begin now."""
        self._count = 0
        self._ends = self._clock() + self._window

    def saw(self, count: int) -> None:
        """Bytes that have come."""
        self._count += count
        self.check()

    def excuse(self, seconds: float) -> None:
        """Time that we waited ourselves does not count."""
        self._ends += seconds
        self._deadline += seconds

    def check(self) -> None:
        """Raise if a window has ended with too little in it, or the time for the whole file has."""
        now = self._clock()
        if now >= self._deadline:
            raise DownloadFailed(Reason.TOO_SLOW, f"the file took more than {self._total:g} s")
        if now >= self._ends:
            if self._count < self._needed:
                rate = self._count / self._window
                raise DownloadFailed(
                    Reason.TOO_SLOW, f"{rate:.0f} bytes a second over {self._window:g} s", retryable=True
                )
            self._count = 0
            self._ends = now + self._window
