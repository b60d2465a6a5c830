"""Thirty nights with edits of every kind, and half a year: in the end the catalog is the world upstream,
``changes`` the list of edits, the units are the least that could tell it, and a database that is lost comes
back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from archiver.archive.rebuild_archive import take_snapshot
from archiver.sandbox.world import PrivateWithForce
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.nights import early_end
from tests.support.nights.expected_facts import differences
from tests.support.nights.six_months import NIGHTS, SixMonths
from tests.support.nights.thirty_nights import KINDS, ThirtyNights
from tests.support.rebuilt_archive import (
    all_rows,
    lose_database,
    rebuild,
    require_equal_after_rebuild,
    require_equal_elsewhere,
)
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ANSWERS: tuple[PrivateWithForce, ...] = ("empty", "403", "404")


@contextmanager
def copy_of_night_10(harness: ArchiveHarness, postgres: PostgresServer) -> Iterator[Callable[[int], None]]:
    """Copy the database after night 10; in the end, roll the copy forward over a snapshot, and compare."""
    with ExitStack() as copies:
        urls: list[str] = []
        lite = harness.root.with_name("night 10.db")

        def after_night(number: int) -> None:
            if number == 10 and harness.database is not None:
                template = make_url(harness.database).database or ""
                urls.append(copies.enter_context(postgres.database(template)))
            elif number == 10:
                shutil.copy(harness.root / "archive.db", lite)

        yield after_night
        take_snapshot(harness.config, Work())
        before = all_rows(harness)
        older = replace(harness, database=urls[0]) if urls else harness
        if not urls:
            lose_database(harness)
            lite.rename(harness.root / "archive.db")
        assert rebuild(older).was_copy
        after = all_rows(older)
        assert [table for table, rows in before.items() if after[table] != rows] == []
        assert not older.verify().is_damaged


def month(
    harness: ArchiveHarness, postgres: PostgresServer, seed: int, *, sweep_days: int, a_night: int
) -> None:
    """Live through it, and compare; also what a rebuild, and an older copy that is rolled forward, give."""
    with copy_of_night_10(harness, postgres) as after_night:
        _live(ThirtyNights(harness, seed, sweep_days, a_night, after_night=after_night))


def _live(lived: ThirtyNights) -> None:
    harness, seed = lived.harness, lived.seed
    upstream = harness.upstream
    upstream.world.private_with_force = ANSWERS[seed % len(ANSWERS)]
    for account in upstream.world.accounts:  # from the first night on, an item is in two highlights
        first, second, *_ = account.highlights
        upstream.world.put_item(second.pk, first.items[0].pk, source=first.pk)
    names = {(account.pk, account.username) for account in upstream.world.accounts}
    for wrong in lived.nights():
        pytest.fail(f"seed {seed}, {sum(lived.told.values())} edits: {wrong}")
    assert {kind.__name__ for kind in KINDS if not lived.told[kind]} == set()
    assert lived.changes() == lived.rows()
    assert differences(harness, lived.accounts) == []
    names |= {(pk, new or "") for _, pk, field, _, new in lived.rows() if field == "username"}
    assert set(harness.rows("select user_pk, username from usernames")) == names
    assert harness.one("select count(*) from failures where resolved_at is null") == 0
    assert lived.units == pytest.approx(lived.price(), rel=0.05)
    if harness.database is not None:
        require_equal_elsewhere(harness, None)
    require_equal_after_rebuild(harness)
    assert not harness.verify().is_damaged


@pytest.mark.whole
def test_a_month_of_edits(tmp_path: Path, postgres: PostgresServer) -> None:
    """A few a night, each kind at least once, in a small world."""
    with FaultyStandIn(EditableWorld.generate(3, 5, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        month(harness, postgres, 1, sweep_days=5, a_night=5)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(6))
def test_a_month_of_edits_of_every_kind_each_night(
    tmp_path: Path, postgres: PostgresServer, seed: int
) -> None:
    """Every kind that finds room, every night."""
    with FaultyStandIn(EditableWorld.generate(20, 8, 5)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        month(harness, postgres, seed, sweep_days=(5, 7, 10)[seed % 3], a_night=len(KINDS))


@pytest.mark.whole
def test_a_month_of_edits_on_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    """The same history, in the same words."""
    with FaultyStandIn(EditableWorld.generate(3, 5, 4)) as upstream, postgres.database() as url:
        month(ArchiveHarness(tmp_path / "archive", upstream, url), postgres, 2, sweep_days=5, a_night=5)


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
