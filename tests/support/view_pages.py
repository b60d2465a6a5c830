"""The pages of views, made from a database and without HTTP, and what they link to."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit
from xml.etree.ElementTree import Element

import html5lib

from archiver.catalog import Catalog
from archiver.web.archive_views import ARCHIVE_VIEWS
from archiver.web.page_parts import Page, PageRequest

ORIGIN = "http://127.0.0.1:8000"


def view_page(catalog: Catalog, path: str, **query: str) -> str | None:
    """Return the page that a view makes; None if there is none."""
    page = ARCHIVE_VIEWS[path](catalog, PageRequest(query=query, origin=ORIGIN))
    assert page is None or isinstance(page, Page)
    return None if page is None else page.content.decode()


def existing_page(catalog: Catalog, path: str, **query: str) -> Element:
    """Return the root of a page that must exist. Raises html5lib's ParseError if it is not valid HTML."""
    page = view_page(catalog, path, **query)
    assert page is not None
    root: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    return root


def text_of(element: Element) -> str:
    """Return the text of an element on one line."""
    return " ".join(" ".join(element.itertext()).split())


def texts(root: Element, tag: str) -> list[str]:
    """Return the text of each element with this tag."""
    return [text_of(element) for element in root.iter(tag)]


def tiles(root: Element) -> list[str]:
    """Return the pks of the items that are shown, in order."""
    return [
        element.attrib["id"][1:] for element in root.iter("li") if element.get("class", "").startswith("item")
    ]


def hrefs(root: Element) -> list[str]:
    """Return the addresses of all links."""
    return [a.attrib["href"] for a in root.iter("a")]


def links(root: Element) -> dict[str, str]:
    """Return the addresses of the links, by their text."""
    return {text_of(a): a.attrib["href"] for a in root.iter("a") if text_of(a)}


def marked(root: Element) -> list[str]:
    """Return the text of the links that lead to where the reader is."""
    return [text_of(a) for a in root.iter("a") if a.get("aria-current")]


def query_of(href: str) -> dict[str, str]:
    """Return the parameters of a link."""
    return dict(parse_qsl(urlsplit(href).query))
