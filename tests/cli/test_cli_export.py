"""``archiver export`` as a person uses it: what is told, what is an object, and what ends it how."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from archiver.cli.main import cli
from archiver.cli.options import RiskyOption
from archiver.model.identity import Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import LATER
from tests.support.command_line import CommandLineUser, on_terminal
from tests.support.export_archive import ExportHarness, tree

FORMS = ["folder", "site", "bagit", "jsonl", "csv"]
FOLDERS_EVERY_DAY = pytest.mark.parametrize(
    "form", ["folder", *(pytest.param(form, marks=pytest.mark.whole) for form in FORMS[1:])]
)
"""For what all forms have from the same code: every day for one of them."""


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """A filled archive on SQLite."""
    return ExportHarness.filled(tmp_path, archive_copies)


@pytest.fixture
def person(harness: ExportHarness) -> CommandLineUser:
    """Whose archive it is."""
    return CommandLineUser(harness.home, None, harness.environ).in_process


def test_an_export_tells_what_it_did(person: CommandLineUser, harness: ExportHarness) -> None:
    """One line, on a terminal or off it, none under -q; one object with --json. stdout is empty without
    it."""
    quiet = person.run("-q", "export", "folder", "out")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    told = person.run("export", "folder", "copies", "--link", "copy")
    assert (told.out, told.err) == ("", "7 files in copies: 7 new (7 copied, 38 B)\n")
    found = person.run("export", "folder", "copies", "--sidecars", "--json").object
    assert (found["exit_code"], found["form"], found["files"], found["written"]) == (0, "folder", 13, 6)


@pytest.mark.parametrize("form", ["folder", "site"])
def test_the_help_warns_of_hard_links(person: CommandLineUser, form: str) -> None:
    """Who changes one changes the archive."""
    told = " ".join(person.run("export", form, "--help").out.split())
    assert "changing it changes the archive." in told


def test_a_bar_counts_files_on_a_terminal(harness: ExportHarness) -> None:
    """And leaves one line."""
    code, shown = on_terminal(CommandLineUser(harness.home, None, harness.environ), "export", "folder", "out")
    assert code == 0
    assert "7 files in out: 7 new" in shown


def test_every_filter_narrows_an_export(person: CommandLineUser, harness: ExportHarness) -> None:
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


@FOLDERS_EVERY_DAY
def test_a_filter_that_selects_nothing_is_told(person: CommandLineUser, form: str) -> None:
    """By its name, on stderr, where nobody reads along too; code 0, since a night may bring nothing new, and
    ``empty`` for programs.
    """
    words = ["--highlight", "no such*", "--type", "video", "--since", "2026-04-01T12:00"]
    ended = person.run("export", form, "out", *words)
    assert ended.code == 0
    said = "no item matches --highlight 'no such*' --type video --since 2026-04-01T12:00:00Z"
    assert ended.err.startswith(f"archiver: export {form}: {said}\n")
    assert ended.err.count("\n") == 2
    assert person.run("-q", "export", form, "out", *words).err == ""
    assert person.run("export", form, "out", *words, "--json").object["empty"] is True
    assert person.run("export", form, "all", "--json").object["empty"] is False


def test_what_is_gone_is_selected_by_no_export_without_it(
    person: CommandLineUser, harness: ExportHarness
) -> None:
    """Nor is an item in a highlight that is gone; an account that has only its avatar left is told as one
    without items.
    """
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("UPDATE highlights SET gone_at = last_seen_at WHERE pk = '1'")
        rows.execute("UPDATE highlight_items SET gone_at = last_seen_at WHERE highlight_pk = '2'")
    ended = person.run("export", "folder", "out", "--account", "natgeo", "--no-gone")
    assert ended.err.startswith("archiver: export folder: no item matches --account natgeo --no-gone\n")
    assert "no item" not in person.run("export", "folder", "out", "--account", "natgeo").err


@FOLDERS_EVERY_DAY
def test_an_archive_without_items_is_told(tmp_path: Path, sqlite_template: Path, form: str) -> None:
    """It is no filter's fault."""
    harness = ExportHarness.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    ended = CommandLineUser(harness.home, None, harness.environ).in_process.run("export", form, "out")
    assert ended.code == 0
    assert ended.err.startswith(f"archiver: export {form}: the archive contains no items yet\n")


def test_a_title_in_another_case_is_named(person: CommandLineUser) -> None:
    """Matching is case-sensitive; where only the case differs, the message names the title."""
    ended = person.run("export", "folder", "out", "--highlight", "gIFT*", "--dry-run")
    assert "no item matches --highlight 'gIFT*'; matching is case-sensitive: did you mean 'Gift" in ended.err


def test_a_table_of_nothing_on_stdout_is_told(person: CommandLineUser) -> None:
    """Beside the table, which has its head alone."""
    ended = person.run("export", "csv", "-", "--table", "items", "--highlight", "nosuch*")
    assert (ended.code, ended.out.count("\n")) == (0, 1)
    assert ended.err == "archiver: export csv: no item matches --highlight 'nosuch*'\n"


def test_one_table_goes_to_stdout(person: CommandLineUser) -> None:
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
            "export folder: there is no field {item.__class__} (the fields are ",
        ),
        *(([form, ""], f"export {form}: Invalid value for 'DIR': the path is empty") for form in FORMS),
        *(
            (
                [form, "-"],
                (
                    f"export {form}: Invalid value for 'DIR': - means stdout, which cannot take many "
                    f"files; for a directory called - use ./-"
                ),
            )
            for form in ("folder", "site", "bagit")
        ),
        (["folder"], "export folder: Missing argument 'DIR'"),
        (["flder", "out"], "export: there is no command 'flder'; did you mean folder?"),
        (["csv", "out", "--table", "itms"], "export csv: there is no table itms (the tables are users, "),
        (["bagit", "out", "--info", "alone"], "export bagit: invalid --info 'alone': use LABEL=VALUE"),
        (["folder", "archive/export"], "export folder: archive/export belongs to the archive at "),
        (["folder", "."], "export folder: . contains the archive, at "),
    ],
)
def test_what_cannot_be_used_is_code_2(person: CommandLineUser, words: list[str], says: str) -> None:
    """One line with the next step, and nothing is written."""
    ended = person.run("export", *words)
    assert ended.code == 2
    assert says in ended.err
    assert sorted(path.name for path in person.home.iterdir()) == ["archive"]
    assert not (person.archive / "export").exists()


@FOLDERS_EVERY_DAY
def test_an_export_in_another_is_refused(person: CommandLineUser, harness: ExportHarness, form: str) -> None:
    """In a directory of its files, or a new one below; the other stays as it was.

    Beside it there may be one.
    """
    assert person.run("export", "folder", "out").code == 0
    before = tree(harness.home)
    for place in ("out/natgeo", "out/new/export", "out/.archiver-export/tmp"):
        ended = person.run("export", form, place)
        assert ended.code == 2
        assert f"{place} belongs to the export in {harness.out} (name a directory outside of it)" in ended.err
    assert tree(harness.home) == before
    assert person.run("export", form, "out-2").code == 0


@pytest.mark.parametrize(
    "form",
    ["folder", *(pytest.param(form, marks=pytest.mark.whole) for form in ("site", "bagit"))],
)
def test_a_filter_that_selects_nothing_prunes_nothing(
    person: CommandLineUser, harness: ExportHarness, form: str
) -> None:
    """It may be mistyped: code 2, and what an earlier export brought is as it was."""
    assert person.run("export", form, "out").code == 0
    before = tree(harness.out)
    ended = person.run("export", form, "out", "--highlight", "nosuch*", "--prune")
    assert ended.code == 2
    assert "nothing is selected, and --prune would remove " in ended.err
    assert tree(harness.out) == before


def test_what_could_not_be_had_is_code_3(person: CommandLineUser, harness: ExportHarness) -> None:
    """Named, with why; the rest is there."""
    harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    ended = person.run("export", "folder", "out")
    assert ended.code == 3
    assert "Cphoto.jpg: its blob is missing (archiver verify --repair)\n" in ended.err
    assert len(tree(harness.out)) == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--taken-from", "2026-02-01", "--taken-before", "2026-01-01"],
            "give the earlier time to --taken-from",
        ),
        (["--taken-from", "2026-01-01", "--taken-before", "2026-01-01"], "nothing can match"),
        (["--highlight", ""], "--highlight is empty"),
    ],
)
def test_a_filter_that_selects_nothing_ever_is_refused(
    person: CommandLineUser, harness: ExportHarness, words: list[str], told: str
) -> None:
    """As usage, before anything is made."""
    ended = person.run("export", "folder", "out", *words)
    assert ended.code == 2
    assert told in ended.err
    assert not harness.out.exists()


@pytest.mark.whole
def test_an_export_that_finds_no_room_tells_how_far_it_came(harness: ExportHarness) -> None:
    """The object of a failure has the form, the directory and the counts of what stands there."""
    harness.keep("10", Role.THUMBNAIL, b"x" * 2_000_000, LATER)
    person = CommandLineUser(harness.home, None, harness.environ)
    small = person.run(
        *("export", "folder", "out", "--link", "copy", "--json"), shell='ulimit -f 2000; exec "$@"'
    )
    found = small.object
    assert (small.code, found["form"], found["directory"]) == (8, "folder", "out")
    standing = [path for path in tree(harness.out) if not path.startswith(".")]
    assert found["files"] == found["new"] == found["copied"] == len(standing) > 0
    nowhere = person.in_process.run("export", "folder", str(harness.root), "--json").object
    assert (nowhere["form"], nowhere["directory"], nowhere["files"]) == ("folder", str(harness.root), 0)


def test_fault_h46_no_suggestion_removes_anything(person: CommandLineUser, harness: ExportHarness) -> None:
    """A mistyped option is refused; what is suggested in its place removes, overwrites and spends nothing."""
    refused = person.run("export", "folder", "out", "--prun")
    assert (refused.code, "'--prune'" in refused.err) == (2, False)
    for path, found in commands(cli):
        for param in found.params:
            if not isinstance(param, RiskyOption):
                assert not HARMFUL.search(getattr(param, "help", None) or ""), (path, param.name)
                continue
            for name in (name for name in param.opts if len(name) > 3):
                said = person.run(*path, f"{name}x").err
                assert "No such option" in said
                assert not re.search(f"'{name}'", said), said
    assert "Did you mean '--link'" in person.run("export", "folder", "out", "--lnk").err


HARMFUL = re.compile(r"^(?:Remove|Pay|Write over|Mend)|go on even where")
"""How the help of an option begins that must be RiskyOption."""


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group, with the words that lead to it."""
    yield path, group
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None:
            yield (*path, name), command


def test_h_is_help_everywhere(person: CommandLineUser) -> None:
    """After every command and every command of a group."""
    for path, _ in commands(cli):
        short = person.run(*path, "-h")
        assert (short.code, short.err) == (0, ""), path
        assert short.out == person.run(*path, "--help").out
        assert "-h, --help" in short.out


def prune(harness: ExportHarness, answer: str, *words: str) -> tuple[int, str]:
    """``export folder out --prune`` of one account's half, on a terminal on which somebody answers."""
    person = CommandLineUser(harness.home, None, harness.environ)
    narrowed = ("export", "folder", "out", "--highlight", "Gift*", "--prune", *words)
    return on_terminal(person, *narrowed, typed=answer)


def test_fault_h46_prune_asks_on_a_terminal(person: CommandLineUser, harness: ExportHarness) -> None:
    """How many files would go is said first; without a yes nothing goes, and nothing comes. --yes answers
    before."""
    assert person.run("export", "folder", "out").code == 0
    before = tree(harness.out)
    code, seen = prune(harness, "n\n")
    assert "--prune will remove 2 files of earlier exports from out\nContinue? [y/N]: " in seen
    assert (code, tree(harness.out)) == (2, before)
    assert "nothing was exported, and nothing removed (without --prune those files stay)" in seen
    code, seen = prune(harness, "y\n")
    assert code == 0
    assert "5 files in out: 2 removed\n" in seen
    assert len(tree(harness.out)) == 5
    assert person.run("export", "folder", "out").code == 0
    code, seen = prune(harness, "", "--yes")
    assert (code, "Continue?" in seen, len(tree(harness.out))) == (0, False, 5)


def test_fault_h46_prune_says_how_many_files_it_removed(
    person: CommandLineUser, harness: ExportHarness
) -> None:
    """Off a terminal it does not ask."""
    assert person.run("export", "folder", "out").code == 0
    ended = person.run("export", "folder", "out", "--highlight", "Gift*", "--prune")
    assert (ended.code, ended.err) == (0, "5 files in out: 2 removed\n")


@pytest.mark.parametrize("target", ["loop", "nowhere"])
@pytest.mark.parametrize("form", ["folder", "site", "bagit", "csv", "wacz"])
def test_fault_e49_a_link_that_leads_nowhere_is_no_destination(
    person: CommandLineUser, harness: ExportHarness, form: str, target: str
) -> None:
    """To itself or to what does not exist: a sentence and code 8, from a dry run too, and nothing is made."""
    (harness.home / "loop").symlink_to(target)
    for more in ((), ("--dry-run",)):
        ended = person.run("export", form, "loop/out", *more)
        assert (ended.code, "cannot be written: " in ended.err) == (8, True), ended.err
    assert sorted(path.name for path in harness.home.iterdir()) == ["archive", "loop"]


@pytest.mark.parametrize("locale", ["C", pytest.param("de_DE.ISO-8859-1", marks=pytest.mark.whole)])
def test_fault_h48_names_are_utf_8_in_every_locale(
    harness: ExportHarness, locale: str, tmp_path_factory: pytest.TempPathFactory, whole: bool
) -> None:
    """The same tree, the same bag (--whole), the same lines on stdout: by a Python that encodes names by the
    locale, too."""
    usual = CommandLineUser(harness.home, None, harness.environ).in_process
    places = tmp_path_factory.mktemp("locales")
    name, _, charset = locale.partition(".")
    if charset:
        made = ["localedef", "-i", name, "-f", charset, str(places / locale)]
        if not shutil.which(made[0]) or subprocess.run(made, check=False, capture_output=True).returncode:
            pytest.skip("no such locale can be made here")
    other = {"LC_ALL": locale, "LOCPATH": str(places), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    person = CommandLineUser(harness.home, None, {**harness.environ, **other})
    assert usual.run("export", "folder", "usual", "--sidecars").code == 0
    ended = person.run("export", "folder", "out", "--sidecars")
    assert ended.code == 0, ended.err
    assert tree(harness.out) == tree(harness.home / "usual")
    assert "natgeo/Travel 🦋 (2)/" in "".join(tree(harness.out))
    assert usual.run("export", "folder", "out", "--sidecars", "--json").object["moved"] == 0
    if whole:
        (harness.home / "bag" / "data").mkdir(parents=True)
        (harness.home / "bag" / "data" / "mine 🦋").write_text("")
        assert "data/mine" in person.run("export", "bagit", "bag").err
    table = ("export", "jsonl", "-", "--table", "highlights")
    assert "Travel 🦋" in person.run(*table).out == usual.run(*table).out
