"""A run of the real program under strace, read as operations; and a run that goes on where a crash has left
off.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archiver.archive.archive import Archive
from archiver.archive.creation import create_archive, create_for_run
from archiver.config import Config, load
from archiver.errors import ArchiverError
from archiver.runner.tally import Summary
from tests.support.crash import syscall_trace
from tests.support.crash.consistency_checks import (
    Bill,
    State,
    differences,
    reported_stored,
    state,
    violations,
)
from tests.support.crash.syscall_trace import Operations
from tests.support.crash.workload import Workload

ARCHIVE = "archive"
"""The archive's name in the home of a run."""

_PATIENCE = 60.0  # seconds after which a run hangs


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run to its good end, and what it did below its home.

    ``golden``: the state that it left. ``prices``: units by path of the API.

    ``calls``: per name, how many a thread made at most.
    """

    upstream: Workload
    home: Path
    course: Operations
    golden: State
    prices: Mapping[str, int]
    calls: Counter[str]


def record(upstream: Workload, home: Path, *, planted: str | None = None) -> TracedRun:
    """Archive into ``home``, which is empty or holds an archive; what strace wrote is left beside it."""
    before = syscall_trace.list_files(home)
    upstream.standin.requests.reset()
    log = home.with_name(f"{home.name}.strace")
    ended = command(upstream, home, planted=planted, prefix=syscall_trace.recording(log, syscall_trace.CALLS))
    assert ended.returncode == 0, ended.stderr
    made = list(syscall_trace.calls(log))
    by_thread = Counter((call.name, call.thread) for call in made)
    calls: Counter[str] = Counter()
    for (name, _), n in by_thread.items():
        calls[name] = max(calls[name], n)
    prices = {asked.path: asked.units for asked in upstream.standin.requests.api_calls()}
    course = syscall_trace.follow(made, home, before)
    return TracedRun(upstream, home, course, state(home / ARCHIVE), prices, calls)


def command(
    upstream: Workload, home: Path, *, planted: str | None = None, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The real program as a process, to its end.

    Raises subprocess.TimeoutExpired for one that hangs, once it is killed.
    """
    with subprocess.Popen(
        upstream.command(planted=planted, prefix=prefix),
        env=upstream.environ(home / ARCHIVE) | {"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=_PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # strace, and what it has begun
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def make_archive(upstream: Workload, home: Path) -> None:
    """An empty archive in ``home``."""
    home.mkdir()
    create_archive(config_of(upstream, home))


def run_again(upstream: Workload, home: Path) -> Summary:
    """A run in this process over the same accounts; the log of the upstream shows this run only."""
    upstream.standin.requests.reset()
    config = config_of(upstream, home)
    create_for_run(config)
    with Archive(config) as archive:
        return archive.run(upstream.names)


def converge(
    upstream: Workload, home: Path, golden: State, units: int, *, lost_units: int = 0
) -> Iterator[str]:
    """What a run after a crash does not make good, or does twice.

    ``units``: what upstream has billed before. ``lost_units``: of these, the ledger may have lost so many
    with the database, and what was told of runs with them.
    """
    root = home / ARCHIVE
    held = len(state(root)["files"]) if (root / "archive.json").exists() else 0
    try:
        summary = run_again(upstream, home)
    except ArchiverError as error:
        yield f"I10: the next run ends with {error.exit_code}: {error}"
        return
    if summary.exit_code:
        yield f"I10: the next run ends with {summary.exit_code}: {summary.message}"
        return
    yield from differences(state(root), golden)
    fetched = len(upstream.standin.requests.cdn_requests())
    if fetched != len(golden["files"]) - held:
        yield f"I10: {held} files were held, and {fetched} more were downloaded"
    bill = Bill(units + upstream.standin.units, killed=1, lost=lost_units)
    told = [line for line in reported_stored(root) if not lost_units or " ended: " not in line]
    yield from violations(root, told=told, bill=bill, secret=upstream.standin.key, ended=True)


def config_of(upstream: Workload, home: Path) -> Config:
    """The configuration of a run on the archive in ``home``."""
    return load(None, upstream.environ(home / ARCHIVE))
