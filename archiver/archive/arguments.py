"""What a program gives to the methods of ``Archive``: taken as it is meant, or refused by a UsageError that names what is right. Pure."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from reprlib import Repr
from typing import TypeVar

from archiver.errors import UsageError
from archiver.model.archived import MEDIA_TYPES, NO_LIMIT, Value
from archiver.model.search_hits import Kind

T = TypeVar("T")

_AWARE = "as in datetime(2026, 11, 1, tzinfo=UTC)"
_TYPES = " and ".join(f"{number} ({word})" for word, number in MEDIA_TYPES.items())
_BRIEF = Repr()
_BRIEF.maxother = _BRIEF.maxstring = 80


def several(given: object, read: Callable[[object], T]) -> tuple[T, ...] | None:
    """One or several, as several, each read; None where none is asked for, () where it may be none of them."""
    if given is None:
        return None
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return tuple(read(one) for one in given)
    return (read(given),)


def text(name: str, given: object, right: str) -> str:
    """A text; ``right`` tells what it should be."""
    if not isinstance(given, str):
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is no {right}")
    return given


def instance(name: str, given: object, kind: type[T]) -> T:
    """One of the values that an archive gives."""
    if not isinstance(given, kind):
        raise UsageError(
            f"{name}: {_BRIEF.repr(given)} is no {kind.__name__}", "give one that the archive gave"
        )
    return given


def moment(name: str, given: object) -> datetime | None:
    """An aware time, in UTC."""
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is no datetime", _AWARE)
    if given.utcoffset() is None:
        raise UsageError(f"{name} says no time zone", _AWARE)
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{name}: {given.isoformat()} is no time that UTC has") from None


def media_type(given: object) -> int:
    """A number of ``MEDIA_TYPES``."""
    if type(given) is not int or given not in MEDIA_TYPES.values():
        raise UsageError(f"media_types: {_BRIEF.repr(given)} is no media type, those are {_TYPES}")
    return given


def kind(given: object) -> Kind:
    """A Kind, or its text."""
    if not isinstance(given, str) or given not in list(Kind):
        raise UsageError(f"kinds: {_BRIEF.repr(given)} is no kind, those are {', '.join(Kind)}")
    return Kind(given)


def count(name: str, given: object) -> int | None:
    """A number of things, 0 or more; None for all of them."""
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is no whole number from 0", "None is all")
    return min(given, NO_LIMIT)


def seconds(name: str, given: object) -> float:
    """How long something may take."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not given > 0:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is no number above 0")
    return given


def parameters(given: object) -> dict[str, Value]:
    """Values of a query, by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"parameters: {_BRIEF.repr(given)} is no mapping of names to values")
    return {text("parameters", name, "name"): _value(name, value) for name, value in given.items()}


def _value(name: str, given: object) -> Value:
    if given is None or isinstance(given, str | int):
        return given
    if isinstance(given, float) and math.isfinite(given):
        return given
    raise UsageError(
        f"parameters: {name} is {_BRIEF.repr(given)}, which is no text, no number and not None",
        "a time is given as text: 2026-11-01T00:00:00.000000Z",
    )


def directory(given: object) -> Path:
    """A path, absolute; ``~`` is somebody's home."""
    try:
        return path("path", given).expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"path: {given} is in the home of nobody") from None


def path(name: str, given: object) -> Path:
    """A path, as it was given."""
    spelt = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(spelt, str) or not spelt or "\0" in spelt:
        raise UsageError(f"{name}: {_BRIEF.repr(given)} is no path, as a text or a pathlib.Path")
    return Path(spelt)
