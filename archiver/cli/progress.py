"""Progress on stderr: a bar on a terminal, a line for each event with ``-v``, otherwise only loud notices."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from archiver.cli import output
from archiver.cli.event_text import describe_event
from archiver.cli.options import GlobalOptions, is_on_terminal
from archiver.errors import Reason
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


class BarObserver:
    """Shows a bar of accounts, with counts, and prints notices and failures above it. Thread-safe."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._lock = threading.Lock()
        self._bar: tqdm[NoReturn] | None = None
        self._verbose = verbose
        self._files = self._bytes = self._highlights = self._units = 0

    def __call__(self, event: Event) -> None:
        """Show an event. A terminal that cannot be written to is ignored."""
        with self._lock, suppress(OSError, ValueError):
            if isinstance(event, RunStarted):
                self._bar = _make_bar(event.accounts, " accounts")
            if self._bar is not None:
                self._show(event, self._bar)

    def close(self) -> None:
        """Remove the bar."""
        with self._lock:
            _close_bar(self._bar)

    def _show(self, event: Event, bar: tqdm[NoReturn]) -> None:
        self._count(event)
        is_listing = isinstance(event, AccountListed) and self._verbose
        is_message = isinstance(event, Notice | Pause | FailureRecorded) and not _repeats_notice(event)
        if is_listing or is_message:
            bar.write(make_safe(describe_event(event)), file=bar.fp)
        units, files = pluralize(self._units, "unit"), pluralize(self._files, "file")
        highlights = f"{pluralize(self._highlights, 'highlight')} read"
        bar.set_postfix_str(f"{units}, {files}, {format_size(self._bytes)}, {highlights}", refresh=False)
        if isinstance(event, AccountDone):
            bar.n += 1
            bar.refresh()
        else:
            bar.update(0)  # drawn a few times a second, however many events there are

    def _count(self, event: Event) -> None:
        match event:
            case FileStored(size=size):
                self._files += 1
                self._bytes += size
            case HighlightRead():
                self._highlights += 1
            case UnitsSpent(units=units):
                self._units += units


class LineObserver:
    """Prints the line that ``describe`` returns for an event; nothing if that is None. Thread-safe."""

    def __init__(self, describe: Callable[[Event], str | None]) -> None:
        self._describe = describe

    def __call__(self, event: Event) -> None:
        """Print the line of an event."""
        line = self._describe(event)
        if line is not None:
            output.print_messages(line)

    def close(self) -> None:
        """Do nothing."""


def make_observer(options: GlobalOptions) -> BarObserver | LineObserver:
    """Return the observer that suits the terminal and the options -q and -v."""
    if options.quiet:
        return LineObserver(lambda event: None)
    if is_on_terminal():
        return BarObserver(verbose=options.verbose)
    if options.verbose:
        return LineObserver(_describe_verbosely)
    return LineObserver(partial(_describe_loud_notice, command=options.command))


@contextmanager
def show_steps(options: GlobalOptions, unit: str) -> Iterator[Callable[..., None]]:
    """Yield a function that shows how much is done, on a terminal and without -q.

    Its arguments are the number done, the total or None, and a text to show beside them.
    """
    is_shown = is_on_terminal() and not options.quiet
    bar: tqdm[NoReturn] | None = None

    def show(done: int, total: int | None, text: str = "") -> None:
        nonlocal bar
        with suppress(OSError, ValueError):
            if is_shown and bar is None:
                bar = _make_bar(total, unit)
            if bar is not None:
                bar.set_postfix_str(text, refresh=False)
                bar.update(done - bar.n)

    try:
        yield show
    finally:
        _close_bar(bar)


@contextmanager
def show_blobs(options: GlobalOptions, check: Callable[[], None]) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how much ``verify`` has read. It calls ``check`` each time."""
    with show_steps(options, " blobs") as show:

        def count(checked: int, bytes_read: int) -> None:
            check()
            show(checked, None, f"{format_size(bytes_read)} read")

        yield count


def _make_bar(total: int | None, unit: str) -> tqdm[NoReturn]:
    """Return a tqdm bar on stderr that disappears at its end.

    The counts come first, since a narrow terminal cuts off the rest. It shows no rate and no remaining time,
    because accounts differ too much.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    tqdm.set_lock(threading.RLock())  # its default lock needs system semaphores
    columns, rows = (80, 24) if _has_no_size() else (None, None)
    after_count = "/{total_fmt}{unit}{postfix} |{bar}|" if total else "{unit}{postfix}"
    return tqdm(
        total=total,
        unit=unit,
        leave=False,
        dynamic_ncols=columns is None,
        ncols=columns,
        nrows=rows,
        bar_format="{n_fmt}" + after_count,
    )


def _close_bar(bar: tqdm[NoReturn] | None) -> None:
    with suppress(OSError, ValueError):
        if bar is not None:
            bar.close()


def _has_no_size() -> bool:
    """Return whether the terminal on stderr claims to have no columns: tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError, AttributeError):
        return False


def _describe_verbosely(event: Event) -> str | None:
    is_hidden = isinstance(event, FileStored | UnitsSpent) or _repeats_notice(event)
    return None if is_hidden else describe_event(event)


def _describe_loud_notice(event: Event, command: str) -> str | None:
    is_loud = isinstance(event, Notice) and event.is_loud
    return f"archiver: {command}: {describe_event(event)}" if is_loud else None


def _repeats_notice(event: Event) -> bool:
    """Return whether an event repeats what a Notice says: that a target is private or gone."""
    return (
        isinstance(event, FailureRecorded)
        and event.failure.subject is Subject.TARGET
        and event.failure.reason in (Reason.GONE, Reason.PRIVATE)
    )
