"""The pages as HTML. The same values give the same bytes.

Jinja2 escapes every value that a page shows. Nothing is marked as safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from archiver.model.archived import KeptAccount, KeptHighlight
from archiver.pages import page_text
from archiver.pages.view_model import AccountCard, HighlightCover, ItemTile
from archiver.text_format import pluralize

_HERE = Path(__file__).parent
_UP = "../../"
"""The path from the directory of an account to that of the site."""

ASSETS = ("accounts.js", "icon.svg", "site.css", "viewer.js")
"""The files in ``assets/``."""

# 'self' includes files of the site opened from file: (tried in Chromium 150, Firefox ESR and WebKitGTK).
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("img", "media", "script", "style")),
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The content security policy of every page."""


def asset(name: str) -> bytes:
    """Return the content of one of ASSETS."""
    return (_HERE / "assets" / name).read_bytes()


def account_name(account: KeptAccount) -> str:
    """Return what to call an account: its full name, else its username, else its pk."""
    if name := page_text.shorten(account.full_name or ""):
        return name
    username = page_text.shorten(account.username or "")
    return f"@{username}" if username else f"Account {account.pk}"


def account_names(account: KeptAccount) -> str:
    """Return all names of an account on one line, its current ones first: what a search looks through."""
    usernames = dict.fromkeys(filter(None, (account.username, *account.usernames)))
    shown = (page_text.shorten(name) for name in (account.full_name or "", *(f"@{u}" for u in usernames)))
    return " ".join(filter(None, shown)) or account_name(account)


def index_page(cards: Sequence[AccountCard]) -> str:
    """Return the first page: the accounts in the given order."""
    return _render("index.html", up="", cards=cards)


def account_page(card: AccountCard, covers: Sequence[HighlightCover], latest: Sequence[ItemTile]) -> str:
    """Return the page of an account: its highlights in the given order, then its latest items."""
    former_usernames = [name for name in card.account.usernames if name != card.account.username]
    return _render(
        "account.html", up=_UP, card=card, former_usernames=former_usernames, covers=covers, latest=latest
    )


def highlight_page(
    account: KeptAccount,
    cover: HighlightCover,
    tiles: Sequence[ItemTile],
    before: KeptHighlight | None,
    following: KeptHighlight | None,
) -> str:
    """Return the page of a highlight: its items, and links to the highlights before and after it."""
    values = {"account": account, "cover": cover, "tiles": tiles, "before": before, "following": following}
    return _render("highlight.html", up=_UP, **values)


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(policy=POLICY, **values)


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
        "iso": page_text.format_iso_time,
        "moment": page_text.format_moment,
        "names": account_names,
        "shorten": lambda text: page_text.shorten(text or ""),
        "span": page_text.format_span,
    }
    return environment


def _clean(value: object) -> object:
    """Clean the value of an expression before it is escaped; markup comes from a template."""
    return page_text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
