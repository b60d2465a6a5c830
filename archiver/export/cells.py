"""Values of rows as texts: for JSON exact, for CSV such that no spreadsheet runs them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")
"""How a text begins that a spreadsheet may run (OWASP ASVS 5.0, 1.2.10)."""


def moment(at: datetime) -> str:
    """A time as the archive writes it: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def plain(value: object) -> object:
    """A value of a query as JSON knows it: times as text, bytes in hexadecimal, no NaN and no infinity; the rest as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return moment(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value)


def json_line(value: object) -> str:
    """A value as JSON on one line, as it is."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def csv_cell(value: object, as_json: Callable[[object], str] = json_line) -> str:
    """A value as a cell: a text that a spreadsheet would run begins with an apostrophe; what is no text is written as JSON writes it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    value = plain(value)
    return "" if value is None else value if isinstance(value, str) else as_json(value)


class CsvLines(list[str]):
    """Takes the lines of ``csv.writer`` and ends them as Unix does: for output that goes to other programs. Files for spreadsheets keep CR LF.

    The writer must end them with CR LF itself: only then does every Python quote a text with a lone CR in it, which a
    spreadsheet would take for the end of the row, and what follows for a cell of its own, perhaps a formula.
    """

    def write(self, line: str) -> None:
        """Take a line."""
        self.append(line.removesuffix("\r\n") + "\n")
