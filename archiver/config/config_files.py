"""The files that a configuration is read from, and how they are replaced. Only regular files up to 1 MB.

The file with the key is refused if other users can write or replace it, and reported if they can read it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from archiver import durable
from archiver.errors import ConfigError, KeyMissing, StorageError
from archiver.secret import Secret

_MAX_BYTES = 10**6
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IRGRP | stat.S_IROTH
_MARK = b"\xef\xbb\xbf"
_MIN_TOKEN_BYTES = 16
_MAX_TOKEN_BYTES = 1000
"""The login form may have 4096 bytes, and a byte of the token becomes up to three of it."""
_HOW_TO_MAKE_ONE = "make one: umask 077; openssl rand -hex 16 > token"
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
    return parse_toml(_decode(content, path), path), bool(mode & _WRITABLE) or _is_replaceable(path)


def parse_toml(text: str, path: Path) -> Mapping[str, object]:
    """Return the tables of a text, which is or may become the content of ``path``. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _AT_LINE.search(str(error))
        line = place[1] if place else len(text.splitlines())  # "at end of document"
        raise ConfigError(f"{path}, line {line}: not valid TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # such as 1,000 nested brackets or digits
        raise ConfigError(f"{path} is not valid TOML: {type(error).__name__}") from error


def read_lines(path: Path, what: str = "sync.accounts_file") -> list[str]:
    """Return the lines of a list of accounts, or of another file (``what``). Raises ConfigError."""
    hint = "create it with one account per line, or name another file"
    return _decode(_read(path, what, hint)[0], path).split("\n")


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Wait until no other process changes this file, if the file system has locks. Raises StorageError."""
    with durable.storage_errors(f"{path} cannot be changed"):
        descriptor = os.open(durable.real_path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str, *, dry_run: bool = False) -> None:
    """Replace the text of a file at once: readers see the old one or the new one, also after a power loss.

    The new file is written beside the old one, and has its mode, owner and byte order mark. A symbolic link
    stays, and the file that it leads to is replaced. ``dry_run``: write nothing. Raises StorageError, with
    the old file unchanged; also with ``dry_run``, if its directory cannot be written.
    """
    file = durable.real_path(path)
    if not os.access(file.parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StorageError(
            f"{path} cannot be changed: the directory {file.parent} cannot be written",
            "run this as the owner of the directory, or change the list by hand",
        )
    if dry_run:
        return
    with durable.storage_errors(f"{path} cannot be changed"):
        content, old = _read_bytes(path)
        mark = _MARK if content.startswith(_MARK) else b""
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            durable.write_whole(
                file.name,
                (mark, text.encode()),
                stat.S_IMODE(old.st_mode),
                tmp=directory,
                within=directory,
                owner=(old.st_uid, old.st_gid),
            )
        finally:
            os.close(directory)


def read_token(path: Path) -> tuple[Secret | None, tuple[str, ...]]:
    """Return the key in a file, and warnings.

    A file that cannot be read gives a warning and no key, since reading an archive needs no key. Raises
    ConfigError if others can write or replace the file, as they could put their own key there; KeyMissing if
    it contains no key.
    """
    try:
        content, warnings = _read_private(path, "api.token_file")
    except OSError as error:
        return None, (f"api.token_file {path} cannot be read: {error.strerror}",)
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if not text.strip():
        raise KeyMissing(
            f"the key file {path} is empty (api.token_file)", "put the key into it, or set HIKERAPI_TOKEN"
        )
    try:
        return Secret(text), warnings
    except KeyMissing as error:
        raise KeyMissing(f"{error}: {path} (api.token_file)", error.hint) from error


def read_login_token(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return the SHA-256 of the token in a file, without white space around it, and warnings.

    Raises ConfigError if the file cannot be read, if others can write or replace it, if the token is so short
    that it could be guessed, or if nobody could enter it: it must be one line of text.
    """
    try:
        content, warnings = _read_private(path, "--token-file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"{path} (--token-file) cannot be read: {reason}", _HOW_TO_MAKE_ONE) from error
    token = content.removeprefix(_MARK).strip()
    if len(token) < _MIN_TOKEN_BYTES:
        raise ConfigError(
            f"the token in {path} has fewer than {_MIN_TOKEN_BYTES} bytes: it could be guessed",
            _HOW_TO_MAKE_ONE,
        )
    if len(token) > _MAX_TOKEN_BYTES:
        raise ConfigError(
            f"the token in {path} has more than {_MAX_TOKEN_BYTES} bytes: the login form would not take it",
            _HOW_TO_MAKE_ONE,
        )
    try:
        is_text = token.decode().isprintable()
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise ConfigError(
            f"nobody could enter the token in {path}: it must be one line of UTF-8 text, without control "
            "characters",
            _HOW_TO_MAKE_ONE,
        )
    return hashlib.sha256(token).digest(), warnings


def warn_if_readable(path: Path, setting: str) -> tuple[str, ...]:
    """Return a warning if others can read a file with a secret; none if it cannot be examined."""
    try:
        return _readability(path, setting, path.stat().st_mode)
    except (OSError, ValueError):
        return ()


def _read_private(path: Path, setting: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the content of a file with a secret, and a warning if others can read it.

    Raises ConfigError if others can write or replace the file, OSError.
    """
    content, status = _read_bytes(path)
    mode = status.st_mode
    if mode & _WRITABLE:
        raise ConfigError(f"other users can write {path} ({setting})", _command(path))
    if _is_replaceable(path):
        directory = shlex.quote(str(path.parent))
        raise ConfigError(f"other users can replace {path} ({setting})", f"chmod o-w {directory}")
    return content, _readability(path, setting, mode)


def _readability(path: Path, setting: str, mode: int) -> tuple[str, ...]:
    # systemd gives a credential to the user of the service by an ACL, whose mask looks like a group's right.
    is_credential = str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY")
    readable = stat.S_IROTH if is_credential else _READABLE
    return (f"other users can read {path} ({setting}): run {_command(path)}",) if mode & readable else ()


def _command(path: Path) -> str:
    return f"chmod 600 {shlex.quote(str(path))}"


def _read(path: Path, what: str, hint: str) -> tuple[bytes, int]:
    try:
        content, status = _read_bytes(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} ({what}) does not exist", hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"{path} ({what}) cannot be read: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} ({what}) is larger than 1 MB")
    return content, status.st_mode


def _read_bytes(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the content, at most one byte over the limit, and the status of the same file.

    Refuse a pipe or a device: reading it might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_MAX_BYTES + 1), status
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
