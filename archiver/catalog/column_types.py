"""Column types that mean the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from sqlalchemy import BigInteger, Dialect, Float, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from archiver.catalog.dialects import dialect_called


@lru_cache(maxsize=64)  # a fact writes the same few times into many rows
def time_text(time: datetime) -> str:
    """Return an aware time as ``YYYY-MM-DDTHH:MM:SS.ffffffZ``. Such texts sort in the order of time.

    Raises ValueError for a naive time.
    """
    if time.tzinfo is None:
        raise ValueError(f"a time without a time zone cannot be stored: {time.isoformat()}")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_finite(number: Any) -> float | None:
    """Return a number as JSON can hold it: None if it is infinite, or none."""
    value = float(number)
    return value if isfinite(value) else None


def require_number(value: object) -> object:
    """Return a number, or None. Raises ValueError for a value of another type."""
    if value is None or type(value) is int or type(value) is float:
        return value
    raise ValueError(f"{str(value)[:40]!r} is in a column of numbers")


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, read in UTC: TEXT on SQLite (see ``time_text``), timestamptz on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(dialect_called(dialect.name).time_type)

    # Single functions: ``process_bind_param`` and ``process_result_value`` cost two calls for each value.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], datetime | str | None]:
        bind_time = dialect_called(dialect.name).bind_time
        return lambda value: None if value is None else bind_time(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return dialect_called(dialect.name).read_time


class CheckedNumber:
    """A number as SQLAlchemy has it, but a value of another type is a ValueError: SQLite stores anything."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return the check of a value that is read; None for a database that needs none."""
        return dialect_called(dialect.name).check_number


class SmallNumber(CheckedNumber, Integer):
    """A whole number of 32 bits."""


class LargeNumber(CheckedNumber, BigInteger):
    """A whole number of 64 bits."""


class RealNumber(CheckedNumber, Float[float]):
    """A number with a fraction."""


PkText = Text().with_variant(Text(collation="C"), "postgresql")
"""A pk or digest: compared byte by byte, so that both databases sort it the same way."""

Id = BigInteger().with_variant(Integer(), "sqlite")
"""An ascending number. SQLite uses a column as the rowid only if its type is INTEGER."""
