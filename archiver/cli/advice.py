"""What to do next, in lines that work as they are printed.

Commands of this program, the crontab line, and how the key comes into its file.
"""

from __future__ import annotations

import json
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

from archiver.cli.commands import COMMANDS
from archiver.errors import ArchiverError

if TYPE_CHECKING:
    from archiver.cli.options import Given
    from archiver.model.target import Target

_SHOWN = 5
_COMMAND = re.compile(rf"(?<![\w/])(?<!-m )archiver (?=(?:{'|'.join(COMMANDS)}|--help)\b)([^;:,]*)")


def program_path() -> str:
    """Return the program as a shell finds it from anywhere.

    As it was started, else beside this Python, else as a module of it.
    """
    for path in (Path(sys.argv[0]), Path(sys.executable).with_name("archiver")):
        if path.name == "archiver" and path.is_file() and os.access(path, os.X_OK):
            return quote(path.absolute())
    return f"{quote(sys.executable)} -m archiver"


def program_name() -> str:
    """Return the program as this person types it: by name where the shell finds that very program, else as
    ``program_path``."""
    whole = program_path()
    found = shutil.which("archiver")
    return "archiver" if found is not None and quote(Path(found).absolute()) == whole else whole


def quote(text: object) -> str:
    """Return ``text`` as one word of a shell. What a terminal cannot show is written in octal."""
    word = str(text)
    if word.isprintable():
        return shlex.quote(word)
    plain = set(range(32, 127)) - set(b"'\\")
    octal = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"$'{octal}'"


def command_line(words: str, given: Given | None = None) -> str:
    """Return ``archiver WORDS``, ``words`` quoted already, as it works in the shell of this person.

    It gets the --config and --archive that the present command was given, and the program's path where a
    shell does not find its name. ``given``: the options, where the command that had them has ended.
    """
    if given is None:
        context = click.get_current_context(silent=True)
        given = context.obj if context is not None else None
    options = _options(words, given) if given is not None and "--help" not in words else ()
    return " ".join((program_name(), *options, words))


def complete_commands(text: str, given: Given | None = None) -> str:
    """Return ``text`` with each command of this program in it written as by ``command_line``."""
    return _COMMAND.sub(lambda found: command_line(found[1], given), text)


def _options(words: str, given: Given) -> Iterator[str]:
    config = given.config
    if given.archive is not None and words.split()[0] == "init":
        config = config_for_init(given)
    for option, path in (("--config", config), ("--archive", given.archive)):
        if path is not None and option not in words:
            yield f"{option} {quote(path)}"


def config_for_init(given: Given) -> Path | None:
    """Return the configuration that ``init`` must name to make the archive of ``--archive``, or None.

    It is another one where the present one names another archive: ``init`` keeps that as it is, and refuses.
    """
    from archiver.config import locate

    assert given.archive is not None
    present, _ = locate(given.config, os.environ)
    if not present.exists() or names_archive(present, given.archive):
        return given.config
    name = given.archive.absolute().name or "archive"
    paths = (present.with_name(f"{name}{'' if number == 1 else f'-{number}'}.toml") for number in count(1))
    return next(path for path in paths if not path.exists() or names_archive(path, given.archive))


def names_archive(config: Path, directory: Path) -> bool:
    """Whether the configuration names this archive. False where it cannot be read."""
    from archiver.config import load

    try:
        return load(config, {}).archive.directory.resolve() == directory.resolve()
    except ArchiverError:
        return False


def config_option(path: Path | None, *, named: bool) -> str:
    """`` --config FILE`` where a person named the file, else nothing."""
    return f" --config {quote(path)}" if named and path is not None else ""


def cron_line(option: str = "") -> str:
    """Return a crontab line for a run each night. It has no key: others can list processes."""
    return f"17 3 * * * {program_path()} run{option}".replace(
        "%", r"\%"
    )  # cron takes a bare % for a line break


def key_file_steps(config: Path, present: Path | None) -> Iterator[str]:
    """How the key comes into a file that only its owner can read, as far as that is still to do.

    ``present``: the ``token_file`` of the configuration, if it has one.
    """
    path = present or config.parent / "hikerapi.token"
    if not path.exists():
        yield f"(umask 077; cat > {quote(path)})    # paste the key, Enter, Ctrl-D"
    if present is None:
        yield f'token_file = "{path.name}"    # in {config}, under [api]'


def toml_string(text: str) -> str:
    """``text`` as a string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")


def nightly_steps(targets: Sequence[Target], directory: Path, config: Path) -> Iterator[str]:
    """Yield how to keep these targets in this archive every night. ``config``: what ``init`` will write."""
    yield f"to keep this every night: {program_name()} init --archive {quote(directory)}"
    yield f"then list in {config}, in place of the account there:"
    for target in targets[:_SHOWN]:
        yield "  [[accounts]]"
        yield f"  {_entry(target)}"
    if len(targets) > _SHOWN:
        yield f"  # and {len(targets) - _SHOWN:,} more"


def _entry(target: Target) -> str:
    if target.username is not None:
        return f"username = {toml_string(target.username)}"
    if target.user_pk is not None:
        return f"user_id = {toml_string(target.user_pk)}"
    return f"target = {toml_string(target.text)}"
