"""SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, the second ends at once; the process then dies by the signal itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from archiver.errors import Stopped
from archiver.runner.workers import StopFlag

SIGINT, SIGPIPE = signal.SIGINT, signal.SIGPIPE
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TWINS = 0.02
"""Seconds within which a second signal is the same one: a terminal and a wrapper such as ``uv run`` both deliver it."""
_NOTICE = b"\narchiver: finishing what is in flight; again to end now\n"


def die(signum: int) -> NoReturn:
    """End by the signal itself, so that shells and service managers see how (128 + N in ``$?``)."""
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)  # only if the signal is one whose default is not to end


@contextmanager
def stop_on_signal(stop: StopFlag, *, quiet: bool, hint: str = "") -> Iterator[None]:
    """While it lasts, the first signal sets the flag with Stopped (and this ``hint``), a second one ends the process at once.

    A signal that was ignored when the program began (``nohup``, a shell's background job) stays ignored. For the main thread.
    """
    first_at: float | None = None

    def asked(signum: int, frame: FrameType | None) -> None:
        nonlocal first_at
        now = time.monotonic()
        if first_at is None:
            first_at = now
            stop.stop(Stopped(signum, hint))
            if not quiet:
                with suppress(OSError):
                    os.write(2, _NOTICE)  # not sys.stderr: its buffer may be in use at this very moment
        elif now - first_at > _TWINS:
            die(signum)

    before = {s: signal.getsignal(s) for s in _ASKING}
    heard = [s for s in _ASKING if before[s] is not signal.SIG_IGN]
    for s in heard:
        signal.signal(s, asked)
    try:
        yield
    finally:
        for s in heard:
            signal.signal(s, before[s])


@contextmanager
def die_on_interrupt() -> Iterator[None]:
    """While it lasts SIGINT ends the process at once, for work that leaves nothing behind.

    SQLite's progress handler swallows KeyboardInterrupt: the query would seem to have failed by itself.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
