"""Observers of a run for people: a bar on a terminal, plain lines under ``-v``, nothing otherwise."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from archiver.cli import output
from archiver.cli.event_text import describe_event
from archiver.cli.options import Given, on_terminal
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.events import (
    AccountDone,
    AccountListed,
    Event,
    FailureRecorded,
    FileStored,
    HighlightRead,
    Notice,
    Pause,
    RunStarted,
    UnitsSpent,
)
from archiver.model.identity import Subject
from archiver.text_format import format_size, make_safe, pluralize

if TYPE_CHECKING:
    from tqdm import tqdm


def make_bar(total: int | None, unit: str) -> tqdm[NoReturn]:
    """A tqdm bar on stderr that leaves nothing behind: the counts first, since what does not fit a narrow terminal is cut off.

    No rate and no time left: accounts are too different from each other for either to be true.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    tqdm.set_lock(threading.RLock())  # its own choice reaches for semaphores of the system
    columns, rows = (80, 24) if _sizeless() else (None, None)
    of_all = "/{total_fmt}{unit}{postfix} |{bar}|" if total else "{unit}{postfix}"
    return tqdm(
        total=total,
        unit=unit,
        leave=False,
        dynamic_ncols=columns is None,
        ncols=columns,
        nrows=rows,
        bar_format="{n_fmt}" + of_all,
    )


def _sizeless() -> bool:
    """Whether the terminal on stderr says that it has no columns, as some do: tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError, AttributeError):
        return False


class BarObserver:
    """Accounts done of all, with the counts so far; what a person wants to know is written above it. Thread-safe."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._lock = threading.Lock()
        self._bar: tqdm[NoReturn] | None = None
        self._verbose = verbose
        self._files = self._bytes = self._read = self._units = 0

    def __call__(self, event: Event) -> None:
        with self._lock, suppress(OSError, ValueError):  # a terminal that is gone is no reason to stop
            self._show(event)

    def _show(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._bar = make_bar(event.accounts, " accounts")
        if self._bar is None:
            return
        match event:
            case FileStored(size=size):
                self._files += 1
                self._bytes += size
            case HighlightRead():
                self._read += 1
            case UnitsSpent(units=units):
                self._units += units
            case AccountDone():
                self._bar.n += 1
            case FailureRecorded(failure) if _is_noted(failure):
                pass
            case FailureRecorded() | Notice() | Pause():
                self._bar.write(make_safe(describe_event(event)), file=self._bar.fp)
            case AccountListed() if self._verbose:
                self._bar.write(make_safe(describe_event(event)), file=self._bar.fp)
        self._bar.set_postfix_str(
            f"{pluralize(self._units, 'unit')}, {pluralize(self._files, 'file')}, {format_size(self._bytes)}, "
            f"{pluralize(self._read, 'highlight')} read",
            refresh=False,
        )
        if isinstance(event, AccountDone):
            self._bar.refresh()
        else:
            self._bar.update(0)  # drawn a few times a second, however many events there are

    def close(self) -> None:
        """Take the bar off the terminal."""
        with self._lock, suppress(OSError, ValueError):
            if self._bar is not None:
                self._bar.close()


def _is_noted(failure: Failure) -> bool:
    """Whether a Notice says the same: that a target cannot be seen is told once."""
    return failure.subject is Subject.TARGET and failure.reason in (Reason.GONE, Reason.PRIVATE)


class LineObserver:
    """A line for each account, highlight and trouble, under ``-v`` where there is no terminal. Thread-safe."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileStored | UnitsSpent) or (
            isinstance(event, FailureRecorded) and _is_noted(event.failure)
        ):
            return
        output.print_messages(describe_event(event))

    def close(self) -> None:
        """Nothing to do."""


class NoticeObserver:
    """Under cron: only news that must be told even where nobody reads along."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice) and event.loud:
            output.print_messages(f"archiver: {self._command}: {event.text}")

    def close(self) -> None:
        """Nothing to do."""


class SilentObserver:
    """Under ``-q``."""

    def __call__(self, event: Event) -> None:
        return

    def close(self) -> None:
        """Nothing to do."""


def make_observer(given: Given) -> BarObserver | LineObserver | NoticeObserver | SilentObserver:
    """The observer for whoever reads along."""
    if given.quiet:
        return SilentObserver()
    if on_terminal():
        return BarObserver(verbose=given.verbose)
    return LineObserver() if given.verbose else NoticeObserver(given.command)


def _take_off(bar: tqdm[NoReturn] | None) -> None:
    """Take a bar off the terminal, which may be gone."""
    if bar is not None:
        with suppress(OSError, ValueError):
            bar.close()


class Counting(AbstractContextManager[Callable[[int, int], None]]):
    """Blobs and bytes of ``verify`` as they are counted: a bar on a terminal, else nothing."""

    def __init__(self, given: Given, check: Callable[[], None]) -> None:
        self._bar = make_bar(None, " blobs") if on_terminal() and not given.quiet else None
        self._check = check

    def __enter__(self) -> Callable[[int, int], None]:
        return self._count

    def _count(self, checked: int, bytes_read: int) -> None:
        self._check()
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.set_postfix_str(f"{format_size(bytes_read)} read", refresh=False)
                self._bar.update(checked - self._bar.n)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _take_off(self._bar)


class Steps(AbstractContextManager[Callable[[int, int | None], None]]):
    """What is done of all there is to do, where that is known: a bar on a terminal, else nothing."""

    def __init__(self, given: Given, unit: str) -> None:
        self._shown = on_terminal() and not given.quiet
        self._unit = unit
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Callable[[int, int | None], None]:
        return self._step

    def _step(self, done: int, of: int | None) -> None:
        with suppress(OSError, ValueError):
            if self._shown and self._bar is None:
                self._bar = make_bar(of, self._unit)
            if self._bar is not None:
                self._bar.update(done - self._bar.n)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _take_off(self._bar)
