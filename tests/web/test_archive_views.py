"""The views of the whole archive: each is valid, closed and harmless, whatever the archive holds."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from archiver.catalog import Catalog, record
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.upstream import (
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Location,
    Mention,
    Tray,
    User,
    WebLink,
)
from archiver.web.archive_views import ARCHIVE_VIEWS
from tests.support.catalog_samples import FACTS, LATER
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY
from tests.support.hostile_world import ESCAPES, FORGED, LONG, TITLES
from tests.support.three_night_catalog import record_three_nights
from tests.support.view_pages import existing_page, view_page

PAGES = [path for path in ARCHIVE_VIEWS if path != "/feed.atom"]
MARKUP = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"' onclick='x'"
HOSTILE = (*(title for title in TITLES if title.strip()), MARKUP, ESCAPES + FORGED + MARKUP + LONG)


def record_words(catalog: Catalog, text: str) -> None:
    """Record an account that has ``text`` wherever text is possible, in two nights."""
    owner = User("7", text, text, False, True, None, "a.jpg")
    run = catalog.write(record.start_run, "run", NOW)

    def listed(title: str) -> Highlight:
        return Highlight("70", owner, title, created_at=NOW, numbers=FACTS, cover_name="c.jpg")

    item = Item(
        "700",
        "7",
        text,
        NOW,
        2,
        mentions=(Mention(text, "2", text),),
        web_links=(WebLink("javascript:" + text, text, text),),
        hashtags=(Hashtag(text),),
        locations=(Location(text, "3", 1.0, 2.0),),
    )
    catalog.write(record.record_tray, run, "7", Tray(owner, (listed("first"),)), NOW)
    catalog.write(record.record_page, run, None, HighlightPage(listed("first"), ()), FACTS, NOW)
    catalog.write(record.record_tray, run, "7", Tray(owner, (listed(text),)), LATER)
    catalog.write(record.record_page, run, None, HighlightPage(listed(text), (item,)), FACTS, LATER)
    catalog.write(record.record_failure, Failure(Subject.TARGET, text, None, Reason.GONE, text), LATER)
    catalog.write(
        record.record_failure, Failure(Subject.ITEM, "700", Role.VIDEO, Reason.NETWORK, text), LATER
    )


def shape(root: Element) -> list[tuple[str, list[str]]]:
    """Return the elements of a page and the names of their attributes."""
    return [(element.tag, sorted(element.attrib)) for element in root.iter()]


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_archive_has_every_page(catalog: Catalog, path: str) -> None:
    """Valid HTML, with the page itself marked in the navigation bar."""
    root = existing_page(catalog, path)
    (current,) = [a.attrib["href"] for a in root.iter("a") if a.get("aria-current")]
    assert current == path.removeprefix("/")


@SQLITE_EVERYDAY
def test_pages_of_an_archive_are_valid(catalog: Catalog) -> None:
    """They load and link to nothing but the server, and ids are unique."""
    record_three_nights(catalog)
    for path in PAGES:
        root = existing_page(catalog, path, q="natgeo")
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids)), path
        for element in root.iter():
            loaded = [element.attrib[name] for name in ("src", "action", "poster") if name in element.attrib]
            assert not [address for address in loaded if "//" in address or address.startswith("/")]
            assert "style" not in element.attrib
            assert not [name for name in element.attrib if name.startswith("on")]


def test_words_of_strangers_are_text(tmp_path: Path, whole: bool) -> None:
    """With hostile words everywhere, the pages have the elements that they have with a plain word, and the
    feed is XML. Every day with the last two of them, which hold the most; with ``--whole`` with all.
    """
    expected: dict[str, list[tuple[str, list[str]]]] = {}
    for number, text in enumerate(("plain words", *(HOSTILE if whole else HOSTILE[-2:]))):
        with Catalog.create(tmp_path / f"{number}.db", ARCHIVE_ID, NOW) as catalog:
            record_words(catalog, text)
            for path in PAGES:
                found = shape(existing_page(catalog, path))
                assert found == expected.setdefault(path, found), (path, text)
            searched = existing_page(catalog, "/search", q=text)
            assert [e.get("src") for e in searched.iter("script")] == ["assets/viewer.js"]
            feed = ElementTree.fromstring(view_page(catalog, "/feed.atom") or "")
            assert len(feed.findall("{http://www.w3.org/2005/Atom}entry")) == 2  # the item, and the account


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_page_has_a_path_on_disk(catalog: Catalog) -> None:
    """Not even one that the detail of a failure states."""
    record_words(catalog, "plain")
    failed = Failure(Subject.HIGHLIGHT, "70", None, Reason.NETWORK, "/srv/archive/tmp/x: no space left")
    catalog.write(record.record_failure, failed, LATER)
    catalog.write(record.start_run, "run", LATER)
    for path in ARCHIVE_VIEWS:
        assert "/srv/" not in (view_page(catalog, path) or "")
    assert "highlight" in (view_page(catalog, "/gaps") or "")


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        *(
            ("/timeline", name, value)
            for name in ("before", "after")
            for value in ("x", "2025-01-01 1", " ", "")
        ),
        ("/timeline", "before", "2025-01-01T00:00:00Z 1\x002"),
        ("/timeline", "day", "9999-12-31"),
        ("/timeline", "day", "yesterday"),
        *(("/changes", "before", value) for value in ("x", "-1", "1" * 40, "١")),
        *(("/gaps", name, value) for name in ("after", "account") for value in ("x", "'", "1" * 41)),
        ("/gaps", "account", "999"),
        *(("/search", "page", value) for value in ("x", "21", "-1")),
    ],
)
def test_a_malformed_place_is_no_page(catalog: Catalog, path: str, name: str, value: str) -> None:
    """A parameter that no link of ours has leads to no page, and to no error."""
    assert view_page(catalog, path, **{name: value, "q": "x"}) is None
