"""What a view is: a function from a request to a page, without any HTTP.

A view reads the database and nothing else. The server (``web_app``) gives it the request, and adds the
headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from archiver.catalog import Catalog


class PageRequest(Struct, frozen=True):
    """The request for a page.

    ``path``: the values of the placeholders in its route. ``query``: the first value of each parameter.
    ``origin``: scheme and host by which the reader reached the server, such as ``http://127.0.0.1:8000``.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


class Page(Struct, frozen=True):
    """A page, and the media type of its bytes."""

    content: bytes
    media_type: str = "text/html; charset=utf-8"


class Redirect(Struct, frozen=True):
    """Where the page is now: a path from the first page, such as ``accounts/natgeo-1/index.html``."""

    path: str


View = Callable[[Catalog, PageRequest], Page | Redirect | None]
"""Returns the page; None if the archive does not hold what it should show. May be called by many threads."""
