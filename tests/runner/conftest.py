"""What most nights begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_faults import Waits, skip_waits
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def world(request: pytest.FixtureRequest) -> dict[str, int | str]:
    """What ``pytest.mark.world`` says of a test or its file.

    ``accounts``, ``highlights`` and ``items``: how many there are of each in the one before. Without
    ``accounts``, they are the two of the vendor's page, whose highlights are shortened to ``items`` (2).
    ``archived``: the account that the archive of ``harness`` has already.
    """
    mark = request.node.get_closest_marker("world")
    return mark.kwargs if mark else {}


@pytest.fixture
def upstream(world: dict[str, int | str]) -> Iterator[FaultyStandIn]:
    """The stand-in, with that world."""
    sizes = {name: int(size) for name, size in world.items() if name != "archived"}
    with FaultyStandIn(EditableWorld.generate(**sizes) if "accounts" in sizes else None) as upstream:
        if "accounts" not in sizes:
            upstream.world.shorten(sizes.get("items", 2))
        yield upstream


@pytest.fixture
def harness(tmp_path: Path, upstream: FaultyStandIn, world: dict[str, int | str]) -> ArchiveHarness:
    """An archive that is not there yet, or has one account."""
    harness = ArchiveHarness(tmp_path / "archive", upstream)
    if "archived" in world:
        assert harness.night(str(world["archived"])).exit_code == 0
    return harness


@pytest.fixture
def either(harness: ArchiveHarness, nowhere: str | Path) -> ArchiveHarness:
    """The same on SQLite and on PostgreSQL."""
    harness.database = nowhere if isinstance(nowhere, str) else None
    return harness


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """No wait of the nights takes any time."""
    return skip_waits(monkeypatch)
