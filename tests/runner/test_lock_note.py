"""The note in the lock of an archive, which ``status`` reads without touching the lock."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.model.identity import utcnow
from archiver.runner.run_lock import find_holder, hold_run_lock


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The lock of an archive."""
    return tmp_path / "lock"


def write_note(lock: Path, pid: int, host: str) -> None:
    """Write the note that a process would leave if it were killed."""
    lock.write_text(json.dumps({"pid": pid, "host": host, "command": "run", "since": utcnow().isoformat()}))


def test_the_holder_is_known_while_it_holds_the_lock(lock: Path) -> None:
    """Before and after, nobody holds it."""
    assert find_holder(lock) is None
    with hold_run_lock(lock, "run"):
        holder = find_holder(lock)
    assert holder is not None
    assert (holder.command, holder.pid, holder.host) == ("run", os.getpid(), socket.gethostname())
    assert find_holder(lock) is None


def test_a_killed_holder_of_this_machine_does_not_count(lock: Path) -> None:
    """Of another machine it may be at work, as far as this one can know."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_note(lock, ended.pid, socket.gethostname())
    assert find_holder(lock) is None
    write_note(lock, ended.pid, "elsewhere")
    assert find_holder(lock) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_note_that_cannot_be_read_names_nobody(lock: Path, text: str) -> None:
    """As after a full disk."""
    lock.write_text(text)
    assert find_holder(lock) is None


def test_no_process_has_such_a_number(lock: Path) -> None:
    """A pid that the system cannot have is one that does not run."""
    write_note(lock, 10**30, socket.gethostname())
    assert find_holder(lock) is None


def test_fault_k72_a_lock_that_is_no_file_names_no_holder(lock: Path, tmp_path: Path) -> None:
    """A pipe is not waited for, and what a link leads to is not read."""
    os.mkfifo(lock)
    assert find_holder(lock) is None
    lock.unlink()
    write_note(tmp_path / "elsewhere", os.getpid(), socket.gethostname())
    lock.symlink_to(tmp_path / "elsewhere")
    assert find_holder(lock) is None
