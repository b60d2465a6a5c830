"""Which part of the archive: the options of every command that reads a part of it, and the one value that they make."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING

import click

from archiver.cli import load
from archiver.cli.parameter_types import TimeType
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive import Chosen

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
    click.option(
        "--taken-from", type=TimeType(), metavar="WHEN", help="Only items taken at that time or later."
    ),
    click.option(
        "--taken-before", type=TimeType(), metavar="WHEN", help="Only items taken before that time."
    ),
    click.option(
        "--since",
        "new_since",
        type=TimeType(),
        metavar="WHEN",
        help="Only what is new in the archive since then: a date, a time (UTC), or so long ago (36h, 7d).",
    ),
)


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """What the options say, as they were given: a field for each."""

    accounts: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    taken_from: datetime | None = None
    taken_before: datetime | None = None
    new_since: datetime | None = None
    gone: bool = True

    def chosen(self) -> Chosen:
        """The same as the archive understands it. Raises TargetError for an account that is none, UsageError for options
        that nothing can be of."""
        from archiver.archive import Chosen
        from archiver.model.archived import MEDIA_TYPES, Selection

        if "" in self.titles:
            raise UsageError("--highlight is empty, and of no title", "as in --highlight 'BOTW*'")
        if self.taken_from and self.taken_before and self.taken_from >= self.taken_before:
            raise UsageError(
                "--taken-from is not before --taken-before: nothing was taken between them",
                "give --taken-from the earlier time",
            )
        narrowed = Selection(
            titles=self.titles,
            taken_from=self.taken_from,
            taken_before=self.taken_before,
            media_types=frozenset(MEDIA_TYPES[word] for word in self.media),
            new_since=self.new_since,
        )
        return Chosen(load.targets(self.accounts) if self.accounts else (), narrowed, self.gone)

    def bare(self) -> str:
        """That no item is selected, and by which options. Not yet safe for a terminal."""
        times = {
            "--taken-from": self.taken_from,
            "--taken-before": self.taken_before,
            "--since": self.new_since,
        }
        said = [
            *(f"--account {name}" for name in self.accounts),
            *(f"--highlight {shlex.quote(title)}" for title in self.titles),
            *(f"--type {word}" for word in self.media),
            *(f"{option} {at.replace(tzinfo=None).isoformat()}Z" for option, at in times.items() if at),
            *([] if self.gone else ["--no-gone"]),
        ]
        return f"no item is selected by {' '.join(said)}" if said else "the archive holds no items yet"


def filter_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that narrow a command to a part of the archive: it gets them as one ``choice``, with ``gone`` if it takes that."""

    @wraps(command)
    def narrowed(*args: object, **options: object) -> int:
        said = {
            field.name: options.pop(field.name) for field in fields(FilterOptions) if field.name in options
        }
        return command(*args, choice=FilterOptions(**said), **options)  # type: ignore[arg-type]

    for option in reversed(_OPTIONS):
        narrowed = option(narrowed)
    return narrowed


gone_option = click.option(
    "--gone/--no-gone", default=True, help="With or without what Instagram shows no more. [default: gone]"
)
"""For a command that tells it from what is shown still. Stands above ``filter_options``."""
