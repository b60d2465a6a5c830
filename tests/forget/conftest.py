"""An archive of which an account is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.forgotten_account import archive_both, leave_traces, make_world
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of both accounts, on a disk, with SQLite, and with what other commands leave."""

    def make(workshop: Path) -> Path:
        with FaultyStandIn(make_world()) as first:
            made = ArchiveHarness(workshop / "archive", first)
            archive_both(made)
            leave_traces(made, workshop)
        return made.root

    archive_copies.copy("an account to forget", make, tmp_path / "kept")
    with FaultyStandIn(make_world(is_edited=True)) as upstream:
        yield ArchiveHarness(tmp_path / "kept", upstream)
