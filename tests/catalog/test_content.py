"""The archive as a reader walks through it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from archiver.catalog import Catalog, record
from archiver.catalog.query import content
from archiver.catalog.record.stored_files import StoredFile
from archiver.model.archived import EVERYTHING, KeptAccount, KeptHighlight, Placed, Selection
from archiver.model.identity import Role
from archiver.model.upstream import Hashtag, Mention, WebLink
from archiver.model.values import replace
from tests.support.catalog_samples import FACTS, LATER, NATGEO, file_of, highlight, page, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY

_DAY = timedelta(days=1)


@pytest.fixture
def shelf(catalog: Catalog, run_id: int) -> Catalog:
    """An account with three highlights: two in the tray (one item in both), and one that is gone."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("3", "gone"), "2", "1"), NOW)
    catalog.write(
        record.record_page, run_id, 1, page("3", video("30", media_type=1), title="gone"), FACTS, NOW
    )
    entries = {
        "mentions": (Mention("b", "2"), Mention("a", "1")),
        "web_links": (WebLink("https://example.com"),),
        "hashtags": (Hashtag("wild"),),
    }
    catalog.write(
        record.record_page, run_id, 2, page("2", video("20", taken_at=NOW - _DAY), "10"), FACTS, NOW
    )
    catalog.write(record.record_page, run_id, 3, page("1", video("10", **entries), "11"), FACTS, NOW)
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("2", "1"), LATER, gone=("3",))
    for pk, role, text, when in (
        ("787132", Role.AVATAR, "old face", NOW),
        ("787132", Role.AVATAR, "new face", LATER),
        ("2", Role.COVER, "", NOW),
        ("10", Role.VIDEO, "", NOW),
        ("11", Role.VIDEO, "", LATER),
        ("10", Role.THUMBNAIL, "", NOW),
    ):
        catalog.write(record.record_files, [StoredFile(file_of(pk, role, text), 1, when)], run_id=run_id)
    return catalog


def _walked(catalog: Catalog, selection: Selection = EVERYTHING) -> list[str]:
    words = {KeptAccount: "account", KeptHighlight: "highlight"}
    return [
        f"item {step.item.pk}" if isinstance(step, Placed) else f"{words[type(step)]} {step.pk}"
        for step in catalog.stream(content.walk, selection)
    ]


@SQLITE_EVERYDAY
def test_a_walk_goes_as_a_reader_would(shelf: Catalog) -> None:
    """Account, shown highlights in the order of the tray, then gone ones; in each its items in order."""
    assert _walked(shelf) == [
        "account 787132",
        *("highlight 2", "item 20", "item 10"),
        *("highlight 1", "item 10", "item 11"),
        *("highlight 3", "item 30"),
    ]


_NARROWED: tuple[tuple[Selection, list[str]], ...] = (
    (Selection(user_pks=("787132",), titles=("go*",)), ["highlight 3", "item 30"]),
    (Selection(highlight_pks=("1",)), ["highlight 1", "item 10", "item 11"]),
    (Selection(taken_before=NOW), ["highlight 2", "item 20"]),
    (
        Selection(taken_from=NOW, titles=("Gift*",)),
        ["highlight 2", "item 10", "highlight 1", "item 10", "item 11"],
    ),
    (Selection(media_types=frozenset({1})), ["highlight 3", "item 30"]),
    (Selection(new_since=LATER), ["highlight 1", "item 11"]),
    (Selection(titles=("nothing",)), []),
    (Selection(user_pks=("1",)), []),
)


def test_what_is_narrowed_to_nothing_is_left_out(shelf: Catalog) -> None:
    """Highlights without any selected item, accounts without any selected highlight; a file kept late makes
    its item new.
    """
    for selection, expected in _NARROWED:
        assert _walked(shelf, selection) == (["account 787132", *expected] if expected else []), selection


_SELECTED = (
    EVERYTHING,
    Selection(titles=("Gift*",)),
    Selection(highlight_pks=("1", "3")),
    Selection(taken_before=NOW),
    Selection(new_since=LATER),
    Selection(media_types=frozenset({2}), taken_from=NOW),
    Selection(titles=("nothing",)),
)


@SQLITE_EVERYDAY
def test_a_walk_through_files_meets_what_a_walk_meets(shelf: Catalog, run_id: int) -> None:
    """The same accounts and highlights, and the same files of the same places: newest ones, not lost, dated
    by the item or else when kept.
    """
    shelf.write(
        record.record_files, [StoredFile(file_of("11", Role.VIDEO, "newer"), 1, LATER + _DAY)], run_id=run_id
    )
    shelf.write(record.record_files, [StoredFile(file_of("20", Role.VIDEO, "lost"), 1, LATER)], run_id=run_id)
    shelf.write(record.record_lost_blobs, [file_of("20", Role.VIDEO, "lost").blob.sha256], LATER)
    shelf.write(record.record_page, run_id, 4, page("2", video("20", taken_at=NOW - _DAY)), FACTS, LATER)
    shelf.write(
        record.record_page, run_id, 5, page("1", "10", video("11", taken_at=None), "12"), FACTS, LATER
    )
    for selection in _SELECTED:
        told: list[object] = []
        for step in shelf.stream(content.walk, selection):
            told.extend(step.files if isinstance(step, Placed) else [step])
        assert list(shelf.stream(content.walk_files, selection)) == told, selection
        assert bool(told) == (selection.titles != ("nothing",)), selection


@SQLITE_EVERYDAY
def test_an_account_without_highlights_is_met(shelf: Catalog, run_id: int) -> None:
    """Unless highlights or items are asked for."""
    shelf.write(record.record_tray, run_id, "9", tray(user=replace(NATGEO, pk="9", username="empty")), NOW)
    assert _walked(shelf)[-1] == "account 9"
    assert "account 9" not in _walked(shelf, Selection(titles=("*",)))


@SQLITE_EVERYDAY
def test_files_stand_newest_first_and_lost_ones_are_passed_over(shelf: Catalog) -> None:
    """An avatar that was replaced stays, behind; where the newest one is lost, it is the one that is
    shown.
    """
    (account,) = shelf.stream(content.accounts, EVERYTHING)
    assert [file.blob.sha256 for file in account.avatars] == [
        file_of("787132", Role.AVATAR, face).blob.sha256 for face in ("new face", "old face")
    ]
    assert account.avatar == account.avatars[0]
    shelf.write(record.record_lost_blobs, [account.avatars[0].blob.sha256], LATER)
    (account,) = shelf.stream(content.accounts, EVERYTHING)
    assert account.avatar == account.avatars[1]
    assert account.avatars[0].lost_at == LATER


@SQLITE_EVERYDAY
def test_items_come_once_with_what_they_carry(shelf: Catalog) -> None:
    """In the order of the answer, whichever highlights show them."""
    items = {item.pk: item for item in shelf.stream(content.items, Selection(user_pks=("787132",)))}
    assert list(items) == ["10", "11", "20", "30"]
    assert [mention.username for mention in items["10"].mentions] == ["b", "a"]
    assert [link.url for link in items["10"].web_links] == ["https://example.com"]
    assert [tag.name for tag in items["10"].hashtags] == ["wild"]
    assert [file.role for file in items["10"].held] == [Role.THUMBNAIL, Role.VIDEO]
    bare = list(shelf.stream(content.items, EVERYTHING, with_entries=False))
    assert [item.mentions for item in bare] == [()] * 4


@SQLITE_EVERYDAY
def test_every_file_is_told(shelf: Catalog) -> None:
    """In the order in which they were kept, those that were replaced too."""
    files = list(shelf.stream(content.files))
    assert [(file.owner.pk, file.role) for file in files] == [
        ("787132", Role.AVATAR),
        ("787132", Role.AVATAR),
        ("2", Role.COVER),
        ("10", Role.VIDEO),
        ("11", Role.VIDEO),
        ("10", Role.THUMBNAIL),
    ]


@SQLITE_EVERYDAY
def test_a_walk_is_of_one_moment(shelf: Catalog, run_id: int) -> None:
    """What is recorded meanwhile is not seen."""
    walk = shelf.stream(content.walk, EVERYTHING)
    assert isinstance(next(walk), KeptAccount)
    shelf.write(record.record_page, run_id, 4, page("1", "10", "11", "12"), FACTS, LATER)
    assert sum(isinstance(step, Placed) for step in walk) == 5


def test_an_item_is_looked_up_by_its_code(shelf: Catalog) -> None:
    """By an index: a million items are not read for one."""
    code = next(shelf.stream(content.items, EVERYTHING)).code
    assert code is not None
    assert shelf.read(content.pks_by_code, code) == ("10",)
    assert "ix_items_code" in shelf.read(_plan_of_coded, code)


def _plan_of_coded(connection: Connection, code: str) -> str:
    """How the database answers what ``coded`` asks."""
    asked: list[tuple[str, Any]] = []

    def note(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    with connection.engine.connect() as other:
        event.listen(other, "before_cursor_execute", note)
        content.pks_by_code(other, code)
    statement, parameters = asked[-1]  # after a BEGIN
    how = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        # For five items any way is quick, and statistics decide: only one that looks for the code is left.
        for other_way in ("seqscan", "indexscan", "indexonlyscan"):
            connection.exec_driver_sql(f"SET LOCAL enable_{other_way} = off")
        how = "EXPLAIN"
    return str(connection.exec_driver_sql(f"{how} {statement}", parameters).all())
