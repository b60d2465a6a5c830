"""A run in a process of its own that is killed at a chosen moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from archiver.archive.archive import Archive
from archiver.config import load
from archiver.model.events import Event
from archiver.model.identity import utcnow
from archiver.runner.context import RunOptions
from archiver.store import disk
from tests.support import ROOT


@dataclass(frozen=True, slots=True)
class KillMoment:
    """The ``number``-th event of a run, or the time before or after a write to the journal (see ``PLACES``).

    ``gather``: for how many seconds the journal gathers entries.
    """

    place: str
    number: int
    gather: float


PLACES = ("event", "before a write", "after a write")


def run_until_killed(
    variables: Mapping[str, str], targets: Sequence[str], moment: KillMoment, later: timedelta
) -> bool:
    """Run on an archive that exists; ``later``: what its clock adds. Return whether the kill came.

    A run that ends before its moment ends by itself.
    """
    order = json.dumps([dict(variables), list(targets), asdict(moment), later.total_seconds()])
    ended = subprocess.run(
        [sys.executable, "-P", "-m", __name__, order],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def _run(variables: dict[str, str], targets: list[str], moment: KillMoment, seconds: float) -> None:
    counting, count = threading.Lock(), 0

    def pass_moment() -> None:
        nonlocal count
        with counting:
            count += 1
            if count == moment.number:
                os.kill(os.getpid(), signal.SIGKILL)

    def observe(event: Event) -> None:
        if moment.place == "event":
            pass_moment()

    append = disk.Appender.append

    def write(appender: disk.Appender, records: bytes, series: str = "") -> tuple[str, int]:
        is_journal = not series
        if moment.place == "before a write" and is_journal:
            pass_moment()
        place = append(appender, records, series)
        if moment.place == "after a write" and is_journal:
            pass_moment()
        return place

    def clock() -> datetime:
        return utcnow() + timedelta(seconds=seconds)

    disk.Objects.gather_seconds = moment.gather
    disk.Appender.append = write  # type: ignore[method-assign, assignment]
    with Archive(load(None, variables)) as archive:
        archive.run(targets, options=RunOptions(), observe=observe, clock=clock)


if __name__ == "__main__":
    given: Any = json.loads(sys.argv[1])
    _run(given[0], given[1], KillMoment(**given[2]), given[3])
