"""Many accounts with a story each, kept in one archive: what comes of one story is told from what comes of
the others by the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.archive_harness import ArchiveHarness
from tests.support.nights.expected_facts import differences_of_each
from tests.support.nights.scene import Row, Scene, Story
from tests.support.standin.world_edits import EditableWorld

HIGHLIGHTS, ITEMS = 4, 3
_STAGE = 1


def world(stories: Sequence[Story]) -> EditableWorld:
    """An account for each story; only the highlight that it is about has more than one item, which would cost
    time.
    """
    made = EditableWorld.generate(len(stories), HIGHLIGHTS, ITEMS)
    for account in made.accounts:
        for highlight in account.highlights:
            if highlight is not account.highlights[_STAGE]:
                del highlight.items[1:]
    return made


@dataclass
class StoryProgress:
    """A story under way: until it goes on it waits so many ``nights``.

    ``wrong``: what came of it otherwise than it must.
    """

    story: Story
    scene: Scene
    target: str
    steps: Iterator[int]
    nights: int = 0
    lasted: int = 0
    wrong: list[str] = field(default_factory=list)
    over: bool = False

    @property
    def name(self) -> str:
        return f"{self.story.__module__.rpartition('.')[2].removesuffix('_stories')} {self.story.__name__}"


class StoryArchive:
    """Lets the stories happen, a run over all accounts each night, from the second night on."""

    def __init__(self, harness: ArchiveHarness, stories: Sequence[Story], *, sweep_days: int = 0) -> None:
        self.harness = harness
        harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = str(sweep_days)
        self.told = []
        for number, (story, account) in enumerate(zip(stories, harness.upstream.world.accounts, strict=True)):
            highlight = account.highlights[_STAGE].pk
            scene = Scene(
                harness.upstream.world,
                account.pk,
                highlight,
                number,
                sweep_days,
                harness.upstream.settings.clock,
            )
            self.told.append(StoryProgress(story, scene, account.username, story(scene)))

    def nights(self) -> None:
        """The first night, and as many more as the stories last; each is looked at after each of its
        steps.
        """
        self._night()
        self._since = self.harness.one("select max(id) from api_calls")
        self._look([told.target for told in self.told])
        while self._begin():
            self._night()
            for told in self.told:
                if not told.over:
                    told.nights, told.lasted = told.nights - 1, told.lasted + 1
            done = [told for told in self.told if not told.over and not told.nights]
            rows = self._changes() if done else {}
            for told in done:
                told.wrong += _compared(told.scene.rows, rows.get(told.scene.account, Counter()))

    def outcome(self) -> dict[str, list[str]]:
        """By story, what is wrong: changes that lack or are too many after some step, the catalog in the
        end.
        """
        # By pk: a stranger may have the name that a story began with.
        self._look([told.scene.account for told in self.told])
        return {told.name: told.wrong for told in self.told if told.wrong}

    def units(self) -> dict[str, tuple[int, int]]:
        """By story, what its account cost after the first night: beside a unit a night, and how much of that
        is its own by its own count.
        """
        spent: Counter[str] = Counter()
        whose = self._owners()
        for subject, units in self.harness.rows(
            "select subject, sum(units) from api_calls where id > ? group by subject", self._since
        ):
            spent[whose.get(str(subject), str(subject))] += int(str(units))
        return {told.name: (spent[told.scene.account] - told.lasted, told.scene.units) for told in self.told}

    def _look(self, accounts: Sequence[str]) -> None:
        found = differences_of_each(self.harness, accounts)
        for told, account in zip(self.told, accounts, strict=True):
            told.wrong += found[account]

    def _begin(self) -> bool:
        """Let each story that waits no more go on; whether any is left."""
        for told in self.told:
            while not told.over and not told.nights:
                step = next(told.steps, None)
                told.over, told.nights = step is None, step or 0
        return not all(told.over for told in self.told)

    def _night(self) -> None:
        # A story that is over is not asked after, so that its units are its own.
        summary = self.harness.night(*(told.target for told in self.told if not told.over))
        assert summary.exit_code in (0, 6), summary  # 6: private or gone, on the night when that is news
        self.harness.sleep(days=1)

    def _owners(self) -> dict[str, str]:
        """By the pk of a user, a highlight or an item, whose it is."""
        rows = self.harness.rows(
            "select pk, pk from users union select pk, user_pk from highlights union "
            "select pk, user_pk from items"
        )
        return {str(pk): str(owner) for pk, owner in rows}

    def _changes(self) -> Mapping[str, Counter[Row]]:
        whose = self._owners()
        found: dict[str, Counter[Row]] = {}
        for row in self.harness.rows("select subject, subject_pk, field, old, new from changes"):
            subject, pk, name, old, new = row
            told = (str(subject), str(pk), str(name), _text(old), _text(new))
            found.setdefault(whose[str(pk)], Counter())[told] += 1
        return found


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _compared(expected: Sequence[Row], found: Counter[Row]) -> list[str]:
    lacking, surplus = Counter(expected) - found, found - Counter(expected)
    return [f"lacks {row}" for row in lacking] + [f"too many: {row}" for row in surplus]
