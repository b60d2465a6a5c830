"""What to do next, in lines that work as they are printed: the program's path, the crontab line, where the key goes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archiver.model import Target

_SHOWN = 5


def program() -> str:
    """The program as a shell finds it from anywhere: as it was started, else beside this Python, else as a module of it."""
    for path in (Path(sys.argv[0]), Path(sys.executable).with_name("archiver")):
        if path.name == "archiver" and path.is_file() and os.access(path, os.X_OK):
            return shlex.quote(str(path.absolute()))
    return f"{shlex.quote(sys.executable)} -m archiver"


def typed() -> str:
    """The program as this person types it: by name where the shell finds that very program, else as ``program``."""
    whole = program()
    found = shutil.which("archiver")
    return "archiver" if found is not None and shlex.quote(str(Path(found).absolute())) == whole else whole


def config_option(path: Path | None, *, named: bool) -> str:
    """`` --config FILE`` where a person named the file, else nothing."""
    return f" --config {shlex.quote(str(path))}" if named and path is not None else ""


def cron_line(option: str = "") -> str:
    """A crontab line for a run each night. No key in it: whoever lists the processes or the crontab would read it."""
    return f"17 3 * * * {program()} run{option}".replace("%", r"\%")  # cron takes a bare % for a line break


def key_file(config: Path) -> Iterator[str]:
    """How the key comes into a file beside the configuration that only its owner can read."""
    path = config.parent / "hikerapi.token"
    yield f"(umask 077; cat > {shlex.quote(str(path))})    (paste the key, Enter, Ctrl-D)"
    yield f'token_file = "{path.name}"    (in {config}, under [api])'


def toml(text: str) -> str:
    """``text`` as a string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")


def nightly(targets: Sequence[Target], directory: Path, config: Path, *, named: bool) -> Iterator[str]:
    """How to keep these targets in this archive every night; ``config``: where the configuration is or would be."""
    option = config_option(config, named=named)
    if config.exists():
        yield f"to keep this every night, in {config}:"
    else:
        yield f"to keep this every night: {typed()} init{option} --archive {shlex.quote(str(directory))}"
        yield f"then see to it that {config} says:"
    yield "  [archive]"
    yield f"  directory = {toml(str(directory))}"
    for target in targets[:_SHOWN]:
        yield "  [[accounts]]"
        yield f"  {_entry(target)}"
    if len(targets) > _SHOWN:
        yield f"  (and {len(targets) - _SHOWN:,} more)"
    yield "the key in a file that only you can read:"
    yield from (f"  {line}" for line in key_file(config))
    yield f"and with crontab -e: {cron_line(option)}"


def _entry(target: Target) -> str:
    if target.username is not None:
        return f"username = {toml(target.username)}"
    if target.user_pk is not None:
        return f"user_id = {toml(target.user_pk)}"
    return f"target = {toml(target.text)}"
