"""The search in the browser: the same matches as ``archiver search``, with pictures, page by page."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog, record
from archiver.model.upstream import Hashtag
from archiver.web import archive_views
from tests.support.catalog_samples import FACTS, file_of, page, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.three_night_catalog import record_three_nights
from tests.support.view_pages import existing_page, hrefs, links, query_of, text_of, texts, tiles


@SQLITE_EVERYDAY
def test_accounts_highlights_and_items_are_linked(catalog: Catalog) -> None:
    """Each under its heading, also by a former name, which is stated."""
    record_three_nights(catalog)
    found = existing_page(catalog, "/search", q="nasa")
    assert texts(found, "h2")[:2] == ["Accounts", "Items"]
    assert "accounts/nasa_gov-42/" in hrefs(found)
    assert tiles(found) == ["11"]
    former = existing_page(catalog, "/search", q='"nasa" -gov')
    assert tiles(former) == ["11"]
    renamed = existing_page(catalog, "/search", q="gift")
    assert "Gift Guide" in text_of(renamed)
    assert "formerly Gift Guide" in text_of(renamed)


@SQLITE_EVERYDAY
def test_an_item_says_whose_it_is_and_what_matched(catalog: Catalog, run_id: int) -> None:
    """In the words of ``archiver search``."""
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    item = video("10", hashtags=(Hashtag("moon"), Hashtag("sun")))
    catalog.write(record.record_page, run_id, None, page("1", item), FACTS, NOW)
    catalog.write(record.record_file, run_id, file_of("10", content="video"), None, NOW)
    (tile,) = (li for li in existing_page(catalog, "/search", q="moo").iter("li") if li.get("id") == "i10")
    captions = {p.get("class"): text_of(p) for p in tile.iter("p") if p.get("class") in ("date", "match")}
    assert captions == {"date": "National Geographic", "match": "hashtag: #moon"}


def test_every_match_is_on_one_page(catalog: Catalog, run_id: int) -> None:
    """The last link leads to the matches that follow, the newest first."""
    number = 2 * archive_views.HITS_PER_PAGE + 3
    items = [video(str(1000 + n), hashtags=(Hashtag("moon"),)) for n in range(number)]
    catalog.write(record.record_tray, run_id, "787132", tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", *items), FACTS, NOW)
    pages, query = [], {"q": "moon"}
    while True:
        root = existing_page(catalog, "/search", **query)
        pages.append(tiles(root))
        if "More results" not in links(root):
            break
        query = query_of(links(root)["More results"])
    assert [len(one) for one in pages] == [archive_views.HITS_PER_PAGE, archive_views.HITS_PER_PAGE, 3]
    assert [pk for shown in pages for pk in shown] == [str(1000 + n) for n in reversed(range(number))]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_search_that_cannot_be_understood_says_why(catalog: Catalog) -> None:
    """The form keeps the text, and the page says what is wrong with it."""
    root = existing_page(catalog, "/search", q="-only -dashes")
    assert "The search only excludes words" in text_of(root)
    (field,) = root.iter("input")
    assert field.attrib["value"] == "-only -dashes"
    assert "Nothing was found" in text_of(existing_page(catalog, "/search", q="x"))
