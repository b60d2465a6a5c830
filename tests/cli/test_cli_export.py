"""``archiver export`` as a person uses it: what is told, what is an object, and what ends it how."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_harness import Person, on_terminal
from shelved import Shelf, tree

from archiver.model import Role


@pytest.fixture
def shelf(tmp_path: Path, sqlite_template: Path) -> Shelf:
    """A filled archive on SQLite."""
    made = Shelf.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    made.fill()
    return made


@pytest.fixture
def person(shelf: Shelf) -> Person:
    """Whose archive it is."""
    return Person(shelf.home, None, shelf.environ).nearby


def test_an_export_tells_what_it_did(person: Person, shelf: Shelf) -> None:
    """Nothing where nobody reads along, one line under -v, one object with --json; stdout is empty without it."""
    quiet = person.run("export", "folder", "out")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    told = person.run("-v", "export", "folder", "copies", "--link", "copy")
    assert (told.out, told.err) == ("", "7 files in copies: 7 new (7 copied, 38 B)\n")
    found = person.run("export", "folder", "copies", "--sidecars", "--json").object
    assert (found["exit_code"], found["form"], found["files"], found["written"]) == (0, "folder", 13, 6)


def test_a_bar_counts_files_on_a_terminal(shelf: Shelf) -> None:
    """And leaves one line."""
    code, shown = on_terminal(Person(shelf.home, None, shelf.environ), "export", "folder", "out")
    assert code == 0
    assert "7 files in out: 7 new" in shown


def test_every_filter_narrows_an_export(person: Person, shelf: Shelf) -> None:
    """By account, title, type, the time when an item was taken, and when it came."""
    for number, (words, files) in enumerate(
        [
            (["--account", "natgeo"], 7),
            (["--account", "highlight:2"], 3),
            (["--highlight", "Travel*"], 3),
            (["--type", "photo"], 3),
            (["--taken-from", "2026-04-01"], 0),
            (["--taken-before", "2026-04-01"], 7),
            (["--since", "2026-04-01"], 0),
        ]
    ):
        found = person.run("export", "folder", f"out-{number}", *words, "--json").object
        assert found["files"] == files, words


def test_one_table_goes_to_stdout(person: Person) -> None:
    """For ``-``, in either form; more than one, or an object beside it, is a usage error."""
    rows = person.run("export", "jsonl", "-", "--table", "items")
    assert [json.loads(line)["pk"] for line in rows.out.splitlines()] == ["10", "11"]
    assert person.run("export", "csv", "-", "--table", "users").out.startswith("pk,username,")
    assert person.run("export", "csv", "-").code == 2
    assert person.run("export", "jsonl", "-", "--table", "items", "--json").code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["folder", "out", "--template", "{item.__class__}.{ext}"],
            "export folder: there is no field {item.__class__} (known are ",
        ),
        (["folder"], "export folder: Missing argument 'DIR'"),
        (["flder", "out"], "export: there is no command 'flder'; did you mean folder?"),
        (["csv", "out", "--table", "itms"], "export csv: there is no table itms (known are users, "),
        (["bagit", "out", "--info", "alone"], "export bagit: --info 'alone' is not LABEL=VALUE"),
        (["folder", "archive/export"], "export folder: archive/export belongs to the archive at "),
        (["folder", "."], "export folder: . has the archive in it, at "),
    ],
)
def test_what_cannot_be_used_is_code_2(person: Person, words: list[str], says: str) -> None:
    """One line with the next step, and nothing is written."""
    ended = person.run("export", *words)
    assert ended.code == 2
    assert says in ended.err
    assert sorted(path.name for path in person.home.iterdir()) == ["archive"]
    assert not (person.archive / "export").exists()


@pytest.mark.parametrize("form", ["folder", "site", "bagit"])
def test_a_filter_that_selects_nothing_prunes_nothing(person: Person, shelf: Shelf, form: str) -> None:
    """It may be mistyped: code 2, and what an earlier export brought is as it was."""
    assert person.run("export", form, "out").code == 0
    before = tree(shelf.out)
    ended = person.run("export", form, "out", "--highlight", "nosuch*", "--prune")
    assert ended.code == 2
    assert "nothing is selected, and --prune would remove " in ended.err
    assert tree(shelf.out) == before


def test_what_could_not_be_had_is_code_3(person: Person, shelf: Shelf) -> None:
    """Named, with why; the rest is there."""
    shelf.blob(shelf.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    ended = person.run("export", "folder", "out")
    assert ended.code == 3
    assert "Cphoto.jpg: its blob is missing (archiver verify --repair)\n" in ended.err
    assert len(tree(shelf.out)) == 6
