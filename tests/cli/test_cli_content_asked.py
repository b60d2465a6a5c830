"""Hostile content on its way out and in: CSV for spreadsheets, exact JSON, and targets that are none."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import main as front
from archiver.cli import query_command
from archiver.model.query_results import Rows
from tests.support.command_line import CommandLineUser
from tests.support.hostile_world import NATGEO, TITLES, hostile_world
from tests.support.standin.faulty_standin import FaultyStandIn

Shown = pytest.CaptureFixture[str]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")
VALUES = (
    "SELECT 'a,\"b' AS x, 1 AS n, NULL AS z, '=1+1' AS f, char(27) || '[2J' AS e, x'00ff' AS b, 1e999 AS i"
)
TRICKS = st.text(st.sampled_from("=+-@\t\r\0\n\"',; aé\u202e\x1b"), max_size=6)


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """The hostile world."""
    with FaultyStandIn(hostile_world()) as standin:
        yield standin


@pytest.mark.whole
def test_fault_x10_csv_holds_no_formula_and_json_is_exact(person: CommandLineUser, capsys: Shown) -> None:
    """Titles that begin with ``=`` or hide one behind a CR: a cell each, with an apostrophe in CSV; in JSON
    as they came.
    """
    assert front.main(["backup", NATGEO, "-q"]) == 0
    asked = "SELECT title FROM highlights"
    assert front.main(["query", asked, "--format", "csv"]) == 0
    text = capsys.readouterr().out
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["title"]
    titles = [row[0] if row else "" for row in rows]
    assert {"'=cmd|'/c calc'!A1", "'\t+1", "innocent\r=HYPERLINK(1)"} <= set(titles)
    assert not [title for title in titles if title.startswith(FORMULA)]
    assert front.main(["query", asked, "--format", "json"]) == 0
    found = [row["title"] for row in json.loads(capsys.readouterr().out)]
    assert set(TITLES) <= set(found)
    assert len(titles) == len(found)


def test_fault_x10_values_in_csv(person: CommandLineUser, capsys: Shown) -> None:
    """Quoted as CSV is, NULL empty, bytes in hexadecimal, no formula for a spreadsheet."""
    assert front.main(["init", "-q"]) == 0
    assert front.main(["query", VALUES, "--format", "csv"]) == 0
    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["x", "n", "z", "f", "e", "b", "i"]
    assert row == ['a,"b', "1", "", "'=1+1", "\x1b[2J", "00ff", ""]


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_fault_x10_values_in_json_are_exact(person: CommandLineUser, capsys: Shown, form: str) -> None:
    """Objects with exact values; a column name that comes twice loses nothing."""
    assert front.main(["init", "-q"]) == 0
    assert front.main(["query", f"{VALUES}, 2 AS n UNION ALL {VALUES}, 3", "--format", form]) == 0
    text = capsys.readouterr().out
    rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    first = {"x": 'a,"b', "n": 1, "z": None, "f": "=1+1", "e": "\x1b[2J", "b": "00ff", "i": None, "n_2": 2}
    assert rows == [first, first | {"n_2": 3}]
    assert "\x1b" not in text


@given(st.lists(st.tuples(TRICKS, TRICKS), max_size=4))
def test_fault_x10_every_text_is_one_cell(rows: list[tuple[str, str]]) -> None:
    """Whatever stands in them, as many rows and cells come out as went in, none a formula, and each text is
    whole behind its apostrophe.
    """
    text = "".join(query_command.format_rows(Rows(("a", "b"), tuple(rows), False), "csv"))
    _, *read = csv.reader(io.StringIO(text, newline=""))
    assert len(read) == len(rows)
    for cells, texts in zip(read, rows, strict=True):
        assert cells == [f"'{t}" if t.startswith(FORMULA) else t for t in texts]


def test_fault_x10_a_lone_cr_stays_inside_its_quotes() -> None:
    """A spreadsheet takes a bare CR for the end of a row, and what follows for a formula: the field is quoted
    on every Python.
    """
    text = "".join(query_command.format_rows(Rows(("a",), (("innocent\r=1+1",),), False), "csv"))
    assert text == 'a\n"innocent\r=1+1"\n'


def test_fault_x11_column_names_are_made_safe_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that somebody else's SQL gives a column is escaped in every form, CSV too."""
    monkeypatch.setattr("archiver.cli.output.terminal_width", lambda: 80)
    rows = Rows(("\x1b[2J",), (("\x9b31m",),), False)
    for form in ("csv", "table", "json", "ndjson"):
        text = "".join(query_command.format_rows(rows, form))
        assert not {"\x1b", "\x9b"} & set(text)


def test_fault_x13_what_names_nobody_is_refused_before_any_call(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """An option's name, a path, a link with a user, full-width letters, a lone @, 1 MB: code 2, one line, no
    call, no archive.
    """
    for text in (
        "--help",
        "../x",
        "@",
        "natgeo/../nasa",
        "ｎａｔｇｅｏ",
        "https://me:pw@instagram.com/natgeo/",
        "https://instagram.com@evil.example/natgeo/",
        "x" * 1_000_000,
        "natgeo\n--full",
        "\x1b]52;c;ZXZpbA==\x07",
        "\udcff",
    ):
        assert front.main(["backup", "--", "natgeo", text]) == 2, ascii(text[:80])
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("archiver: backup: '")
        assert len(told.err) < 400
        assert told.err.removesuffix("\n").isprintable()
    assert len(upstream.requests) == 0
    assert not person.archive.exists()
    assert os.environ["HIKERAPI_TOKEN"] == upstream.key


def test_fault_x17_a_hostile_configuration_is_code_2(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """YAML that would run a command, a megabyte too much, a device in its place: one line, nothing run,
    nothing asked.
    """
    (person.home / "yaml.toml").write_text("!!python/object/apply:os.system ['touch owned']\n")
    (person.home / "large.toml").write_text("# " + "x" * 1_000_000)
    (person.home / "zero.toml").symlink_to("/dev/zero")
    for name, why in (
        ("yaml.toml", "line 1: not valid TOML"),
        ("large.toml", "larger than 1 MB"),
        ("zero.toml", "not a regular file"),
    ):
        assert front.main(["run", "--config", name]) == 2
        told = capsys.readouterr().err
        assert why in told
        assert len(told.splitlines()) == 1
    assert len(upstream.requests) == 0
    assert not (person.home / "owned").exists()
