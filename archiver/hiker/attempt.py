"""The time of one attempt at a call: a deadline for all of it together, and a stop that is heard in between.

httpx's ``timeout`` counts anew for every read, so that headers or a body that drip never time out. Here every
connect, handshake, write and read asks for its turn, and gets a short part of what is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

GRACE = 0.4
"""Seconds that an awaited answer may still take after a stop: it is paid for, and many answers take less than
a second in all."""

_TURN = 0.1
"""Seconds between two looks at the stop."""


class ExchangeBroken(Exception):
    """A call has no whole answer: no connection, one that broke, or an answer that is not HTTP."""


class DeadlinePassed(ExchangeBroken):
    """The time of the attempt is over."""


class Interrupted(ExchangeBroken):
    """The caller does not wait for the answer any longer."""


class Attempt:
    """One attempt at a call: how much of its time is left, and whether any byte of the request may have left
    with a chance to be understood. Belongs to the thread that makes it. ``stopped`` says whether the answer
    is not wanted any more."""

    __slots__ = ("_ends", "_stopped", "sent")

    def __init__(self, seconds: float, stopped: Callable[[], bool]) -> None:
        self._ends = time.monotonic() + seconds
        self._stopped = stopped
        self.sent = False

    def left(self) -> float:
        """Seconds left, more than 0. Raises DeadlinePassed, or Interrupted."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise Interrupted if self._stopped() else DeadlinePassed
        return left

    def turn(self) -> float:
        """Seconds that one operation may block now, more than 0. After a stop nothing is sent any more, and
        an answer gets GRACE."""
        if self._stopped():
            if not self.sent:
                raise Interrupted
            self._ends = min(self._ends, time.monotonic() + GRACE)
        return min(_TURN, self.left())

    def acquire(self, lock: threading.Lock) -> None:
        """Acquire a lock of this program's own. The wait is not the API's fault: it does not count as time of
        the attempt. Raises Interrupted after a stop, as ``turn``."""
        while True:
            begun = time.monotonic()
            if lock.acquire(timeout=self.turn()):
                return
            if not self._stopped():
                self._ends += time.monotonic() - begun


_current: ContextVar[Attempt] = ContextVar("attempt")


def current() -> Attempt:
    """The Attempt that this thread makes just now. Raises LookupError outside of one."""
    return _current.get()


@contextmanager
def attempt(seconds: float, stopped: Callable[[], bool]) -> Iterator[Attempt]:
    """Everything that this thread sends and reads inside belongs to one new Attempt of so many seconds."""
    token = _current.set(Attempt(seconds, stopped))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
