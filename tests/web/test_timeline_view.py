"""The timeline: every dated item once, by day, in both directions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from archiver.catalog import Catalog, record
from archiver.pages.page_text import MONTHS
from archiver.web import archive_views
from tests.support.catalog_samples import FACTS, file_of, page, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.view_pages import (
    existing_page,
    hrefs,
    links,
    marked,
    query_of,
    text_of,
    texts,
    tiles,
    view_page,
)

DAY = timedelta(days=1)


def record_items(catalog: Catalog, run_id: int, taken: dict[str, datetime | None]) -> None:
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    items = [video(pk, taken_at=at) for pk, at in taken.items()]
    catalog.write(record.record_page, run_id, None, page("1", *items), FACTS, NOW)


def test_every_dated_item_is_on_one_page_of_the_timeline(catalog: Catalog, run_id: int) -> None:
    """Going back in time shows each once, the latest first, also those of the same moment; going forward
    leads over the same pages.
    """
    number = 2 * archive_views.ITEMS_PER_PAGE + 5
    same = {str(pk): NOW for pk in range(1000, 1000 + number)}
    record_items(catalog, run_id, {**same, "5": NOW - DAY, "7": NOW + DAY, "9": None})
    pages, query = [], dict[str, str]()
    while True:
        root = existing_page(catalog, "/timeline", **query)
        pages.append(tiles(root))
        if "Earlier" not in links(root):
            break
        query = query_of(links(root)["Earlier"])
    assert [pk for shown in pages for pk in shown] == ["7", *sorted(same, reverse=True), "5"]
    assert [len(one) for one in pages[:2]] == [archive_views.ITEMS_PER_PAGE] * 2
    back = existing_page(catalog, "/timeline", **query_of(links(root)["Later"]))
    assert tiles(back) == pages[-2]
    first = existing_page(catalog, "/timeline", **query_of(links(back)["Later"]))
    assert tiles(first) == pages[0]
    assert "Later" not in links(first)


@SQLITE_EVERYDAY
def test_a_place_that_no_link_names_has_no_page(catalog: Catalog, run_id: int) -> None:
    """Also one that is outside the calendar in UTC."""
    for place in ("", "2025-12-04", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x 1"):
        for name in ("before", "after"):
            assert view_page(catalog, "/timeline", **{name: place}) is None


@SQLITE_EVERYDAY
def test_days_are_those_of_utc_as_the_site_shows_them(catalog: Catalog, run_id: int) -> None:
    """With their items below them, and a link to the account and the highlight of each."""
    midnight = datetime(2025, 12, 4, tzinfo=UTC)
    record_items(catalog, run_id, {"1": midnight, "2": midnight - timedelta(microseconds=1)})
    root = existing_page(catalog, "/timeline")
    assert texts(root, "h2")[:2] == ["4 December 2025", "3 December 2025"]
    assert "accounts/natgeo-787132/" in hrefs(root)
    assert "accounts/natgeo-787132/1.html?item=2#i2" in hrefs(root)


@SQLITE_EVERYDAY
def test_a_reader_can_jump_to_a_day_a_month_and_a_year(catalog: Catalog, run_id: int) -> None:
    """The timeline begins there with the last item of it, or of the time before."""
    taken = {"1": datetime(2019, 3, 5, tzinfo=UTC), "2": datetime(2021, 7, 9, 12, tzinfo=UTC)}
    record_items(catalog, run_id, dict(taken))
    root = existing_page(catalog, "/timeline")
    assert [name for name in links(root) if name.isdigit()] == ["2021", "2019"]
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(root)["2019"]))) == ["1"]
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(root)["Jul"]))) == ["2", "1"]
    assert tiles(existing_page(catalog, "/timeline", day="2021-07-09")) == ["2", "1"]
    empty = existing_page(catalog, "/timeline", day="2018-12-31")
    assert tiles(empty) == []
    assert tiles(existing_page(catalog, "/timeline", **query_of(links(empty)["Later"]))) == ["2", "1"]


def test_only_months_with_items_are_links(catalog: Catalog, run_id: int) -> None:
    """Of the year that is shown, whose link is marked, as that of its month is."""
    ends = datetime(2021, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    taken = {"1": datetime(2020, 8, 5, tzinfo=UTC), "2": datetime(2021, 3, 1, tzinfo=UTC), "3": ends}
    record_items(catalog, run_id, dict(taken))
    for query, months in (({}, ["Dec", "Mar"]), ({"day": "2021-04-30"}, ["Dec", "Mar"])):
        root = existing_page(catalog, "/timeline", **query)
        assert [name for name in links(root) if name in {month[:3] for month in MONTHS}] == months
    assert marked(existing_page(catalog, "/timeline")) == ["Timeline", "2021", "Dec"]
    assert marked(existing_page(catalog, "/timeline", day="2021-04-30")) == ["Timeline", "2021", "Mar"]
    assert marked(existing_page(catalog, "/timeline", day="2019-01-01")) == ["Timeline"]


@SQLITE_EVERYDAY
def test_a_tile_names_its_account(catalog: Catalog, run_id: int) -> None:
    """The day is in the heading above it."""
    record_items(catalog, run_id, {"1": NOW})
    catalog.write(record.record_file, run_id, file_of("1", content="video"), None, NOW)
    captions = [text_of(p) for p in existing_page(catalog, "/timeline").iter("p") if p.get("class") == "date"]
    assert captions == ["National Geographic"]


@SQLITE_EVERYDAY
def test_an_item_is_shown_as_in_a_highlight_that_still_shows_it(catalog: Catalog, run_id: int) -> None:
    """An item that one highlight no longer shows is not marked while another one shows it."""
    catalog.write(record.record_tray, run_id, "787132", tray("1", "2"), NOW)
    for pk in ("1", "2"):
        catalog.write(record.record_page, run_id, None, page(pk, "10", "11"), FACTS, NOW)
    catalog.write(record.record_page, run_id, None, page("1"), FACTS, NOW + DAY, gone=("10", "11"))
    catalog.write(record.record_page, run_id, None, page("2", "10"), FACTS, NOW + DAY, gone=("11",))
    items = [li for li in existing_page(catalog, "/timeline").iter("li") if li.get("id")]
    assert {li.attrib["id"]: li.attrib["class"] for li in items} == {"i10": "item", "i11": "item gone"}
