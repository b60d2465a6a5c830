"""Each kind of edit alone: the rows of ``changes`` are exactly those that it must leave, the catalog says what upstream shows, and the
units are a night's and the edit's."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import account_stories
import highlight_stories
import item_stories
import pytest
from house import House
from scene import Scene, Story
from truth import differences

from archiver.sandbox import StandIn, World

NAME = "account0000"
SWEEP_DAYS = 3


def world() -> World:
    """One account with four highlights of three items."""
    return World.generated(1, 4, 3)


@pytest.fixture(scope="module")
def upstream() -> Iterator[StandIn]:
    with StandIn(world()) as served:
        yield served


@pytest.fixture(scope="module")
def first_night(upstream: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive after its first night, to be copied."""
    house = House(tmp_path_factory.mktemp("first") / "archive", upstream)
    assert house.night(NAME).exit_code == 0
    assert differences(house, [NAME]) == []
    return house.root


@pytest.fixture
def house(upstream: StandIn, first_night: Path, tmp_path: Path) -> House:
    """An archive that knows the world as it was yesterday."""
    upstream.world = world()
    house = House(shutil.copytree(first_night, tmp_path / "archive"), upstream)
    house.sleep(days=1)
    return house


def tell(house: House, story: Story, sweep_days: int = 0) -> tuple[Scene, int, int]:
    """Let a story happen, a run each night; returns it with the nights and the units that were spent."""
    house.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = str(sweep_days)
    account = house.upstream.world.account(NAME)
    scene = Scene(house.upstream.world, account.pk, account.highlights[1].pk, 7, sweep_days)
    nights = units = 0
    for pause in story(scene):
        for _ in range(pause):
            summary = house.night(NAME)
            assert summary.exit_code in (0, 6)  # 6: a fact, told on the night when it is news
            nights, units = nights + 1, units + summary.units
            house.sleep(days=1)
        assert changes(house) == Counter(scene.rows)  # each on its night, not only in the end
    return scene, nights, units


def changes(house: House) -> Counter[tuple[object, ...]]:
    return Counter(house.rows("select subject, subject_pk, field, old, new from changes"))


def name(story: Story) -> str:
    return f"{story.__module__.removesuffix('_stories')}-{story.__name__}"


@pytest.mark.parametrize(
    "story", (*account_stories.STORIES, *highlight_stories.STORIES, *item_stories.STORIES), ids=name
)
def test_an_edit_is_a_change_and_costs_its_price(house: House, story: Story) -> None:
    """The rows are those of the edit and no others; a unit a night, and what the story says that it costs more."""
    scene, nights, units = tell(house, story)
    assert differences(house, [scene.account]) == []
    assert units == nights + scene.units


@pytest.mark.parametrize("story", item_stories.SWEPT, ids=name)
def test_an_edit_that_moves_no_number_is_found_by_the_sweep(house: House, story: Story) -> None:
    """Within its days, at a unit for each highlight; and without a sweep it would not be."""
    scene, nights, units = tell(house, story, SWEEP_DAYS)
    assert differences(house, [scene.account]) == []
    assert scene.units == 0
    assert units == nights + 4


@pytest.mark.parametrize("answer", ["403", "404"])
@pytest.mark.parametrize(
    "story", [account_stories.private_and_back, account_stories.edited_while_private], ids=name
)
def test_a_private_account_is_told_whatever_its_tray_answers(house: House, story: Story, answer: str) -> None:
    """With ``force``, where nobody knows what a private account answers: private, never gone, and back."""
    house.upstream.world.private_with_force = "403" if answer == "403" else "404"
    scene, nights, units = tell(house, story)
    assert differences(house, [scene.account]) == []
    assert units == nights + scene.units


def test_a_private_account_is_told_by_the_privacy_check(house: House) -> None:
    """Without ``force`` the tray itself says it, at a unit more a tray."""
    house.environ["ARCHIVER_API_PRIVACY_CHECK"] = "true"
    scene, _, _ = tell(house, account_stories.private_and_back)
    assert differences(house, [scene.account]) == []
