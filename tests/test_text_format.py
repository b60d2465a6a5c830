"""Values as text: safe for a terminal, as JSON, sizes and numbers."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.model.archived import NamedChange, Surplus
from archiver.model.identity import Digest, Subject
from archiver.model.run_status import Run
from archiver.text_format import format_price, format_size, json_value, make_safe, pluralize
from archiver.verify.verify_stores import Damage, LostAnswer, Problem

_BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from(_BIDI + "\x1b\x9b\x07\r\n\t\x7f\u2028\u00ad\U000e0041\ud800"))
)
_TIME = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


@given(_HOSTILE)
def test_fault_x11_nothing_that_a_terminal_obeys_comes_through(text: str) -> None:
    """Safe text contains no control character, line break, direction mark or surrogate."""
    assert not [
        c
        for c in make_safe(text)
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in f"{_BIDI}\u00ad"
    ]


@given(_HOSTILE)
def test_safe_text_is_safe(text: str) -> None:
    """Safe text is not changed by making it safe again, and can be encoded as UTF-8."""
    once = make_safe(text)
    assert once == make_safe(once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "Photo of the day 🌎",
        "👩‍👩‍👧‍👦 family",  # with joiners
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
    """Titles are shown as people wrote them."""
    assert text == make_safe(text)


def test_escapes_are_those_of_string_literals() -> None:
    """The escape shows which character it replaces."""
    assert make_safe("a\x1b[2Jb\nc\u202ed\U000e0041e\x9b") == r"a\x1b[2Jb\nc\u202ed\U000e0041e\x9b"


@given(st.integers(0, 10**18))
def test_sizes_keep_their_magnitude(count: int) -> None:
    """A size is between 1 and 1,000 of its unit, and within a twentieth of the exact number."""
    number, unit = format_size(count).split()
    factor = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(number) < 1000 or unit == "PB"
    assert abs(float(number) * factor - count) <= 0.05 * factor + 1e-9 * count


def test_sizes_at_the_edges() -> None:
    """Rounding carries into the next unit."""
    sizes = [format_size(n) for n in (0, 999, 1_000, 999_999, 1_500_000_000)]
    assert sizes == ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 GB"]


@pytest.mark.parametrize(
    ("price", "units", "expected"),
    [
        ("0.60 EUR", 12345, "7.41 EUR"),
        ("$2", 1_000_000, "$2,000.00"),
        ("0.6", 1, "<0.01"),
        ("0.6", 0, "0.00"),
    ],
)
def test_a_price_is_that_of_a_thousand_units(price: str, units: int, expected: str) -> None:
    """Two decimals, with the currency as it was written; less than a hundredth is said to be less."""
    assert format_price(price, units) == expected


def test_counts_have_their_plural() -> None:
    """One file is singular, zero files plural; thousands have commas."""
    counts = (pluralize(1, "file"), pluralize(0, "file"), pluralize(1234, "entry", "entries"))
    assert counts == ("1 file", "0 files", "1,234 entries")


def test_values_of_a_query_in_json() -> None:
    """Times are written as in the archive, bytes in hexadecimal; infinity becomes null."""
    assert json_value([_TIME, b"\x00\xff", float("inf"), {1: [True]}]) == [
        "2026-01-02T03:04:05.000006Z",
        "00ff",
        None,
        {"1": [True]},
    ]


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (
            NamedChange(1, 7, _TIME, Subject.USER, "5", "username", "a", "b", "5", "b", None),
            "id run_id at subject subject_pk field old new user_pk username title",
        ),
        (Damage(Digest("ab" * 32), Problem.MISSING, ("item 1",)), "sha256 problem owners places"),
        (LostAnswer(1, "2026/01/1-a.warc.gz", "truncated"), "id segment why"),
        (Surplus("2026/01/1-a.warc.gz", 10, 20), "segment offset length"),
        (
            Run(1, "run", _TIME, None, None, None, 0),
            "id command started_at finished_at outcome exit_code units",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fields_of_values_are_the_keys_of_the_json_contract(value: object, keys: str) -> None:
    """Renaming such a field would rename a public key of ``--json``."""
    as_json = json_value(value)
    assert isinstance(as_json, dict)
    assert list(as_json) == keys.split()
