"""Bounded threads and the stop flag; nothing here is about archives."""

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

_CHECK_SECONDS = 0.1
"""Seconds between two checks of the main thread; Python runs pending signal handlers there."""


class StopFlag:
    """Set once, with the error that says why; every worker sees it at its next check."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._cause: ArchiverError | None = None
        self._bug: BaseException | None = None

    @property
    def bug(self) -> BaseException | None:
        """Return the unexpected exception that ended the work, if any."""
        return self._bug

    @property
    def cause(self) -> ArchiverError | None:
        """Return why the work stops; None while it goes on."""
        return self._cause

    def stop(self, cause: ArchiverError) -> None:
        """Ask every worker to end; the first cause counts.

        Safe in a signal handler: it takes no lock that a worker may hold.
        """
        if self._cause is None:
            self._cause = cause
        self._event.set()

    def fail(self, error: BaseException) -> None:
        """Stop because of an exception; one that is not an ArchiverError is a bug."""
        if isinstance(error, ArchiverError):
            self.stop(error)
        else:
            self._bug = self._bug or error
            self.stop(ArchiverError(f"a bug: {error!r}"))

    @contextmanager
    def stop_on_error(self) -> Iterator[None]:
        """Stop every worker at once if the block raises; the exception is raised again."""
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
    """A bounded thread pool. A job that raises stops all work at once, not only when its result is read.

    ``is_harmless`` returns whether an error concerns only its own job.
    """

    def __init__(
        self, threads: int, name: str, stop: StopFlag, *, is_harmless: Callable[[BaseException], bool]
    ) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._stop = stop
        self._is_harmless = is_harmless

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a job, as the base class does."""

        def job() -> T:
            try:
                return fn(*args, **kwargs)
            except BaseException as error:
                if not self._is_harmless(error):
                    self._stop.fail(error)
                raise

        return super().submit(job)


def for_each(
    things: Iterable[T], work: Callable[[T], None], *, threads: int, most: int, stop: StopFlag
) -> None:
    """Call ``work`` for each of ``things``, on several threads.

    It begins with ``threads``. Whenever no call has ended for a tenth of a second, one more is started, up
    to ``most``, so that slow answers do not lower the number of calls per second. (With ``most`` from the
    start, as many calls would be under way when the first answer says that there must be no more.)

    Returns when all are done or, once ``stop`` is set, when the running calls have ended. Things are taken
    one by one, so memory does not grow with their number. The first exception, of ``work`` or of the
    iterator, stops the threads and is raised.
    """
    feed = iter(things)
    lock = threading.Lock()
    raised: list[BaseException] = []
    ended = 0

    def turn() -> None:
        nonlocal ended
        while stop.cause is None and not raised:
            try:
                with lock:
                    more = list(islice(feed, 1))
                if not more:
                    return
                work(more[0])
                with lock:
                    ended += 1
            except BaseException as error:
                raised.append(error)
                return

    crew: list[threading.Thread] = []

    def start() -> None:
        crew.append(threading.Thread(target=turn, name=f"account-{len(crew)}", daemon=True))
        crew[-1].start()

    for _ in range(threads):
        start()
    while working := [member for member in crew if member.is_alive()]:
        before = ended
        working[0].join(_CHECK_SECONDS)
        if ended == before and len(crew) < most and working[0].is_alive():
            start()
    if raised:
        raise raised[0]
