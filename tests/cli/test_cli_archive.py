"""Every command on a real archive, with a stand-in upstream over loopback."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

import pytest

from archiver.cli import main as front
from archiver.runner import run_lock
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, InProcessUser, files_of, write_config
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls

Shown = pytest.CaptureFixture[str]


def call(person: CommandLineUser, *args: str) -> int:
    """``archiver ARGS`` in this process.

    The key is set anew each time: the program takes it out of its environment.
    """
    os.environ["HIKERAPI_TOKEN"] = person.environ.get("HIKERAPI_TOKEN", "")
    return front.main(args)


@pytest.fixture
def kept(person: CommandLineUser, archive_copies: ArchiveCopies) -> CommandLineUser:
    """The same person after ``backup natgeo``."""
    archive_copies.backed_up(person, "natgeo")
    return person


def test_backup_needs_no_configuration(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """One account into an absent directory: code 0, an object with true counts, and what the stand-in
    billed.
    """
    assert call(person, "backup", "natgeo", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["accounts"], found["highlights_fetched"], found["failures"]) == (
        "ok",
        1,
        3,
        [],
    )
    assert found["units"] == upstream.units
    assert found["files_new"] == len(upstream.requests.cdn_requests())
    assert found["api_calls"] == len(paid_calls(upstream.requests))


def test_a_backup_says_what_it_saw_change(
    kept: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """Off a terminal too, as ``run`` says it on one; and nothing with -q."""
    upstream.world.retitle("18018069326790931", "Best")
    upstream.world.remove_highlight("17893209825281221")
    assert call(kept, "backup", "natgeo", "--full") == 0
    err = capsys.readouterr().err
    assert "nothing new\nchanged: 1 highlight gone, 1 edited\n" in err
    assert "  natgeo: Best: renamed from " in err
    upstream.world.retitle("18018069326790931", "Better")
    assert call(kept, "backup", "natgeo", "-q") == 0
    assert capsys.readouterr().err == ""


def test_a_second_backup_downloads_nothing(
    kept: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """What is held is neither paid for nor fetched again."""
    assert call(kept, "backup", "natgeo", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["units"], found["files_new"], found["bytes_new"]) == (1, 0, 0)
    assert upstream.requests.cdn_requests() == []


@pytest.mark.whole
def test_targets_of_all_kinds_at_once(person: CommandLineUser, capsys: Shown) -> None:
    """A name, an id and a highlight link in one call; what is named twice is kept once."""
    link = "https://www.instagram.com/stories/highlights/18018069326790931/?hl=en"
    assert call(person, "backup", "@salwaaa_ki", "787132", link, "salwaaa_ki", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accounts"] == 3


def test_targets_from_stdin(person: CommandLineUser) -> None:
    """``-`` reads a list with comments; its bytes need not be UTF-8 to be refused politely."""
    done = person.run("backup", "-", "--json", stdin="\ufeff# mine\nnatgeo  # the yellow one\n\nsalwaaa_ki\n")
    assert (done.code, done.object["accounts"]) == (0, 2)
    empty = person.run("backup", "-", stdin="# nobody\n")
    assert (empty.code, empty.err) == (
        2,
        "archiver: backup: no target is given (name an account, such as natgeo)\n",
    )


@pytest.mark.whole
def test_run_keeps_the_accounts_of_the_configuration(person: CommandLineUser, capsys: Shown) -> None:
    """init makes the archive, run keeps all, run ACCOUNT one; without a terminal and news, silently."""
    config = write_config(person.home / "c.toml", ["natgeo", "salwaaa_ki"])
    assert call(person, "init", "-q", "--config", str(config)) == 0
    assert call(person, "run", "--config", str(config), "--json") == 0
    assert json.loads(capsys.readouterr().out)["accounts"] == 2
    assert call(person, "run", "natgeo", "--config", str(config)) == 0
    assert capsys.readouterr() == ("", "")


def test_init_never_overwrites(person: CommandLineUser, capsys: Shown) -> None:
    """The configuration is for its owner alone; a second init changes neither it nor the archive."""
    path = person.home / "config" / "archiver" / "config.toml"
    assert call(person, "init") == 0
    text = capsys.readouterr().err
    assert f"wrote {path}" in text
    assert "archiver plan" in text
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text() + "# mine\n")
    before = files_of(person.archive)
    assert call(person, "init") == 0
    assert f"kept the existing {path}" in capsys.readouterr().err
    assert path.read_text().endswith("# mine\n")
    assert files_of(person.archive) == before


def test_plan_costs_nothing_and_foretells_the_night(
    kept: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """Before any night a name costs its tray; with a known archive the next night's units are what the run
    then spends.
    """
    assert call(kept, "plan", "natgeo", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accounts"] == [
        {
            "target": "natgeo",
            "user_pk": "787132",
            "username": "natgeo",
            "units": 1,
            "exact": False,
            "listed": True,
            "highlights": [],
        }
    ]
    assert len(upstream.requests) == 0
    assert call(kept, "backup", "natgeo", "--json") == 0
    assert json.loads(capsys.readouterr().out)["units"] == found["units"]


def test_plan_for_people(kept: CommandLineUser, capsys: Shown) -> None:
    """A row an account, and a sum."""
    assert call(kept, "plan", "natgeo", "--full") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["natgeo", "4+", "3", "full"]
    assert lines[-1].split() == ["total", "4+"]


def test_status_in_numbers(kept: CommandLineUser, capsys: Shown) -> None:
    """Accounts, items, files and runs; the balance only when asked for."""
    assert call(kept, "status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accounts"], found["highlights"], found["exit_code"], found["balance"]) == (1, 3, 0, None)
    assert found["last_runs"][0]["command"] == "backup"
    assert call(kept, "status", "--balance") == 0
    assert "units left     1,000,000" in capsys.readouterr().out


def test_status_watches_the_age_of_the_last_success(kept: CommandLineUser, capsys: Shown) -> None:
    """--max-age: 0 while the last success is young, 3 once it is older, with a line for the monitor."""
    assert call(kept, "status", "-q", "--max-age", "1h") == 0
    assert capsys.readouterr() == ("", "")
    assert call(kept, "status", "-q", "--max-age", "0s") == 3
    assert "the last successful run is too old" in capsys.readouterr().err


def test_query_as_a_table(kept: CommandLineUser, capsys: Shown) -> None:
    """Aligned, with nothing that the terminal obeys, cut at the limit with a word about it."""
    assert (
        call(kept, "query", "SELECT title, media_count AS n FROM highlights ORDER BY n DESC", "--limit", "2")
        == 0
    )
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:3] == ["title        n", "----------  --", "Gift Guide  12"]
    assert "only the first 2 rows are shown" in shown.err
    assert call(kept, "query", "SELECT char(27) || '[2J'") == 0
    assert "\x1b" not in capsys.readouterr().out


def test_sql_from_a_file_and_from_stdin(kept: CommandLineUser, capsys: Shown) -> None:
    """@FILE, --file and - read the statement from elsewhere."""
    (kept.home / "q.sql").write_text("SELECT 1 AS one")
    for words in (["@q.sql"], ["--file", "q.sql"]):
        assert call(kept, "query", *words, "--format", "ndjson") == 0
        assert capsys.readouterr().out == '{"one": 1}\n'
    assert kept.run("query", "-", "--format", "ndjson", stdin="SELECT 1 AS one").out == '{"one": 1}\n'


@pytest.mark.whole
def test_verify_finds_what_is_lost(kept: CommandLineUser, capsys: Shown) -> None:
    """A whole archive is code 0; a blob that vanished is named with its owner, code 12."""
    assert call(kept, "verify", "--read-data", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["damaged"], whole["outcome"]) == ([], "ok")
    assert whole["bytes_read"] > 0
    blob = next((kept.archive / "blobs").rglob("*" * 1 + "[0-9a-f]" * 64))
    blob.unlink()
    assert call(kept, "verify", "--json") == 12
    found = json.loads(capsys.readouterr().out)
    assert [d["sha256"] for d in found["damaged"]] == [blob.name]
    assert found["damaged"][0]["owners"]
    assert call(kept, "verify") == 12
    shown = capsys.readouterr()
    assert f"missing  {blob}" in shown.out
    assert "1 damaged" in shown.err


def test_the_database_can_be_copied(kept: CommandLineUser, capsys: Shown) -> None:
    """db backup writes a database that says the same, and prints where; db current and upgrade agree that all
    is new.
    """
    assert call(kept, "db", "backup", "-o", "copy.db") == 0
    assert capsys.readouterr().out == "copy.db\n"
    assert (kept.home / "copy.db").stat().st_size > 0
    assert call(kept, "db", "current") == 0
    revision = capsys.readouterr().out.strip()
    assert call(kept, "db", "upgrade") == 0
    assert f"the schema is already at revision {revision}" in capsys.readouterr().err


def test_dry_runs_of_db_say_what_they_would_do(kept: CommandLineUser, capsys: Shown) -> None:
    """Nothing is written; a place where no file can be made is refused as by the command itself."""

    def journal() -> list[str]:
        return sorted(path.name for path in kept.archive.rglob("journal/**/*"))

    before = journal()
    assert call(kept, "db", "backup", "-n", "-o", "copy.db") == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"the database, [0-9.]+ kB, would be copied to copy.db\n", shown.err)
    assert not (kept.home / "copy.db").exists()
    assert call(kept, "db", "backup", "-n", "-o", "nowhere/copy.db") == 8
    assert call(kept, "db", "snapshot", "-n") == 0
    shown = capsys.readouterr()
    assert re.search(r"^[0-9,]+ rows would be written into a new file in journal/$", shown.err, re.M)
    assert journal() == before
    with run_lock.hold_run_lock(kept.archive / "lock", "run"):
        assert call(kept, "db", "snapshot", "-n") == 11


def test_what_failed_is_told_without_a_terminal(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """Cron's mail: one line for what it means, what was done all the same, then the failures by name; code
    3.
    """
    upstream.faults.add(actions.respond(404), listener="cdn", role="video", count=1)
    assert call(person, "backup", "natgeo") == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "archiver: backup: not everything could be archived"
    assert lines[1] == "1 account, 3 of 3 highlights read, 5 units spent"
    assert lines[2].startswith("new: 33 items, 48 files, ")
    assert lines[3] == "failed: 1 not_found"
    assert lines[4].startswith("  video of item ")


@pytest.mark.parametrize(
    ("code", "args"),
    [
        (2, ["query", "DELETE FROM users"]),
        (2, ["query", "SELEKT"]),
        (4, ["backup", "natgeo"]),
        (5, ["backup", "natgeo", "--max-units", "0"]),
        (6, ["backup", "nobody.of.that.name"]),
        (8, ["backup", "natgeo", "--archive", "full"]),
        (9, ["status"]),
        (10, ["run", "--config", "c.toml", "--archive", "unmounted"]),
        (11, ["backup", "natgeo"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes(kept: CommandLineUser, capsys: Shown, code: int, args: list[str]) -> None:
    """Each kind of trouble has its code, one line that begins with the command, and never a traceback."""
    lock = os.open(kept.archive / "lock", os.O_RDWR)
    if code == 4:
        kept.more["HIKERAPI_TOKEN"] = "wrong"
    if code == 8:
        (kept.home / "full").mkdir()
        (kept.home / "full" / "photo.jpg").touch()
    if code == 9:
        (kept.archive / "archive.db").write_bytes(b"no database" * 1000)
    if code == 11:
        fcntl.flock(lock, fcntl.LOCK_EX)
    write_config(kept.home / "c.toml", ["natgeo"])
    assert call(kept, *args) == code
    os.close(lock)
    shown = capsys.readouterr()
    assert shown.err.startswith(f"archiver: {args[0]}: ")
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (kept.home / "unmounted").exists()


def test_upstream_down_is_code_7(person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown) -> None:
    """An API that cannot be reached: told as such, in the object too, after what is known without it."""
    upstream.close()
    assert call(person, "status", "--balance") == 10
    assert call(person, "init", "-q") == 0
    capsys.readouterr()
    assert call(person, "status", "--balance", "--json") == 7
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["error"]["slug"], found["items"], found["balance"]) == (
        "upstream",
        "E_CALL",
        0,
        None,
    )
    assert call(person, "status", "--balance", "--max-age", "36h") == 7
    shown = capsys.readouterr()
    assert shown.out.startswith("accounts       0\n")
    late, failed = shown.err.splitlines()
    assert late.startswith("archiver: status: the last successful run is too old")
    assert failed.startswith("archiver: status: ")


def test_the_log_tells_the_night(kept: CommandLineUser) -> None:
    """archiver.log has the start, the files and the end of the run, and no signature."""
    text = (kept.archive / "log" / "archiver.log").read_text("utf-8")
    assert "INFO run 1 started: backup, 1 account" in text
    assert "stored the video of item " in text
    assert "INFO run 1 ended: ok; 1 account, 3 of 3 highlights read" in text
    assert "oh=" not in text


def test_each_named_configuration_has_an_archive_of_its_own(tmp_path: Path) -> None:
    """Two that name no directory must not share one: each names the directory beside it."""
    person = InProcessUser(tmp_path, None, {"ARCHIVER_ARCHIVE": ""})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert person.run("init", "-q", "--config", f"{name}/c.toml").code == 0
        assert (tmp_path / name / "archive" / "archive.json").is_file()
        assert f'directory = "{tmp_path / name / "archive"}"' in (tmp_path / name / "c.toml").read_text()


def test_a_dry_run_of_init_makes_nothing(tmp_path: Path) -> None:
    """It names the configuration and the archive that would be made, or that exist."""
    person = InProcessUser(tmp_path, None, {"ARCHIVER_ARCHIVE": ""})
    done = person.run("init", "--dry-run", "--config", "c.toml", "--archive", "kept")
    assert (done.code, done.err.splitlines()) == (
        0,
        [
            f"dry run: {tmp_path / 'c.toml'} would be written",
            f"dry run: the archive {tmp_path / 'kept'} would be made",
        ],
    )
    assert list(tmp_path.iterdir()) == []
    assert person.run("init", "-q", "--config", "c.toml", "--archive", "kept").code == 0
    again = person.run("init", "-n", "--config", "c.toml").err
    assert again.count("exists") == 2
    assert "already at revision" in person.run("db", "upgrade", "-n", "--config", "c.toml").err
    refused = person.run("init", "-n", "--config", "new.toml", "--archive", ".")
    assert (refused.code, "is not empty" in refused.err) == (8, True)
    elsewhere = InProcessUser(tmp_path, None, {"ARCHIVER_ARCHIVE": str(tmp_path / "other")})
    assert f"the archive {tmp_path / 'other'} would be made" in elsewhere.run("init", "-n").err
