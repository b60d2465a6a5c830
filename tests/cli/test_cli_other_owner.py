"""The archive of another user, as of a service: root in it, and the list of accounts beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archiver.runner.run_lock import hold_run_lock
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, files_of
from tests.support.disk_limits import NOBODY, another_user, shared_directory
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give an archive to another user")


def give_away(root: Path) -> None:
    """Make everything in a directory belong to nobody."""
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def written_files(root: Path) -> dict[str, int]:
    """Return the files of an archive, without those that SQLite makes for reading."""
    return {name: size for name, size in files_of(root).items() if not name.startswith("archive.db-")}


@pytest.mark.parametrize(
    "words",
    [
        "run",
        "run --max-units 5",
        "backup natgeo",
        "forget natgeo --yes",
        "remove natgeo",
        "reread",
        "verify --repair",
        "db snapshot",
        "db rebuild",
    ],
)
def test_root_does_not_write_to_the_archive_of_another_user(
    tmp_path: Path, archive_copies: ArchiveCopies, words: str
) -> None:
    """Code 8, with the user to be; nothing is written, in the list of accounts neither, and no call made."""
    with FaultyStandIn(EditableWorld.seed()) as upstream:
        person = CommandLineUser(tmp_path, upstream).in_process
        archive_copies.backed_up(person, "natgeo")
        config = person.list_accounts("natgeo")
        give_away(person.archive)
        before, listed = written_files(person.archive), config.read_text()
        ended = person.run(*words.split())
        assert ended.code == 8
        assert f"the archive {person.archive} belongs to nobody" in ended.err
        assert "(run it as that user: sudo -u nobody …)" in ended.err
        assert (written_files(person.archive), config.read_text()) == (before, listed)
        assert {path.stat().st_uid for path in person.archive.rglob("*")} == {NOBODY}
        assert upstream.units == 0


def test_root_makes_no_archive_in_the_directory_of_another_user(tmp_path: Path) -> None:
    """``init`` leaves it empty, and removes the configuration that it has written."""
    person = CommandLineUser(tmp_path).in_process
    person.archive.mkdir()
    give_away(person.archive)
    ended = person.run("init")
    assert (ended.code, list(person.archive.iterdir())) == (8, [])
    assert "belongs to nobody" in ended.err
    assert not list((tmp_path / "config").rglob("*.toml"))


def test_root_may_write_where_every_file_belongs_to_one_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems, such as exFAT, know no owners: what root writes there belongs to that user too."""
    give_away(tmp_path)
    fstat = os.fstat

    def as_nobody(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        return os.stat_result((*found[:4], NOBODY, *found[5:]))

    monkeypatch.setattr(os, "fstat", as_nobody)
    with hold_run_lock(tmp_path / "lock", "run"):
        assert (tmp_path / "lock").exists()


@pytest.mark.parametrize("words", ["status", "accounts", "show natgeo", "verify", "forget natgeo --dry-run"])
def test_root_may_read_the_archive_of_another_user(
    tmp_path: Path, archive_copies: ArchiveCopies, words: str
) -> None:
    """Code 0, and no file of root is left in it."""
    person = CommandLineUser(tmp_path).in_process
    archive_copies.backed_up(person, "natgeo")
    give_away(person.archive)
    assert person.run(*words.split()).code == 0
    assert {path.stat().st_uid for path in person.archive.rglob("*")} == {NOBODY}


def test_a_service_changes_its_list_and_not_the_configuration_of_root(archive_copies: ArchiveCopies) -> None:
    """As docs/operations.md sets it up: ``add``, ``remove`` and ``forget`` work. An entry in [[accounts]] is
    root's, which a dry run of ``forget`` says too.
    """
    with shared_directory() as place:
        etc, person = place / "etc", CommandLineUser(place / "service").in_process
        for directory in (etc, person.home):
            directory.mkdir()
        archive_copies.backed_up(person, "natgeo")
        names = person.home / "accounts.txt"
        names.touch(0o600)
        give_away(person.home)
        os.chown(names, NOBODY, os.getegid())  # the user of the block below keeps root's group
        config = etc / "config.toml"
        person.more["ARCHIVER_CONFIG"] = str(config)
        head = f'archive.directory = "{person.archive}"\n'
        config.write_text(f'{head}[[accounts]]\nusername = "natgeo"\n')
        config.chmod(0o644)
        with another_user():
            for words in ("add nasa", "remove natgeo -n", "forget natgeo -n", "forget natgeo --yes"):
                ended = person.run(*words.split())
                assert ended.code == 8
                assert f"{config} cannot be changed: the directory {etc} cannot be written" in ended.err
        config.write_text(f'{head}sync.accounts_file = "{names}"\n')
        with another_user():
            ended = person.run("add", "natgeo", "nasa")
            assert ended.err == f"natgeo: added to {names}\nnasa: added to {names}\n"
            assert person.run("remove", "nasa").code == 0
            assert names.read_text() == "natgeo\n"
            assert person.run("forget", "natgeo", "--yes", "-q").code == 0
            assert names.read_text() == ""
        assert {path.stat().st_uid for path in person.home.rglob("*")} == {NOBODY}


def test_a_destination_that_a_user_may_not_write_is_named(archive_copies: ArchiveCopies) -> None:
    """Code 8, with the directory to which it belongs; also relative to one that the user may not enter."""
    with shared_directory() as place:
        person = CommandLineUser(place / "service").in_process
        person.home.mkdir()
        archive_copies.backed_up(person, "natgeo")
        give_away(person.home)
        closed, readable = place / "closed", place / "readable"
        closed.mkdir(0o700)
        readable.mkdir(0o755)
        verbs = {str(closed): "enter", str(readable): "write to"}
        forms = ["folder", "site", "csv", "jsonl", "bagit", "wacz"]
        commands = [f"export {form}{option}" for form in forms for option in ("", " -n")]
        for words in (*commands, "metrics --textfile", "init --config", "init -n --config"):
            for directory, verb in verbs.items():
                with another_user():
                    ended = person.run(*words.split(), f"{directory}/new.prom", "-q")
                barrier = f"cannot be written: this user may not {verb} the directory {directory} (name a"
                assert (ended.code, barrier in ended.err) == (8, True), (words, ended.err)
        assert list(closed.iterdir()) == list(readable.iterdir()) == []
