"""Durations and moments as a person types them: ``36h``, ``7d``; ``2026-11-01``, ``2026-11-01T03:17``. UTC where nothing else is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_DURATION = re.compile(r"([0-9]{1,6}) ?([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAWN = datetime.min.replace(tzinfo=UTC)


def duration(text: str) -> timedelta:
    """``36h``, ``2d`` or ``90m``: s, m, h, d or w. Raises ValueError, saying what is expected. Pure."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 36h, 2d or 90m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def moment(text: str, now: datetime) -> datetime:
    """A date (its first moment in UTC), a time (UTC unless it says otherwise), or a duration back from ``now``.

    Raises ValueError, saying what is expected. Pure.
    """
    try:
        back = duration(text)
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


class Age(click.ParamType[timedelta]):
    """The type of an option that takes a ``duration``."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration, or click's usage error."""
        if isinstance(value, timedelta):
            return value
        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class When(click.ParamType[datetime]):
    """The type of an option that takes a ``moment``, counted back from the present where it is a duration."""

    name = "when"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment (aware, UTC), or click's usage error."""
        if isinstance(value, datetime):
            return value
        try:
            return moment(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)
