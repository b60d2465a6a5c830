"""Bounded threads and the stop flag. Knows no word of the domain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import ParamSpec, TypeVar

from archiver.errors import ArchiverError

P = ParamSpec("P")
T = TypeVar("T")

_GLANCE = 0.2
"""Seconds between two looks of the main thread, in which Python runs pending signal handlers."""


class StopFlag:
    """Set once, with the error that says why; seen by every worker at its next check."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._cause: ArchiverError | None = None
        self._bug: BaseException | None = None

    @property
    def bug(self) -> BaseException | None:
        """The exception that nobody expected, if it was one that ended the work."""
        return self._bug

    @property
    def cause(self) -> ArchiverError | None:
        """Why the work stops, or None while it does not."""
        return self._cause

    def stop(self, cause: ArchiverError) -> None:
        """Ask every worker to end; the first cause stands. Safe in a signal handler: it takes no lock that a worker may hold."""
        if self._cause is None:
            self._cause = cause
        self._event.set()

    def fail(self, error: BaseException) -> None:
        """As ``stop``, by whatever was raised; what is no ArchiverError is a bug."""
        if isinstance(error, ArchiverError):
            self.stop(error)
        else:
            self._bug = self._bug or error
            self.stop(ArchiverError(f"a bug: {error!r}"))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """What is raised in the block ends the work of every worker at once, and is raised on."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    def check(self) -> None:
        """Raise the cause if there is one."""
        if self._cause is not None:
            raise self._cause

    def wait(self, seconds: float) -> None:
        """Sleep, and raise the cause as soon as there is one."""
        if seconds > 0:
            self._event.wait(seconds)
        self.check()


class Pool(ThreadPoolExecutor):
    """Bounded threads. A job that raises ends the work of all, at once and not only when somebody asks for its result.

    ``harmless`` says of an error that it concerns nobody else.
    """

    def __init__(
        self, threads: int, name: str, stop: StopFlag, *, harmless: Callable[[BaseException], bool]
    ) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._stop = stop
        self._harmless = harmless

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As its base does."""

        def job() -> T:
            try:
                return fn(*args, **kwargs)
            except BaseException as error:
                if not self._harmless(error):
                    self._stop.fail(error)
                raise

        return super().submit(job)


def for_each(things: Iterable[T], work: Callable[[T], None], *, threads: int, stop: StopFlag) -> None:
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
