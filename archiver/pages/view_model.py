"""The values that the templates of the site show: texts as they were stored, paths relative to the site."""

from __future__ import annotations

from datetime import date, datetime
from urllib.parse import urlencode

from msgspec import Struct

from archiver.model.archived import KeptAccount, KeptHighlight


class Picture(Struct, frozen=True):
    """A picture that a browser can show; ``width`` and ``height`` in pixels, if they are known."""

    path: str
    width: int | None
    height: int | None


class DownloadLink(Struct, frozen=True):
    """A file that can only be downloaded. ``about``: its type and size."""

    path: str
    about: str


class ItemDetail(Struct, frozen=True):
    """A mention, link, hashtag or the like; ``note`` says more. ``href`` is set if it may be followed."""

    text: str
    note: str = ""
    href: str | None = None


class DetailList(Struct, frozen=True):
    """All details of an item that are of one kind, under their heading."""

    heading: str
    details: tuple[ItemDetail, ...]


class ItemTile(Struct, frozen=True):
    """An item in a grid and in the viewer.

    ``kind`` is ``photo``, ``video``, or ``item`` if unknown. ``highlight`` shows the item; a grid of several
    highlights names it. ``instagram`` is its address there, while it is shown. A grid of several accounts
    names ``account`` too, whose pages are in ``directory``: "" or a path that ends in a slash. ``source``:
    the tool that has seen it in the highlight, if no answer has; ``gone_at`` is then when it was adopted.
    """

    pk: str
    kind: str
    alt: str
    taken_at: datetime | None
    gone_at: datetime | None
    picture: Picture | None
    video: str | None
    duration: float | None
    downloads: tuple[DownloadLink, ...]
    detail_lists: tuple[DetailList, ...]
    highlight: KeptHighlight
    instagram: str | None = None
    account: KeptAccount | None = None
    directory: str = ""
    source: str | None = None

    @property
    def path(self) -> str | None:
        """Return the main file of the item: its video, else its picture, else one to download."""
        if self.video is not None:
            return self.video
        if self.picture is not None:
            return self.picture.path
        return self.downloads[0].path if self.downloads else None

    @property
    def is_shown(self) -> bool:
        """Return whether a browser can show it."""
        return self.video is not None or self.picture is not None


class HighlightCover(Struct, frozen=True):
    """A highlight on the page of its account. Its items were taken between ``first`` and ``last``."""

    highlight: KeptHighlight
    picture: Picture | None
    items: int
    first: datetime | None
    last: datetime | None
    former_titles: tuple[str, ...] = ()


class ItemsPage(Struct, frozen=True):
    """A page of an account with items of a year, or part of them. ``name`` is that of the file."""

    name: str
    title: str
    items: int


class AccountCard(Struct, frozen=True):
    """An account on the first page. Its pages are in ``directory``; ``items`` counts each item once.

    ``changed_at``: when the archive last learned of something new or gone, if that is known.
    """

    account: KeptAccount
    directory: str
    avatar: Picture | None
    highlights: int
    items: int
    first: datetime | None
    last: datetime | None
    changed_at: datetime | None = None


class Pager(Struct, frozen=True):
    """Which page of a list this is, from 1, and links to others: queries such as ``?page=2``."""

    page: int
    pages: int
    previous: str | None = None
    following: str | None = None

    @classmethod
    def of(cls, page: int, pages: int, **query: str) -> Pager:
        """Return the links of a page of ``pages``, which keep the parameters of ``query``."""

        def link(number: int) -> str | None:
            return f"?{urlencode({**query, 'page': number})}" if 1 <= number <= pages else None

        return cls(page, pages, link(page - 1), link(page + 1))


class PageTurn(Struct, frozen=True):
    """Links to the neighbours of a page of a list that is in the order of time; None at its ends."""

    later: str | None = None
    earlier: str | None = None


class DayOfItems(Struct, frozen=True):
    """The items that were taken on one day in UTC, or those of them that are on the page."""

    day: date
    tiles: tuple[ItemTile, ...]


class SubjectLink(Struct, frozen=True):
    """An account or a highlight on a page of several accounts. Without ``href`` it has no page."""

    name: str
    href: str | None = None
    picture: Picture | None = None
    note: str = ""
    is_gone: bool = False


class SubjectChanges(Struct, frozen=True):
    """What changed in an account, a highlight or an item: in words, and the items added and removed."""

    subject: SubjectLink
    texts: tuple[str, ...]
    tiles: tuple[ItemTile, ...]


class AccountChanges(Struct, frozen=True):
    """What one run saw change in an account and its highlights."""

    account: SubjectLink
    subjects: tuple[SubjectChanges, ...]


class NightOfChanges(Struct, frozen=True):
    """What one run saw change, or those of its changes that are on the page."""

    run_id: int
    started_at: datetime
    accounts: tuple[AccountChanges, ...]


class GapLine(Struct, frozen=True):
    """A gap: what is missing (``cover of``), the highlight that follows, why, and when it is tried again."""

    what: str
    highlight: SubjectLink | None
    reason: str
    attempts: int | None
    next_try: str


class GapsOfAccount(Struct, frozen=True):
    """The gaps of an account."""

    account: SubjectLink
    gaps: tuple[GapLine, ...]

    @property
    def has_attempts(self) -> bool:
        """Return whether any of the gaps has been tried."""
        return any(gap.attempts for gap in self.gaps)


class FeedEntry(Struct, frozen=True):
    """An entry of a feed: a new item, or a new account.

    ``updated``: when the archive first saw it. ``href``: its page; ``author``: its account.
    """

    id: str
    updated: datetime
    title: str
    author: SubjectLink
    href: str
    published: datetime | None = None
    picture: Picture | None = None
    paragraphs: tuple[str, ...] = ()
    files: tuple[FeedFile, ...] = ()


class FeedFile(Struct, frozen=True):
    """A file of an item in a feed; ``size`` in bytes."""

    path: str
    mime: str
    size: int


class AtomFeed(Struct, frozen=True):
    """A feed of new items and accounts. ``origin``: scheme and host of the server, for absolute links."""

    id: str
    origin: str
    updated: datetime
    entries: tuple[FeedEntry, ...]
