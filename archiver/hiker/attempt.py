"""The time limit of one attempt at a call: a deadline for the whole attempt, and a stop before it.

httpx's ``timeout`` starts again at every read, so an answer that trickles in never times out. Here every
connect, handshake, write and read blocks for a short part of the remaining time, and then checks for a stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from archiver.http.sockets import HttpFailure

GRACE = 0.4
"""Seconds that a pending answer may still take after a stop. It is paid for, and most take under a second."""

_MAX_BLOCK = 0.1  # seconds between two checks for a stop


class DeadlinePassed(HttpFailure):
    """The time for the attempt is over."""


class AttemptInterrupted(HttpFailure):
    """The caller stopped waiting for the answer."""


class Attempt:
    """The TimeLimit of one attempt. Belongs to the thread that makes it.

    ``is_stopped``: whether the answer is no longer wanted. ``was_sent``: whether a byte of the request may
    have reached the API.
    """

    __slots__ = ("_deadline", "_is_stopped", "was_sent")

    def __init__(self, seconds: float, is_stopped: Callable[[], bool]) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_stopped = is_stopped
        self.was_sent = False

    def note_sent(self) -> None:
        """Note that a byte of the request was sent."""
        self.was_sent = True

    def begin_part(self) -> None:
        """Do nothing: the deadline is for all parts of the answer together."""

    def seconds_left(self) -> float:
        """Return the seconds left, more than 0. Raises DeadlinePassed, or Interrupted after a stop."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AttemptInterrupted if self._is_stopped() else DeadlinePassed
        return left

    def next_timeout(self) -> float:
        """Return the seconds that the next operation may block, more than 0.

        Raises DeadlinePassed. After a stop raises Interrupted: at once if nothing was sent, else after GRACE.
        """
        if self._is_stopped():
            if not self.was_sent:
                raise AttemptInterrupted
            self._deadline = min(self._deadline, time.monotonic() + GRACE)
        return min(_MAX_BLOCK, self.seconds_left())

    def acquire(self, lock: threading.Lock) -> None:
        """Acquire a lock. The wait does not count against the deadline. Raises as ``next_timeout`` does."""
        while True:
            started = time.monotonic()
            if lock.acquire(timeout=self.next_timeout()):
                return
            if not self._is_stopped():
                self._deadline += time.monotonic() - started


_current: ContextVar[Attempt] = ContextVar("attempt")


def current_attempt() -> Attempt:
    """Return the attempt that this thread is making. Raises LookupError if there is none."""
    return _current.get()


@contextmanager
def begin_attempt(seconds: float, is_stopped: Callable[[], bool]) -> Iterator[Attempt]:
    """Begin an attempt of ``seconds``.

    Everything that this thread sends and reads in the block belongs to it.
    """
    token = _current.set(Attempt(seconds, is_stopped))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
