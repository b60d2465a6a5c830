"""What most nights begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and the vendor's two accounts with two items a highlight."""
    with FaultyStandIn() as upstream:
        upstream.world.shorten(items=2)
        yield ArchiveHarness(tmp_path / "archive", upstream)
