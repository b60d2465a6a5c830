"""Options that select accounts, titles, items and times, and what a shell completes for them.

What completes only reads. An archive that cannot be read completes nothing.
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypedDict

import click
from msgspec import Struct

from archiver.cli import load
from archiver.cli.decorators import Function, Result
from archiver.cli.options import C, GlobalOptions, TimeType
from archiver.errors import ArchiverError, UsageError
from archiver.model.identity import MEDIA_TYPES
from archiver.model.target import Target, parse_target
from archiver.text_format import make_safe

if TYPE_CHECKING:
    from archiver.archive.selection import Narrowing


def complete_account(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the usernames that begin like this: those of the configuration, then those of the archive."""
    options = ctx.ensure_object(GlobalOptions)
    entries = load.config(options).accounts
    at = "@" if incomplete.startswith("@") else ""
    prefix = incomplete.removeprefix("@").lower()
    names = [name for entry in entries if (name := entry.username) and name.startswith(prefix)]
    with suppress(ArchiverError), load.open_archive(options) as archive:
        names += archive.usernames(prefix)
    valid = []
    for name in dict.fromkeys(names):
        with suppress(ArchiverError):  # a name that an answer states may be any text
            parse_target(f"@{name}")
            valid.append(f"{at}{name}")
    return _without_used(ctx, param, valid)


def complete_listed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the entries of the list that begin like this."""
    at = "@" if incomplete.startswith("@") else ""
    entries = load.config(ctx.ensure_object(GlobalOptions)).accounts
    texts = [f"{at}{entry.username}" if entry.username else entry.text for entry in entries]
    return _without_used(ctx, param, [text for text in texts if text.startswith(incomplete.lower())])


def complete_title(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the titles that begin like this, as patterns that match themselves.

    Left out are titles that a terminal might obey, and those that look like an option.
    """
    titles: Iterable[str] = ()
    with suppress(ArchiverError), load.open_archive(ctx.ensure_object(GlobalOptions)) as archive:
        titles = archive.titles(incomplete)
    harmless = [title for title in titles if title.strip() and make_safe(title) == title and title[0] != "-"]
    return _without_used(ctx, param, [glob.escape(title) for title in harmless])


def complete_query(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the named queries that begin like this."""
    from archiver.queries import named_queries

    own = load.queries_folder(load.config(ctx.ensure_object(GlobalOptions)))
    return [name for name in named_queries.all_queries(own) if name.startswith(incomplete)]


def _without_used(ctx: click.Context, param: click.Parameter, values: list[str]) -> list[str]:
    """Return the values without those that the command line already has."""
    used = ctx.params.get(param.name or "") or ()
    return [value for value in values if value not in used]


FROM_WHEN = "From a date (2026-11-01), a time (2026-11-01T03:17, UTC), or for the last 36h, 7d."


def account_option(says: str) -> Callable[[C], C]:
    """Return ``--account``, for the argument ``accounts``, with this help."""
    return click.option(
        "--account", "accounts", multiple=True, metavar="NAME", shell_complete=complete_account, help=says
    )


def since_option(says: str, name: str = "since") -> Callable[[C], C]:
    """Return ``--since``, for the argument ``name``, with this help."""
    return click.option("--since", name, type=TimeType(), metavar="WHEN", help=says)


_OPTIONS = (
    account_option(
        "Only this account: a present or former username, an id, or highlight:<pk>. May be repeated."
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
    since_option(
        "Only what was archived since then: a date, a time (UTC), or a duration (36h, 7d).", "new_since"
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


def filter_options(command: Function) -> Function:
    """Add the options to a command, which gets their values as one argument ``filters``."""

    @wraps(command)
    def command_with_filters(*args: object, **options: Any) -> Result | int | None:
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
