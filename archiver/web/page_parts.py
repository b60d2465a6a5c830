"""What the views share: request and page, items as tiles, accounts and highlights as links, places in a list.

A view is a function from a request to a page, without any HTTP. It reads the database and nothing else. The
server (``web_app``) gives it the request, and adds the headers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from msgspec import Struct, field

from archiver.catalog import Catalog, Snapshot
from archiver.catalog.query import content, page_contents
from archiver.model.archived import DatedPk, KeptAccount, KeptHighlight, Selection, ShownItem
from archiver.model.identity import Pk, is_pk
from archiver.model.values import replace
from archiver.pages import page_text
from archiver.pages.cards import account_directory, make_tile, to_picture
from archiver.pages.html_pages import account_name
from archiver.pages.view_model import ItemTile, SubjectLink
from archiver.text_format import format_time


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


def account_href(account: KeptAccount) -> str:
    """Return the path of an account's page from the first page; those of its highlights are below it."""
    return f"{account_directory(account)}/"


def account_link(account: KeptAccount) -> SubjectLink:
    """Return an account as a link to its page."""
    username = page_text.shorten(account.username or "")
    return SubjectLink(
        account_name(account),
        account_href(account),
        to_picture(account.avatar),
        f"@{username}" if username and account.full_name else "",
        account.gone_at is not None,
    )


def highlight_link(highlight: KeptHighlight, account: KeptAccount, note: str = "") -> SubjectLink:
    """Return a highlight as a link to its page."""
    return SubjectLink(
        page_text.shorten(highlight.title or "") or "Untitled",
        f"{account_href(account)}{highlight.pk}.html",
        to_picture(highlight.cover),
        note,
        highlight.gone_at is not None,
    )


def make_shown_tile(shown: ShownItem) -> ItemTile:
    """Return the tile of an item for a page of several accounts."""
    tile = make_tile(shown.placed, shown.highlight, account_name(shown.account))
    return replace(tile, account=shown.account, directory=account_href(shown.account))


def read_tiles(snapshot: Snapshot, pks: Collection[Pk]) -> dict[Pk, ItemTile]:
    """Return the tiles of these items, by pk."""
    shown = snapshot.read(page_contents.shown_items, pks)
    return {pk: make_shown_tile(one) for pk, one in shown.items()}


def read_accounts(snapshot: Snapshot, pks: Collection[Pk]) -> dict[Pk, KeptAccount]:
    """Return these accounts, by pk."""
    selection = Selection(user_pks=tuple(sorted(set(pks))))
    return {a.pk: a for a in snapshot.stream(content.accounts, selection)} if pks else {}


def read_highlights(snapshot: Snapshot, pks: Collection[Pk]) -> dict[Pk, KeptHighlight]:
    """Return these highlights, by pk."""
    selection = Selection(highlight_pks=tuple(sorted(set(pks))))
    return {h.pk: h for h in snapshot.stream(content.highlights, selection)} if pks else {}


def write_place(name: str, place: DatedPk) -> str:
    """Return a place in a list as the parameter ``name`` of an address."""
    return urlencode({name: f"{format_time(place.at)} {place.pk}"})


def read_place(query: Mapping[str, str], name: str) -> DatedPk | None:
    """Return the place that a parameter names; None without it.

    Raises ValueError for any other text, OverflowError for a time that UTC has not.
    """
    if name not in query:
        return None
    at, _, pk = query[name].partition(" ")
    when = datetime.fromisoformat(at)
    if when.tzinfo is None or (pk and not is_pk(pk)):
        raise ValueError(f"not a place: {name}")
    return DatedPk(when.astimezone(UTC), pk)


def read_number(query: Mapping[str, str], name: str) -> int | None:
    """Return the number that a parameter states; None without it. Raises ValueError for any other text."""
    if name not in query:
        return None
    text = query[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"not a number: {name}")
    return int(text)
