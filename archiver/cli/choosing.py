"""Which part of the archive: the options of every command that reads a part of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

from archiver.cli.when import When

if TYPE_CHECKING:
    from archiver.model import Selection

C = TypeVar("C", bound=Callable[..., object] | click.Command)

_OPTIONS = (
    click.option(
        "--account",
        "accounts",
        multiple=True,
        metavar="NAME",
        help="Only this account, by its username, one that it bore once, or its id; or highlight:<pk>. May be repeated.",
    ),
    click.option(
        "--highlight",
        "titles",
        multiple=True,
        metavar="GLOB",
        help="Only highlights of such a title, as in 'BOTW*'; case counts. May be repeated.",
    ),
    click.option(
        "--type",
        "media",
        type=click.Choice(["photo", "video"]),
        multiple=True,
        help="Only items of this type. May be repeated.",
    ),
    click.option("--taken-from", type=When(), metavar="WHEN", help="Only items taken at that time or later."),
    click.option("--taken-before", type=When(), metavar="WHEN", help="Only items taken before that time."),
    click.option(
        "--since",
        "new_since",
        type=When(),
        metavar="WHEN",
        help="Only what is new in the archive since then: a date, a time (UTC), or so long ago (36h, 7d).",
    ),
)


def choosing(command: C) -> C:
    """The options that narrow a command to a part of the archive; ``selection`` makes of them what the archive understands."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def selection(
    titles: tuple[str, ...],
    media: tuple[str, ...],
    taken_from: datetime | None,
    taken_before: datetime | None,
    new_since: datetime | None,
) -> Selection:
    """What the options but ``--account`` say."""
    from archiver.model import MEDIA_TYPES, Selection

    return Selection(
        titles=titles,
        taken_from=taken_from,
        taken_before=taken_before,
        media_types=frozenset(MEDIA_TYPES[word] for word in media),
        new_since=new_since,
    )
