"""The modes of every file and directory that the program makes, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.cli import main as front
from tests.support.command_line import CommandLineUser
from tests.support.standin.faulty_standin import FaultyStandIn

OWNERS = {"lock", "config.toml", "copy.db"}
"""Files that have 0600 even with group_readable."""


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch) -> CommandLineUser:
    """A user with an empty home whose environment, in this process, points to the stand-in."""
    home = tmp_path / "home"
    home.mkdir(0o700)
    somebody = CommandLineUser(home, upstream)
    somebody.enter(monkeypatch)
    return somebody


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of this process during the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _used(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """Use every command that makes files: init, add, run, backup, query, verify, db backup."""
    settings = person.home / "config" / "archiver" / "config.toml"
    backup = ["backup", "salwaaa_ki", "-q"]
    for words in (
        ["init", "-q"],
        ["add", "natgeo", "-q"],
        ["run", "-q"],
        backup,
        ["query", "SELECT 1"],
        ["verify", "--read-data", "-q"],
        ["db", "backup", "-o", "copy.db"],
    ):
        os.environ["HIKERAPI_TOKEN"] = upstream.key  # the program takes it out each time
        assert front.main(words) == 0
    assert settings.exists()


def _wrong(home: Path, *, group_readable: bool) -> list[str]:
    """Return every file and directory below ``home`` whose mode is not the promised one."""
    directory, file = (0o750, 0o640) if group_readable else (0o700, 0o600)
    found = []
    for path in sorted(home.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            promised = 0o700 if "config" in path.parts[-2:] else directory
        elif path.parent.parent.name == "blobs":
            promised = 0o444
        else:
            promised = 0o600 if path.name in OWNERS else file
        if mode != promised:
            found.append(f"{path.relative_to(home)} is {mode:o}, not {promised:o}")
    return found


@pytest.mark.parametrize(
    ("umask", "group_readable"),
    [(0o000, False), pytest.param(0o077, True, marks=pytest.mark.whole)],
    indirect=["umask"],
    ids=["open-private", "closed-group"],
)
def test_fault_l7_everything_made_has_the_promised_mode(
    person: CommandLineUser,
    upstream: FaultyStandIn,
    monkeypatch: pytest.MonkeyPatch,
    umask: int,
    group_readable: bool,
) -> None:
    """Files have 0600 and directories 0700, with group_readable 0640 and 0750, blobs 0444."""
    monkeypatch.setenv("ARCHIVER_ARCHIVE_GROUP_READABLE", str(group_readable).lower())
    _used(person, upstream)
    kinds = {p.relative_to(person.archive).parts[0] for p in person.archive.rglob("*")}
    assert kinds >= {"archive.db", "archive.json", "answers", "blobs", "lock", "log", "tmp"}
    assert _wrong(person.home, group_readable=group_readable) == []


@pytest.mark.whole
@pytest.mark.parametrize("umask", [0o000], indirect=True, ids=oct)
def test_fault_l7_a_demo_is_as_private(person: CommandLineUser, umask: int) -> None:
    """Only the owner can read the archive of the demo."""
    assert front.main(["demo", "shown", "-q"]) == 0
    assert (person.home / "shown" / "archive.db").exists()
    assert _wrong(person.home, group_readable=False) == []
