"""The parts of the stand-in's world: accounts, highlights, items, and the files that the CDN serves.

They are mutable: an edit changes them in place, under the lock of the world. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, overload

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Role = Literal["thumbnail", "video", "cover", "avatar"]

T = TypeVar("T")


class LazyList(MutableSequence[T]):
    """A list whose elements are made when first needed, so that a world of a million items costs little.

    ``length``: the number of elements that ``make`` will return. ``len`` does not make them.
    """

    __slots__ = ("_length", "_list", "_make")

    def __init__(self, make: Callable[[], Iterable[T]], length: int) -> None:
        self._make = make
        self._length = length
        self._list: list[T] | None = None

    def _elements(self) -> list[T]:
        if self._list is None:
            self._list = list(self._make())
        return self._list

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> MutableSequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | MutableSequence[T]:
        return self._elements()[index]

    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: int | slice, value: T | Iterable[T]) -> None:
        self._elements()[index] = value  # type: ignore[assignment,index]  # the overloads above pair them

    def __delitem__(self, index: int | slice) -> None:
        del self._elements()[index]

    def __len__(self) -> int:
        return self._length if self._list is None else len(self._list)

    def __iter__(self) -> Iterator[T]:
        return iter(self._elements())

    def insert(self, index: int, value: T) -> None:
        self._elements().insert(index, value)


@dataclass(slots=True, eq=False)
class SandboxFile:
    """One file of the CDN. The last part of its path is the same in all answers.

    Its bytes depend on the other fields only: ``base`` names a file of ``sandbox/media/``; ``mark`` is
    written into it, so that different marks make different bytes; ``size`` pads it to that many bytes (None:
    no padding).
    """

    path: str
    base: str
    mark: str
    size: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(slots=True, eq=False)
class SandboxItem:
    """One story item.

    ``thumbnail`` or ``video`` None: the answer has null there. The lists are the API's JSON.
    """

    pk: str
    user_pk: str
    taken_at: int
    thumbnail: SandboxFile | None
    video: SandboxFile | None = None
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

    def file(self, role: Role) -> SandboxFile | None:
        """Return the item's file in this role, if it has one."""
        return self.video if role == "video" else self.thumbnail


@dataclass(slots=True, eq=False)
class SandboxHighlight:
    """One highlight.

    ``uncounted``: items in ``media_count`` that no answer shows (in the vendor's example 98 are counted and 3
    shown).
    """

    pk: str
    user_pk: str
    title: str
    created_at: int
    latest_reel_media: int | None
    cover: SandboxFile | None
    items: MutableSequence[SandboxItem] = field(default_factory=list)
    uncounted: int = 0
    is_pinned: bool = False
    crop_rect: list[float] | None = None
    cover_media_pk: str | None = None
    is_removed: bool = False
    is_page_lost: bool = False

    @property
    def media_count(self) -> int:
        return len(self.items) + self.uncounted


@dataclass(slots=True, eq=False)
class SandboxAccount:
    """One account. An ``is_deleted`` one answers 404 everywhere, and others may take its username."""

    pk: str
    username: str
    full_name: str
    avatar: SandboxFile | None
    is_private: bool = False
    is_verified: bool = False
    is_deleted: bool = False
    biography: str = ""
    highlights: MutableSequence[SandboxHighlight] = field(default_factory=list)

    def tray_highlights(self) -> list[SandboxHighlight]:
        """Return the highlights in its tray, in order."""
        return [h for h in self.highlights if not h.is_removed]
