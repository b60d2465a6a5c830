"""What is current was observed last, whatever the clock of the archive said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from archiver.archive.archive import Archive
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, totals
from archiver.catalog.record.stored_files import StoredFile
from archiver.model.identity import Role, utcnow
from archiver.model.target import Target
from archiver.model.upstream import User
from archiver.signed_url import basename
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    digest,
    file_of,
    highlight,
    page,
    rows,
    tray,
)
from tests.support.databases import NOW, SQLITE_EVERYDAY, PostgresServer
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.table_dumps import execute

pytestmark = pytest.mark.world(accounts=1, highlights=1, items=1)

ACCOUNT = "account0000"
DAY = timedelta(days=1)
AHEAD = "2039-01-01T00:00:00.000000Z"
CURRENT = "SELECT source_url FROM current_files WHERE role IN ('cover', 'avatar') ORDER BY role"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)])
def harness(
    request: pytest.FixtureRequest, harness: ArchiveHarness, postgres: PostgresServer
) -> Iterator[ArchiveHarness]:
    """The clock of upstream is right."""
    harness.upstream.settings.clock = lambda: utcnow().timestamp()
    with postgres.database() as url:
        harness.database = url if request.param == "postgresql" else None
        yield harness


def change_pictures(harness: ArchiveHarness) -> list[str | None]:
    """Give the account another avatar and its highlight another cover; return their file names."""
    world = harness.upstream.world
    account = world.accounts[0]
    changed = world.change_avatar(account.pk), world.recover(account.highlights[0].pk)
    return [basename(file.path) for file in changed]


def shown(harness: ArchiveHarness) -> list[str | None]:
    """Return the file names of the pictures that SQL and Python show."""
    current = [basename(str(url)) for (url,) in harness.rows(CURRENT)]
    with Archive(harness.config) as archive:
        with archive.accounts() as accounts:
            avatars = [account.avatar for account in accounts]
        with archive.highlights() as highlights:
            covers = [highlight.cover for highlight in highlights]
    assert [file and basename(file.source_url) for file in avatars + covers] == current
    return current


@pytest.mark.parametrize(("first", "second"), [(0.0, -1.0), (0.4, 0.0), (0.4, 0.3)])
def test_fault_j2_pictures_that_change_while_a_clock_is_wrong_are_current(
    harness: ArchiveHarness, first: float, second: float
) -> None:
    """Behind in the second night, or ahead in the first; they stay current once the clock is right."""
    harness.later = first * DAY
    harness.night(ACCOUNT)
    harness.later = second * DAY
    pictures = change_pictures(harness)
    for later in (second * DAY, timedelta(), 102 * DAY):
        harness.later = later
        harness.night(ACCOUNT)
        assert shown(harness) == pictures
    harness.later = -DAY
    pictures = change_pictures(harness)
    harness.night(ACCOUNT)
    assert shown(harness) == pictures
    require_equal_after_rebuild(harness)


@pytest.fixture
def pinned(harness: ArchiveHarness) -> list[str | None]:
    """The pictures that an archive of an older version does not show: the first ones have later dates."""
    harness.night(ACCOUNT)
    pictures = change_pictures(harness)
    harness.night(ACCOUNT)
    first = "SELECT min(id) FROM files WHERE item_pk IS NULL GROUP BY role"
    execute(harness, f"UPDATE files SET last_seen_at = '{AHEAD}' WHERE id IN ({first})")
    assert not set(shown(harness)) & set(pictures)
    return pictures


def test_fault_j2_pinned_pictures_are_replaced_at_the_next_listing(
    harness: ArchiveHarness, pinned: list[str | None]
) -> None:
    """By those whose names the tray states. Nothing is downloaded."""
    assert harness.night(ACCOUNT).units == 1
    assert harness.upstream.requests.cdn_requests() == []
    assert shown(harness) == pinned
    require_equal_after_rebuild(harness)


def test_fault_j2_reread_replaces_pinned_pictures(harness: ArchiveHarness, pinned: list[str | None]) -> None:
    """Also those of an account that is no longer listed."""
    harness.reread()
    assert shown(harness) == pinned


@SQLITE_EVERYDAY
def test_fault_j2_dates_that_are_later_keep_their_order(catalog: Catalog, run_id: int) -> None:
    """Those of two files are set to just before the new one; an earlier date stays."""
    catalog.write(record.record_page, run_id, 7, page("1", "10"), FACTS, NOW)
    for content, at in (("a", NOW), ("b", LATER), ("c", LATEST)):
        catalog.write(record.record_files, [StoredFile(file_of("10", content=content), 7, at)], run_id=run_id)
    now = NOW + timedelta(seconds=1)
    catalog.write(record.record_files, [StoredFile(file_of("10", content="d"), 7, now)], run_id=run_id)
    in_order = "SELECT sha256, last_seen_at FROM files ORDER BY last_seen_at"
    assert [row[0] for row in rows(catalog, in_order)] == [digest(content) for content in "abcd"]
    assert len(rows(catalog, f"{in_order} DESC")) == 4
    assert rows(catalog, "SELECT sha256 FROM current_files") == [(digest("d"),)]
    catalog.write(record.record_files, [StoredFile(file_of("10", content="b"), 7, NOW - DAY)], run_id=run_id)
    assert rows(catalog, "SELECT sha256 FROM current_files") == [(digest("b"),)]


@SQLITE_EVERYDAY
def test_fault_j2_a_page_that_offers_a_file_while_the_clock_is_behind_leaves_it_current(
    catalog: Catalog, run_id: int
) -> None:
    """An older file with a date in between does not take its place."""
    catalog.write(record.record_page, run_id, 7, page("1", "10"), FACTS, NOW)
    for content, at in (("a", LATER), ("b", LATEST)):
        catalog.write(record.record_files, [StoredFile(file_of("10", content=content), 7, at)], run_id=run_id)
    catalog.write(record.record_page, run_id, 8, page("1", "10"), FACTS, NOW)
    assert rows(catalog, "SELECT sha256 FROM current_files") == [(digest("b"),)]


@SQLITE_EVERYDAY
def test_fault_j12_a_name_that_is_seen_last_is_last(catalog: Catalog, run_id: int) -> None:
    """Of the names of an account, and of the accounts that had a name."""
    catalog.write(record.record_user, run_id, User("1", "first"), LATEST)
    catalog.write(record.record_user, run_id, User("1", "second"), LATER)
    catalog.write(record.record_user, run_id, User("1", "third"), NOW)
    in_order = "SELECT username FROM usernames WHERE user_pk = '1' ORDER BY last_seen_at DESC"
    assert rows(catalog, in_order) == [("third",), ("second",), ("first",)]
    catalog.write(record.record_user, run_id, User("2", "third"), NOW - DAY)
    target = Target("third", username="third")
    assert catalog.read(account_state.resolve, target, from_config=False) == "2"
    owners = "SELECT user_pk FROM usernames WHERE username = 'third' ORDER BY last_seen_at DESC"
    assert rows(catalog, owners) == [("2",), ("1",)]
    assert rows(catalog, in_order) == [("third",), ("second",), ("first",)]


def test_fault_j12_reread_makes_the_current_name_the_last(harness: ArchiveHarness) -> None:
    """Whatever the dates of the answers are."""
    harness.later = 0.4 * DAY
    harness.night(ACCOUNT)
    harness.later = timedelta()
    account = harness.upstream.world.accounts[0]
    harness.upstream.world.rename(account.pk, "renamed")
    harness.night("renamed")
    in_order = "SELECT username FROM usernames ORDER BY last_seen_at DESC"
    assert harness.rows(in_order) == [("renamed",), (ACCOUNT,)]
    execute(harness, f"UPDATE usernames SET last_seen_at = '{AHEAD}' WHERE username = '{ACCOUNT}'")
    harness.reread()
    assert harness.rows(in_order) == [("renamed",), (ACCOUNT,)]


@SQLITE_EVERYDAY
def test_fault_j13_the_last_success_is_that_of_the_last_run(catalog: Catalog) -> None:
    """Not that of a run whose clock was ahead."""
    for at in (LATEST, NOW):
        run_id = catalog.write(record.start_run, "run", at)
        catalog.write(record.finish_run, run_id, at, "ok", 0)
    assert catalog.read(totals.status).last_success_at == NOW


@SQLITE_EVERYDAY
def test_fault_j2_an_avatar_that_is_stored_under_the_name_of_an_answer_is_current(
    catalog: Catalog, run_id: int
) -> None:
    """Unless its bytes are lost, or the current one has that name as well."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    for name, at in (("a.jpg", NOW), ("b.jpg", LATER)):
        file = file_of(NATGEO.pk, Role.AVATAR, name, name)
        catalog.write(record.record_files, [StoredFile(file, None, at)], run_id=run_id)
    is_current = "SELECT sha256 FROM current_files WHERE role = 'avatar'"
    for name in ("b.jpg", "c.jpg"):
        catalog.write(record.record_user, run_id, User(NATGEO.pk, "natgeo", avatar_name=name), LATEST)
        assert rows(catalog, is_current) == [(digest("b.jpg"),)]
    catalog.write(record.record_user, run_id, User(NATGEO.pk, "natgeo", avatar_name="a.jpg"), LATEST)
    assert rows(catalog, is_current) == [(digest("a.jpg"),)]
    catalog.write(record.record_lost_blobs, [digest("b.jpg")], LATEST)
    catalog.write(record.record_user, run_id, User(NATGEO.pk, "natgeo", avatar_name="b.jpg"), LATEST)
    assert rows(catalog, is_current) == [(digest("a.jpg"),)]


@SQLITE_EVERYDAY
def test_fault_j12_a_title_is_there_since_its_own_change(catalog: Catalog, run_id: int) -> None:
    """Not since one that a clock dated later."""
    for title, at in (("A", NOW), ("B", LATEST), ("C", LATER)):
        catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("1", title)), at)
    since = "SELECT title FROM highlight_titles WHERE since = (SELECT at FROM changes WHERE new = 'C')"
    assert rows(catalog, since) == [("C",)]
