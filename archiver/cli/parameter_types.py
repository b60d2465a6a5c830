"""Paths, as a person names them."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click


class PathType(click.Path):
    """The type of a path that somebody names. An empty text names none: to the system it would be the present
    directory.

    Whether it can be read is not asked here: that is an error of what is read there, not of usage.
    """

    def __init__(self, what: str) -> None:
        """``what`` it names: ``directory``."""
        super().__init__(path_type=Path, readable=False)
        self._what = what

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path as it was named, or click's usage error."""
        if value == "":
            present = "; . is the present one" if self._what == "directory" else ""
            self.fail(f"it is empty, and names no {self._what}{present}", param, ctx)
        return super().convert(value, param, ctx)


class OutputDirectoryType(PathType):
    """The type of an argument that is a directory to write into."""

    def __init__(self, *, stdout: bool = False) -> None:
        """``stdout``: whether ``-`` is a place, too."""
        super().__init__("directory")
        self._stdout = stdout

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path as it was named, or click's usage error."""
        if value == "-" and not self._stdout:
            self.fail("- is stdout, and this form is many files; ./- is a directory of that name", param, ctx)
        return super().convert(value, param, ctx)


_DURATION = re.compile(r"([0-9]{1,6}) ?([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAWN = datetime.min.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """``36h``, ``2d`` or ``90m``: s, m, h, d or w. Raises ValueError, saying what is expected. Pure."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 36h, 2d or 90m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def parse_time(text: str, now: datetime) -> datetime:
    """A date (its first moment in UTC), a time (UTC unless it says otherwise), or a duration back from ``now``.

    Raises ValueError, saying what is expected. Pure.
    """
    try:
        back = parse_duration(text)
    except ValueError:
        return _stated(text)
    return now - back if now - _DAWN > back else _DAWN


def _stated(text: str) -> datetime:
    try:
        stated = datetime.fromisoformat(text.strip())
        return stated.replace(tzinfo=UTC) if stated.tzinfo is None else stated.astimezone(UTC)
    except (ValueError, OverflowError):
        expected = (
            "a date such as 2026-11-01, a time such as 2026-11-01T03:17, or a duration such as 36h or 7d"
        )
        raise ValueError(f"{text!r} is not {expected}") from None


class DurationType(click.ParamType[timedelta]):
    """The type of an option that takes a ``parse_duration``."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration, or click's usage error."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TimeType(click.ParamType[datetime]):
    """The type of an option that takes a ``parse_time``, counted back from the present where it is a duration."""

    name = "when"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment (aware, UTC), or click's usage error."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)
