"""What was said, by whom, and what counts: flag > environment > file > default."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from archiver.config import values
from archiver.config.sections import KEYS
from archiver.errors import ConfigError

T = TypeVar("T")

ENVIRONMENT = {f"ARCHIVER_{key.replace('.', '_')}".upper(): key for key in sorted(KEYS)} | {
    "ARCHIVER_ARCHIVE": "archive.directory"
}
"""The variable of each key. Later ones win: ARCHIVER_ARCHIVE over ARCHIVER_ARCHIVE_DIRECTORY."""

_SHOWN = 80
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _Said:
    """A raw value; ``name`` is how the person spelled its key; ``typed`` is False for the environment, where all is text."""

    value: object
    name: str
    base: Path
    typed: bool


class Settings:
    """The raw settings by key. Every method takes a key and its default, and raises ConfigError where the value cannot be.

    Values are never quoted in a message: they may hold passwords.
    """

    def __init__(
        self,
        tables: Mapping[str, object],
        path: Path,
        environ: Mapping[str, str],
        overrides: Mapping[str, object],
    ) -> None:
        """``tables``: the sections of the file at ``path``. ``overrides``: ``section.key`` → value; None is a flag not given."""
        cwd = Path()  # told only where a relative path needs it: it may be gone
        said = {
            key: _Said(value, f"{key} in {path}", path.parent, True) for key, value in _flat(tables, path)
        }
        said |= {
            key: _Said(environ[name], name, cwd, False)
            for name, key in ENVIRONMENT.items()
            if environ.get(name)
        }
        for key, value in overrides.items():
            if key not in KEYS:
                raise ConfigError(f"there is no key {key}{_nearest(key, KEYS)}")
            if value is not None:
                said[key] = _Said(value, key, cwd, True)
        self._said = said

    def text(self, key: str, default: T, read: Callable[[str], T]) -> T:
        """What ``read`` makes of a text."""
        said = self._said.get(key)
        if said is None:
            return default
        if not isinstance(said.value, str):
            raise _expected(said, "a text in quotes")
        return _read(said, read, said.value)

    def size(self, key: str, default: T, read: Callable[[str], int], least: int = 0) -> T | int:
        """A size or speed: text, or a whole number of bytes."""
        said = self._said.get(key)
        if said is None:
            return default
        value = said.value
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise _expected(said, "a size in quotes, or a number of bytes")
        result = _read(said, read, value) if isinstance(value, str) else value
        if not least <= result <= values.MOST_BYTES:
            raise _expected(said, f"{least} bytes or more")
        return result

    def whole(self, key: str, default: T, least: int, most: int) -> T | int:
        """A whole number from ``least`` to ``most``."""
        said = self._said.get(key)
        if said is None:
            return default
        value = said.value if said.typed else _number(said, int)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _expected(said, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, default: T, least: float, most: float) -> T | float:
        """A number from ``least`` to ``most``."""
        said = self._said.get(key)
        if said is None:
            return default
        value = said.value if said.typed else _number(said, float)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _expected(said, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        said = self._said.get(key)
        if said is None:
            return default
        value = said.value if said.typed else _TRUTH.get(str(said.value).strip().lower())
        if not isinstance(value, bool):
            raise _expected(said, "true or false")
        return value

    def texts(self, key: str, default: tuple[str, ...], read: Callable[[str], str]) -> tuple[str, ...]:
        """A list of texts that is not empty; in the environment separated by commas."""
        said = self._said.get(key)
        if said is None:
            return default
        value = said.value
        if not said.typed:
            value = [part.strip() for part in str(value).split(",") if part.strip()]
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(part, str) for part in value)
        ):
            raise _expected(said, "a list of texts, with one at least")
        return tuple(_read(said, read, part) for part in value)

    def path(self, key: str, default: T) -> T | Path:
        """An absolute path: what the file says is relative to the file, all else to the current directory; ``~`` is expanded."""
        said = self._said.get(key)
        if said is None:
            return default
        if not isinstance(said.value, str | os.PathLike) or not str(said.value) or "\0" in str(said.value):
            raise _expected(said, "a path")
        try:
            return (said.base / Path(said.value).expanduser()).absolute()
        except RuntimeError:
            raise _expected(said, "a path; whose home ~ stands for cannot be told") from None


def unknown_variables(environ: Mapping[str, str]) -> Iterable[str]:
    """A warning for each ARCHIVER_ variable that means nothing. ARCHIVER_TEST_ is reserved for tests."""
    known = {"ARCHIVER_CONFIG", *ENVIRONMENT}
    for name in sorted(environ):
        if name.startswith("ARCHIVER_") and not name.startswith("ARCHIVER_TEST_") and name not in known:
            yield f"the environment variable {_shown(name)} means nothing{_nearest(name, known)}"


def refuse_unknown(given: Iterable[str], known: Iterable[str], path: Path, where: str = "") -> None:
    """Raise ConfigError for the first key in ``given`` that is not in ``known``, naming the nearest one."""
    known = frozenset(known)
    for key in given:
        if key not in known:
            raise ConfigError(f"{path}: there is no key {where}{_shown(key)}{_nearest(key, known)}")


def _flat(tables: Mapping[str, object], path: Path) -> Iterable[tuple[str, object]]:
    """The settings of the file as ``section.key``; the sections were checked, their keys are here."""
    for section, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: {section} is a section: write [{section}] on a line of its own")
        known = [key.partition(".")[2] for key in sorted(KEYS) if key.startswith(f"{section}.")]
        refuse_unknown(table, known, path, f"[{section}] ")
        for key, value in table.items():
            yield f"{section}.{key}", value


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name[:_SHOWN], sorted(known), n=1, cutoff=0.0)
    return f"; the nearest one is {found[0]}" if found else ""


def _shown(name: str) -> str:
    return repr(name[:_SHOWN])


def _number(said: _Said, kind: Callable[[str], float]) -> object:
    try:
        return kind(str(said.value).strip())
    except ValueError:
        return None


def _read(said: _Said, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise _expected(said, str(error)) from None


def _expected(said: _Said, what: str) -> ConfigError:
    return ConfigError(f"{said.name} cannot be used: expected {what}")
