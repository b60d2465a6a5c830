"""Each kind of edit alone on its account: the rows of ``changes`` are exactly those that it must leave, each
on its night, the catalog says what upstream shows, and the units are a night's and the edit's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from archiver.sandbox.world import PrivateWithForce
from tests.support import search_reference
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import account_stories, highlight_stories, item_stories, story_archive
from tests.support.nights.account_stories import deleted_and_back, edited_while_private, private_and_back
from tests.support.nights.scene import Story
from tests.support.nights.story_archive import StoryArchive
from tests.support.standin.faulty_standin import FaultyStandIn

STORIES = (*account_stories.STORIES, *highlight_stories.STORIES, *item_stories.STORIES)
SWEEP_DAYS = 3
Lived = Callable[..., StoryArchive]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Lived]:
    """Lets stories happen to accounts of one archive."""
    with ExitStack() as stack:

        def lived(
            stories: Sequence[Story],
            *,
            sweep_days: int = 0,
            private_with_force: PrivateWithForce = "empty",
            environ: dict[str, str] | None = None,
        ) -> StoryArchive:
            world = story_archive.world(stories)
            world.private_with_force = private_with_force
            upstream = stack.enter_context(FaultyStandIn(world))
            harness = ArchiveHarness(tmp_path / "archive", upstream, environ=environ or {})
            made = StoryArchive(harness, stories, sweep_days=sweep_days)
            made.nights()
            return made

        yield lived


def name(story: Story) -> str:
    return f"{story.__module__.rpartition('.')[2].removesuffix('_stories')}-{story.__name__}"


@pytest.fixture
def of_today(whole: bool, sample_seed: str) -> Callable[[Sequence[Story]], Sequence[Story]]:
    """Of these stories a sixth, others each day; all of them with ``--whole``."""
    chance = random.Random(sample_seed)
    return lambda stories: stories if whole else chance.sample(stories, -(-len(stories) // 6))


def test_each_edit_is_its_changes_and_costs_its_price(
    live: Lived, of_today: Callable[[Sequence[Story]], Sequence[Story]]
) -> None:
    """An account for each kind: its rows and no others, a unit a night, and what the story says that it costs
    more.

    What is searched is what the rows say in the end.
    """
    lived = live(of_today(STORIES))
    assert search_reference.differences(lived.harness.rows) == []
    assert lived.outcome() == {}
    assert {name: (spent, own) for name, (spent, own) in lived.units().items() if spent != own} == {}


def test_an_edit_that_moves_no_number_is_found_by_the_sweep(
    live: Lived, of_today: Callable[[Sequence[Story]], Sequence[Story]]
) -> None:
    """Within its days, at a unit for each highlight."""
    lived = live(of_today(item_stories.SWEPT), sweep_days=SWEEP_DAYS)
    assert lived.outcome() == {}
    assert set(lived.units().values()) == {(story_archive.HIGHLIGHTS, 0)}


@pytest.mark.whole
@pytest.mark.parametrize("answer", ["403", "404"])
def test_a_private_account_is_told_whatever_its_tray_answers(live: Lived, answer: PrivateWithForce) -> None:
    """With ``force``, where nobody knows what a private account answers: private, never gone, and back; gone
    is still gone.
    """
    lived = live((private_and_back, edited_while_private, deleted_and_back), private_with_force=answer)
    assert lived.outcome() == {}
    assert all(spent == own for spent, own in lived.units().values())


@pytest.mark.whole
def test_a_private_account_is_told_by_the_privacy_check(live: Lived) -> None:
    """Without ``force`` the tray itself says it, at a unit more a tray."""
    lived = live((private_and_back, deleted_and_back), environ={"ARCHIVER_API_PRIVACY_CHECK": "true"})
    assert lived.outcome() == {}


@pytest.mark.whole
@pytest.mark.parametrize("story", [*STORIES, *item_stories.SWEPT], ids=name)
def test_each_edit_in_an_archive_of_its_own(live: Lived, story: Story) -> None:
    """So that nothing another account shows, such as the longest tray, bears on it."""
    lived = live([story], sweep_days=SWEEP_DAYS if story in item_stories.SWEPT else 0)
    assert lived.outcome() == {}
