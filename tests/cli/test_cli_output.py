"""Output on stdout and stderr: JSON that any stdout can show, a stdout that cannot be written, and tables."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import output
from archiver.errors import StorageError
from archiver.text_format import make_safe


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_survives_every_stdout(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON written to any stdout is read back unchanged, and contains nothing that a terminal obeys."""
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


def test_a_full_disk_behind_stdout_is_an_error_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full raises StorageError, and the buffered text does not fail again when Python exits."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123  # a device
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(StorageError, match="standard output cannot be written: No space left"):
            output.print_data("x")


def test_lines_that_were_read_before_an_error_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Text that is printed as it is read does not lose its last lines if reading on fails."""

    def lines() -> Iterator[str]:
        yield "first"
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError, match="the disk is gone"):
        output.print_lines(lines())
    assert capsys.readouterr().out == "first\n"
    assert not output.print_lines([])


_CELLS = (
    st.none()
    | st.integers()
    | st.text(max_size=40)
    | st.sampled_from(["日本語のタイトル", "🌎🌎", "e\u0301", "a\nb"])
)


def test_numbers_are_aligned_right_and_text_left() -> None:
    """A column of numbers is aligned right, also if it contains NULL."""
    assert list(output.format_table(("name", "n"), [("a", 10), ("b", None), ("wide 🌎", 1)])) == [
        "name      n",
        "-------  --",
        "a        10",
        "b",
        "wide 🌎   1",
    ]


@given(st.lists(st.tuples(_CELLS, _CELLS), max_size=8))
def test_all_lines_have_the_same_width(rows: list[tuple[object, object]]) -> None:
    """That holds for wide and combining characters too, if the last column is full."""
    closed = [(*row, "|") for row in rows]
    widths = {output.text_width(line) for line in output.format_table(("one", "two", "3"), closed)}
    assert len(widths) == 1


@given(st.lists(st.tuples(_CELLS, _CELLS), max_size=8), st.integers(20, 60))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[object, object]], width: int) -> None:
    """Long cells are cut until every line fits the width."""
    assert all(output.text_width(line) <= width for line in output.format_table(("one", "two"), rows, width))


@given(st.text(max_size=30), st.integers(1, 30))
def test_cutting_shows_that_it_cut(text: str, width: int) -> None:
    """Text that fits is unchanged; text that does not ends in an ellipsis."""
    safe = output.format_cell(text)
    short = output.truncate(safe, width)
    assert output.text_width(short) <= width
    assert short == safe or short.endswith("…")


def test_short_columns_are_not_cut_for_long_ones() -> None:
    """Only the widest column is reduced."""
    assert output.fit_widths([4, 200, 6], 80) == [4, 66, 6]


def test_a_table_is_readable_while_its_cut_cells_say_something() -> None:
    """Short columns may be short; a long one must keep twelve columns of the terminal."""
    row = ("x" * 40, "y" * 40, "z")
    assert output.is_readable(("a", "b", "c"), [row], 40)
    assert not output.is_readable(("a", "b", "c"), [row], 27)
    assert output.is_readable(("a", "b", "c"), [("x", "y", "z")], 27)


def test_rows_are_lines() -> None:
    """A line break in a value does not break the table."""
    assert len(list(output.format_table(("a",), [("x\ny",)]))) == 3


def test_a_table_without_rows_has_a_head() -> None:
    """An empty result shows its columns."""
    assert list(output.format_table(("pk", "title"), [])) == ["pk  title", "--  -----"]
