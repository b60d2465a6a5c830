"""SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, a second one ends the process at once.

The process then dies of the signal itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from archiver.errors import StoppedBySignal

if TYPE_CHECKING:
    from archiver.work import StopFlag

SIGINT, SIGPIPE = signal.SIGINT, signal.SIGPIPE
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SIGNAL = 0.02
"""Seconds within which a second signal counts as the same one: a terminal and ``uv run`` may both send it."""
_NOTICE = b"\narchiver: finishing what is in progress; send the signal again to end now\n"

_ENDED = b"\narchiver: ended at once; what was recorded stays, and the next run continues\n"


def die(signum: int) -> NoReturn:
    """End the process by the signal itself, so that a shell or service manager sees it (``$?``: 128 + N)."""
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)  # reached only if the signal does not end a process by default


@contextmanager
def stop_on_signal(stop: StopFlag, *, quiet: bool, hint: str = "") -> Iterator[None]:
    """In the block, the first signal sets the flag to StoppedBySignal, with ``hint``; a second one kills.

    A signal that was ignored when the program began (``nohup``, a background job) stays ignored. Must be
    called in the main thread.
    """
    first_at: float | None = None

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal first_at
        now = time.monotonic()
        if first_at is None:
            first_at = now
            stop.stop(StoppedBySignal(signum, hint))
            if not quiet:
                with suppress(OSError):
                    os.write(2, _NOTICE)  # sys.stderr may be in the middle of a write
        elif now - first_at > _SAME_SIGNAL:
            if not quiet:
                with suppress(OSError):
                    os.write(2, _ENDED)
            die(signum)

    previous = {s: signal.getsignal(s) for s in _STOP_SIGNALS}
    handled = [s for s in _STOP_SIGNALS if previous[s] is not signal.SIG_IGN]
    for s in handled:
        signal.signal(s, handle)
    try:
        yield
    finally:
        for s in handled:
            signal.signal(s, previous[s])


@contextmanager
def die_on_interrupt() -> Iterator[None]:
    """In the block, let SIGINT end the process at once, for work that leaves nothing behind.

    SQLite's progress handler swallows KeyboardInterrupt, so that the query would seem to have failed.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
