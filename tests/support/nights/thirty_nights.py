"""Thirty nights in one archive, with stories of every kind that run beside each other and never into each
other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import account_stories, highlight_stories, item_stories
from tests.support.nights.scene import Row, Scene, Story
from tests.support.standin.world_edits import EditableWorld

_FIELDS = {  # of an account: these touch no tray, and each but its own field
    account_stories.renamed: "username",
    account_stories.renamed_and_back_on_one_day: "username",
    account_stories.renamed_and_its_old_name_taken: "username",
    account_stories.took_the_name_that_a_stranger_left: "username",
    account_stories.another_full_name: "full_name",
    account_stories.another_full_name_twice_on_one_day: "full_name",
    account_stories.another_avatar: "avatar",
    account_stories.verified: "is_verified",
}
_ORDER = {  # these want the tray's order, or who is in it, for themselves
    highlight_stories.added,
    highlight_stories.added_and_removed_on_one_day,
    highlight_stories.removed,
    highlight_stories.removed_and_restored,
    highlight_stories.removed_and_restored_on_one_day,
    highlight_stories.restored_with_another_title_and_item,
    highlight_stories.last_comes_first,
    highlight_stories.last_comes_first_behind_a_new_one,
    highlight_stories.reordered_and_back_on_one_day,
}
_WHOLE = {  # these want the account
    *(story for story in account_stories.STORIES if story not in _FIELDS),
    highlight_stories.most_of_them_removed,
    highlight_stories.most_of_them_hidden_for_a_night,
    highlight_stories.all_of_them_removed,
}
_TWO = {item_stories.moved_to_another, item_stories.put_into_another_too}
_MORE = {highlight_stories.added, highlight_stories.last_comes_first_behind_a_new_one}
_FILL = (item_stories.photo_added, item_stories.video_added)
KINDS: tuple[Story, ...] = (
    *account_stories.STORIES,
    *highlight_stories.STORIES,
    *item_stories.STORIES,
    *item_stories.SWEPT,
)


@dataclass
class RunningStory:
    """A story under way, and what it keeps others from.

    Its first ``due`` rows must be in ``changes`` by now.
    """

    kind: Story
    scene: Scene
    steps: Iterator[int]
    keeps: frozenset[tuple[str, str]]
    pause: int = 0
    due: int = 0


@dataclass
class ThirtyNights:
    """The nights; ``units`` are those spent, ``least`` the fewest that could tell all this.

    ``after_night`` is called with the number of each night when it is over.
    """

    harness: ArchiveHarness
    seed: int
    sweep_days: int
    a_night: int
    length: int = 30
    after_night: Callable[[int], None] = lambda number: None
    units: int = 0
    least: float = 0.0
    number: int = 0
    told: Counter[Story] = field(default_factory=Counter)
    over: list[RunningStory] = field(default_factory=list)
    under: list[RunningStory] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = str(self.sweep_days)
        self.random = random.Random(self.seed)
        self.targets = [account.username for account in self.world.accounts]
        self.accounts = [account.pk for account in self.world.accounts]
        # No tray outgrows it: one that lacks something is shorter, and so known to be whole.
        self.longest = max(len(self._tray(pk)) for pk in self.accounts)

    @property
    def world(self) -> EditableWorld:
        return self.harness.upstream.world

    def nights(self) -> Iterator[str]:
        """Each night, with what is wrong after it: changes that nobody made, or that should be told by now
        and are not.
        """
        # By name, for a unit more, and every page once.
        self.least += sum(1 + len(self._tray(pk)) for pk in self.accounts) - self._sweeps()
        yield from self._night()
        for _ in range(self.length - 1):
            self._begin()
            yield from self._night()
        while self.under:
            yield from self._night()

    def rows(self) -> Counter[Row]:
        """All that was edited so far, as rows of ``changes``."""
        return Counter(row for scene in self._scenes() for row in scene.rows)

    def price(self) -> float:
        """The theoretical least: a unit an account and night, a look at each highlight once within the
        sweep's days, one at each that is new or whose numbers moved, and the looks that tell private, gone,
        emptied and halved apart.
        """
        return self.least + sum(scene.units for scene in self._scenes())

    def _scenes(self) -> list[Scene]:
        return [story.scene for story in self.over + self.under]

    def _night(self) -> Iterator[str]:
        self._go_on()
        self.least += len(self.accounts) + self._sweeps()
        summary = self.harness.night(*self.targets)
        self.units += summary.units
        self.harness.sleep(days=1)
        self.number += 1
        self.after_night(self.number)
        if summary.exit_code not in (0, 6):
            yield f"{self.harness.now:%d %b}: {summary}"
        for story in self.under:
            story.pause -= 1
            if not story.pause:
                story.due = len(story.scene.rows)
        due = Counter(row for story in self.over + self.under for row in story.scene.rows[: story.due])
        found = self.changes()
        yield from (f"night {summary.run_id} lacks {row} of {self._whose(row)}" for row in due - found)
        yield from (f"night {summary.run_id} has too many of {row}" for row in found - self.rows())

    def _whose(self, row: Row) -> str:
        return ", ".join(s.kind.__name__ for s in self.over + self.under if row in s.scene.rows)

    def changes(self) -> Counter[Row]:
        """What the archive tells."""
        rows = self.harness.rows("select subject, subject_pk, field, old, new from changes")
        return Counter((str(s), str(pk), str(f), _text(old), _text(new)) for s, pk, f, old, new in rows)

    def _sweeps(self) -> float:
        """A night's share; what an account that cannot be seen owes is looked at when it is back."""
        listed = sum(len(self.world.account(pk).tray_highlights()) for pk in self.accounts)
        return listed / self.sweep_days

    def _tray(self, pk: str) -> list[str]:
        account = self.world.account(pk)
        return [] if account.is_deleted or account.is_private else [h.pk for h in account.tray_highlights()]

    def _go_on(self) -> None:
        for story in list(self.under):
            while not story.pause:
                step = next(story.steps, None)
                if step is None:
                    self.under.remove(story)
                    self.over.append(story)
                    break
                story.pause = step

    def _begin(self) -> None:
        """Begin so many new stories, those first that were told least."""
        self._go_on()
        begun = 0
        for kind in sorted(KINDS, key=lambda kind: (self.told[kind], self.random.random())):
            if begun == self.a_night:
                return
            begun += any(
                self._place(kind, pk) for pk in self.random.sample(self.accounts, len(self.accounts))
            )

    def _place(self, kind: Story, account: str) -> bool:
        """Begin this story somewhere in this account, if there is room for it."""
        highlights = self._tray(account)
        if len(highlights) < 4 and kind not in (highlight_stories.added, *_FIELDS):
            return False
        if len(highlights) >= self.longest and kind in _MORE:
            return False
        for pk in self.random.sample(highlights, len(highlights)):
            number, clock = sum(self.told.values()), self.harness.upstream.settings.clock
            scene = Scene(self.world, account, pk, number, self.sweep_days, clock)
            if kind.__module__ == item_stories.__name__ and kind not in _FILL and len(scene.items) < 3:
                continue
            keeps = self._keeps(kind, scene)
            taken = {keep for story in self.under for keep in story.keeps}
            if not keeps & taken:
                self.told[kind] += 1
                self.under.append(RunningStory(kind, scene, kind(scene), keeps))
                return True
        return False

    def _keeps(self, kind: Story, scene: Scene) -> frozenset[tuple[str, str]]:
        tray = [("highlight", pk) for pk in self._tray(scene.account)]
        fields = [(name, scene.account) for name in set(_FIELDS.values())]
        if kind in _WHOLE:
            return frozenset([("order", scene.account), *tray, *fields])
        if kind in _FIELDS:
            return frozenset([(_FIELDS[kind], scene.account)])
        keeps = [("highlight", scene.highlight)]
        if kind in _TWO:
            keeps.append(("highlight", scene.other))
        if kind in _ORDER:
            keeps.append(("order", scene.account))
        return frozenset(keeps)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
