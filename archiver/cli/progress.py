"""Progress on stderr: a bar on a terminal, a line for each event with ``-v``, otherwise only loud notices.

The texts of events and failures are not yet safe for a terminal.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from archiver.cli import output
from archiver.cli.options import GlobalOptions, is_on_terminal
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


def describe_event(event: Event) -> str:
    """Return an event as one line."""
    match event:
        case RunStarted(run_id, command, accounts):
            return f"run {run_id} started: {command}, {pluralize(accounts, 'account')}"
        case AccountListed(user_pk, username, highlights, jobs):
            return f"{username or user_pk}: {pluralize(highlights, 'highlight')} listed, {jobs:,} to read"
        case AccountDone(target):
            return f"{target}: done"
        case UnitsSpent(units):
            return f"{pluralize(units, 'unit')} spent"
        case HighlightRead(pk, title, items, missing, is_paid):
            source = "" if is_paid else " from a stored answer"
            read, files = pluralize(items, "item"), pluralize(missing, "file")
            return f"highlight {pk} {title or ''}: {read} read{source}, {files} to download"
        case FileStored(owner, role, size, is_new):
            duplicate = "" if is_new else " (already stored)"
            return f"stored the {role} of {owner.subject} {owner.pk}, {format_size(size)}{duplicate}"
        case FailureRecorded(failure):
            return f"failed: {describe_failure(failure)}"
        case Notice(text):
            return text
        case Pause(seconds, why):
            return f"waiting {seconds:.0f} s: {why}"


def describe_failure(failure: Failure) -> str:
    """Return a failure as one line: what failed, the reason, the detail."""
    if failure.subject is Subject.TARGET and failure.reason is Reason.GONE:
        return f"{failure.subject_pk}: {failure.detail or 'no such account'}"
    role = "" if failure.role is None else f"{failure.role} of "
    detail = f" ({failure.detail})" if failure.detail else ""
    return f"{role}{failure.subject} {failure.subject_pk}: {failure.reason}{detail}"


_MAX_FAILURES = 5
"""How many failures of a run are printed above the bar; the rest are counted in it."""
BYTES = "bytes"
_REDRAWN = 0.1
"""Seconds between two drawings of a bar."""
_SETTLED = 2.0
"""Seconds after which a rate means something."""


class ProgressBar:
    """A line on stderr: how much is done, and what else fits the terminal. It disappears at its end.

    The counts come first. What does not fit is left out as a whole.
    """

    def __init__(self, total: int | None, unit: str) -> None:
        """``unit`` is a plural noun; BYTES are shown as a size."""
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own
        tqdm.set_lock(threading.RLock())  # its default lock needs system semaphores
        self._has_no_size = _has_no_size()
        columns, rows = (80, 24) if self._has_no_size else (None, None)
        self.total, self._unit = total, unit
        self._began_at = time.monotonic()
        self._drawn_at = self._began_at - 2 * _REDRAWN  # the first one at once
        self._bar: tqdm[NoReturn] = tqdm(
            total=total,
            leave=False,
            dynamic_ncols=columns is None,
            ncols=columns,
            nrows=rows,
            bar_format="{desc}",
        )

    def show(
        self, done: int, parts: Sequence[str] = (), *, share: float | None = None, must_draw: bool = False
    ) -> None:
        """Draw the bar, unless it was drawn a moment ago.

        ``share``: how much is done, as a fraction, if ``done`` misleads.
        """
        now = time.monotonic()
        if now - self._drawn_at < _REDRAWN and not must_draw:
            return
        self._drawn_at = now
        total = self.total if self.total and done <= self.total else None
        counts = "/".join(map(self._count, (done, total) if total else (done,)))
        of_all = counts if self._unit == BYTES else f"{counts} {self._unit}"
        share = share if share is not None else done / total if total else None
        left = _time_left(now - self._began_at, share)
        line = fit_parts((of_all, *([left] if left else []), *parts), self._columns() - 1)
        self._bar.n = done
        self._bar.set_description_str(line, refresh=False)
        self._bar.refresh()

    def _count(self, number: int) -> str:
        return format_size(number) if self._unit == BYTES else f"{number:,}"

    def rate(self, done: float) -> float | None:
        """Return how much was done in a second; None if it is too early to say."""
        seconds = time.monotonic() - self._began_at
        return done / seconds if seconds >= _SETTLED and done else None

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.write(line, file=self._bar.fp)

    def close(self) -> None:
        """Remove the bar."""
        with suppress(OSError, ValueError):
            self._bar.close()

    def _columns(self) -> int:
        try:
            return 80 if self._has_no_size else os.get_terminal_size(sys.stderr.fileno()).columns
        except (OSError, ValueError, AttributeError):
            return 80


def fit_parts(parts: Sequence[str], width: int) -> str:
    """Return the parts with commas between them, without the first that does not fit and what follows."""
    line = ""
    for part in parts:
        longer = f"{line}, {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def format_duration(seconds: float) -> str:
    """Return a rough duration: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds <= 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _time_left(seconds: float, share: float | None) -> str | None:
    if not share or share >= 1 or seconds < _SETTLED:
        return None
    return f"{format_duration(seconds / share - seconds)} left"


class BarObserver:
    """Shows a bar of accounts, with counts, and prints notices and failures above it. Thread-safe."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._lock = threading.Lock()
        self._bar: ProgressBar | None = None
        self._verbose = verbose
        self._files = self._bytes = self._highlights = self._units = self._done = self._failed = 0

    def __call__(self, event: Event) -> None:
        """Show an event. A terminal that cannot be written to is ignored."""
        with self._lock, suppress(OSError, ValueError):
            if isinstance(event, RunStarted):
                self._bar = ProgressBar(event.accounts, "accounts")
            if self._bar is not None:
                self._show(event, self._bar)

    def close(self) -> None:
        """Remove the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()

    def _show(self, event: Event, bar: ProgressBar) -> None:
        self._count(event)
        if self._must_print(event):
            bar.write(make_safe(describe_event(event)))
        rate = bar.rate(self._bytes)
        speed = f", {format_size(round(rate))}/s" if rate is not None else ""
        parts = (
            *([f"{self._failed:,} failed"] if self._failed else []),
            pluralize(self._units, "unit"),
            pluralize(self._files, "file"),
            f"{format_size(self._bytes)}{speed}",
            f"{pluralize(self._highlights, 'highlight')} read",
        )
        bar.show(self._done, parts, must_draw=isinstance(event, AccountDone))

    def _must_print(self, event: Event) -> bool:
        if isinstance(event, AccountListed):
            return self._verbose
        if isinstance(event, FailureRecorded) and not _repeats_notice(event):
            return self._verbose or self._failed <= _MAX_FAILURES
        return isinstance(event, Notice | Pause)

    def _count(self, event: Event) -> None:
        match event:
            case FileStored(size=size):
                self._files += 1
                self._bytes += size
            case HighlightRead():
                self._highlights += 1
            case UnitsSpent(units=units):
                self._units += units
            case AccountDone():
                self._done += 1
            case FailureRecorded() if not _repeats_notice(event):
                self._failed += 1


@contextmanager
def show_events(options: GlobalOptions) -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows an event, as suits the terminal and the options -q and -v. Thread-safe."""
    if is_on_terminal() and not options.quiet:
        observer = BarObserver(verbose=options.verbose)
        try:
            yield observer
        finally:
            observer.close()
        return
    describe = _describe_verbosely if options.verbose else partial(_describe_loud_notice, options.command)

    def show_line(event: Event) -> None:
        if not options.quiet and (line := describe(event)) is not None:
            output.print_messages(line)

    yield show_line


@contextmanager
def show_steps(
    options: GlobalOptions, unit: str, *, share: Callable[[], float | None] = lambda: None
) -> Iterator[Callable[..., None]]:
    """Yield a function that shows how much is done, with the time left, on a terminal and without -q.

    Its arguments are the number done, the total or None, and a text to show beside them. ``share`` returns
    how much is done, if the number misleads.
    """
    is_shown = is_on_terminal() and not options.quiet
    bar: ProgressBar | None = None

    def show(done: int, total: int | None, text: str = "") -> None:
        nonlocal bar
        if not is_shown:
            return
        with suppress(OSError, ValueError):
            if bar is None:
                bar = ProgressBar(total, unit)
            bar.total = total
            rate = bar.rate(done)
            speed = ""
            if rate is not None and rate >= 1:
                speed = f"{format_size(round(rate))}/s" if unit == BYTES else f"{rate:,.0f} {unit}/s"
            bar.show(done, [part for part in (text, speed) if part], share=share())

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def show_blobs(
    options: GlobalOptions, check: Callable[[], None], *, total: int | None = None, size: int | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how much ``verify`` has read. It calls ``check`` each time.

    ``total``: how many blobs there are; ``size``: how many bytes will be read.
    """
    read, began_at = 0, time.monotonic()
    with show_steps(options, "blobs", share=lambda: read / size if size else None) as show:

        def count(checked: int, bytes_read: int) -> None:
            nonlocal read
            check()
            read = bytes_read
            seconds = time.monotonic() - began_at
            speed = f" ({format_size(round(read / seconds))}/s)" if read and seconds >= _SETTLED else ""
            show(checked, total, f"{format_size(bytes_read)} read{speed}" if bytes_read else "")

        yield count


def _has_no_size() -> bool:
    """Return whether the terminal on stderr claims to have no columns: tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError, AttributeError):
        return False


def _describe_verbosely(event: Event) -> str | None:
    is_hidden = isinstance(event, FileStored | UnitsSpent) or _repeats_notice(event)
    return None if is_hidden else describe_event(event)


def _describe_loud_notice(command: str, event: Event) -> str | None:
    is_loud = isinstance(event, Notice) and event.is_loud
    return f"archiver: {command}: {describe_event(event)}" if is_loud else None


def _repeats_notice(event: Event) -> bool:
    """Return whether an event repeats what a Notice says: that a target is private or gone."""
    return (
        isinstance(event, FailureRecorded)
        and event.failure.subject is Subject.TARGET
        and event.failure.reason in (Reason.GONE, Reason.PRIVATE)
    )
