"""Advice that works as it is printed: commands of this program, a crontab line, configuration entries."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.blobs import marker
from archiver.cli.commands import COMMANDS
from archiver.config import account_list, load, locate
from archiver.durable import real_path
from archiver.errors import ArchiverError, hide_keys

if TYPE_CHECKING:
    from archiver.cli.options import GlobalOptions
    from archiver.model.target import Target

_MAX_ENTRIES = 5
_COMMAND = re.compile(rf"(?<![\w/])(?<!-m )archiver (?=(?:{'|'.join(COMMANDS)}|--help)\b)([^;:,]*)")


def program_path() -> str:
    """Return the command that starts this program from any directory.

    That is the path it was started by, the ``archiver`` beside this Python, or ``python -m archiver``.
    """
    for path in (Path(sys.argv[0]), Path(sys.executable).with_name("archiver")):
        if path.name == "archiver" and path.is_file() and os.access(path, os.X_OK):
            return quote(path.absolute())
    return f"{quote(sys.executable)} -m archiver"


def program_name() -> str:
    """Return ``archiver`` if the shell finds this very program by that name, else its path."""
    path, found = program_path(), shutil.which("archiver")
    return "archiver" if found is not None and quote(Path(found).absolute()) == path else path


def quote(text: object) -> str:
    """Return ``text`` as one word of a shell. What a terminal cannot show is written in octal."""
    word = str(text)
    if word.isprintable():
        return shlex.quote(word)
    literal = set(range(32, 127)) - set(b"'\\")
    octal = "".join(chr(byte) if byte in literal else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"$'{octal}'"


def command_line(words: str, options: GlobalOptions | None = None) -> str:
    """Return ``archiver WORDS`` as it works in the user's shell; ``words`` are quoted already.

    It includes the --config and --archive of the current command, and the program's path if the shell does
    not find its name. ``options``: the global options, needed once the command itself has ended.
    """
    if options is None:
        context = click.get_current_context(silent=True)
        options = context.obj if context is not None else None
    location = _location_options(words, options) if options is not None and "--help" not in words else ()
    return " ".join((program_name(), *location, words))


def complete_commands(text: str, options: GlobalOptions | None = None) -> str:
    """Return ``text`` with each command of this program in it replaced by its ``command_line``."""
    return _COMMAND.sub(lambda match: command_line(match[1], options), text)


def _location_options(words: str, options: GlobalOptions) -> Iterator[str]:
    config = options.config
    archive = options.archive
    if archive is not None and words.split()[0] == "init":
        if is_demo(archive):  # never the archive of every night
            archive = None
        else:
            config = config_for_init(options)
    for option, path in (("--config", config), ("--archive", archive)):
        if path is not None and option not in words:
            yield f"{option} {quote(path)}"


def is_demo(directory: Path) -> bool:
    """Return whether there is a demo archive in a directory."""
    try:
        return marker.read(directory).is_demo
    except ArchiverError:
        return False


def config_for_init(options: GlobalOptions) -> Path | None:
    """Return the configuration that ``init`` needs to make the archive of ``--archive``; None: the default.

    If the current configuration names another archive, which ``init`` refuses to change, return another file.
    """
    assert options.archive is not None
    present, _ = locate(options.config, os.environ)
    if not present.exists() or names_archive(present, options.archive):
        return options.config
    name = options.archive.absolute().name or "archive"
    paths = (present.with_name(f"{name}{'' if number == 1 else f'-{number}'}.toml") for number in count(1))
    return next(path for path in paths if not path.exists() or names_archive(path, options.archive))


def names_archive(config: Path, directory: Path) -> bool:
    """Return whether the configuration names this archive; False if it cannot be read."""
    try:
        return real_path(load(config, {}).archive.directory) == real_path(directory)
    except ArchiverError:
        return False


def config_option(path: Path | None, *, is_named: bool) -> str:
    """Return `` --config FILE`` if the user named the file, else nothing."""
    return f" --config {quote(path)}" if is_named and path is not None else ""


def cron_line(option: str = "") -> str:
    """Return a crontab line for a nightly run. It has no key, as other users can list processes."""
    line = f"17 3 * * * {program_path()} run{option}"
    return line.replace("%", r"\%")  # cron reads % as a line break


def key_file_steps(config: Path, token_file: Path | None) -> Iterator[str]:
    """Yield the steps still needed to put the key into a file that only its owner can read.

    ``token_file``: the one that the configuration names, or None. A name that looks like a key is not one.
    """
    if token_file is not None and hide_keys(token_file.name) != token_file.name:
        token_file = None
    path = token_file or config.parent / "hikerapi.token"
    if not path.exists():
        yield f"(umask 077; cat > {quote(path)})    # paste the key, Enter, Ctrl-D"
    if token_file is None:
        yield f'token_file = "{path.name}"    # in {config}, under [api]'


def nightly_steps(targets: Sequence[Target], directory: Path, config: Path) -> Iterator[str]:
    """Yield how to archive these targets every night. ``config`` is the file that ``init`` will write."""
    yield f"to archive this every night: {program_name()} init --archive {quote(directory)}"
    yield f"then add to {config}:"
    for target in targets[:_MAX_ENTRIES]:
        yield from (f"  {line}" for line in account_list.entry_lines(target))
    if len(targets) > _MAX_ENTRIES:
        yield f"  # and {len(targets) - _MAX_ENTRIES:,} more"
