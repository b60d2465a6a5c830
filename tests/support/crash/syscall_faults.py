"""One run after another, each met by a fault at its n-th call of one name; the checks, and the run that goes
on where it left off, also without its database.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog
from archiver.errors import ArchiverError, JournalDamaged
from archiver.reread import recover
from archiver.store import disk
from tests.support.crash import syscall_trace, traced_run
from tests.support.crash.consistency_checks import (
    Bill,
    Rows,
    State,
    database,
    differences,
    reported_stored,
    state,
    violations,
)
from tests.support.crash.traced_run import ARCHIVE, TracedRun
from tests.support.crash.workload import Workload
from tests.support.rebuilt_archive import lose_file, rebuild_from, rows_of

_FROM_ANSWERS = {"runs", "api_calls", "answers"}
"""What a rebuild adds to the journal's rows: answers that are stored, and that no entry names."""


def differences_after_rebuild(upstream: Workload, home: Path) -> Iterator[str]:
    """Take the database away, and yield each row that a rebuild does not give back.

    An answer that a kill left without its row is recorded by every rebuild, so it is recorded before, too.
    """
    root, config = home / ARCHIVE, traced_run.config_of(upstream, home)
    with Catalog.open(root / "archive.db", write=True) as catalog:
        recover(catalog, AnswerStore(disk.Objects(root)), lambda: None)
    before = rows_of(root / "archive.db")
    lose_file(root)
    rebuild_from(config)
    after = rows_of(root / "archive.db")
    for table, rows in before.items():
        yield from (f"I17: {table}: a rebuild lacks {row}" for row in rows if row not in after[table])
        yield from (f"I17: {table}: a rebuild adds {row}" for row in after[table] if row not in rows)


def unlike_the_journal(upstream: Workload, home: Path, golden: State, units: int) -> Iterator[str]:
    """Take the database away where a kill has left it, and yield what does not hold then.

    The rebuilt rows are those that were shipped, with the stored answers; the next run makes up for the rest.
    ``units``: what upstream has billed before.
    """
    root = home / ARCHIVE
    if not (root / "archive.json").exists():
        return  # there is no archive yet
    lose_file(root)
    try:
        rebuild_from(traced_run.config_of(upstream, home))
    except JournalDamaged as error:  # killed before the first snapshot: nothing was paid for or stored yet
        stored = [path for path in root.glob("*/*/**/*") if path.is_file()]
        if units or stored:
            yield f"I17: {units} units were billed, {stored} are stored, and a rebuild ends with {error}"
        return
    except ArchiverError as error:
        yield f"I17: a rebuild ends with {error.exit_code}: {error}"
        return
    yield from violations(root, secret=upstream.standin.key)  # among them I16: the rows are the journal's
    with database(root) as rows:
        assert rows is not None
        yield from _added(rows("select distinct table_name from journal_outbox"))
    yield from traced_run.converge(upstream, home, golden, units, lost_units=1)


def _added(tables: Rows) -> Iterator[str]:
    if others := {str(name) for (name,) in tables} - _FROM_ANSWERS:
        yield f"I17: a rebuild adds rows of {sorted(others)}"


KILL = "signal=SIGKILL"
FULL = "error=ENOSPC"
BROKEN = "error=EIO"

_OPENED = ("", "tmp", "archive.db", "archive.db-wal", "archive.json", "lock", "log/archiver.log", "answers")
_REMOVES = ("unlink", "unlinkat")


@dataclass(frozen=True, slots=True)
class FaultPoint:
    """Where a fault comes: at the n-th call of this name on a thread.

    ``made``: the run finds an empty archive, else it makes one first.
    """

    fault: str
    call: str
    when: int
    made: bool

    def __str__(self) -> str:
        before = "an empty archive" if self.made else "nothing"
        return f"{self.fault} at {self.call} no. {self.when}, run on {before}"

    @property
    def injected(self) -> str:
        """As strace takes it: a disk that is full stays so, all else comes once.

        A full disk at ``write`` comes once too, for strace would refuse those to stdout and even to
        /dev/null.
        """
        stays = self.fault == FULL and self.call != "write"
        return f"{self.fault}:when={self.when}{'+' if stays else ''}"


@dataclass(slots=True)
class FaultSweep:
    """The ground for such runs; ``night`` is an undisturbed one that made its archive itself."""

    night: TracedRun
    place: Path
    _counted: dict[bool, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        traced_run.make_archive(self.night.upstream, self.place / "made")
        self._counted[False] = self.night.calls

    def calls(self, *, made: bool) -> Counter[str]:
        """Per name, how many calls a thread of an undisturbed run makes at most."""
        if made not in self._counted:
            self._counted[made] = traced_run.record(self.night.upstream, self._home(made)).calls
        return self._counted[made]

    def _home(self, made: bool) -> Path:
        home = self.place / "home"
        shutil.rmtree(home, ignore_errors=True)
        if made:
            shutil.copytree(self.place / "made", home)
        else:
            home.mkdir()
        return home

    def _copy(self, home: Path) -> Path:
        """Return a copy of what a run has left."""
        copy = self.place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        return shutil.copytree(home, copy)

    def meet(self, point: FaultPoint) -> tuple[int, list[str]]:
        """Run into this fault and go on from there: the exit code of the first run, and whatever does not
        hold.
        """
        home = self._home(point.made)
        root = home / ARCHIVE
        asked = self.night.upstream.standin.requests
        asked.reset()
        about = [root / name for name in _OPENED] if point.call == "openat" else []
        fault = syscall_trace.injecting(point.call, point.injected, about)
        ended = traced_run.command(self.night.upstream, home, prefix=fault)
        code, units = ended.returncode, asked.units
        found = [*self._end(point, code, ended.stderr), *self._held(root, units)]
        upstream, golden = self.night.upstream, self.night.golden
        if point.fault == KILL and not found:
            found = list(unlike_the_journal(upstream, self._copy(home), golden, units))
        if not found:
            found = list(traced_run.converge(upstream, home, golden, units))
        if point.fault == KILL and not found:
            found = list(differences_after_rebuild(upstream, home))
        return code, [f"{entry}  ({point}: code {code})" for entry in found]

    def _end(self, point: FaultPoint, code: int, stderr: str) -> Iterator[str]:
        """A kill ends it; from an error it ends by itself, well only if nothing that counts has failed, and
        clears away.
        """
        root = self.place / "home" / ARCHIVE
        if point.fault == KILL:
            if code not in (0, -signal.SIGKILL):
                yield f"the run ended by itself: {stderr}"
            return
        if code not in (0, 8, 9):
            yield f"the run ended otherwise: {stderr}"
        elif code == 0 and differences(state(root), self.night.golden):
            yield "the run ended well, and its archive is not whole"
        if point.call not in _REMOVES and (root / "tmp").exists() and any((root / "tmp").iterdir()):
            yield "a half-written file is left in tmp/"

    def _held(self, root: Path, units: int) -> list[str]:
        bill = Bill(units, killed=1)
        return violations(root, told=reported_stored(root), bill=bill, secret=self.night.upstream.standin.key)
