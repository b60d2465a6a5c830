"""H53: bringing an older copy up to date, killed before any system call, and begun again.

SQLite copies the file: its system calls are no steps of ours, which ``test_killed_at_any_step`` visits.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from archiver.config import load
from archiver.errors import UsageError
from tests.support import ROOT
from tests.support.crash import syscall_trace
from tests.support.crash.workload import PROGRAM
from tests.support.rebuilt_archive import lose_file, rebuild_from, rows_of
from tests.support.released_journal import released

_EVERY = {"pwrite64": 16, "write": 8, "fsync": 1, "rename": 1, "unlink": 1, "ftruncate": 1}
"""Calls that change files, and the kill before every n-th of them."""


def _rebuild_until_killed(root: Path, call: str, number: int) -> bool:
    """Run ``archiver db rebuild``; return whether it was killed."""
    fault = syscall_trace.injecting(call, f"signal=SIGKILL:when={number}")
    ended = subprocess.run(
        [*fault, sys.executable, "-P", "-c", PROGRAM, "db", "rebuild"],
        env={**_environ(root), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(root.parent)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def _environ(root: Path) -> dict[str, str]:
    return {"ARCHIVER_ARCHIVE": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.whole
@pytest.mark.usefixtures("strace")
def test_fault_h53_an_older_copy_is_brought_up_to_date_after_any_kill(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The next rebuild ends with the same rows, and nothing of the first is left."""
    files, names = released(tmp_path / "archive")
    root = tmp_path / "archive"
    config = load(None, {"ARCHIVER_ARCHIVE": str(root)})
    later = [root / "journal" / name for name in names[-2:]]
    for path in later:
        path.rename(tmp_path / path.name)
    rebuild_from(config)
    older = shutil.copy(root / "archive.db", tmp_path / "older.db")
    for path in later:
        (tmp_path / path.name).rename(path)
    lose_file(root)
    rebuild_from(config)
    rows = rows_of(root / "archive.db")
    kills = 0
    for call, every in _EVERY.items():
        for number in count(1, every):
            lose_file(root)
            shutil.copy(older, root / "archive.db")
            if not _rebuild_until_killed(root, call, number):
                break
            kills += 1
            with suppress(UsageError):  # it was complete
                rebuild_from(config)
            assert rows_of(root / "archive.db") == rows, (call, number)
            assert sorted(files.names()) == names
            assert not list(root.glob("*.rebuild*")), (call, number)
    record_property("visited", f"db rebuild of an older copy: {kills} kills")
    assert kills > 20
