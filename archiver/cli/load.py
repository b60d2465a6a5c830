"""What a command needs first: its Config and its archive from the global options, and targets from texts."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.cli import output
from archiver.cli.options import GlobalOptions
from archiver.config import Config, account_list, default_path, load
from archiver.errors import JournalDiffers, NoArchive, SchemaOld, UsageError
from archiver.model.target import Target, TargetIdentity, parse_target, read_targets

if TYPE_CHECKING:
    from archiver.archive.archive import Archive


def config(options: GlobalOptions, *, with_accounts: bool = True) -> Config:
    """Read the configuration, print its warnings, and store it in ``options``.

    ``with_accounts``: False for a command that does not need the list of accounts.
    """
    directory = str(options.archive) if options.archive is not None else None
    exported = os.environ.get("HIKERAPI_TOKEN", "").strip()
    options.loaded = configuration = load(
        options.config, os.environ, {"archive.directory": directory}, with_accounts=with_accounts
    )
    options.key_file = None if exported else configuration.api.token_file
    if not options.quiet:
        output.print_messages(*(f"archiver: note: {warning}" for warning in configuration.warnings))
    return configuration


def queries_folder(configuration: Config) -> Path:
    """Return where the user's own named queries are: beside the configuration."""
    return (configuration.path or default_path()).parent / "queries"


def open_archive(
    options: GlobalOptions,
    configuration: Config | None = None,
    *,
    database: str | Path | None = None,
    notes_older_copy: bool = True,
) -> Archive:
    """Return the archive of this command. It is opened when something is read.

    If its database is an older copy, a line on stderr and ``--json`` say so. ``configuration``: None for the
    one of the command. ``database``: the same database under another role. ``notes_older_copy``: False if the
    command's result or its error says so.
    """
    from archiver.archive.archive import Archive

    chosen = configuration or options.loaded or config(options)
    return Archive(chosen, database=database, on_behind=partial(_note_older_copy, options, notes_older_copy))


def _note_older_copy(options: GlobalOptions, is_printed: bool, older: JournalDiffers) -> None:
    is_news, options.is_behind = not options.is_behind, True
    if is_news and is_printed:
        hint = options.complete_hint(older.slug, older.hint)
        output.print_messages(f"archiver: note: {older} ({hint})")


def targets(
    words: Sequence[str], files: Sequence[Path] | None = None, highlights: tuple[str, ...] = ()
) -> tuple[Target, ...]:
    """Return the targets that the words and the lines of the files name, each once; ``-`` is stdin.

    ``files``: None for a command without ``-i``; others refuse a word that is a file. ``highlights``: the
    title patterns of all. Raises TargetError, ConfigError for a file that cannot be read, UsageError if there
    is no target.
    """
    if files is not None:
        _refuse_lists(words)
    first: dict[TargetIdentity, Target] = {}
    for text in _texts(words, files or ()):
        target = parse_target(text, highlights)
        first.setdefault(target.identity, target)
    if not first:
        raise UsageError("no target is given", "name an account, such as natgeo")
    return tuple(first.values())


def entries(configuration: Config, words: Sequence[str]) -> tuple[Target, ...]:
    """Return the configured entries, or those that the words name (username, id or link), each once.

    Raises UsageError, naming similar entries, for a word that matches none, and if there are no entries.
    """
    if not configuration.accounts:
        account_list.require_file(configuration)
        raise UsageError("no account is listed", "archiver add NAME adds one")
    if not words:
        return configuration.accounts
    return tuple(dict.fromkeys(_entry(configuration, word) for word in words))


def entry(configuration: Config, target: Target) -> Target | None:
    """Return the configured entry for the same target, by its spelling or by what the archive knows."""
    from archiver.archive.archive import Archive

    for known in configuration.accounts:
        if known.identity == target.identity:
            return known
    try:
        with Archive(configuration) as archive:
            return archive.configured_entry(target)
    except (NoArchive, SchemaOld):  # a run brings an older archive up to date
        return None


def _entry(configuration: Config, word: str) -> Target:
    target = parse_target(word)
    found = entry(configuration, target)
    if found is not None:
        return found
    names = [known.username or known.text for known in configuration.accounts]
    import difflib  # only after a mistake

    similar = difflib.get_close_matches(target.username or target.text, names, n=2)
    meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
    raise UsageError(f"{word} is not in the configuration{meant}", f"archiver backup {word} archives it once")


def _texts(words: Iterable[str], files: Iterable[Path]) -> Iterator[str]:
    for word in words:
        if word == "-":
            yield from _texts_of_stdin()
        else:
            yield word
    for file in files:
        if str(file) == "-":
            yield from _texts_of_stdin()
        else:
            yield from (entry.text for entry in account_list.read_account_file(file, "the list of -i"))


def _texts_of_stdin() -> Iterator[str]:
    if sys.stdin is not None and sys.stdin.isatty():
        output.print_messages("targets, one a line; end with Ctrl-D")
    yield from read_targets(stdin())


def _refuse_lists(words: Iterable[str]) -> None:
    """Raise UsageError for a file: it would be paid for as an account of that name."""
    for word in words:
        with suppress(OSError, ValueError):  # too long for a path
            if Path(word).is_file():
                hint = f"-i {shlex.quote(word)} reads it; @{word} is the account of that name"
                raise UsageError(f"{word} is a file, not an account", hint)


def stdin() -> Iterator[str]:
    """Yield the lines of stdin. Raises UsageError if there is none."""
    if sys.stdin is None:
        raise UsageError("there is no standard input to read from")
    yield from sys.stdin
