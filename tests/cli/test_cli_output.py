"""Text that no terminal obeys, sizes, JSON."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import output
from archiver.errors import StorageError
from archiver.text_format import format_size, json_value, make_safe, pluralize

_BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from(_BIDI + "\x1b\x9b\x07\r\n\t\x7f\u2028\u00ad\U000e0041\ud800"))
)


@given(_HOSTILE)
def test_fault_x11_nothing_that_a_terminal_obeys_comes_through(text: str) -> None:
    """No control character, line break, mark of direction, or surrogate is left in safe text."""
    assert not [
        c
        for c in make_safe(text)
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in f"{_BIDI}\u00ad"
    ]


@given(_HOSTILE)
def test_safe_text_is_safe(text: str) -> None:
    """What is safe stays as it is, and can be written as UTF-8."""
    once = make_safe(text)
    assert once == make_safe(once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "Photo of the day 🌎",
        "👩‍👩‍👧‍👦 family",  # joined
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "❤️",
        "می‌خواهم",  # Persian needs the non-joiner
        "עברית العربية हिन्दी ไทย 日本語 한국어",
        "\u0601 1400",
        "a\u3000b\u00a0c",
        "\U000323af",  # newer than the tables of Python 3.11
    ],
)
def test_emoji_and_all_scripts_stay(text: str) -> None:
    """What people write in titles is shown as they wrote it."""
    assert text == make_safe(text)


def test_escapes_are_those_of_string_literals() -> None:
    """A person can tell from the escape what stood there."""
    assert make_safe("a\x1b[2Jb\nc\u202ed\U000e0041e\x9b") == r"a\x1b[2Jb\nc\u202ed\U000e0041e\x9b"


@given(st.integers(0, 10**18))
def test_sizes_keep_their_magnitude(count: int) -> None:
    """A size reads between 1 and 1,000 of its unit, and within a twentieth of the truth."""
    number, unit = format_size(count).split()
    factor = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(number) < 1000 or unit == "PB"
    assert abs(float(number) * factor - count) <= 0.05 * factor + 1e-9 * count


def test_sizes_at_the_edges() -> None:
    """Rounding carries into the next unit."""
    assert [format_size(n) for n in (0, 999, 1_000, 999_999, 1_500_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "1.5 GB",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_survives_every_stdout(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON written to any stdout is read back as what it was, and holds nothing that a terminal obeys."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace"))
    value = {"title": "🌎 \x1b[2J \u202e é \x7f \ud800"}
    output.print_json(value)
    text = raw.getvalue().decode(encoding)
    assert value == json.loads(text)
    assert all(make_safe(line) == line for line in text.splitlines())


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists)
)
def test_every_value_has_a_json_form(value: object) -> None:
    """NaN, infinity and bytes have one too."""
    json.loads(output.format_json(value), parse_constant=lambda name: pytest.fail(name))


def test_values_of_a_query_in_json() -> None:
    """Times as the archive writes them, bytes in hexadecimal, other kinds of number as text."""
    at = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert json_value([at, b"\x00\xff", float("inf"), {1: [True]}]) == [
        "2026-01-02T03:04:05.000006Z",
        "00ff",
        None,
        {"1": [True]},
    ]


def test_a_full_disk_behind_stdout_is_an_error_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full raises StorageError, and what is buffered does not fail again later."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123  # a device
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(StorageError, match="standard output cannot be written: No space left"):
            output.print_data("x")


def test_counts_have_their_plural() -> None:
    """1 file, 2 files, thousands with commas."""
    assert (
        pluralize(1, "file"),
        pluralize(0, "file"),
        pluralize(1234, "entry", "entries"),
    ) == ("1 file", "0 files", "1,234 entries")
