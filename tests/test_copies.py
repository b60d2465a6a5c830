"""docs/copies.md: copies of an archive that are made while a run writes to it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.store import disk
from tests.support.archive_damage import ACCOUNTS, world
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import rebuild
from tests.support.standin.faulty_standin import FaultyStandIn

_OTHERS = shutil.ignore_patterns("archive.*", "journal", "tmp", "lock")


def copy_database(harness: ArchiveHarness, to: Path) -> None:
    to.mkdir()
    shutil.copy2(harness.root / "archive.json", to)
    with Archive(harness.config) as archive:
        archive.backup_database(to / "archive.db")


def copy_journal(harness: ArchiveHarness, to: Path) -> None:
    shutil.copytree(harness.root / "journal", to / "journal")


def copy_rest(harness: ArchiveHarness, to: Path) -> None:
    shutil.copytree(harness.root, to, ignore=_OTHERS, dirs_exist_ok=True)


STEPS: tuple[Callable[[ArchiveHarness, Path], None], ...] = (copy_database, copy_journal, copy_rest)


def test_fault_j4_a_copy_made_during_a_run_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is damaged; the check says only that the database lacks the last entries of the journal.

    ``db rebuild`` in the restored copy adds them, and then every row has its bytes.
    """
    monkeypatch.setattr(disk.Objects, "gather_seconds", 0.0)
    with FaultyStandIn(world()) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        copied = ArchiveHarness(tmp_path / "copy", upstream)
        requests, steps, one_at_a_time = count(1), iter(STEPS), threading.Lock()

        def make_step(_: object) -> None:
            with one_at_a_time:  # downloads wait meanwhile, and go on between two steps
                if next(requests) in range(4, 34, 10):
                    time.sleep(0.2)  # until the last downloads are recorded and in the journal
                    next(steps)(harness, copied.root)

        upstream.faults.add(None, listener="cdn", count=None, before=make_step)
        assert harness.night(*ACCOUNTS).exit_code == 0
        assert next(steps, None) is None
    with Archive(copied.config) as archive:
        found = archive.verify(read_data=True, dry_run=True)
    assert (found.blobs.damaged, found.answers.damaged, found.answers.surplus) == ((), (), ())
    assert "older copy" in str(found.journal.damage)
    rebuild(copied)
    with Archive(copied.config) as archive:
        assert not archive.verify(read_data=True, dry_run=True).is_damaged
