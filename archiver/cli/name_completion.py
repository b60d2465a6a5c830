"""What a shell completes from the archive and the configuration: accounts, titles and named queries.

These functions only read. An archive that cannot be read completes nothing.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from archiver.cli.options import GlobalOptions
from archiver.errors import ArchiverError

if TYPE_CHECKING:
    from archiver.config import Config


def complete_account(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the usernames that begin like this: those of the configuration, then those of the archive."""
    from archiver.archive.archive import Archive
    from archiver.model.target import parse_target

    config = _read_config(ctx)
    at = "@" if incomplete.startswith("@") else ""
    prefix = incomplete.removeprefix("@").lower()
    names = [name for entry in config.accounts if (name := entry.username) and name.startswith(prefix)]
    with suppress(ArchiverError), Archive(config) as archive:
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
    entries = _read_config(ctx).accounts
    texts = [f"{at}{entry.username}" if entry.username else entry.text for entry in entries]
    return _without_used(ctx, param, [text for text in texts if text.startswith(incomplete.lower())])


def complete_title(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the titles that begin like this, as patterns that match themselves.

    Left out are titles that a terminal might obey, and those that look like an option.
    """
    from archiver.archive.archive import Archive
    from archiver.text_format import make_safe

    titles: Iterable[str] = ()
    with suppress(ArchiverError), Archive(_read_config(ctx)) as archive:
        titles = archive.titles(incomplete)
    harmless = [title for title in titles if title.strip() and make_safe(title) == title and title[0] != "-"]
    return _without_used(ctx, param, [glob.escape(title) for title in harmless])


def complete_query(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the named queries that begin like this."""
    from archiver.config import default_path
    from archiver.queries import named_queries

    own = (_read_config(ctx).path or default_path()).parent / "queries"
    return [name for name in named_queries.all_queries(own) if name.startswith(incomplete)]


def _read_config(ctx: click.Context) -> Config:
    from archiver.config import load

    options = ctx.ensure_object(GlobalOptions)
    directory = str(options.archive) if options.archive is not None else None
    return load(options.config, os.environ, {"archive.directory": directory})


def _without_used(ctx: click.Context, param: click.Parameter, values: list[str]) -> list[str]:
    """Return the values without those that the command line already has."""
    used = ctx.params.get(param.name or "") or ()
    return [value for value in values if value not in used]
