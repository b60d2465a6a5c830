"""Checks of the arguments of ``Archive``: each is returned as it is meant, or refused. Pure."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from reprlib import Repr
from typing import TypeVar

from archiver.errors import UsageError
from archiver.model.archived import MEDIA_TYPES, NO_LIMIT, Value

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_AWARE = "as in datetime(2026, 11, 1, tzinfo=UTC)"
_TYPES = " or ".join(f"{number} ({word})" for word, number in MEDIA_TYPES.items())
_BRIEF = Repr()
_BRIEF.maxother = _BRIEF.maxstring = 80


def read_several(given: object, read: Callable[[object], T]) -> tuple[T, ...] | None:
    """Return one or several values as a tuple, each read; None for None."""
    if given is None:
        return None
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return tuple(read(one) for one in given)
    return (read(given),)


def require_text(name: str, given: object, expected: str) -> str:
    """Return a text. ``expected`` says what it should be: ``pk or link``."""
    if not isinstance(given, str):
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a {expected}")
    return given


def require_instance(name: str, given: object, kind: type[T]) -> T:
    """Return a value of this type, as the archive returns them."""
    if not isinstance(given, kind):
        hint = "use one that the archive returned"
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a {kind.__name__}", hint)
    return given


def read_time(name: str, given: object) -> datetime | None:
    """Return an aware time in UTC; None for None."""
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a datetime", _AWARE)
    if given.utcoffset() is None:
        raise UsageError(f"{name} has no time zone", _AWARE)
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{name}: {given.isoformat()} is out of range in UTC") from None


def require_media_type(given: object) -> int:
    """Return a number of ``MEDIA_TYPES``."""
    if type(given) is not int or given not in MEDIA_TYPES.values():
        raise UsageError(f"media_types: {_BRIEF.repr(given)} is not a media type: use {_TYPES}")
    return given


def require_choice(name: str, given: object, choices: type[E]) -> E:
    """Return a value of an enumeration, given as such or as its text."""
    if not isinstance(given, str) or given not in list(choices):
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is invalid: use one of {', '.join(choices)}")
    return choices(given)


def read_count(name: str, given: object) -> int | None:
    """Return a number of things from 0; None (all) for None."""
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a whole number from 0", "None means all")
    return min(given, NO_LIMIT)


def require_seconds(name: str, given: object) -> float:
    """Return a duration in seconds."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not given > 0:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a number above 0")
    return given


def require_share(name: str, given: object) -> float:
    """Return a share: a number above 0, up to 1."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given <= 1:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a number above 0, up to 1", "0.05 is 5%")
    return given


def read_parameters(given: object) -> dict[str, Value]:
    """Return the values of a query, by name; none for None."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"parameters: {_BRIEF.repr(given)} is not a mapping of names to values")
    return {require_text("parameters", name, "name"): _value(name, value) for name, value in given.items()}


def _value(name: str, given: object) -> Value:
    if given is None or isinstance(given, str | int):
        return given
    if isinstance(given, float) and math.isfinite(given):
        return given
    raise UsageError(
        f"parameters: {name} is {_BRIEF.repr(given)}: use a text, a number or None",
        "give a time as text: 2026-11-01T00:00:00.000000Z",
    )


def require_directory(given: object) -> Path:
    """Return a path, absolute; a leading ``~`` is expanded."""
    try:
        return require_path("path", given).expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"path: {given}: there is no such home directory") from None


def require_path(name: str, given: object) -> Path:
    """Return a path as it was given."""
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is not a path: use a text or a pathlib.Path")
    return Path(text)
