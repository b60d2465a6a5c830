"""``archiver forget``: it asks for the name again, says what it did, and what is left to do by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from archiver.archive import account_traces
from archiver.config import config_files
from archiver.errors import DiskFull
from tests.support.archive_harness import ArchiveHarness
from tests.support.command_line import InProcessUser, on_terminal
from tests.support.forgotten_account import (
    FORMER,
    FULL_NAME,
    NAME,
    OTHER,
    begin_to_forget,
)
from tests.support.rebuilt_archive import lose_database
from tests.support.table_dumps import execute


@pytest.fixture
def person(harness: ArchiveHarness) -> InProcessUser:
    """Somebody whose archive this is."""
    return InProcessUser(harness.root.parent)


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("archive.db-")
    }


def test_a_dry_run_says_what_would_be_removed_and_changes_nothing(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """The same numbers as afterwards."""
    before = _files(harness.root)
    dry = person.run("forget", NAME, "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "4 highlights, 6 items, 12 stored files" in dry.err
    assert "would be removed" in dry.err
    assert f"account {NAME} (70000000000):" in dry.err
    assert "also mine.sqlite, a copy of the database" in dry.err
    planned = person.run("forget", NAME, "--dry-run", "--json").object
    assert _files(harness.root) == before
    done = person.run("forget", NAME, "--yes", "--json").object
    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    assert planned["removed"] == done["removed"]
    assert person.run("forget", NAME, "--yes").code == 2


def test_without_a_terminal_it_needs_yes(person: InProcessUser, harness: ArchiveHarness) -> None:
    """Code 2, and nothing is removed; the message names a command that works as printed."""
    before = _files(harness.root)
    refused = person.run("forget", NAME)
    assert refused.code == 2
    assert f"forget --dry-run {NAME}; then add --yes" in refused.err
    assert _files(harness.root) == before


@pytest.mark.parametrize(("typed", "code"), [(f"{NAME}\n", 0), (f"@{NAME}\n", 0), ("yes\n", 2), ("\n", 2)])
def test_on_a_terminal_the_name_is_typed_again(
    person: InProcessUser, harness: ArchiveHarness, typed: str, code: int
) -> None:
    """Anything else removes nothing."""
    ended, shown = on_terminal(person, "forget", NAME, typed=typed)
    assert ended == code, shown
    assert f"Type {NAME} to delete this" in shown
    assert harness.one("select count(*) from users") == (1 if code == 0 else 2)


@pytest.mark.parametrize(
    "reason",
    [f"asked by {NAME.upper()}", f"by {FULL_NAME.lower()}", "account 70000000000", "as 17800000000000000"],
)
def test_a_reason_that_names_the_account_is_refused(
    person: InProcessUser, harness: ArchiveHarness, reason: str
) -> None:
    """By its name, its full name, its pk, or that of a highlight."""
    refused = person.run("forget", NAME, "--yes", "--reason", reason)
    assert refused.code == 2
    assert "the reason names" in refused.err
    assert harness.one("select count(*) from users") == 2


@pytest.mark.parametrize("reason", ["two\nlines", "\x1b[2J", "not UTF-8: \udcff"])
def test_a_reason_that_a_table_cannot_show_is_refused(
    person: InProcessUser, harness: ArchiveHarness, reason: str
) -> None:
    """Nothing is removed."""
    refused = person.run("forget", NAME, "--yes", "--reason", reason)
    assert refused.code == 2
    assert "one line of text" in refused.err
    assert harness.one("select count(*) from users") == 2


def test_the_account_is_taken_off_the_list(person: InProcessUser, harness: ArchiveHarness) -> None:
    """Under any of its names; a run would archive it again. The output also names what it did not look at."""
    config = person.home / "config.toml"
    head = f'[archive]\ndirectory = "{harness.root}"\n\n'
    other = f'[[accounts]]\nusername = "{OTHER}"\n'
    config.write_text(f'{head}[[accounts]]\nusername = "{FORMER}"\n\n{other}')
    before = config.read_text()
    foreign = ["notes.txt", "log/mine.txt", "answers/mine.warc.gz"]
    for name in foreign:
        (harness.root / name).write_text("?")
    dry = person.run("--config", str(config), "forget", NAME, "--dry-run")
    assert f"also {FORMER} in the list of accounts" in dry.err
    assert config.read_text() == before
    done = person.run("--config", str(config), "forget", NAME, "--yes")
    assert done.code == 0, done.err
    assert FORMER not in config.read_text()
    assert config.read_text() == head + other
    for name in foreign:
        assert f"{name} in its directory" in done.err


def test_fault_k13_the_account_is_off_the_list_before_anything_is_removed(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that finishes a killed removal does not archive the account again: it ends with 11."""
    config = person.home / "config.toml"
    accounts = "".join(f'[[accounts]]\nusername = "{name}"\n' for name in (NAME, OTHER))
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n{accounts}')
    with monkeypatch.context() as patch:
        patch.setattr(account_traces, "remove_log_lines", lambda *_: 1 / 0)
        assert person.run("--config", str(config), "forget", NAME, "--yes").code == 1
    assert NAME not in config.read_text()
    person.more["HIKERAPI_TOKEN"] = "standin-key-that-nobody-asks-for"
    ended = person.run("--config", str(config), "run")
    assert (ended.code, "an account was forgotten meanwhile" in ended.err) == (11, True), ended.err
    assert harness.one("select count(*) from users") == 1


def test_fault_k1_a_request_of_a_stranger_changes_no_configuration(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """It comes with the archive, as a row or a line of the journal. What finishes it leaves the list."""
    config = person.home / "config.toml"
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n[[accounts]]\nusername = "bbc"\n')
    before = config.read_text()
    execute(
        harness,
        "insert into removal_requests values (1, '2026-11-27T00:00:00.000000Z', null, '[\"bbc\"]', null)",
    )
    assert person.run("--config", str(config), "db", "upgrade").code == 0
    assert harness.one("select count(*) from removal_requests") == 0
    assert config.read_text() == before


def test_fault_k13_a_rebuild_says_that_it_has_finished_a_removal(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that the older copy which it replaced is deleted: it does not name a file that is gone."""
    copy = shutil.copy(harness.root / "archive.db", person.home / "older.db")
    with monkeypatch.context() as patch:
        patch.setattr(account_traces, "remove_log_lines", lambda *_: 1 / 0)
        assert person.run("forget", NAME, "--yes").code == 1
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    rebuilt = person.run("db", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert "the removal of an account that was interrupted is finished" in rebuilt.err
    assert "there before is deleted: it still held the account" in rebuilt.err
    assert "is now" not in rebuilt.err


def test_a_list_that_cannot_be_changed_leaves_no_request(
    person: InProcessUser, harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full: nothing is removed."""
    config = person.home / "config.toml"
    config.write_text(f'[archive]\ndirectory = "{harness.root}"\n\n[[accounts]]\nusername = "{NAME}"\n')

    def refuse(path: Path, text: str, *, dry_run: bool = False) -> None:
        if not dry_run:
            raise DiskFull("no space")

    with monkeypatch.context() as patch:
        patch.setattr(config_files, "replace_text", refuse)
        assert person.run("--config", str(config), "forget", NAME, "--yes").code == 8
    assert harness.one("select count(*) from removal_requests") == 0
    assert person.run("verify", "--read-data").code == 0
    assert harness.one("select count(*) from users") == 2


def test_fault_k24_comments_of_the_account_list_that_still_name_it_are_listed(
    person: InProcessUser, harness: ArchiveHarness
) -> None:
    """By any of its names, its full name or its pk, with file and line; they are their author's to remove.

    A dry run counts the lines as they are, and the command as it leaves them.
    """
    config, names = person.home / "config.toml", person.home / "accounts.txt"
    config.write_text(
        f'sync.accounts_file = "{names}"\n[archive]\ndirectory = "{harness.root}"  # asked by @{FORMER}\n\n'
        f'[[accounts]]\nusername = "{NAME}"  # {NAME}: goes with the entry\n\n# a comment of {FULL_NAME}\n'
        f'[[accounts]]\nusername = "{OTHER}"  # {OTHER}\n'
    )
    names.write_text(f"{NAME}\n# 70000000000 was private\n# others\n")
    present = [f"{config}, line 3", f"{config}, line 8", f"{names}, line 2"]
    places = [f"{config}, line 3", f"{config}, line 5", f"{names}, line 1"]
    dry = person.run("--config", str(config), "forget", NAME, "-n", "--json")
    done = person.run("--config", str(config), "forget", NAME, "--yes", "--json")
    for ended, lines in ((dry, present), (done, places)):
        assert ended.code == 0, ended.err
        assert [line for line in ended.err.splitlines() if "comment" in line] == [
            f"a comment still names it: {place}; remove it by hand" for place in lines
        ]
    removed, planned = done.object["removed"], dry.object["removed"]
    assert isinstance(planned, dict)
    assert removed == {**planned, "comments": places}
    assert f"# asked by @{FORMER}" in config.read_text()


@pytest.mark.parametrize("is_json", [False, True])
def test_the_same_command_finishes_one_that_was_interrupted(
    person: InProcessUser, harness: ArchiveHarness, is_json: bool
) -> None:
    """It says so, and ends with code 0 although the account is gone by then."""
    begin_to_forget(harness)
    again = person.run("forget", NAME, "--yes", *(["--json"] if is_json else []))
    assert again.code == 0
    if is_json:
        nothing = {"removed": None, "dry_run": False}
        assert again.object == {"exit_code": 0, "outcome": "ok", **nothing}
    else:
        assert again.out == ""
    assert "interrupted is finished" in again.err
    assert harness.one("select count(*) from deletions") == 0
