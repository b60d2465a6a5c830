"""Checks of the arguments of ``Archive``: each is converted, or refused. Pure."""

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
from archiver.model.identity import MEDIA_TYPES
from archiver.model.query_results import NO_LIMIT, Value

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_AWARE = "as in datetime(2026, 11, 1, tzinfo=UTC)"
_TYPES = " or ".join(f"{number} ({word})" for word, number in MEDIA_TYPES.items())
_BRIEF = Repr()
_BRIEF.maxother = _BRIEF.maxstring = 80


def read_several(values: object, read: Callable[[object], T]) -> tuple[T, ...] | None:
    """Return one or several values as a tuple, each converted by ``read``; None for None."""
    if values is None:
        return None
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return tuple(read(one) for one in values)
    return (read(values),)


def require_text(name: str, value: object, expected: str) -> str:
    """Return a text. ``expected`` says what it should be: ``pk or link``."""
    if not isinstance(value, str):
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a {expected}")
    return value


def require_texts(name: str, values: object, expected: str) -> tuple[str, ...]:
    """Return several texts: all of them, even if they come from an iterator that can be read once."""
    texts = read_several(values, lambda value: require_text(name, value, expected))
    if texts is None:
        raise UsageError(f"{name}: None is not a list of texts", "leave it out, or give an empty one")
    return texts


def require_fields(name: str, fields: object) -> tuple[tuple[str, str], ...]:
    """Return pairs of texts, each a label and a value."""
    pairs = (
        tuple(fields) if isinstance(fields, Iterable) and not isinstance(fields, str | Mapping) else (fields,)
    )
    for pair in pairs:
        if not (isinstance(pair, tuple | list) and [type(text) for text in pair] == [str, str]):
            raise UsageError(f"{name}: {_BRIEF.repr(pair)} is not a pair of a label and a value")
    return tuple((label, value) for label, value in pairs)


def require_instance(name: str, value: object, kind: type[T]) -> T:
    """Return a value of this type, as the archive returns them."""
    if not isinstance(value, kind):
        hint = "use one that the archive returned"
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a {kind.__name__}", hint)
    return value


def read_time(name: str, value: object) -> datetime | None:
    """Return an aware time in UTC; None for None."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a datetime", _AWARE)
    if value.utcoffset() is None:
        raise UsageError(f"{name} has no time zone", _AWARE)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{name}: {value.isoformat()} is out of range in UTC") from None


def require_media_type(value: object) -> int:
    """Return a number of ``MEDIA_TYPES``."""
    if type(value) is not int or value not in MEDIA_TYPES.values():
        raise UsageError(f"media_types: {_BRIEF.repr(value)} is not a media type: use {_TYPES}")
    return value


def require_choice(name: str, value: object, choices: type[E]) -> E:
    """Return a value of an enumeration, given as such or as its text."""
    if not isinstance(value, str) or value not in list(choices):
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is invalid: use one of {', '.join(choices)}")
    return choices(value)


def read_count(name: str, value: object) -> int | None:
    """Return a count, 0 or more; None (all) for None."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a whole number, 0 or more", "None means all")
    return min(value, NO_LIMIT)


def require_seconds(name: str, value: object) -> float:
    """Return a duration in seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a number above 0")
    return value


def require_share(name: str, value: object) -> float:
    """Return a share: a number above 0, up to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a number above 0, up to 1", "0.05 is 5%")
    return value


def read_parameters(parameters: object) -> dict[str, Value]:
    """Return the values of a query, by name; none for None."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise UsageError(f"parameters: {_BRIEF.repr(parameters)} is not a mapping of names to values")
    return {
        require_text("parameters", name, "name"): _value(name, value) for name, value in parameters.items()
    }


def _value(name: str, value: object) -> Value:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise UsageError(
        f"parameters: {name} is {_BRIEF.repr(value)}: use a text, a number or None",
        "give a time as text: 2026-11-01T00:00:00.000000Z",
    )


def require_directory(value: object) -> Path:
    """Return a path, absolute; a leading ``~`` is expanded."""
    try:
        return require_path("path", value).expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"path: {value}: there is no such home directory") from None


def require_path(name: str, value: object) -> Path:
    """Return a path as it was given."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"{name}: {_BRIEF.repr(value)} is not a path: use a text or a pathlib.Path")
    return Path(text)
