"""The pages as text: the same values give the same bytes. Everything that is shown passes through Jinja's escaping; nothing is marked safe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from archiver.export.site import words
from archiver.export.site.model import Album, Card, Cover, Tile
from archiver.model.archived import KeptAccount, KeptHighlight

_HERE = Path(__file__).parent

ASSETS = ("icon.svg", "site.css", "viewer.js")
"""What the pages use beside media, in ``assets/``."""

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
"""The content security policy of every page. ``'self'`` holds from ``file:`` too: tried in Chromium 150, Firefox ESR and WebKitGTK."""


def asset(name: str) -> bytes:
    """One of ASSETS."""
    return (_HERE / "assets" / name).read_bytes()


def who(account: KeptAccount) -> str:
    """What an account is called: its name, else its username, else its number."""
    if name := words.short(account.full_name or ""):
        return name
    username = words.short(account.username or "")
    return f"@{username}" if username else f"Account {account.pk}"


def index(cards: Sequence[Card]) -> str:
    """The first page: the accounts, in the order given."""
    return _render("index.html", up="", cards=cards)


def account(card: Card, covers: Sequence[Cover], latest: Sequence[Tile]) -> str:
    """An account: its highlights as covers, in the order given, then the tiles of its latest items."""
    former = [name for name in card.account.usernames if name != card.account.username]
    return _render(
        "account.html",
        up=_UP,
        card=card,
        former=former,
        covers=covers,
        latest=latest,
    )


def highlight(
    account: KeptAccount, album: Album, before: KeptHighlight | None, after: KeptHighlight | None
) -> str:
    """A highlight with its items, and the way to those beside it."""
    return _render("highlight.html", up=_UP, account=account, album=album, before=before, after=after)


_UP = "../../"  # accounts/<name>/


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
        "clock": words.clock,
        "count": words.count,
        "day": words.day,
        "machine": words.machine,
        "moment": words.moment,
        "short": lambda text: words.short(text or ""),
        "span": words.span,
        "who": who,
    }
    return environment


def _clean(value: object) -> object:
    """What an expression of a template gives, before it is escaped; markup is that of a template."""
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
