"""Types of option and argument values: paths, durations such as ``36h``, and points in time."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

_DURATION = re.compile(r"([0-9]{1,6}) ?([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EARLIEST = datetime.min.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as ``36h`` means; the units are s, m, h, d and w.

    Raises ValueError with a message for the user.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"invalid duration {text!r}: use 36h, 7d or 90m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time (UTC) that a text means: a date, a time, or a duration before ``now``.

    A date means its midnight; both are UTC unless they state an offset. Raises ValueError with a message for
    the user.
    """
    try:
        duration = parse_duration(text)
    except ValueError:
        return _parse_iso_time(text)
    return now - duration if now - _EARLIEST > duration else _EARLIEST


def _parse_iso_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"invalid time {text!r}: use 2026-11-01, 2026-11-01T03:17, 36h or 7d") from None


class DurationType(click.ParamType[timedelta]):
    """The type of an option that takes a duration."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration, or raise click's usage error."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TimeType(click.ParamType[datetime]):
    """The type of an option that takes a point in time: a date, a time, or a duration before now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time (UTC), or raise click's usage error."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class WholeNumber(click.IntRange):
    """The type of an option that takes a whole number, from ``min`` to ``max`` if they are given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or raise click's usage error, in the words of people."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            limits = f"{self.min} or more" if self.max is None else f"{self.min} to {self.max:,}"
            self.fail(f"{value!r} is not a whole number, {limits}", param, ctx)


class PathType(click.Path):
    """The type of a path. It refuses the empty text, which the system would take as the current directory.

    It does not check that the path can be read: that would be an error of the archive, not of usage.
    """

    def __init__(self, kind: str) -> None:
        """``kind`` is "file" or "directory"."""
        super().__init__(path_type=Path, readable=False)
        self._kind = kind

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "":
            hint = "; use . for the current directory" if self._kind == "directory" else ""
            self.fail(f"the path is empty{hint}", param, ctx)
        return super().convert(value, param, ctx)


class OutputDirectoryType(PathType):
    """The type of an argument that is a directory to write to."""

    def __init__(self, *, allows_stdout: bool = False) -> None:
        """``allows_stdout``: whether ``-`` may be given, which means stdout."""
        super().__init__("directory")
        self._allows_stdout = allows_stdout

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "-" and not self._allows_stdout:
            self.fail(
                "- means stdout, which cannot take many files; for a directory called - use ./-", param, ctx
            )
        return super().convert(value, param, ctx)


class OutputFileType(PathType):
    """The type of an argument that is a file to write."""

    def __init__(self) -> None:
        """Take no options."""
        super().__init__("file")

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or raise click's usage error."""
        if value == "-":
            self.fail("- means stdout, which cannot take this file; for a file called - use ./-", param, ctx)
        return super().convert(value, param, ctx)
