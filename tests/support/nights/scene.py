"""One story of what an owner does: where it happens, the rows of ``changes`` that must come of it, and what
those cost to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from archiver.sandbox.world_objects import SandboxAccount, SandboxHighlight
from tests.support.standin.world_edits import EditableWorld

Row = tuple[str, str, str, str | None, str | None]
"""Subject, its pk, field, old, new."""


@dataclass
class Scene:
    """An account and one of its highlights; ``number`` makes names that nobody has.

    ``sweep_days``: how long what moves no number of a tray may stay unseen. ``clock``: the time upstream,
    Unix seconds. ``units``: what the story costs beside a unit a night and the sweep.
    """

    world: EditableWorld
    account: str
    highlight: str
    number: int
    sweep_days: int
    clock: Callable[[], float]
    rows: list[Row] = field(default_factory=list)
    units: int = 0

    @property
    def owner(self) -> SandboxAccount:
        return self.world.account(self.account)

    @property
    def shown(self) -> SandboxHighlight:
        """The highlight that the story is about."""
        return self.world.highlight(self.highlight)

    @property
    def tray(self) -> list[str]:
        """The pks that the account lists, in its order."""
        return [highlight.pk for highlight in self.owner.tray_highlights()]

    @property
    def items(self) -> list[str]:
        """The pks of the highlight's items, in its order."""
        return [item.pk for item in self.shown.items]

    @property
    def other(self) -> str:
        """Another highlight of the account."""
        return next(pk for pk in reversed(self.tray) if pk != self.highlight)

    def new_highlight(self, title: str, items: int) -> SandboxHighlight:
        """One that was made just now: a tray that is read in part does not take it for an old one."""
        return self.world.add_highlight(self.account, title, items, created_at=int(self.clock()))

    def of_user(self, name: str, old: str | None, new: str | None) -> None:
        """Expect a change of the account."""
        self.rows.append(("user", self.account, name, old, new))

    def of_highlight(self, pk: str, name: str, old: str | None, new: str | None) -> None:
        """Expect a change of a highlight."""
        self.rows.append(("highlight", pk, name, old, new))

    def of_items(self, pk: str, *, gone: str | None = None, new: str | None = None) -> None:
        """Expect an item to have left a highlight, or to have joined it."""
        self.rows.append(("highlight", pk, "items", gone, new))

    @contextmanager
    def fetched(self, *pks: str) -> Iterator[None]:
        """What happens in the block costs a unit for each of these highlights whose numbers in the tray it
        moves.
        """
        before = [self._numbers(pk) for pk in pks]
        yield
        self.units += sum(self._numbers(pk) != was for pk, was in zip(pks, before, strict=True))

    def _numbers(self, pk: str) -> tuple[int | None, int]:
        found = self.world.highlight(pk)
        return found.latest_reel_media, found.media_count


Story = Callable[[Scene], Iterator[int]]
"""Does something, and yields how many nights are to pass before it goes on; after the last of them all is
seen.
"""
