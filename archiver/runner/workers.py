"""Bounded threads and the stop flag. Knows no word of the domain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from archiver.errors import ArchiverError

T = TypeVar("T")

_GLANCE = 0.2
"""Seconds between two looks of the main thread, in which Python runs pending signal handlers."""


class StopFlag:
    """Set once, with the error that says why; seen by every worker at its next check."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._cause: ArchiverError | None = None

    @property
    def cause(self) -> ArchiverError | None:
        """Why the work stops, or None while it does not."""
        return self._cause

    def stop(self, cause: ArchiverError) -> None:
        """Ask every worker to end; the first cause stands. Safe in a signal handler: it takes no lock that a worker may hold."""
        if self._cause is None:
            self._cause = cause
        self._event.set()

    def check(self) -> None:
        """Raise the cause if there is one."""
        if self._cause is not None:
            raise self._cause

    def wait(self, seconds: float) -> None:
        """Sleep, and raise the cause as soon as there is one."""
        if seconds > 0:
            self._event.wait(seconds)
        self.check()


def each(things: Iterable[T], work: Callable[[T], None], *, threads: int, stop: StopFlag) -> None:
    """Call ``work`` with every thing, on so many threads, each taking the next thing when it is free.

    Returns when all are done or, once ``stop`` is set, when those begun have ended; things are taken one by one, so memory does
    not grow with their number. An exception of ``work``, or of the iterator, ends the taking and is raised here; the first one wins.
    """
    feed = iter(things)
    lock = threading.Lock()
    raised: list[BaseException] = []

    def turn() -> None:
        while stop.cause is None and not raised:
            try:
                with lock:
                    more = list(islice(feed, 1))
                if not more:
                    return
                work(more[0])
            except BaseException as error:
                raised.append(error)
                return

    crew = [threading.Thread(target=turn, name=f"account-{n}", daemon=True) for n in range(threads)]
    for member in crew:
        member.start()
    for member in crew:
        while member.is_alive():
            member.join(_GLANCE)
    if raised:
        raise raised[0]
