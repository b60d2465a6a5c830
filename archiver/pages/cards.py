"""Cards of accounts and covers of highlights, for an export and the server alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from archiver.model.archived import KeptAccount, KeptHighlight
from archiver.model.identity import Pk
from archiver.pages import html_pages, item_tiles
from archiver.pages.page_paths import account_directory
from archiver.pages.view_model import AccountCard, HighlightCover, Picture


class TimeSpan(Struct):
    """When the first and the last item were taken, as far as that is known."""

    first: datetime | None = None
    last: datetime | None = None

    def add(self, at: datetime | None) -> None:
        """Take in when one more item was taken."""
        if at is not None:
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)


def make_card(
    account: KeptAccount, highlights: int, items: int, span: TimeSpan, changed_at: datetime | None = None
) -> AccountCard:
    """Return the card of an account with that many highlights and items."""
    avatar = item_tiles.to_picture(account.avatar)
    directory = account_directory(account)
    return AccountCard(account, directory, avatar, highlights, items, span.first, span.last, changed_at)


def make_cover(
    highlight: KeptHighlight,
    first_picture: Picture | None,
    items: int,
    span: TimeSpan,
    former_titles: Sequence[str] = (),
) -> HighlightCover:
    """Return the cover of a highlight. ``first_picture`` of its items is used if its own is not archived."""
    picture = item_tiles.to_picture(highlight.cover) or first_picture
    return HighlightCover(highlight, picture, items, span.first, span.last, tuple(former_titles))


def by_name(account: KeptAccount) -> tuple[str, Pk]:
    """Return the key by which accounts are sorted: the name that is shown, whatever its case."""
    return html_pages.account_name(account).lstrip("@").casefold(), account.pk
