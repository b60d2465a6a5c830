"""The Atom feed: valid by RFC 4287, with ids that stay and links that are absolute."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from archiver.catalog import Catalog, record
from archiver.web import archive_views
from tests.support.catalog_samples import FACTS, LATER, LATEST, NATGEO, file_of, page, tray
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY
from tests.support.three_night_catalog import record_three_nights
from tests.support.view_pages import ORIGIN, view_page

ATOM, XHTML = "{http://www.w3.org/2005/Atom}", "{http://www.w3.org/1999/xhtml}"


def read_feed(catalog: Catalog) -> Element:
    page = view_page(catalog, "/feed.atom")
    assert page is not None
    return ElementTree.fromstring(page)


def children(element: Element, tag: str) -> list[str]:
    return [child.text or "" for child in element.findall(ATOM + tag)]


def check_feed(feed: Element) -> None:
    """Check what RFC 4287 requires of a feed and its entries (4.1.1, 4.1.2)."""
    assert feed.tag == f"{ATOM}feed"
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for once in ("id", "title", "updated"):
            (text,) = children(element, once)
            assert text
    for entry in feed.findall(f"{ATOM}entry"):
        assert entry.findall(f"{ATOM}author/{ATOM}name")
        (content,) = entry.findall(f"{ATOM}content")
        assert content.attrib == {"type": "xhtml"}
        assert [child.tag for child in content] == [f"{XHTML}div"]
        for link in entry.findall(f"{ATOM}link"):
            assert link.attrib["href"].startswith(f"{ORIGIN}/")
    ids = children(feed, "id") + [children(entry, "id")[0] for entry in feed.findall(f"{ATOM}entry")]
    assert len(ids) == len(set(ids))


def test_the_feed_is_valid_and_its_links_lead_to_the_server(catalog: Catalog) -> None:
    """Each item has a page, its files with type and length, and its picture."""
    record_three_nights(catalog)
    run = catalog.write(record.start_run, "run", LATEST)
    catalog.write(
        record.record_page, run, None, page("1", "11", "12", "15", "16", title="BOTW"), FACTS, LATEST
    )
    catalog.write(record.record_file, run, file_of("16"), None, LATEST)
    feed = read_feed(catalog)
    check_feed(feed)
    entries = {children(entry, "id")[0]: entry for entry in feed.findall(f"{ATOM}entry")}
    new = ("account:787132", "account:42", "item:16")
    assert set(entries) == {f"urn:archiver:{ARCHIVE_ID}:{what}" for what in new}
    entry = entries[f"urn:archiver:{ARCHIVE_ID}:item:16"]
    linked = {link.attrib["rel"]: link.attrib for link in entry.findall(f"{ATOM}link")}
    assert linked["alternate"]["href"] == f"{ORIGIN}/item/16"
    assert (linked["enclosure"]["type"], linked["enclosure"]["length"]) == ("video/mp4", "1000")
    assert linked["enclosure"]["href"].startswith(f"{ORIGIN}/media/")


@SQLITE_EVERYDAY
def test_an_entry_stays_as_it_is(catalog: Catalog) -> None:
    """What happens later to other items, and when the feed is read, does not change it; the newest comes
    first.
    """
    run = catalog.write(record.start_run, "run", NOW)
    catalog.write(record.record_tray, run, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run, None, page("1", "10"), FACTS, NOW)
    (first,) = read_feed(catalog).findall(f"{ATOM}entry")
    assert children(read_feed(catalog), "updated") == children(first, "updated") == ["2026-03-31T23:30:00Z"]
    catalog.write(record.record_page, run, None, page("1", "10", "11"), FACTS, LATER)
    before, _ = read_feed(catalog).findall(f"{ATOM}entry")
    catalog.write(record.record_page, run, None, page("1", "10", "11", "12"), FACTS, LATEST)
    catalog.write(record.record_file, run, file_of("12"), None, LATEST)
    feed = read_feed(catalog)
    newest, *same = feed.findall(f"{ATOM}entry")
    assert [*map(ElementTree.tostring, same)] == [ElementTree.tostring(before), ElementTree.tostring(first)]
    assert children(feed, "updated") == children(newest, "updated")


def test_fault_e5_the_items_of_a_new_account_are_no_news(catalog: Catalog, run_id: int) -> None:
    """One entry says that the account is new. An item that a later page adds, and all items of a highlight
    that a later tray adds, are entries; an item that was removed and is back is not."""
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.record_page, run_id, None, page("1", *map(str, range(100, 170))), FACTS, NOW)
    (entry,) = read_feed(catalog).findall(f"{ATOM}entry")
    assert children(entry, "id") == [f"urn:archiver:{ARCHIVE_ID}:account:{NATGEO.pk}"]
    assert entry.findall(f"{ATOM}link")[0].attrib["href"] == f"{ORIGIN}/accounts/natgeo-787132/"
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), LATER)
    catalog.write(record.record_page, run_id, None, page("1", "100", "200"), FACTS, LATER, gone=("101",))
    catalog.write(record.record_page, run_id, None, page("2", "300", "301"), FACTS, LATER)
    catalog.write(record.record_page, run_id, None, page("1", "100", "200", "101"), FACTS, LATEST)
    ids = [children(entry, "id")[0] for entry in read_feed(catalog).findall(f"{ATOM}entry")]
    assert ids == [f"urn:archiver:{ARCHIVE_ID}:item:{pk}" for pk in (301, 300, 200)] + [
        f"urn:archiver:{ARCHIVE_ID}:account:{NATGEO.pk}"
    ]


@SQLITE_EVERYDAY
def test_a_feed_is_short(catalog: Catalog, run_id: int) -> None:
    """It has the newest items, however many the archive holds; without any it is valid too."""
    check_feed(read_feed(catalog))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1"), NOW)
    pks = [str(1000 + n) for n in range(archive_views.FEED_ENTRIES + 2)]
    catalog.write(record.record_page, run_id, None, page("1", *pks[:1]), FACTS, NOW)
    catalog.write(record.record_page, run_id, None, page("1", *pks), FACTS, LATER)
    assert len(read_feed(catalog).findall(f"{ATOM}entry")) == archive_views.FEED_ENTRIES
