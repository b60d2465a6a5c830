"""Archives whose runs workers share: the archive, and workers in processes or threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from archiver.archive import shared_run, worker
from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.catalog import Catalog
from archiver.cluster import shared_visits
from archiver.config import load
from archiver.errors import ArchiveLocked, ArchiverError, StoppedBySignal
from archiver.model.events import Event, Notice, Pause
from archiver.model.identity import utcnow
from archiver.work import StopFlag
from tests.support import ROOT
from tests.support.archive_harness import ArchiveHarness

LEASE = 10
"""Seconds; the shortest lease that a configuration may have."""


@dataclass
class ClusterHarness(ArchiveHarness):
    """An archive whose runs workers share. The clock of the workers is that of the harness.

    ``objects``: the directory with the objects of the archive, if it is in a bucket.
    """

    objects: Path | None = None

    def blob_file(self, digest: str) -> Path:
        """Return the file that must hold a blob."""
        return (self.objects or self.root) / "blobs" / digest[:2] / digest

    @property
    def variables(self) -> dict[str, str]:
        (self.root.parent / "later").write_text(str(self.later.total_seconds()))
        return super().variables | {
            "ARCHIVER_CLUSTER_ENABLED": "true",
            "ARCHIVER_CLUSTER_LEASE": str(LEASE),
        }


@dataclass
class WorkerProcess:
    """A process that works like ``archiver worker``."""

    child: subprocess.Popen[str]
    log: Path

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.child.send_signal(number)

    def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        self.child.kill()
        self.child.wait(30)

    def says(self, text: str) -> bool:
        """Return whether the process has printed this text."""
        return text in self.log.read_text()


@dataclass
class WorkerProcesses:
    """Starts workers for a harness. ``own_directories``: each as if on a machine of its own."""

    harness: ArchiveHarness
    folder: Path
    own_directories: bool = True
    running: list[WorkerProcess] = field(default_factory=list)
    _started: int = 0

    def start(self, **changed: str) -> WorkerProcess:
        """Start one worker. ``changed``: variables of its environment."""
        self._started += 1
        variables = self.harness.variables | changed
        if self.own_directories:
            variables["ARCHIVER_ARCHIVE"] = str(self.folder / f"machine-{self._started}")
        log = self.folder / f"worker-{self._started}.log"
        order = json.dumps([variables, str(self.harness.root.parent / "later")])
        with log.open("w") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, order],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started = WorkerProcess(child, log)
        self.running.append(started)
        return started

    def stop(self) -> None:
        """Kill all workers."""
        for each in self.running:
            with suppress(ProcessLookupError):
                each.child.send_signal(signal.SIGCONT)
            each.kill()


class WorkerThread(threading.Thread):
    """A worker in this process. ``error``: what ended it."""

    def __init__(self, harness: ArchiveHarness, directory: Path | None, **changed: str) -> None:
        super().__init__(daemon=True)
        variables = harness.variables | changed
        if directory is not None:
            variables["ARCHIVER_ARCHIVE"] = str(directory)
        self._config, self._harness = load(None, variables), harness
        self.stop_flag = StopFlag()
        self.events: list[Event] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with Archive(self._config) as archive:
                archive.work(observe=self.events.append, stop=self.stop_flag, clock=lambda: self._harness.now)
        except BaseException as error:
            self.error = error


@contextmanager
def worker_threads(
    harness: ArchiveHarness, count: int = 2, *, directories: Path | None = None, **changed: str
) -> Iterator[list[WorkerThread]]:
    """Yield so many workers in threads, which are stopped at the end.

    ``directories``: a directory for their own directories; None: they use that of the harness.
    ``changed``: variables of their environment.
    """
    create_for_run(harness.config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_run, "_GIVE_UP_AFTER", 20.0)
        patch.setattr(worker, "_LOOK_SECONDS", 0.05)
        patch.setattr(shared_visits, "_CHECK_SECONDS", 0.05)
        patch.setattr(shared_run, "_LOOK_SECONDS", 0.05)
        places = [directories and directories / f"machine-{number}" for number in range(count)]
        workers = [WorkerThread(harness, place, **changed) for place in places]
        try:
            for each in workers:
                each.start()
            yield workers
        finally:
            for each in workers:
                each.stop_flag.stop(StoppedBySignal(signal.SIGTERM))
            for each in workers:
                each.join(60)
                assert not each.is_alive()


@contextmanager
def worker_processes(
    harness: ArchiveHarness, folder: Path, count: int, *, own_directories: bool = True
) -> Iterator[WorkerProcesses]:
    """Yield so many running workers, which are killed at the end."""
    folder.mkdir(exist_ok=True)
    workers = WorkerProcesses(harness, folder, own_directories)
    try:
        for _ in range(count):
            workers.start()
        yield workers
    finally:
        workers.stop()


def finish_after_kills(harness: ArchiveHarness) -> None:
    """Do what the next command does with what killed workers have left, and what a rebuild does too.

    What they had committed comes into the journal, and answers that they had stored into the ledger.
    """
    harness.reread()


def wait_until(is_so: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


def join_run(database: str | None, worker_id: str) -> Catalog:
    """Join a run as a worker, once the process that began it no longer writes alone."""
    assert database is not None
    joined: list[Catalog] = []

    def join() -> bool:
        with suppress(ArchiveLocked):
            joined.append(Catalog.join(database, worker_id))
        return bool(joined)

    wait_until(join)
    return joined[0]


def _work(variables: dict[str, str], later: Path) -> None:
    def clock() -> datetime:
        return utcnow() + timedelta(seconds=float(later.read_text() or 0))

    def observe(event: Event) -> None:
        if isinstance(event, Notice | Pause):
            print(event, flush=True)

    try:
        with Archive(load(None, variables)) as archive:
            archive.work(observe=observe, clock=clock)
    except ArchiverError as error:
        print(f"ended with {error.exit_code}: {error}", flush=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    _variables, _later = json.loads(sys.argv[1])
    _work(_variables, Path(_later))
