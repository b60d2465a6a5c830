"""Durations and times as users type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from archiver.cli import options

_NOW = datetime(2026, 11, 24, 22, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("36h", timedelta(hours=36)),
        (" 7 D ", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_a_number_and_a_letter(text: str, meant: timedelta) -> None:
    """The units are seconds, minutes, hours, days and weeks; spaces and capitals are allowed."""
    assert options.parse_duration(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T03:17", datetime(2026, 11, 1, 3, 17, tzinfo=UTC)),
        ("2026-11-01 03:17:08", datetime(2026, 11, 1, 3, 17, 8, tzinfo=UTC)),
        ("2026-11-01T03:17:08.250000Z", datetime(2026, 11, 1, 3, 17, 8, 250_000, tzinfo=UTC)),
        ("2026-11-01T03:17+02:00", datetime(2026, 11, 1, 1, 17, tzinfo=UTC)),
        ("36h", datetime(2026, 11, 23, 10, 30, 15, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 17, 22, 30, 15, tzinfo=UTC)),
        ("999999w", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_time_is_a_date_a_time_or_a_duration_back(text: str, meant: datetime) -> None:
    """A date means midnight UTC, a time is UTC unless it has an offset; year 1 is the earliest."""
    found = options.parse_time(text, _NOW)
    assert found == meant
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "36 hours", "-3h", "2026-13-01", "0001-01-01T00:00+05:00", "12"]
)
def test_an_invalid_time_is_refused_with_examples(text: str) -> None:
    """The message says what to use instead."""
    with pytest.raises(ValueError, match=r"invalid time .*: use 2026-11-01, .*36h or 7d"):
        options.parse_time(text, _NOW)


def test_an_option_takes_a_time_or_fails_as_usage() -> None:
    """A default that is a datetime is kept; an invalid text is a usage error of the option."""
    assert options.TimeType().convert(_NOW, None, None) is _NOW
    with pytest.raises(click.UsageError, match="invalid time"):
        options.TimeType().convert("soon", None, None)
