"""A run that may end early, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.model.events import Event
from archiver.runner.context import RunOptions
from archiver.runner.tally import Summary
from archiver.work import StopFlag
from tests.support.archive_harness import ArchiveHarness


class Bug(ArithmeticError):
    """What an observer raises that nobody expects."""


def run(
    harness: ArchiveHarness,
    targets: Sequence[str],
    observe: Callable[[Event], None],
    *,
    stop: StopFlag | None = None,
    max_units: int | None = None,
) -> Summary | None:
    """Keep these targets; None where the observer's Bug ended the run."""
    try:
        create_for_run(harness.config)
        with Archive(harness.config) as archive:
            return archive.run(
                targets,
                options=RunOptions(),
                max_units=max_units,
                observe=observe,
                stop=stop,
                clock=lambda: harness.now,
            )
    except Bug:
        return None


@contextmanager
def no_backoff() -> Iterator[None]:
    """What waits before it tries again does not wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archiver.retry.backoff", lambda attempt, random, base=1.0: 0.0)
        yield
