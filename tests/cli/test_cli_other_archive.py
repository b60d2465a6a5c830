"""``--archive`` beside a configuration that is for another archive: its accounts and its database stay where
they belong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.databases import PostgresServer, drop_everything
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
WAITING = "waiting.one"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyStandIn]:
    """One account with one highlight."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as running:
        yield running


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> InProcessUser:
    """Somebody whose default configuration names the archive ``mine``, and an account that no run has come
    to."""
    return InProcessUser(tmp_path, upstream, {"ARCHIVER_ARCHIVE": ""})


@pytest.fixture
def empty_postgres(postgres_nowhere: str) -> str:
    """The URL of a PostgreSQL database without tables."""
    drop_everything(postgres_nowhere)
    return postgres_nowhere


def configure(person: CommandLineUser, database: str = "") -> Path:
    """Write the default configuration and make its archive, with these rows. Returns its directory."""
    mine, place = person.home / "mine", person.home / "config" / "archiver" / "config.toml"
    place.parent.mkdir(parents=True)
    lines = ["[archive]", f'directory = "{mine}"', f'database = "{database}"' if database else ""]
    place.write_text("\n".join([*lines, "[[accounts]]", f'target = "{WAITING}"', ""]))
    place.chmod(0o600)
    made = person.run("init")
    assert made.code == 0, made.err
    return mine


def gaps(person: CommandLineUser, *options: str) -> list[object]:
    """The names in ``gaps --json``."""
    ended = person.run("gaps", "--json", *options)
    assert ended.code == 0, ended.err
    found = ended.object["gaps"]
    assert isinstance(found, list)
    return [gap["username"] for gap in found]


def test_fault_h40_gaps_of_another_archive_name_nobody_of_the_configuration(person: InProcessUser) -> None:
    """The accounts of a configuration are waited for in its own archive, however that is spelled or copied,
    and in no other."""
    mine, other = configure(person), person.home / "other"
    assert person.run("backup", ACCOUNT, "--archive", str(other)).code == 0
    assert gaps(person) == [WAITING]
    assert gaps(person, "--archive", str(other)) == []
    assert (
        person.run("gaps", "--archive", "other").err == "no gaps: everything that was offered is archived\n"
    )
    person.more["ARCHIVER_ARCHIVE"] = str(other)
    assert gaps(person) == []
    person.more["ARCHIVER_ARCHIVE"] = ""
    (person.home / "link").symlink_to(mine)
    shutil.copytree(mine, person.home / "copy")
    for same in ("link", "./mine/../mine", "copy"):
        assert gaps(person, "--archive", same) == [WAITING], same


def test_fault_h40_a_configuration_without_an_archive_is_for_the_one_that_is_named(
    person: InProcessUser,
) -> None:
    """Nothing is in its place, and it names none: its accounts are those of ``--archive``."""
    assert person.run("backup", ACCOUNT, "--archive", "other").code == 0
    listed = person.home / "list.toml"
    listed.write_text(f'[[accounts]]\ntarget = "{WAITING}"\n')
    listed.chmod(0o600)
    assert gaps(person, "--config", str(listed), "--archive", "other") == [WAITING]


def test_another_archive_has_a_database_of_its_own(person: InProcessUser, empty_postgres: str) -> None:
    """With PostgreSQL configured, an archive on SQLite is made, read and written where it is; a moved one
    keeps its rows."""
    mine = configure(person, empty_postgres)
    assert not (mine / "archive.db").exists()
    for command in (
        ("backup", ACCOUNT),
        ("verify", "--read-data"),
        ("status",),
        ("query", "SELECT * FROM runs"),
    ):
        ended = person.run(*command, "--archive", "other")
        assert ended.code == 0, ended.err
    assert (person.home / "other" / "archive.db").exists()
    assert "1  backup" in person.run("query", "SELECT id, command FROM runs", "--archive", "other").out
    assert person.run("query", "SELECT count(*) FROM runs", "--format", "csv").out == "count\n0\n"
    mine.rename(person.home / "moved")
    assert person.run("status", "--archive", "moved").code == 0
    assert gaps(person, "--archive", "other") == []


@pytest.mark.whole
def test_an_archive_whose_database_is_not_known_is_told(
    person: InProcessUser, postgres: PostgresServer, empty_postgres: str
) -> None:
    """It is of PostgreSQL, and the configuration of another one: one sentence, with the next step."""
    with postgres.database() as of_other:
        configure(person, empty_postgres)
        person.more["ARCHIVER_ARCHIVE_DATABASE"] = of_other
        person.more["ARCHIVER_ARCHIVE"] = str(person.home / "other")
        assert person.run("backup", ACCOUNT).code == 0
        person.more.update({"ARCHIVER_ARCHIVE_DATABASE": "", "ARCHIVER_ARCHIVE": ""})
        for command in (("status",), ("gaps",), ("backup", ACCOUNT)):
            ended = person.run(*command, "--archive", "other")
            assert (ended.code, ended.err.count("\n")) == (8, 1), ended.err
            assert "is unknown" in ended.err
            assert "--config FILE" in ended.err


def test_a_refused_backup_leaves_nothing_behind(person: InProcessUser, empty_postgres: str) -> None:
    """The database cannot be used: there is no half archive, and ``show`` says that there is none."""
    with psycopg.connect(empty_postgres.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("CREATE TABLE theirs (id int)")
    for database, code in ((empty_postgres, 9), ("postgresql://nobody@127.0.0.1:1/none", 9)):
        person.more["ARCHIVER_ARCHIVE_DATABASE"] = database
        ended = person.run("backup", ACCOUNT, "--archive", "new")
        assert ended.code == code, ended.err
        assert not (person.home / "new").exists()
    person.more["ARCHIVER_ARCHIVE_DATABASE"] = ""
    shown = person.run("show", ACCOUNT, "--archive", "new")
    assert (shown.code, "there is no archive at" in shown.err) == (10, True)


def test_no_marker_is_to_be_written_by_hand(person: InProcessUser) -> None:
    """What a creation that was cut short left is no archive; an archive that lost its marker needs it from a
    copy."""
    for name in ("blobs/7f", "tmp"):
        (person.home / "new" / name).mkdir(parents=True)
    (person.home / "new" / "lock").touch()
    shown = person.run("show", ACCOUNT, "--archive", "new")
    assert (shown.code, "there is no archive at" in shown.err) == (10, True)
    mine = configure(person)
    (mine / "archive.json").unlink()
    shown = person.run("show", ACCOUNT)
    assert (shown.code, "restore it from a backup" in shown.err, '"id"' in shown.err) == (10, True, False)
    assert person.run("init").code == 0
    assert person.run("status").code == 0


def test_a_lost_marker_is_written_again(person: InProcessUser) -> None:
    """By init, from the rows in the archive's own archive.db; not where its blobs are not there, as on a disk
    that is not mounted."""
    mine = configure(person)
    assert person.run("backup", ACCOUNT).code == 0
    marker = (mine / "archive.json").read_bytes()
    (mine / "archive.json").unlink()
    assert "archiver init" in person.run("status").err
    (mine / "blobs").rename(person.home / "unmounted")
    refused = person.run("init")
    assert (refused.code, (mine / "archive.json").exists(), (mine / "blobs").exists()) == (8, False, False)
    assert "is in use" in refused.err
    (person.home / "unmounted").rename(mine / "blobs")
    assert "archive.json was missing; it was written again" in person.run("init").err
    assert json.loads((mine / "archive.json").read_bytes())["id"] == json.loads(marker)["id"]
    assert person.run("verify", "--read-data").code == 0
    # The command that has just written has recorded where the journal ends.
    ends = [json.loads(text)["journal"]["seq"] for text in ((mine / "archive.json").read_bytes(), marker)]
    assert ends[0] > ends[1]


def test_a_backup_refused_for_its_reserve_or_a_linked_database_leaves_nothing(person: InProcessUser) -> None:
    """No directory where there was none, and in one that was there what lay in it."""
    person.more["ARCHIVER_ARCHIVE_RESERVE"] = "900 TB"
    assert person.run("backup", ACCOUNT, "--archive", "below/new").code == 8
    assert not (person.home / "below").exists()
    person.more["ARCHIVER_ARCHIVE_RESERVE"] = ""
    linked = person.home / "linked"
    linked.mkdir()
    for target in ("/nonexistent/x.db", person.home / "file.db"):
        (person.home / "file.db").touch()
        (linked / "archive.db").symlink_to(target)
        refused = person.run("backup", ACCOUNT, "--archive", "linked")
        assert (refused.code, "symbolic link" in refused.err) == (9, True), refused.err
        assert [path.name for path in linked.iterdir()] == ["archive.db"]
        (linked / "archive.db").unlink()


@pytest.mark.whole
def test_a_whole_archive_keeps_its_own_rows_beside_a_database_in_the_environment(
    person: InProcessUser, empty_postgres: str
) -> None:
    """Nothing says which archive the variable is for: its own archive.db has the marker's id, the other one
    has not."""
    assert person.run("backup", ACCOUNT, "--archive", "lite").code == 0
    person.more["ARCHIVER_ARCHIVE_DATABASE"] = empty_postgres
    assert person.run("backup", ACCOUNT, "--archive", "in-postgres").code == 0
    for name in ("lite", "in-postgres"):
        ended = person.run("status", "--archive", name)
        assert ended.code == 0, ended.err
    assert not (person.home / "in-postgres" / "archive.db").exists()
