"""What owners do to their highlights; their items stand in item_stories.py."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.nights.scene import Scene


def added(scene: Scene) -> Iterator[int]:
    """Its own page is fetched once; its items, seen for the first time, are no changes."""
    made = scene.new_highlight(f"New {scene.number}", 2)
    scene.of_highlight(made.pk, "presence", None, "appeared")
    scene.units += 1
    yield 1


def added_and_removed_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    scene.world.remove_highlight(scene.new_highlight("Brief", 1).pk)
    yield 1


def removed(scene: Scene) -> Iterator[int]:
    scene.world.remove_highlight(scene.highlight)
    scene.of_highlight(scene.highlight, "presence", None, "gone")
    yield 1


def removed_and_restored(scene: Scene) -> Iterator[int]:
    """Gone on one night and back on the next, as it was: not fetched again."""
    yield from removed(scene)
    scene.world.restore_highlight(scene.highlight)
    scene.of_highlight(scene.highlight, "presence", None, "returned")
    yield 1


def removed_and_restored_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    scene.world.remove_highlight(scene.highlight)
    scene.world.restore_highlight(scene.highlight)
    yield 1


def restored_with_another_title_and_item(scene: Scene) -> Iterator[int]:
    """What it was changed to while nobody saw it is a change when it is back."""
    yield from removed(scene)
    old, new = scene.shown.title, f"Back {scene.number}"
    scene.world.retitle(scene.highlight, new)
    with scene.fetched(scene.highlight):
        item = scene.world.add_item(scene.highlight)
    scene.world.restore_highlight(scene.highlight)
    scene.of_highlight(scene.highlight, "presence", None, "returned")
    scene.of_highlight(scene.highlight, "title", old, new)
    scene.of_items(scene.highlight, new=item.pk)
    yield 1


def most_of_them_removed(scene: Scene) -> Iterator[int]:
    """All but the first: a look at the account tells that it is public, and the second night is believed."""
    removed = scene.tray[1:]
    for pk in removed:
        scene.world.remove_highlight(pk)
        scene.of_highlight(pk, "presence", None, "gone")
    scene.units += 1
    yield 2
    for pk in removed:
        scene.world.restore_highlight(pk)
        scene.of_highlight(pk, "presence", None, "returned")
    yield 1


def most_of_them_hidden_for_a_night(scene: Scene) -> Iterator[int]:
    """Not believed the first time, and there was no second: no change."""
    hidden = scene.tray[1:]
    for pk in hidden:
        scene.world.remove_highlight(pk)
    scene.units += 1
    yield 1
    for pk in hidden:
        scene.world.restore_highlight(pk)
    yield 1


def all_of_them_removed(scene: Scene) -> Iterator[int]:
    """The account is empty: a look, then a unit a night; what comes back is seen at the latest on the second
    night, for a look that is due takes the tray's place.
    """
    removed = scene.tray
    for pk in removed:
        scene.world.remove_highlight(pk)
        scene.of_highlight(pk, "presence", None, "gone")
    scene.units += 1
    yield 2
    for pk in removed:
        scene.world.restore_highlight(pk)
        scene.of_highlight(pk, "presence", None, "returned")
    yield 2


def retitled(scene: Scene) -> Iterator[int]:
    old, new = scene.shown.title, f"Title {scene.number}"
    scene.world.retitle(scene.highlight, new)
    scene.of_highlight(scene.highlight, "title", old, new)
    yield 1


def retitled_and_back(scene: Scene) -> Iterator[int]:
    """On two days: two changes."""
    old, new = scene.shown.title, f"Title {scene.number}"
    yield from retitled(scene)
    scene.world.retitle(scene.highlight, old)
    scene.of_highlight(scene.highlight, "title", new, old)
    yield 1


def retitled_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    old = scene.shown.title
    scene.world.retitle(scene.highlight, "Brief")
    scene.world.retitle(scene.highlight, old)
    yield 1


def recovered(scene: Scene) -> Iterator[int]:
    """A new cover is a file beside the old one, and comes without a fetch."""
    old = scene.shown.cover
    new = scene.world.recover(scene.highlight)
    scene.of_highlight(scene.highlight, "cover_name", old.name if old else None, new.name)
    yield 1


def pinned_and_unpinned(scene: Scene) -> Iterator[int]:
    for pinned, words in ((True, ("false", "true")), (False, ("true", "false"))):
        scene.world.pin(scene.highlight, pinned)
        scene.of_highlight(scene.highlight, "is_pinned", *words)
        yield 1


def last_comes_first(scene: Scene) -> Iterator[int]:
    """One has moved; the others stand elsewhere and as before."""
    before = scene.tray
    scene.world.reorder_tray(scene.account, [before[-1]])
    scene.of_highlight(before[-1], "position", str(len(before) - 1), "0")
    yield 1


def last_comes_first_behind_a_new_one(scene: Scene) -> Iterator[int]:
    """A new highlight moves nobody; the place of the one that moved is told as it is now."""
    before = scene.tray
    scene.world.reorder_tray(scene.account, [before[-1]])
    scene.of_highlight(before[-1], "position", str(len(before) - 1), "1")
    yield from added(scene)


def reordered_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    before = scene.tray
    scene.world.reorder_tray(scene.account, before[::-1])
    scene.world.reorder_tray(scene.account, before)
    yield 1


def page_lost_for_a_night(scene: Scene) -> Iterator[int]:
    """It is listed with the same numbers: nobody asks for its page."""
    scene.world.lose_page(scene.highlight)
    yield 1
    scene.world.restore_highlight(scene.highlight)
    yield 1


def page_lost_with_a_new_item(scene: Scene) -> Iterator[int]:
    """Asked for in vain, a failure and no change; had the next night, the item is one."""
    scene.world.lose_page(scene.highlight)
    with scene.fetched(scene.highlight):
        item = scene.world.add_item(scene.highlight)
    yield 1
    scene.world.restore_highlight(scene.highlight)
    scene.of_items(scene.highlight, new=item.pk)
    scene.units += 1
    yield 1


STORIES = (
    added,
    added_and_removed_on_one_day,
    removed,
    removed_and_restored,
    removed_and_restored_on_one_day,
    restored_with_another_title_and_item,
    most_of_them_removed,
    most_of_them_hidden_for_a_night,
    all_of_them_removed,
    retitled,
    retitled_and_back,
    retitled_and_back_on_one_day,
    recovered,
    pinned_and_unpinned,
    last_comes_first,
    last_comes_first_behind_a_new_one,
    reordered_and_back_on_one_day,
    page_lost_for_a_night,
    page_lost_with_a_new_item,
)
