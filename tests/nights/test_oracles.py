"""What compares archives with worlds, and nights with each other, sees what is wrong: each fault planted,
each one named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from archiver.catalog.record import changes
from archiver.catalog.record.changes import Change
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import account_stories, highlight_stories, item_stories, story_archive
from tests.support.nights.archive_state import ArchiveState
from tests.support.nights.expected_facts import differences
from tests.support.nights.story_archive import StoryArchive
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

BOTH, PKS = ("natgeo", "salwaaa_ki"), ("787132", "75885841119")
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


@dataclass(frozen=True)
class Two:
    """An archive after two nights, and what it was after the first."""

    harness: ArchiveHarness
    first: ArchiveState

    def told(self) -> tuple[bool, bool, bool]:
        """Whether the catalog differs from the world, whether something was lost, whether something is not
        explained.
        """
        now = ArchiveState.of(self.harness)
        wrong = differences(self.harness, PKS), self.first.lost(now), self.first.unexplained(now)
        return bool(wrong[0]), bool(wrong[1]), bool(wrong[2])


# They test what tests of nights compare with, which changes seldom.
pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """The two accounts of the vendor's page; one highlight is gone and back, and there was an edit of each
    field before the last night.
    """
    with FaultyStandIn(EditableWorld.seed()) as upstream:
        harness, world = ArchiveHarness(tmp_path_factory.mktemp("two") / "archive", upstream), upstream.world
        world.remove_highlight(LIMITLESS)
        harness.night(*BOTH)
        world.restore_highlight(LIMITLESS)
        harness.night(*BOTH)
        world.remove_highlight(LIMITLESS)
        harness.night(*BOTH)
        first = ArchiveState.of(harness)
        world.restore_highlight(LIMITLESS)
        world.retitle(GIFT, "Gifts")
        world.recover(GIFT)
        world.rename("salwaaa_ki", "salwaaa")
        world.remove_item(BOTW, world.highlight(BOTW).items[0].pk)
        world.reorder_items(BOTW, [world.highlight(BOTW).items[-1].pk])
        world.reorder_tray("natgeo", [BOTW])
        harness.night(*BOTH)
        two = Two(harness, first)
        assert two.told() == (False, False, False)
        yield two


NOT_TRUE, LOST, UNTOLD = (True, False, False), (False, True, False), (False, False, True)


@pytest.mark.parametrize(
    ("tampering", "expected"),
    [
        ("delete from changes where field = 'title'", UNTOLD),
        (("delete from changes where new = 'returned' and id = (select max(id) from "
"changes where new = 'returned')"), UNTOLD),
        ("delete from changes where field = 'items' and old is not null", UNTOLD),
        ("delete from changes where field = 'item_order'", UNTOLD),
        ("delete from changes where field = 'position'", UNTOLD),
        ("update changes set old = '7' where field = 'position'", UNTOLD),
        ("update changes set new = 'x' where field = 'cover_name'", UNTOLD),
        ((f"insert into changes (run_id, at, subject, subject_pk, field, new) values (1, "
f"'', 'highlight', '{GIFT}', 'items', '1')"), UNTOLD),
        ((f"insert into changes (run_id, at, subject, subject_pk, field, new) values (1, "
f"'', 'highlight', '{GIFT}', 'presence', 'appeared')"), UNTOLD),
        ("delete from changes where id = (select min(id) from changes)", (False, True, True)),
        (f"update highlights set title = 'x' where pk = '{GIFT}'", (True, False, True)),
        (f"update highlights set gone_at = listed_at where pk = '{LIMITLESS}'", (True, False, True)),
        (f"update highlights set position = 7 where pk = '{GIFT}'", NOT_TRUE),
        (f"update highlights set completed_at = null where pk = '{GIFT}'", NOT_TRUE),
        ("update highlight_items set gone_at = null", (True, False, True)),
        (f"update highlight_items set position = position + 1 where highlight_pk = '{GIFT}'", NOT_TRUE),
        ("update items set video_duration = 9 where video_duration is not null", (True, False, True)),
        ("update users set full_name = 'x'", (True, False, True)),
        ("delete from mentions", NOT_TRUE),
        ("update stickers set extra = '{}'", NOT_TRUE),
        (f"delete from files where id = (select min(id) from files where highlight_pk = '{GIFT}')", LOST),
        ("delete from files where role = 'video'", (True, True, False)),
        (f"delete from highlight_items where highlight_pk = '{LIMITLESS}'", (True, True, False)),
    ],
)  # fmt: skip
def test_rows_that_are_wrong_are_seen(lived: Two, tampering: str, expected: tuple[bool, bool, bool]) -> None:
    """Against the world, against what was held before, or against the history: wherever it shows, and nowhere
    else.
    """
    database = lived.harness.root / "archive.db"
    before = database.read_bytes()
    with closing(sqlite3.connect(database)) as lite, lite:
        assert lite.execute(tampering).rowcount > 0
    try:
        assert lived.told() == expected
    finally:
        database.with_name("archive.db-wal").unlink(missing_ok=True)
        database.write_bytes(before)


def test_bytes_that_are_wrong_are_seen(lived: Two) -> None:
    """A blob that is not what its name says."""
    digest = str(lived.harness.one("select sha256 from files where role = 'avatar' limit 1"))
    path = lived.harness.root / "blobs" / digest[:2] / digest
    bytes_ = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"x")
    assert lived.told() == NOT_TRUE
    path.write_bytes(bytes_)


def test_stories_notice_changes_that_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of four kinds of row is dropped: the four stories that expect one say so, and the fifth has
    nothing to say.
    """
    write: Callable[..., None] = changes.write

    def forgets(connection: Connection, run_id: int, now: datetime, found: Iterable[Change]) -> None:
        kept = [
            c for c in found if c.new != "returned" and c.field not in ("position", "item_order", "username")
        ]
        write(connection, run_id, now, kept)

    monkeypatch.setattr(changes, "write", forgets)
    stories = (
        highlight_stories.removed_and_restored,
        highlight_stories.last_comes_first,
        item_stories.last_comes_first,
        account_stories.renamed,
        highlight_stories.retitled,
    )
    with FaultyStandIn(story_archive.world(stories)) as upstream:
        lived = StoryArchive(ArchiveHarness(tmp_path / "archive", upstream), stories, sweep_days=2)
        lived.nights()
        assert sorted(lived.outcome()) == sorted(told.name for told in lived.told[:4])
