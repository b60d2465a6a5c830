"""H54: ``archiver forget`` that is killed at any step is finished by the next command that writes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from archiver.archive import account_traces
from archiver.archive.archive import Archive
from archiver.archive.journaling import Journaling
from archiver.archive.rebuild_archive import (
    plan_rebuild,
    plan_snapshot,
    rebuild_database,
    take_snapshot,
)
from archiver.errors import DiskFull, UsageError
from archiver.work import Work
from tests.support import ROOT
from tests.support.archive_harness import ArchiveHarness
from tests.support.crash import syscall_trace
from tests.support.crash.step_killer import NEVER, work_and_die
from tests.support.forgotten_account import (
    NAME,
    begin_to_forget,
    digests_of,
    find_words,
    words_of,
)
from tests.support.rebuilt_archive import all_rows, lose_database

_CALLS = (
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fchmod", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
)


@dataclass
class KilledForgetting:
    """An archive in which an account is forgotten, a copy of it as it was before, and what it is to be."""

    harness: ArchiveHarness
    before: Path
    words: set[bytes]
    rows_before: dict[str, list[str]]
    rows_after: dict[str, list[str]]

    @property
    def root(self) -> Path:
        return self.harness.root

    def restore(self) -> None:
        """Make the archive as it was before."""
        shutil.rmtree(self.root)
        shutil.copytree(self.before, self.root)

    def forget(self) -> None:
        """Forget the account, in this process."""
        with Archive(self.harness.config) as archive:
            archive.forget(NAME)

    def die_at_step(self, step: int) -> int:
        """Kill it before this step of its own; return the step, or how many it took until its end."""
        self.restore()
        return work_and_die(self.forget, step, self.before.parent / "steps")

    def die_at_call(self, name: str, when: int) -> bool:
        """Kill the command before this system call; return whether it came to it."""
        self.restore()
        ended = self._run(syscall_trace.injecting(name, f"signal=SIGKILL:when={when}"))
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode != 0

    def count_calls(self) -> Counter[str]:
        """Return how many calls of each name a thread makes at most."""
        self.restore()
        log = self.before.parent / "strace"
        assert self._run(syscall_trace.recording(log, _CALLS)).returncode == 0
        most: Counter[str] = Counter()
        for (name, _), count in Counter(
            (call.name, call.thread) for call in syscall_trace.calls(log)
        ).items():
            most[name] = max(most[name], count)
        return most

    def _run(self, prefix: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "archiver", "forget", NAME, "--yes", "-q"],
            env=os.environ | self.harness.variables | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def require_finished(self, go_on: Callable[[KilledForgetting], None]) -> None:
        """After the next command that writes, the account is whole if nothing was begun, and else gone."""
        is_begun = self._is_begun()
        go_on(self)
        if not is_begun:
            assert _comparable(all_rows(self.harness)) == self.rows_before
            self.forget()
        assert find_words(self.root, self.words) == []
        assert _comparable(all_rows(self.harness)) == self.rows_after
        found = self.harness.verify()
        assert (found.is_damaged, found.answers.unrecorded, found.blobs.orphans) == (False, 0, 0)
        assert [path for path in (self.root / "tmp").iterdir() if path.is_dir()] == []

    def _is_begun(self) -> bool:
        with closing(sqlite3.connect(self.root / "archive.db")) as rows:
            query = "select (select count(*) from removal_requests) + (select count(*) from removals)"
            (count,) = rows.execute(query).fetchone()
        return bool(count)


def snapshot(killed: KilledForgetting) -> None:
    """Run ``db snapshot``."""
    take_snapshot(killed.harness.config, Work())


def forget_again(killed: KilledForgetting) -> None:
    """Run the same command again."""
    with Archive(killed.harness.config) as archive:
        archive.finish_removal()


def rebuild(killed: KilledForgetting) -> None:
    """Run ``db rebuild`` where the database is."""
    with pytest.raises(UsageError, match="nothing to rebuild"):
        rebuild_database(killed.harness.config, Work())


_COMMANDS = (snapshot, forget_again, rebuild)


@pytest.fixture
def killed(tmp_path: Path, harness: ArchiveHarness) -> KilledForgetting:
    shutil.copytree(harness.root, tmp_path / "before")
    words = words_of(harness) | digests_of(harness)
    before = _comparable(all_rows(harness))
    one = KilledForgetting(harness, tmp_path / "before", words, before, {})
    one.forget()
    return replace(one, rows_after=_comparable(all_rows(harness)))


def _comparable(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rows without what differs from one time to another: names of segments, and when it was."""
    left = {name: found for name, found in rows.items() if name not in ("answers", "removals")}
    return left | {name: [str(len(rows[name]))] for name in ("answers", "removals")}


def test_fault_h54_a_removal_killed_at_any_step_is_finished_by_the_next_command(
    killed: KilledForgetting, sample_seed: str, whole: bool
) -> None:
    """Every day at a few steps, others each day; with ``--whole`` at all."""
    last = killed.die_at_step(NEVER) - 1
    assert last > 80
    chance = random.Random(sample_seed)
    died = 0
    for step in range(1, last + 1) if whole else sorted(chance.sample(range(20, last), 3)):
        is_killed = killed.die_at_step(step) == step
        died += is_killed
        if is_killed:
            killed.require_finished(chance.choice(_COMMANDS))
    assert died


@pytest.mark.whole
@pytest.mark.usefixtures("strace")
def test_fault_h54_a_removal_killed_at_any_system_call_is_finished_by_the_next_command(
    killed: KilledForgetting, record_property: Callable[[str, object], None]
) -> None:
    """At each call that changes a file, as each thread counts them; of SQLite's pages at every tenth."""
    calls, died = killed.count_calls(), Counter[str]()
    chance = random.Random("every call")
    for name, count in calls.items():
        for when in range(1, count + 1, 10 if name == "pwrite64" else 1):
            if killed.die_at_call(name, when):
                died[name] += 1
                killed.require_finished(chance.choice(_COMMANDS))
    record_property("killed", dict(died))
    assert died["pwrite64"] > 20
    assert died["unlinkat"] + died["unlink"] > 5


@pytest.mark.parametrize("has_older_copy", [False, True])
def test_fault_k13_a_removal_killed_before_a_snapshot_is_finished_although_the_database_is_lost(
    killed: KilledForgetting, monkeypatch: pytest.MonkeyPatch, has_older_copy: bool
) -> None:
    """The journal has the request before the first step: ``db rebuild`` goes on with it, also over a copy."""
    killed.restore()
    copy = shutil.copy(killed.root / "archive.db", killed.before.parent / "older.db")
    with monkeypatch.context() as patch:
        patch.setattr(account_traces, "remove_log_lines", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            killed.forget()
    lose_database(killed.harness)
    if has_older_copy:
        shutil.copy(copy, killed.root / "archive.db")
    rebuilt = rebuild_database(killed.harness.config, Work())
    assert rebuilt.has_finished_removal
    assert rebuilt.journal.set_aside is None
    assert find_words(killed.root, killed.words) == []
    assert _comparable(all_rows(killed.harness)) == killed.rows_after


def test_fault_h54_the_marker_counts_a_removal_only_once_the_journal_has_it(
    killed: KilledForgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a database that is lost before, as while the disk is full, could not be made again."""

    def fail(_: Journaling) -> None:
        raise DiskFull("no space")

    killed.restore()
    with monkeypatch.context() as full:
        full.setattr(Journaling, "write_snapshot", fail)
        with pytest.raises(DiskFull):
            killed.forget()
        with pytest.raises(DiskFull), Archive(killed.harness.config) as archive:
            archive.finish_removal()
    lose_database(killed.harness)
    rebuild_database(killed.harness.config, Work())
    assert find_words(killed.root, killed.words) == []


def test_dry_runs_are_refused_until_a_removal_has_ended(killed: KilledForgetting) -> None:
    """What they would do depends on it: the account's answers and files are still there."""
    killed.restore()
    begin_to_forget(killed.harness)
    config = killed.harness.config

    def plan_to_rebuild() -> object:
        return plan_rebuild(config, Work())

    for plan in (
        lambda: killed.harness.reread(dry_run=True),
        lambda: plan_snapshot(config),
        plan_to_rebuild,
    ):
        with pytest.raises(UsageError, match="must end first"):
            plan()
    lose_database(killed.harness)
    with pytest.raises(UsageError, match="must end first"):
        plan_to_rebuild()


@pytest.mark.whole
def test_fault_h54_a_journal_that_is_set_aside_in_the_middle_is_deleted_too(killed: KilledForgetting) -> None:
    """It is damaged then, and ``verify --repair`` moves it to ``quarantine/``."""
    killed.restore()
    begin_to_forget(killed.harness)
    newest = max((killed.root / "journal").rglob("*.gz"))
    newest.chmod(0o600)
    newest.write_bytes(newest.read_bytes()[:40])
    with Archive(killed.harness.config) as archive:
        archive.repair()
    assert find_words(killed.root, killed.words) == []


@pytest.mark.whole
def test_fault_h54_a_database_that_is_lost_in_the_middle_is_rebuilt_with_what_is_left_to_do(
    killed: KilledForgetting, sample_seed: str, whole: bool
) -> None:
    """The journal names what is still to be removed. If it is lost before, nothing was begun."""
    last = killed.die_at_step(NEVER) - 1
    chance = random.Random(f"{sample_seed} lost")
    for step in range(1, last + 1) if whole else sorted(chance.sample(range(20, last), 2)):
        if killed.die_at_step(step) != step:
            continue
        lose_database(killed.harness)
        with suppress(UsageError):
            rebuild_database(killed.harness.config, Work())
        if killed.harness.one("select count(*) from removals") == 0:
            assert _comparable(all_rows(killed.harness)) == killed.rows_before
            killed.forget()
        assert find_words(killed.root, killed.words) == []
        assert _comparable(all_rows(killed.harness)) == killed.rows_after
