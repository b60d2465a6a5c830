"""The pages as HTML. The same values give the same bytes.

Jinja2 escapes every value that a page shows. Nothing is marked as safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from archiver.model.archived import KeptAccount, KeptHighlight
from archiver.pages import page_text
from archiver.pages.view_model import AccountCard, AtomFeed, HighlightCover, ItemsPage, ItemTile, Pager
from archiver.text_format import format_size, pluralize

_HERE = Path(__file__).parent
_UP = "../../"
"""The path from the directory of an account to that of the site."""

ASSETS = ("accounts.js", "icon.svg", "site.css", "viewer.js")
"""The files in ``assets/`` that an exported site needs."""

LIVE_ASSETS = ("icon.svg", "live.css", "live.js", "site.css", "viewer.js")
"""Those that the server needs."""

LIVE_LINKS = (
    ("Accounts", "index.html"),
    ("Timeline", "timeline"),
    ("Changes", "changes"),
    ("Search", "search"),
    ("Gaps", "gaps"),
    ("Costs", "costs"),
)
"""What every page of the server links to: a word, and the path relative to the first page."""

_CONTENT = b'<main id="content" tabindex="-1">'

# 'self' includes files of the site opened from file: (tried in Chromium 150, Firefox ESR and WebKitGTK).
_LOADED = tuple(f"{kind}-src 'self'" for kind in ("img", "media", "script", "style"))
_TRUSTED_TYPES = ("require-trusted-types-for 'script'", "trusted-types 'none'")
POLICY = "; ".join(("default-src 'none'", *_LOADED, "base-uri 'none'", "form-action 'none'", *_TRUSTED_TYPES))
"""The content security policy of every exported page."""

LIVE_POLICY = "; ".join(
    (
        "default-src 'none'",
        *_LOADED,
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        *_TRUSTED_TYPES,
    )
)
"""That of every response of the server, which sends it as a header: forms and search as you type, too."""


def asset(name: str) -> bytes:
    """Return the content of one of ASSETS and LIVE_ASSETS."""
    return (_HERE / "assets" / name).read_bytes()


def account_name(account: KeptAccount) -> str:
    """Return what to call an account: its full name, else its last username, else its pk."""
    if name := page_text.shorten(account.full_name or ""):
        return name
    username = page_text.shorten(account.last_username or "")
    return f"@{username}" if username else f"Account {account.pk}"


def account_names(account: KeptAccount) -> str:
    """Return all names of an account on one line, its current ones first: what a search looks through."""
    usernames = dict.fromkeys(filter(None, (account.username, *account.usernames)))
    shown = (page_text.shorten(name) for name in (account.full_name or "", *(f"@{u}" for u in usernames)))
    return " ".join(filter(None, shown)) or account_name(account)


def index_page(cards: Sequence[AccountCard]) -> str:
    """Return the first page: the accounts in the given order."""
    return _render("index.html", up="", cards=cards)


def account_page(
    card: AccountCard,
    covers: Sequence[HighlightCover],
    items: Sequence[ItemTile],
    *,
    pages: Sequence[ItemsPage] = (),
    pager: Pager | None = None,
    is_live: bool = False,
) -> str:
    """Return the page of an account: its highlights in the given order, then items, and links to ``pages``.

    ``pager``: which of its items these are, if they are not all or not only the latest.
    """
    former_usernames = [name for name in card.account.usernames if name != card.account.username]
    values = {"card": card, "former_usernames": former_usernames, "covers": covers, "latest": items}
    return _render("account.html", up=_UP, pages=pages, pager=pager, is_live=is_live, **values)


def items_page(
    account: KeptAccount, page: ItemsPage, pages: Sequence[ItemsPage], tiles: Sequence[ItemTile]
) -> str:
    """Return one of the pages that show all items of an account, with links to the others."""
    return _render("items.html", up=_UP, account=account, page=page, pages=pages, tiles=tiles)


def highlight_page(
    account: KeptAccount,
    cover: HighlightCover,
    tiles: Sequence[ItemTile],
    before: KeptHighlight | None,
    following: KeptHighlight | None,
    *,
    pager: Pager | None = None,
    is_live: bool = False,
) -> str:
    """Return the page of a highlight: its items, and links to the highlights before and after it."""
    values = {"account": account, "cover": cover, "tiles": tiles, "before": before, "following": following}
    return _render("highlight.html", up=_UP, pager=pager, is_live=is_live, **values)


def live_page(template: str, up: str, **values: object) -> str:
    """Return a page that only the server has. ``up``: the path from its directory to the first page."""
    return _render(template, up=up, is_live=True, **values)


def archive_page(name: str, **values: object) -> str:
    """Return the page NAME in the first directory of the server, about the whole archive."""
    return live_page(f"{name}.html", up="", here=name, **values)


def with_bar(page: bytes, text: str) -> bytes:
    """Return a page of the server that says this text first."""
    bar = f'<p class="behind" role="status">{escape(text)}</p>'
    return page.replace(_CONTENT, _CONTENT + bar.encode(), 1)


def atom_feed(feed: AtomFeed) -> str:
    """Return a feed as XML."""
    return _render("feed.atom", feed=feed)


def _render(template: str, *, is_live: bool = False, **values: object) -> str:
    shared = {"policy": POLICY, "is_live": is_live, "live_links": LIVE_LINKS}
    return _environment().get_template(template).render(**shared, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_clean,
    )
    environment.filters |= {
        "account_name": account_name,
        "clock": page_text.format_duration,
        "count": pluralize,
        "day": page_text.format_day,
        "highlight_address": page_text.highlight_address,
        "iso": page_text.format_iso_time,
        "moment": page_text.format_moment,
        "names": account_names,
        "profile_address": page_text.profile_address,
        "short_day": page_text.format_short_day,
        "short_moment": page_text.format_short_moment,
        "size": format_size,
        "shorten": lambda text: page_text.shorten(text or ""),
        "span": page_text.format_span,
    }
    return environment


def _clean(value: object) -> object:
    """Clean the value of an expression before it is escaped; markup comes from a template."""
    return page_text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
