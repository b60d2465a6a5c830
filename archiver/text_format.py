"""Values as text: exact for JSON, harmless for spreadsheets (CSV) and terminals; sizes and plurals."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
"""First characters of a text that a spreadsheet may run as a formula (OWASP ASVS 5.0, 1.2.10)."""

# Format characters that scripts and emoji need: joiners, the Mongolian vowel separator, and the visible
# Arabic, Syriac and Kaithi number signs, but not direction marks and overrides.
_NEEDED_FORMATS = frozenset(
    "\u200c\u200d\u180e\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f")  # England, Texas
PRICE = re.compile(r"([^0-9.,-]{0,10})([0-9]{1,9}(?:\.[0-9]{1,9})?)([^0-9]{0,10})", re.ASCII)
"""A number, with a currency before or after it or without one."""
_SIZE_UNITS = ("kB", "MB", "GB", "TB", "PB")


def format_time(at: datetime) -> str:
    """Return a time as the archive writes it: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def json_value(value: object) -> object:
    """Return a value in a form that JSON can represent.

    Times and other types become text, bytes hexadecimal, structs objects; NaN and infinity become null.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return format_time(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if hasattr(value, "__struct_fields__"):  # msgspec itself would slow ``archiver --help`` down
        return {name: json_value(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in value]
    return str(value)


def format_json_line(value: object) -> str:
    """Return a value as JSON on one line, without escaping non-ASCII characters."""
    return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False)


def format_csv_cell(value: object, to_json: Callable[[object], str] = format_json_line) -> str:
    """Return a value as a CSV cell; ``to_json`` formats what is not text.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    value = json_value(value)
    return "" if value is None else value if isinstance(value, str) else to_json(value)


class CsvLines(list[str]):
    """A target of ``csv.writer`` that ends lines with LF, for programs. Spreadsheets get CR LF.

    The writer itself must write CR LF: only then does every Python version quote a text that contains a lone
    CR. A spreadsheet would take an unquoted one as the end of the row, and the rest as a cell, perhaps a
    formula.
    """

    def write(self, line: str) -> None:
        """Add a line."""
        self.append(line.removesuffix("\r\n") + "\n")


def make_safe(text: str) -> str:
    """Return ``text`` on one line, with everything escaped that a terminal might obey.

    Control characters, line breaks, direction marks and overrides, invisible characters and lone surrogates
    are escaped as in Python's string literals. All scripts and emoji are kept, and so are characters that are
    newer than this Python's tables, since most of those are emoji.
    """
    if text.isprintable():
        return text
    parts, at = [], 0
    for flag in _FLAG.finditer(text):
        parts += [_escape_unsafe(text[at : flag.start()]), flag.group()]
        at = flag.end()
    return "".join((*parts, _escape_unsafe(text[at:])))


def _escape_unsafe(text: str) -> str:
    return "".join(
        c if c.isprintable() or _is_harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _is_harmless(c: str) -> bool:
    return c in _NEEDED_FORMATS or (
        unicodedata.category(c) in ("Zs", "Co", "Cn") and not "\U000e0000" <= c <= "\U000e0fff"
    )


def format_size(size: int) -> str:
    """Return a number of bytes in decimal units: ``999 B``, ``1.2 MB``."""
    if size < 1_000:
        return f"{size} B"
    power = min(int(math.log10(size)) // 3, len(_SIZE_UNITS))
    if round(size / 1_000**power, 1) >= 1_000 and power < len(_SIZE_UNITS):
        power += 1
    return f"{size / 1_000**power:.1f} {_SIZE_UNITS[power - 1]}"


def price_number(per_1000: str, units: int) -> float:
    """Return what units cost at a price for a thousand (``PRICE``), in the currency of that price."""
    return float(_price(per_1000, units)[1])


def _price(per_1000: str, units: int) -> tuple[str, Decimal, str]:
    """Return the amount, with what stands before and after it."""
    from decimal import Decimal  # slow, and most people have no price

    match = PRICE.fullmatch(per_1000)
    assert match is not None, "the configuration was checked"
    return match[1], Decimal(match[2]) * units / 1000, match[3]


def format_price(per_1000: str, units: int) -> str:
    """Return what units cost at a price for a thousand (``PRICE``): ``1.23 EUR``, rounded to two decimals."""
    from decimal import ROUND_HALF_UP, Decimal

    (before, exact, after), least = _price(per_1000, units), Decimal("0.01")
    is_less = 0 < exact < least
    amount = least if is_less else exact.quantize(least, ROUND_HALF_UP)
    return f"{'<' * is_less}{before}{amount:,}{after}"


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``2 files``, ``1,234 files``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
