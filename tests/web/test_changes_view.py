"""What changed, night by night, with the items that were added and removed."""

from __future__ import annotations

from archiver.catalog import Catalog, record
from archiver.web import archive_views
from tests.support.catalog_samples import FACTS, LATER, highlight, page, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.three_night_catalog import record_three_nights
from tests.support.view_pages import existing_page, hrefs, links, query_of, texts, tiles


def record_growth(catalog: Catalog, nights: int, added: int) -> None:
    """Record nights in each of which so many items were added to a highlight."""
    for night in range(nights + 1):
        run = catalog.write(record.start_run, "run", NOW)
        if night == 0:
            catalog.write(record.record_tray, run, "787132", tray("1"), NOW)
        shown = [str(pk) for pk in range(100, 100 + night * added)]
        catalog.write(record.record_page, run, None, page("1", *shown), FACTS, NOW)
        catalog.write(record.finish_run, run, NOW, "ok", 0)


@SQLITE_EVERYDAY
def test_each_night_says_what_changed_and_shows_its_items(catalog: Catalog) -> None:
    """The latest night first; edits in words; the items that were added or removed as pictures."""
    record_three_nights(catalog)
    root = existing_page(catalog, "/changes")
    assert texts(root, "h2") == [
        "2 April 2026, 23:30 UTC",
        "1 April 2026, 23:30 UTC",
        "Photo or video",  # the viewer
    ]
    edits = [text for text in texts(root, "p") if "renamed from Gift Guide" in text]
    assert edits == ["BOTW 1 added 1 removed renamed from Gift Guide"]
    assert sorted(tiles(root)) == ["11", "13", "15"]  # 11 names another owner now
    assert "accounts/natgeo-787132/1.html" in hrefs(root)


@SQLITE_EVERYDAY
def test_long_nights_go_on_and_can_be_skipped(catalog: Catalog) -> None:
    """Every change is on one page; a link leads past the rest of a night, another back."""
    record_growth(catalog, 3, archive_views.CHANGES_PER_PAGE + 1)
    pks, query, pages = list[str](), dict[str, str](), 0
    while True:
        root = existing_page(catalog, "/changes", **query)
        pks, pages = pks + tiles(root), pages + 1
        if "Earlier" not in links(root):
            break
        query = query_of(links(root)["Earlier"])
    assert sorted(pks) == [str(pk) for pk in range(100, 100 + 3 * (archive_views.CHANGES_PER_PAGE + 1))]
    assert pages == 4
    later = existing_page(catalog, "/changes", **query_of(links(root)["Later"]))
    assert "Earlier" in links(later)
    rest = links(existing_page(catalog, "/changes"))["Skip the rest of this night"]
    second = existing_page(catalog, "/changes", **query_of(rest))
    assert max(map(int, tiles(second))) == 99 + 2 * (archive_views.CHANGES_PER_PAGE + 1)


@SQLITE_EVERYDAY
def test_an_item_is_shown_once(catalog: Catalog) -> None:
    """Though it was added to two highlights: the viewer finds an item by its id."""
    for at, shown in ((NOW, []), (LATER, ["10"])):
        run = catalog.write(record.start_run, "run", at)
        catalog.write(record.record_tray, run, "787132", tray(highlight("1", "A"), highlight("2", "B")), at)
        for pk, title in (("1", "A"), ("2", "B")):
            catalog.write(record.record_page, run, None, page(pk, *shown, title=title), FACTS, at)
    root = existing_page(catalog, "/changes")
    assert tiles(root) == ["10"]
    assert [text for text in texts(root, "p") if "added" in text][1:] == ["A 1 added", "B 1 added"]
