"""The files that a configuration is read from. Only regular files up to 1 MB are read.

The file with the key is refused if other users can write or replace it, and reported if they can read it.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from archiver.errors import ConfigError
from archiver.secret import Secret

_MAX_BYTES = 10**6
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IRGRP | stat.S_IROTH
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def read_toml(path: Path, *, is_required: bool) -> tuple[Mapping[str, object], bool] | None:
    """Return the tables of a TOML file, and whether others can write or replace it.

    Return None if there is no file and none is required. Raises ConfigError with the line of a mistake.
    """
    try:
        content, mode = _read(path, "the configuration", "archiver init writes one")
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError) and not is_required:
            return None
        raise
    text = _decode(content, path)
    try:
        return tomllib.loads(text), bool(mode & _WRITABLE) or _is_replaceable(path)
    except tomllib.TOMLDecodeError as error:
        place = _AT_LINE.search(str(error))
        line = place[1] if place else len(text.splitlines())  # "at end of document"
        raise ConfigError(f"{path}, line {line}: not valid TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # such as 1,000 nested brackets or digits
        raise ConfigError(f"{path} is not valid TOML: {type(error).__name__}") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list of accounts. Raises ConfigError."""
    hint = "create it with one account per line, or name another file"
    return _decode(_read(path, "sync.accounts_file", hint)[0], path).split("\n")


def read_token(path: Path) -> tuple[Secret | None, tuple[str, ...]]:
    """Return the key in a file, and warnings.

    A file that cannot be read gives a warning and no key, since reading an archive needs no key. Raises
    ConfigError if others can write or replace the file, as they could put their own key there; KeyMissing if
    it contains no key.
    """
    try:
        content, mode = _read_bytes(path)
    except OSError as error:
        return None, (f"api.token_file {path} cannot be read: {error.strerror}",)
    command = f"chmod 600 {shlex.quote(str(path))}"
    if mode & _WRITABLE:
        raise ConfigError(f"other users can write {path} (api.token_file)", command)
    if _is_replaceable(path):
        directory = shlex.quote(str(path.parent))
        raise ConfigError(f"other users can replace {path} (api.token_file)", f"chmod o-w {directory}")
    warnings = (f"other users can read {path} (api.token_file): run {command}",) if mode & _READABLE else ()
    return Secret(content.decode("utf-8", errors="replace").removeprefix("\ufeff")), warnings


def _read(path: Path, what: str, hint: str) -> tuple[bytes, int]:
    try:
        content, mode = _read_bytes(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} ({what}) does not exist", hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"{path} ({what}) cannot be read: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} ({what}) is larger than 1 MB")
    return content, mode


def _read_bytes(path: Path) -> tuple[bytes, int]:
    """Return the content, at most one byte over the limit, and the mode of the same file.

    Refuse a pipe or a device: reading it might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, "not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_MAX_BYTES + 1), mode
    finally:
        os.close(descriptor)


def _is_replaceable(path: Path) -> bool:
    """Return whether any user can replace a file: its directory is world-writable and not sticky."""
    mode = path.parent.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8 text") from error
