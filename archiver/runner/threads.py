"""Bounded threads; nothing here is about archives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Generic, ParamSpec, TypeVar

from archiver.errors import StoppedBySignal
from archiver.work import StopFlag

P = ParamSpec("P")
T = TypeVar("T")

_CHECK_SECONDS = 0.1
"""Seconds between two checks of the main thread; Python runs pending signal handlers there."""
_SECONDS_TO_END = 1.0


class OneAtATime:
    """Lets threads work on the same thing one after the other."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._under_way: set[Hashable] = set()

    @contextmanager
    def work_on(self, thing: Hashable) -> Iterator[None]:
        """Wait until no other thread works on the thing, then work on it."""
        with self._condition:
            self._condition.wait_for(lambda: thing not in self._under_way)
            self._under_way.add(thing)
        try:
            yield
        finally:
            with self._condition:
                self._under_way.discard(thing)
                self._condition.notify_all()


def run_beside(work: Callable[[], T], stop: StopFlag, *, can_leave: Callable[[], bool]) -> T:
    """Call ``work`` in a thread of its own, and return what it returns, or raise what it raises.

    The main thread only waits, so that a signal is handled at once. After it, ``work`` has a second to end;
    a request that gets no answer may take minutes, so then the StoppedBySignal is raised, and the thread is
    left behind: it ends with the process, or at its next look at ``stop``. Until ``can_leave`` is true, it is
    waited for all the same.
    """
    ended: Future[T] = Future()

    def call() -> None:
        try:
            ended.set_result(work())
        except BaseException as error:
            ended.set_exception(error)

    thread = threading.Thread(target=call, name="beside", daemon=True)
    thread.start()
    left = _SECONDS_TO_END
    with stop.stop_on_error():  # KeyboardInterrupt, in a program without a handler
        while thread.is_alive() and not (left <= 0 and can_leave()):
            thread.join(_CHECK_SECONDS)
            if isinstance(stop.cause, StoppedBySignal):
                left -= _CHECK_SECONDS
    if isinstance(stop.cause, StoppedBySignal) and not (ended.done() and ended.exception() is None):
        raise stop.cause
    return ended.result()


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
    things: Iterable[T], work: Callable[[T], object], *, threads: int, most: int, stop: StopFlag
) -> None:
    """Call ``work`` for each of ``things``, on several threads.

    It begins with ``threads``. Once a call has ended, one more is started whenever no call ends for a tenth
    of a second, up to ``most``, so that slow answers do not lower the number of calls per second. (With
    ``most`` from the start, as many calls would be under way when the first answer says that there must be no
    more.)

    Returns when all are done or, once ``stop`` is set, when the running calls have ended. Things are taken
    one by one, so memory does not grow with their number. The first exception, of ``work`` or of the
    iterator, stops the threads and is raised.
    """
    crew = _Crew(iter(things), work, stop)
    try:
        for _ in range(threads):
            crew.start()
    except RuntimeError as error:  # the system has no more threads: let those that run end first
        crew.raised.append(error)
    while working := [thread for thread in crew.threads if thread.is_alive()]:
        before = crew.ended
        working[0].join(_CHECK_SECONDS)
        is_slow = 0 < crew.ended == before and working[0].is_alive()
        if is_slow and len(crew.threads) < most and crew.has_work:
            with suppress(RuntimeError):  # without this thread it goes on as before
                crew.start()
    if crew.raised:
        raise crew.raised[0]


class _Crew(Generic[T]):
    """The threads of ``for_each``. ``ended``: the calls that have ended. ``raised``: what they raised."""

    def __init__(self, feed: Iterator[T], work: Callable[[T], object], stop: StopFlag) -> None:
        self._feed, self._work, self._stop = feed, work, stop
        self._lock = threading.Lock()
        self._is_exhausted = False
        self.threads: list[threading.Thread] = []
        self.ended = 0
        self.raised: list[BaseException] = []

    @property
    def has_work(self) -> bool:
        """Whether another thing may be taken."""
        return not (self._is_exhausted or self.raised or self._stop.cause)

    def start(self) -> None:
        """Start another thread. Raises RuntimeError if the system has no more."""
        thread = threading.Thread(target=self._take_things, name=f"account-{len(self.threads)}", daemon=True)
        thread.start()
        self.threads.append(thread)

    def _take_things(self) -> None:
        while self.has_work:
            try:
                with self._lock:
                    more = list(islice(self._feed, 1))
                if not more:
                    self._is_exhausted = True
                    return
                self._work(more[0])
                with self._lock:
                    self.ended += 1
            except BaseException as error:
                self.raised.append(error)
