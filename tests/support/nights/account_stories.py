"""What owners do to their accounts."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.nights.scene import Scene


def renamed(scene: Scene) -> Iterator[int]:
    """The entry of the configuration stays with the account, and the rename is a change."""
    old, new = scene.owner.username, f"renamed{scene.number}"
    scene.world.rename(scene.account, new)
    scene.of_user("username", old, new)
    yield 1


def renamed_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    old = scene.owner.username
    scene.world.rename(scene.account, f"brief{scene.number}")
    scene.world.rename(scene.account, old)
    yield 1


def renamed_and_its_old_name_taken(scene: Scene) -> Iterator[int]:
    """By a stranger, of whom nothing is mixed in."""
    old, new = scene.owner.username, f"left{scene.number}"
    scene.world.rename(scene.account, new)
    scene.world.take_username(old)
    scene.of_user("username", old, new)
    yield 1


def took_the_name_that_a_stranger_left(scene: Scene) -> Iterator[int]:
    old, freed = scene.owner.username, f"freed{scene.number}"
    stranger = scene.world.take_username(freed)
    scene.world.rename(stranger.pk, f"gone{scene.number}")
    scene.world.take_username(freed, by=scene.account)
    scene.of_user("username", old, freed)
    yield 1


def another_full_name(scene: Scene) -> Iterator[int]:
    old, new = scene.owner.full_name, f"Full Name {scene.number}"
    scene.world.set_full_name(scene.account, new)
    scene.of_user("full_name", old, new)
    yield 1


def another_full_name_twice_on_one_day(scene: Scene) -> Iterator[int]:
    """One change, from what was seen to what is seen."""
    old, new = scene.owner.full_name, f"Second {scene.number}"
    scene.world.set_full_name(scene.account, f"First {scene.number}")
    scene.world.set_full_name(scene.account, new)
    scene.of_user("full_name", old, new)
    yield 1


def another_avatar(scene: Scene) -> Iterator[int]:
    old = scene.owner.avatar
    new = scene.world.change_avatar(scene.account)
    scene.of_user("avatar_name", old.name if old else None, new.name)
    yield 1


def verified(scene: Scene) -> Iterator[int]:
    old, new = scene.owner.is_verified, not scene.owner.is_verified
    scene.owner.is_verified = new
    scene.of_user("is_verified", str(old).lower(), str(new).lower())
    yield 1


def private_and_back(scene: Scene) -> Iterator[int]:
    """Looked at on the first night and a day later, then after three days, of which two cost nothing; what it
    shows stays.
    """
    scene.world.set_private(scene.account)
    scene.of_user("is_private", "false", "true")
    if scene.world.private_with_force != "403":
        scene.units += 1  # a look at the account tells what the tray does not
    yield 1
    yield 1
    scene.world.set_public(scene.account)
    scene.of_user("is_private", "true", "false")
    scene.units += -2 + 1
    yield 3


def private_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    scene.world.set_private(scene.account)
    scene.world.set_public(scene.account)
    yield 1


def edited_while_private(scene: Scene) -> Iterator[int]:
    """What can be seen of a private account is a change when it is asked again; the rest is when it is
    public.
    """
    scene.world.set_private(scene.account)
    scene.of_user("is_private", "false", "true")
    scene.units += scene.world.private_with_force != "403"
    yield 1
    old, name, title = scene.owner.full_name, f"Hidden {scene.number}", scene.shown.title
    scene.world.set_full_name(scene.account, name)
    scene.world.retitle(scene.highlight, f"Behind {scene.number}")
    scene.of_user("full_name", old, name)
    yield 1
    scene.of_highlight(scene.highlight, "title", title, f"Behind {scene.number}")
    with scene.fetched(scene.highlight):
        item = scene.world.add_item(scene.highlight)
    scene.of_items(scene.highlight, new=item.pk)
    scene.world.set_public(scene.account)
    scene.of_user("is_private", "true", "false")
    scene.units += -2 + 1
    yield 3


def deleted_and_back(scene: Scene) -> Iterator[int]:
    """As with a private one; nothing that is held goes."""
    scene.world.delete_account(scene.account)
    scene.of_user("presence", None, "gone")
    scene.units += 1  # a tray that is not there may be a private one: a look at the account tells
    yield 1
    yield 1
    scene.world.restore_account(scene.account)
    scene.of_user("presence", None, "returned")
    scene.units += -2 + 1
    yield 3


def deleted_and_back_on_one_day(scene: Scene) -> Iterator[int]:
    """Nobody saw it."""
    scene.world.delete_account(scene.account)
    scene.world.restore_account(scene.account)
    yield 1


def deleted_and_its_name_taken(scene: Scene) -> Iterator[int]:
    """By a stranger, of whom nothing is mixed in; then both part again."""
    name = scene.owner.username
    scene.world.delete_account(scene.account)
    stranger = scene.world.take_username(name)
    scene.of_user("presence", None, "gone")
    scene.units += 1
    yield 2
    scene.world.rename(stranger.pk, f"parted{scene.number}")
    scene.world.restore_account(scene.account)
    scene.of_user("presence", None, "returned")
    scene.units += -2 + 1
    yield 3


STORIES = (
    renamed,
    renamed_and_back_on_one_day,
    renamed_and_its_old_name_taken,
    took_the_name_that_a_stranger_left,
    another_full_name,
    another_full_name_twice_on_one_day,
    another_avatar,
    verified,
    private_and_back,
    private_and_back_on_one_day,
    edited_while_private,
    deleted_and_back,
    deleted_and_back_on_one_day,
    deleted_and_its_name_taken,
)
