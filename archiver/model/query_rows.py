"""The result of an SQL query, and its parameters."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

NO_LIMIT = 10**9
"""A row limit that means all rows: larger than what fits into memory, and accepted by every database."""

Value = str | int | float | None
"""The value of a parameter of a query."""


class Rows(Struct, frozen=True):
    """The result of a query: column names, and rows of plain values.

    Those are str, int, float, bool, None, bytes, datetime, dict and list. ``truncated``: whether there are
    more rows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool = False


class RowStream(Struct, frozen=True):
    """Like ``Rows``, but the rows are streamed and can be read only once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]
