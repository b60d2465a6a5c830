"""What the stand-in's world is made of: accounts, highlights, items and the files that the CDN serves for them.

Plain and mutable: an edit of the world changes them in place, under the world's lock. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, overload

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Role = Literal["thumbnail", "video", "cover", "avatar"]

T = TypeVar("T")


class Deferred(MutableSequence[T]):
    """A list that is made when it is first looked into, so that a world of a million items costs nothing until it is asked.

    ``length``: of what ``make`` will give; asking for it makes nothing.
    """

    __slots__ = ("_length", "_list", "_make")

    def __init__(self, make: Callable[[], Iterable[T]], length: int) -> None:
        self._make = make
        self._length = length
        self._list: list[T] | None = None

    def _made(self) -> list[T]:
        if self._list is None:
            self._list = list(self._make())
        return self._list

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> MutableSequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | MutableSequence[T]:
        return self._made()[index]

    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: int | slice, value: T | Iterable[T]) -> None:
        self._made()[index] = value  # type: ignore[assignment,index]  # the overloads above pair them

    def __delitem__(self, index: int | slice) -> None:
        del self._made()[index]

    def __len__(self) -> int:
        return self._length if self._list is None else len(self._list)

    def __iter__(self) -> Iterator[T]:
        return iter(self._made())

    def insert(self, index: int, value: T) -> None:
        self._made().insert(index, value)


@dataclass(slots=True, eq=False)
class Media:
    """One file of the CDN. Its path's last part stays through all answers; its bytes follow from the other fields alone.

    ``base`` names a file of ``sandbox/media/``; ``mark`` is written into it, so that two marks never give equal bytes;
    ``size`` pads it to that many bytes, still valid (None: as small as it is).
    """

    path: str
    base: str
    mark: str
    size: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(slots=True, eq=False)
class Item:
    """One story item. ``thumbnail`` or ``video`` None: the answer offers null there. The lists hold what the API shows, as JSON."""

    pk: str
    user_pk: str
    taken_at: int
    thumbnail: Media | None
    video: Media | None = None
    media_type: int | None = 1
    duration: float | None = None
    sponsor_tags: list[Json] = field(default_factory=list)
    mentions: list[Json] = field(default_factory=list)
    links: list[Json] = field(default_factory=list)
    hashtags: list[Json] = field(default_factory=list)
    locations: list[Json] = field(default_factory=list)
    stickers: list[Json] = field(default_factory=list)
    polls: list[Json] | None = None
    medias: list[Json] = field(default_factory=list)

    def file(self, role: Role) -> Media | None:
        """The item's file in this role, if it is offered."""
        return self.video if role == "video" else self.thumbnail


@dataclass(slots=True, eq=False)
class Highlight:
    """One highlight of an account. ``uncounted``: items that ``media_count`` counts and no answer shows (98 counted, 3 shown)."""

    pk: str
    user_pk: str
    title: str
    created_at: int
    latest_reel_media: int | None
    cover: Media | None
    items: MutableSequence[Item] = field(default_factory=list)
    uncounted: int = 0
    is_pinned: bool = False
    crop_rect: list[float] | None = None
    cover_media_pk: str | None = None
    removed: bool = False
    page_lost: bool = False

    @property
    def media_count(self) -> int:
        return len(self.items) + self.uncounted


@dataclass(slots=True, eq=False)
class Account:
    """One account. A ``deleted`` one answers 404 everywhere and does not hold its username."""

    pk: str
    username: str
    full_name: str
    avatar: Media | None
    is_private: bool = False
    is_verified: bool = False
    deleted: bool = False
    biography: str = ""
    highlights: MutableSequence[Highlight] = field(default_factory=list)

    def shown(self) -> list[Highlight]:
        """The highlights that its tray lists, in the tray's order."""
        return [h for h in self.highlights if not h.removed]
