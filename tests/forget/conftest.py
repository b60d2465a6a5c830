"""An archive of which an account is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.forgotten_account import archive_both, leave_traces, make_world


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of both accounts, on a disk, with SQLite, and with what other commands leave."""

    def live(first: ArchiveHarness) -> None:
        archive_both(first)
        leave_traces(first, first.root.parent)

    with archive_copies.lived("an account to forget", make_world, live, tmp_path / "kept") as copied:
        copied.upstream.world = make_world(is_edited=True)
        yield copied
