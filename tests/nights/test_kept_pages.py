"""A page that was paid for on an earlier night serves for its items; what the tray tells is newer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.model.events import AccountListed, Event, UnitsSpent
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import PAGE, edit_answer
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import early_end
from tests.support.nights.expected_facts import differences
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "70000000000"
HIGHLIGHT = "17800000000000000"
CHANGES = "select subject, subject_pk, field, old, new from changes"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An archive that is not there yet, and an account with one highlight."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 3)) as upstream:
        yield ArchiveHarness(tmp_path / "archive", upstream)


def edit(harness: ArchiveHarness) -> Counter[tuple[object, ...]]:
    """What the tray tells is edited; the changes that this must be."""
    world = harness.upstream.world
    old = world.highlight(HIGHLIGHT).cover
    new = world.recover(HIGHLIGHT)
    world.retitle(HIGHLIGHT, "Later")
    world.pin(HIGHLIGHT)
    world.set_full_name(ACCOUNT, "Later")
    rows = [
        ("highlight", HIGHLIGHT, "title", "Highlight 0", "Later"),
        ("highlight", HIGHLIGHT, "is_pinned", "false", "true"),
        ("highlight", HIGHLIGHT, "cover_name", old.name if old else None, new.name),
        ("user", ACCOUNT, "full_name", "Account 0", "Later"),
    ]
    return Counter(rows)


def nameless(tree: Json) -> None:
    assert isinstance(tree, dict)
    assert isinstance(tree["items"], list)
    tree["items"][0] = {}


def dies_with_its_page() -> Callable[[Event], None]:
    """An observer that ends the run when the first page is paid for and kept, and none of it is recorded."""
    listed: list[Event] = []

    def dies(event: Event) -> None:
        listed.extend([event] if isinstance(event, AccountListed) else [])
        if listed and isinstance(event, UnitsSpent):
            raise early_end.Bug

    return dies


def test_a_page_that_a_killed_run_paid_for_takes_nothing_back(harness: ArchiveHarness) -> None:
    """It is kept and not recorded when the run dies; the next night is spared its unit, and has the title of
    its own tray.
    """
    assert early_end.run(harness, [ACCOUNT], dies_with_its_page()) is None
    assert harness.one("select count(*) from items") == 0
    expected = edit(harness)
    harness.sleep(days=1)
    assert harness.night(ACCOUNT).units == 1
    assert Counter(harness.rows(CHANGES)) == expected
    assert differences(harness, [ACCOUNT]) == []


@pytest.mark.parametrize("clock", ["right", "behind"])
def test_fault_j14_an_older_page_takes_nothing_back_while_the_clock_is_behind(
    harness: ArchiveHarness, clock: str
) -> None:
    """The page of a killed run has a later date than the tray of this one, which is newer."""
    assert early_end.run(harness, [ACCOUNT], dies_with_its_page()) is None
    expected = edit(harness)
    harness.sleep(hours=-2 if clock == "behind" else 2)
    assert harness.night(ACCOUNT).units == 1
    assert Counter(harness.rows(CHANGES)) == expected
    assert differences(harness, [ACCOUNT]) == []


def test_a_page_that_is_read_again_for_its_failures_takes_nothing_back(harness: ArchiveHarness) -> None:
    """One item of it cannot be read, so that it is recorded anew each time that is due."""

    harness.upstream.faults.add(edit_answer(nameless), path=PAGE)
    assert harness.night(ACCOUNT).exit_code == 3
    expected = edit(harness)
    for _ in range(2):
        assert harness.night(ACCOUNT).units == 1
        assert Counter(harness.rows(CHANGES)) == expected


def test_a_page_that_a_killed_run_paid_for_does_not_serve_past_the_sweep(harness: ArchiveHarness) -> None:
    """It lacks nothing that is held, and what was swapped since would not be found: it is fetched on the
    night of its sweep.
    """
    harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "3"
    world = harness.upstream.world
    harness.night(ACCOUNT)
    world.remove_item(HIGHLIGHT, world.highlight(HIGHLIGHT).items[0].pk)
    assert early_end.run(harness, [ACCOUNT], dies_with_its_page()) is None
    old = world.remove_item(HIGHLIGHT, world.highlight(HIGHLIGHT).items[0].pk)
    world.add_item(HIGHLIGHT, taken_at=old.taken_at)
    harness.sleep(days=3)
    assert harness.night(ACCOUNT).highlights_fetched == 1
    assert harness.one("select count(*) from changes where field = 'items' and new is not null") == 1
