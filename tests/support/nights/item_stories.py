"""What owners do to the items of a highlight.

The SWEPT ones move no number of the tray: only the sweep finds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from archiver.sandbox.item_factory import Kind
from tests.support.nights.item_details import add_details
from tests.support.nights.scene import Scene


def photo_added(scene: Scene) -> Iterator[int]:
    yield from _added(scene, "photo")


def video_added(scene: Scene) -> Iterator[int]:
    yield from _added(scene, "video")


def _added(scene: Scene, kind: Kind) -> Iterator[int]:
    with scene.fetched(scene.highlight):
        item = add_details(scene.world.add_item(scene.highlight, kind), scene.number)
    scene.of_items(scene.highlight, new=item.pk)
    yield 1


def old_photo_added(scene: Scene) -> Iterator[int]:
    """Its time is not the newest: only the count tells."""
    with scene.fetched(scene.highlight):
        item = scene.world.add_item(scene.highlight, taken_at=scene.shown.items[0].taken_at)
    scene.of_items(scene.highlight, new=item.pk)
    yield 1


def removed(scene: Scene) -> Iterator[int]:
    with scene.fetched(scene.highlight):
        item = scene.world.remove_item(scene.highlight, scene.items[0])
    scene.of_items(scene.highlight, gone=item.pk)
    yield 1


def removed_and_put_back(scene: Scene) -> Iterator[int]:
    """Out on one night, in again on the next, where it was; no file is fetched twice."""
    before = list(scene.shown.items)
    yield from removed(scene)
    with scene.fetched(scene.highlight):
        scene.shown.items[:] = before
    scene.of_items(scene.highlight, new=before[0].pk)
    yield 1


def most_removed(scene: Scene) -> Iterator[int]:
    """All but the last: a second look the next night, for a unit more, is believed."""
    with scene.fetched(scene.highlight):
        for pk in scene.items[:-1]:
            scene.world.remove_item(scene.highlight, pk)
            scene.of_items(scene.highlight, gone=pk)
    scene.units += 1
    yield 2


def most_hidden_for_a_night(scene: Scene) -> Iterator[int]:
    """Not believed the first time, and the second look shows them again: no change, of order neither."""
    before = list(scene.shown.items)
    with scene.fetched(scene.highlight):
        scene.shown.items[:] = before[-1:]
    yield 1
    with scene.fetched(scene.highlight):
        scene.shown.items[:] = before
    yield 1


def all_removed(scene: Scene) -> Iterator[int]:
    """An empty highlight that stays in the tray: as with most."""
    with scene.fetched(scene.highlight):
        for pk in scene.items:
            scene.world.remove_item(scene.highlight, pk)
            scene.of_items(scene.highlight, gone=pk)
    scene.units += 1
    yield 2


def moved_to_another(scene: Scene) -> Iterator[int]:
    """Removed from one and added to the other; its file is the same."""
    target = scene.other
    for item in _not_in(target, scene)[:1]:
        with scene.fetched(scene.highlight, target):
            scene.world.move_item(item, source=scene.highlight, target=target)
        scene.of_items(scene.highlight, gone=item)
        scene.of_items(target, new=item)
    yield 1


def put_into_another_too(scene: Scene) -> Iterator[int]:
    target = scene.other
    for item in _not_in(target, scene)[:1]:
        with scene.fetched(target):
            scene.world.put_item(target, item, source=scene.highlight)
        scene.of_items(target, new=item)
    yield 1


def _not_in(target: str, scene: Scene) -> list[str]:
    there = {item.pk for item in scene.world.highlight(target).items}
    return [pk for pk in scene.items if pk not in there]


def added_and_removed_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it; it is looked for if it moved the newest time."""
    with scene.fetched(scene.highlight):
        item = scene.world.add_item(scene.highlight)
        scene.world.remove_item(scene.highlight, item.pk)
    yield 1


def other_bytes(scene: Scene) -> Iterator[int]:
    """The CDN serves something else under the same name: no answer says so, and what is held stays."""
    offering = next((item.pk for item in scene.shown.items if item.thumbnail), None)
    if offering is not None:  # another story may have withheld them all
        scene.world.change_bytes(scene.highlight, offering, "thumbnail")
    yield 1


def swapped(scene: Scene) -> Iterator[int]:
    """One out, another in whose time is as old: the tray's numbers stay."""
    old = scene.shown.items[1]
    with scene.fetched(scene.highlight):
        scene.world.remove_item(scene.highlight, old.pk)
        new = scene.world.add_item(scene.highlight, taken_at=old.taken_at)
    scene.of_items(scene.highlight, gone=old.pk)
    scene.of_items(scene.highlight, new=new.pk)
    yield scene.sweep_days


def last_comes_first(scene: Scene) -> Iterator[int]:
    """One change with both orders."""
    before = scene.items
    scene.world.reorder_items(scene.highlight, [before[-1]])
    scene.of_highlight(scene.highlight, "item_order", ",".join(before), ",".join(scene.items))
    yield scene.sweep_days


def swapped_and_reordered(scene: Scene) -> Iterator[int]:
    """The order is told of those alone that both looks show."""
    before = scene.items
    swap = swapped(scene)
    nights = next(swap)
    stayed = [pk for pk in before if pk in scene.items]
    scene.world.reorder_items(scene.highlight, stayed[::-1])
    scene.of_highlight(scene.highlight, "item_order", ",".join(stayed), ",".join(stayed[::-1]))
    yield nights


def reordered_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    before = scene.items
    scene.world.reorder_items(scene.highlight, before[::-1])
    scene.world.reorder_items(scene.highlight, before)
    yield scene.sweep_days


def withheld(scene: Scene) -> Iterator[int]:
    """A file that is not offered any more: no change, and what is held stays."""
    scene.world.withhold(scene.highlight, scene.items[0], "thumbnail")
    yield scene.sweep_days


def another_duration(scene: Scene) -> Iterator[int]:
    """A column of the item itself."""
    item = scene.shown.items[1]
    item.duration, old = 2.5 + scene.number, item.duration
    if old is not None:  # what was not known before is learnt, not changed
        scene.rows.append(("item", item.pk, "video_duration", str(old), str(item.duration)))
    yield scene.sweep_days


def dressed(scene: Scene) -> Iterator[int]:
    """What an item carries is learnt, and no change of a column."""
    add_details(scene.shown.items[0], scene.number)
    yield scene.sweep_days


STORIES = (
    photo_added,
    video_added,
    old_photo_added,
    removed,
    removed_and_put_back,
    most_removed,
    most_hidden_for_a_night,
    all_removed,
    moved_to_another,
    put_into_another_too,
    added_and_removed_on_one_day,
    other_bytes,
)
SWEPT = (
    swapped,
    last_comes_first,
    swapped_and_reordered,
    reordered_and_back_on_one_day,
    withheld,
    another_duration,
    dressed,
)
