"""The files that a configuration is read from: bounded, regular, and the key's file kept from others."""

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

MAX_BYTES = 10**6
"""A configuration of 1 MB is no configuration."""

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IRGRP | stat.S_IROTH
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def toml(path: Path, *, required: bool) -> tuple[Mapping[str, object], bool] | None:
    """The tables of a TOML file, and whether others can write or replace it; None if there is none and none is required.

    Raises ConfigError, naming the line of a mistake.
    """
    try:
        content, mode = _read(path, "the configuration", "archiver init writes one")
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError) and not required:
            return None
        raise
    text = _decoded(content, path)
    try:
        return tomllib.loads(text), bool(mode & _WRITABLE) or _replaceable(path)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = found[1] if found else len(text.splitlines())  # "at end of document"
        raise ConfigError(f"{path}, line {line}: this is not TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # a thousand brackets, a number of a thousand digits
        raise ConfigError(f"{path} is not TOML that can be read: {type(error).__name__}") from error


def lines(path: Path) -> list[str]:
    """The lines of a list of accounts. Raises ConfigError."""
    missing = "write it, one account a line, or name another file"
    return _decoded(_read(path, "sync.accounts_file", missing)[0], path).split("\n")


def token(path: Path) -> tuple[Secret | None, str]:
    """The key in ``path`` and a warning, or ''. A file that cannot be read is a warning and no key: who only looks needs none.

    Raises ConfigError for a file that others can write or replace (they could name a key of theirs), KeyMissing for one that
    holds no key.
    """
    try:
        content, mode = _open(path)
    except OSError as error:
        return None, f"api.token_file {path} cannot be read: {error.strerror}"
    close = f"chmod 600 {shlex.quote(str(path))}"
    if mode & _WRITABLE:
        raise ConfigError(f"others can write api.token_file {path}", close)
    if _replaceable(path):
        directory = shlex.quote(str(path.parent))
        raise ConfigError(f"others can replace api.token_file {path}", f"chmod o-w {directory}")
    warning = f"others can read api.token_file {path}: {close}" if mode & _READABLE else ""
    return Secret(content.decode("utf-8", errors="replace").removeprefix("\ufeff")), warning


def _read(path: Path, what: str, hint: str) -> tuple[bytes, int]:
    try:
        content, mode = _open(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path} ({what})", hint) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"{path} ({what}) cannot be read: {why}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} ({what}) is over 1 MB")
    return content, mode


def _open(path: Path) -> tuple[bytes, int]:
    """At most one byte over the limit, and the mode of the very file that was read. A pipe or device would hang: refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, "not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1), mode
    finally:
        os.close(descriptor)


def _replaceable(path: Path) -> bool:
    """Whether everybody may put another file in its place: in a directory like /tmp, but without its sticky bit."""
    mode = path.parent.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8 text") from error
