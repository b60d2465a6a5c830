"""Output on stdout and stderr: JSON that any stdout can show, and a stdout that cannot be written."""

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
