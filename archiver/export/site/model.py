"""What the templates are given: values made for showing, texts still as they came. Paths are relative to the site's directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archiver.model.archived import KeptAccount, KeptHighlight


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a browser can show. ``width`` and ``height`` in pixels where they are known."""

    path: str
    width: int | None
    height: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """A file that is offered and not shown. ``about``: its kind and size."""

    path: str
    about: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One of what an item carries. ``href`` only where it may be followed; ``note`` says more: a name, a host, a number."""

    text: str
    note: str = ""
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What an item carries of one kind, under its heading."""

    term: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """An item as it is shown: in the grid by ``picture``, in the viewer by ``video`` or ``picture``. ``kind``: ``photo``, ``video``
    or ``item`` where that is not known. ``where`` is the highlight that shows it, told where tiles of several stand together.
    """

    pk: str
    kind: str
    alt: str
    taken_at: datetime | None
    gone_at: datetime | None
    picture: Picture | None
    video: str | None
    duration: float | None
    downloads: tuple[Download, ...]
    facts: tuple[Fact, ...]
    where: KeptHighlight

    @property
    def path(self) -> str | None:
        """The file that stands for the item: its video, else its picture, else one to download."""
        if self.video is not None:
            return self.video
        if self.picture is not None:
            return self.picture.path
        return self.downloads[0].path if self.downloads else None

    @property
    def shows(self) -> bool:
        """Whether a browser can show it."""
        return self.video is not None or self.picture is not None


@dataclass(frozen=True, slots=True)
class Cover:
    """A highlight in the row of its account; ``first`` and ``last`` are when its items were taken."""

    highlight: KeptHighlight
    picture: Picture | None
    items: int
    first: datetime | None
    last: datetime | None
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Album:
    """A highlight with its tiles."""

    cover: Cover
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """An account on the first page; ``directory`` is where its pages are. ``items`` counts each item once."""

    account: KeptAccount
    directory: str
    avatar: Picture | None
    highlights: int
    items: int
    first: datetime | None
    last: datetime | None
