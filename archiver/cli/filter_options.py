"""Options that restrict an export or search to a part of the archive."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypedDict

import click
from msgspec import Struct

from archiver.cli import load
from archiver.cli.name_completion import complete_account, complete_title
from archiver.cli.parameter_types import TimeType
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive.selection import Narrowing
    from archiver.model.target import Target

_OPTIONS = (
    click.option(
        "--account",
        "accounts",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_account,
        help="Only this account: a present or former username, an id, or highlight:<pk>. May be repeated.",
    ),
    click.option(
        "--highlight",
        "titles",
        multiple=True,
        metavar="GLOB",
        shell_complete=complete_title,
        help="Only highlights with such a title, as in 'BOTW*'; matching is case-sensitive. May be repeated.",
    ),
    click.option(
        "--type",
        "media",
        type=click.Choice(["photo", "video"]),
        multiple=True,
        help="Only items of this type. May be repeated.",
    ),
    click.option(
        "--taken-from", type=TimeType(), metavar="WHEN", help="Only items taken at this time or later."
    ),
    click.option(
        "--taken-before", type=TimeType(), metavar="WHEN", help="Only items taken before this time."
    ),
    click.option(
        "--since",
        "new_since",
        type=TimeType(),
        metavar="WHEN",
        help="Only what was archived since then: a date, a time (UTC), or a duration (36h, 7d).",
    ),
)


class FilterOptions(Struct, frozen=True):
    """The values of the options, as they were given."""

    accounts: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    taken_from: datetime | None = None
    taken_before: datetime | None = None
    new_since: datetime | None = None
    gone: bool = True

    def narrowing(self) -> Narrowing:
        """Return the options as keywords of ``Archive``.

        Raises TargetError for an invalid account, UsageError for options that nothing can match.
        """
        from archiver.model.identity import MEDIA_TYPES

        if "" in self.titles:
            raise UsageError("--highlight is empty and matches nothing", "give a title: --highlight 'BOTW*'")
        if self.taken_from and self.taken_before and self.taken_from >= self.taken_before:
            raise UsageError(
                "--taken-from is not before --taken-before: nothing can match",
                "give the earlier time to --taken-from",
            )
        return {
            **split_targets(self.accounts),
            "titles": self.titles or None,
            "taken_from": self.taken_from,
            "taken_before": self.taken_before,
            "media_types": [MEDIA_TYPES[word] for word in self.media] or None,
            "new_since": self.new_since,
        }

    def describe_no_match(self) -> str:
        """Return the message that the selected part has no items. Not yet safe for a terminal."""
        times = {
            "--taken-from": self.taken_from,
            "--taken-before": self.taken_before,
            "--since": self.new_since,
        }
        used = [
            *(f"--account {name}" for name in self.accounts),
            *(f"--highlight {shlex.quote(title)}" for title in self.titles),
            *(f"--type {word}" for word in self.media),
            *(f"{option} {at.replace(tzinfo=None).isoformat()}Z" for option, at in times.items() if at),
            *([] if self.gone else ["--no-gone"]),
        ]
        return f"no item matches {' '.join(used)}" if used else "the archive contains no items yet"


class AccountKeywords(TypedDict):
    """The keywords of ``Archive`` for what ``--account`` names."""

    accounts: list[Target] | None
    highlights: list[Target] | None


def split_targets(texts: Sequence[str]) -> AccountKeywords:
    """Return the accounts and the highlights that are named. Raises TargetError, UsageError if both are."""
    targets = load.targets(texts) if texts else ()
    accounts = [target for target in targets if target.highlight_pk is None]
    highlights = [target for target in targets if target.highlight_pk is not None]
    if accounts and highlights:
        raise UsageError("accounts and single highlights cannot be combined", "use one command for each")
    return {"accounts": accounts or None, "highlights": highlights or None}


def filter_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options to a command, which gets their values as one argument ``filters``."""

    @wraps(command)
    def command_with_filters(*args: object, **options: Any) -> int:
        values = {name: options.pop(name) for name in FilterOptions.__struct_fields__ if name in options}
        return command(*args, filters=FilterOptions(**values), **options)

    for option in reversed(_OPTIONS):
        command_with_filters = option(command_with_filters)
    return command_with_filters


gone_option = click.option(
    "--gone/--no-gone",
    default=True,
    help="With or without what Instagram no longer shows. [default: gone]",
)
"""An option for the decorator above ``filter_options``, whose value becomes ``FilterOptions.gone``."""
