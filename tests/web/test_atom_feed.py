"""The Atom feed: valid by RFC 4287, with ids that stay and links that are absolute."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from archiver.catalog import Catalog, record
from archiver.web import atom_feed
from tests.support.catalog_samples import FACTS, LATER, NATGEO, file_of, page, tray
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
    feed = read_feed(catalog)
    check_feed(feed)
    entries = {children(entry, "id")[0]: entry for entry in feed.findall(f"{ATOM}entry")}
    assert set(entries) == {f"urn:archiver:{ARCHIVE_ID}:item:{pk}" for pk in (11, 12, 13, 14, 15, 51)}
    entry = entries[f"urn:archiver:{ARCHIVE_ID}:item:11"]
    linked = {link.attrib["rel"]: link.attrib for link in entry.findall(f"{ATOM}link")}
    assert linked["alternate"]["href"] == f"{ORIGIN}/item/11"
    assert (linked["enclosure"]["type"], linked["enclosure"]["length"]) == ("video/mp4", "1000")
    assert linked["enclosure"]["href"].startswith(f"{ORIGIN}/media/")


@SQLITE_EVERYDAY
def test_an_entry_stays_as_it_is(catalog: Catalog) -> None:
    """What happens later to other items, and when the feed is read, does not change it; the newest comes
    first.
    """
    run = catalog.write(record.start_run, "run", NOW)
    catalog.write(record.tray, run, NATGEO.pk, tray("1"), NOW)
    catalog.write(record.page, run, None, page("1", "10"), FACTS, NOW)
    (before,) = read_feed(catalog).findall(f"{ATOM}entry")
    assert children(read_feed(catalog), "updated") == children(before, "updated") == ["2026-03-31T23:30:00Z"]
    catalog.write(record.page, run, None, page("1", "10", "11"), FACTS, LATER)
    catalog.write(record.file, run, file_of("11"), None, LATER)
    feed = read_feed(catalog)
    newest, same = feed.findall(f"{ATOM}entry")
    assert ElementTree.tostring(same) == ElementTree.tostring(before)
    assert children(feed, "updated") == children(newest, "updated") == ["2026-04-01T23:30:00Z"]


@SQLITE_EVERYDAY
def test_a_feed_is_short(catalog: Catalog, run_id: int) -> None:
    """It has the newest items, however many the archive holds; without any it is valid too."""
    check_feed(read_feed(catalog))
    catalog.write(record.tray, run_id, NATGEO.pk, tray("1"), NOW)
    pks = [str(1000 + n) for n in range(atom_feed.ENTRIES + 1)]
    catalog.write(record.page, run_id, None, page("1", *pks), FACTS, NOW)
    assert len(read_feed(catalog).findall(f"{ATOM}entry")) == atom_feed.ENTRIES
