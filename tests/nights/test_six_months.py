"""Half a year of nights, and then the database is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.nights import early_end
from tests.support.nights.expected_facts import differences
from tests.support.nights.six_months import NIGHTS, SixMonths
from tests.support.rebuilt_archive import require_equal_after_rebuild, require_equal_elsewhere
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

Halfyear = Callable[[str | None, int], ArchiveHarness]


@pytest.fixture
def half_a_year(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Callable[[str | None, int], ArchiveHarness]]:
    """Live through it with this database and seed; says how long it took and what happened."""
    with early_end.no_backoff(), ExitStack() as stack:

        def lived(database: str | None, seed: int) -> ArchiveHarness:
            upstream = stack.enter_context(FaultyStandIn(EditableWorld.generate(4, 4, 3)))
            begun = time.monotonic()
            months = SixMonths(ArchiveHarness(tmp_path / "archive", upstream, database), seed)
            months.live()
            took, where = time.monotonic() - begun, database or "SQLite"
            happened = ", ".join(f"{n} {kind}" for kind, n in sorted(months.seen.items()))
            record_property("visited", f"{NIGHTS} nights, seed {seed}, {where}, {took:.0f} s: {happened}")
            assert months.seen["killed"] > 10
            assert months.harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'")
            unseen = {user.pk for user in upstream.world.accounts if user.is_private or user.is_deleted}
            assert differences(months.harness, [pk for pk in months.targets if pk not in unseen]) == []
            return months.harness

        yield lived


def _verify(harness: ArchiveHarness) -> None:
    assert not harness.verify().is_damaged


@pytest.mark.whole
@pytest.mark.parametrize("seed", [1, 2])
def test_fault_h49_half_a_year_on_sqlite_comes_back(
    half_a_year: Halfyear, postgres: PostgresServer, seed: int
) -> None:
    """Into PostgreSQL and into SQLite: every row of every table. Afterwards nothing is damaged."""
    harness = half_a_year(None, seed)
    with postgres.database() as url:
        require_equal_elsewhere(harness, url)
    require_equal_after_rebuild(harness)
    _verify(harness)


@pytest.mark.whole
def test_fault_h49_half_a_year_on_postgresql_comes_back(
    half_a_year: Halfyear, postgres: PostgresServer
) -> None:
    """Into SQLite and into PostgreSQL: every row of every table. Afterwards nothing is damaged."""
    with postgres.database() as url:
        harness = half_a_year(url, 3)
        require_equal_elsewhere(harness, None)
        require_equal_after_rebuild(harness)
        _verify(harness)
