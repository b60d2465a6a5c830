"""What the program tells people to do next is true, and works as it is printed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Nearby, Person, on_terminal, write_config
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import advice, backup_command
from archiver.errors import Reason
from archiver.model import Failure, Role, Subject
from archiver.model.target import parse_target
from archiver.runner.tally import Summary
from archiver.sandbox import StandIn, World, actions


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """natgeo and salwaaa_ki, over loopback."""
    with StandIn(World.seed()) as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: StandIn) -> Person:
    """Somebody whose environment leads to the stand-in, and to no archive."""
    return Nearby(tmp_path, upstream, {"ARCHIVER_ARCHIVE": ""})


def test_init_writes_the_directory_that_it_was_given(person: Person) -> None:
    """--archive becomes an active line with the absolute path: a later run without --archive goes to the archive just made."""
    done = person.run("init", "--config", "c.toml", "--archive", 'my "own" archive')
    assert done.code == 0, done.err
    directory = person.home / 'my "own" archive'
    text = (person.home / "c.toml").read_text()
    assert tomllib.loads(text)["archive"]["directory"] == str(directory)
    assert '# directory = "archive"' not in text
    assert person.run("run", "--config", "c.toml").code == 0
    assert (directory / "archive.db").exists()
    assert not (person.home / "archive").exists()


def test_init_makes_no_stray_archive(person: Person) -> None:
    """A configuration that is kept and names another archive: refused, both are named, and nothing is made."""
    assert person.run("init", "--config", "c.toml", "--archive", "first").code == 0
    done = person.run("init", "--config", "c.toml", "--archive", "second")
    assert done.code == 2
    for path in ("c.toml", "first", "second"):
        assert str(person.home / path) in done.err
    assert not (person.home / "second").exists()
    assert person.run("init", "--config", "c.toml", "--archive", "first").code == 0
    again = person.run("init", "--config", "c.toml")
    assert f"left as it is: the archive {person.home / 'first'}" in again.err


def test_init_leaves_no_configuration_for_a_place_that_cannot_be_used(person: Person) -> None:
    """After a refused directory the next init, with a better one, is not told of a configuration that names the first."""
    (person.home / "photos").mkdir()
    (person.home / "photos" / "mine.jpg").touch()
    assert person.run("init", "--config", "c.toml", "--archive", "photos").code == 8
    assert person.run("init", "--config", "c.toml", "--archive", "better").code == 0


def test_init_advises_a_key_file_and_a_crontab_that_work(person: Person) -> None:
    """The lines of init, taken as printed: a key that others cannot read, and a crontab line without a key that runs."""
    text = person.run("init", "--config", "c.toml", "--archive", "kept").err
    assert "HIKERAPI_TOKEN" not in text
    write = next(line for line in text.splitlines() if "umask" in line).split("2. ")[1].split("    ")[0]
    subprocess.run(["sh", "-c", write], input="key\n", text=True, check=True)
    token = person.home / "hikerapi.token"
    assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("key\n", 0o600)
    assert f'token_file = "{token.name}"' in text
    cron = next(line for line in text.splitlines() if " 17 3 * * * " in line).split(" * * * ")[1]
    done = subprocess.run(["sh", "-c", cron], env=person.environ, cwd="/", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_program_is_named_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its absolute path, not by another archiver of the PATH; cron gets its percent signs escaped."""
    for name in ("50% mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "archiver").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["50% mine/archiver", "init"])
    assert advice.program() == advice.typed() == f"'{tmp_path}/50% mine/archiver'"
    assert advice.cron_line() == rf"17 3 * * * '{tmp_path}/50\% mine/archiver' run"
    monkeypatch.setenv("PATH", str(tmp_path / "50% mine"))
    assert advice.typed() == "archiver"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_path_can_stand_in_the_configuration(text: str) -> None:
    """What is written as TOML is read as the same text."""
    assert tomllib.loads(f"x = {advice.toml(text)}") == {"x": text}


def test_backup_on_a_terminal_says_where_it_is_and_how_to_go_on(person: Person) -> None:
    """The archive, the entries of what exists in their documented forms; one missing name is told live and in the summary."""
    link = "https://www.instagram.com/stories/highlights/18018069326790931/"
    code, text = on_terminal(
        person, "backup", "natgeo", "nobody.xyz", "75885841119", link, "--archive", "a b"
    )
    assert code == 3  # one of the names does not exist
    assert f"archive: {person.home / 'a b'}\n" in text
    advised = text[text.index("to keep this") :]
    assert f"init --archive '{person.home / 'a b'}'" in advised
    assert f'directory = "{person.home / "a b"}"' in advised
    assert 'username = "natgeo"' in advised
    assert 'user_id = "75885841119"' in advised
    assert f'target = "{link}"' in advised
    assert "nobody.xyz" not in advised
    assert text.count("nobody.xyz") == 2
    assert "tried again in later runs" not in text


def test_backup_says_what_it_did_where_nobody_reads(person: Person) -> None:
    """Success without a terminal: two lines, none under -q, and no advice."""
    done = person.run("backup", "natgeo", "--archive", "kept")
    told = "1 account, 3 of 3 highlights read, 5 units spent\nnew: 33 items, 49 files, 491.2 kB\n"
    assert (done.code, done.out, done.err) == (0, "", told)
    again = person.run("backup", "natgeo", "--archive", "kept", "-q")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_what_is_missing_is_not_advised() -> None:
    """A target that failed as such is left out; one of which only a file failed stays."""
    targets = [parse_target(text) for text in ("natgeo", "nobody.xyz", "787132")]
    failures = (
        Failure(Subject.TARGET, "nobody.xyz", None, Reason.GONE, ""),
        Failure(Subject.ITEM, "787132", Role.VIDEO, Reason.NETWORK, ""),
    )
    summary = Summary(1, "backup", failures=failures)
    assert backup_command.found(targets, summary) == [targets[0], targets[2]]


def test_fault_a5_cron_is_told_of_a_missing_name(person: Person) -> None:
    """Code 3 and one line that names it and says what to do: on the first night and during its back-off,
    under -q too."""
    config = write_config(person.home / "c.toml", ["natgeo", "nobody.xyz"])
    assert person.run("init", "-q", "--config", str(config)).code == 0
    what = "nobody.xyz: gone (no account has this name: correct or remove it)"
    for number in range(1, 5):
        done = person.run("run", "-q", "--json", "--config", str(config))
        assert (done.code, done.object["units"]) == (3, [0, 5 + 2, 1 + 1, 1 + 1, 1][number])
        assert [line for line in done.err.splitlines() if "nobody.xyz" in line] == [f"  target {what}"]
        failures = done.object["failures"]
        assert isinstance(failures, list)
        assert [(f["subject_pk"], f["reason"]) for f in failures] == [("nobody.xyz", "gone")]
    assert "999: gone (no account has this id: correct or remove it)\n" in person.run("backup", "999").err


def test_a_rejected_key_names_the_file_that_it_came_from(person: Person) -> None:
    """HIKERAPI_TOKEN is not blamed for a key of token_file, neither by a run nor by the balance; it is where it was used."""
    (person.home / "token").write_text("wrong")
    (person.home / "token").chmod(0o600)
    config = write_config(person.home / "c.toml", ["natgeo"])
    config.write_text('archive.directory = "kept"\napi.token_file = "token"\n' + config.read_text())
    assert person.run("init", "-q", "--config", str(config)).code == 0
    person.more["HIKERAPI_TOKEN"] = ""
    for args in (["run", "--json"], ["status", "--balance", "--json"]):
        done = person.run(*args, "--config", str(config))
        assert done.code == 4
        assert f"(check the key in {person.home / 'token'})" in done.err
        error = done.object["error"]
        assert isinstance(error, dict)
        assert error["hint"] == f"check the key in {person.home / 'token'}"
    person.more["HIKERAPI_TOKEN"] = "wrong"
    assert "(check HIKERAPI_TOKEN)" in person.run("run", "--config", str(config)).err


def test_verify_says_where_the_damage_is_and_how_it_heals(person: Person) -> None:
    """The path of the file; with --repair, as advised, the bytes lie in quarantine and the file is held again."""
    assert person.run("backup", "natgeo", "--archive", "kept").code == 0
    blob = next(p for p in (person.home / "kept" / "blobs").rglob("*") if p.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"x" * blob.stat().st_size)
    done = person.run("verify", "--read-data", "--archive", "kept")
    assert done.code == 12
    assert f"hash     {blob}" in done.out
    assert "the same command with --repair records what is lost" in done.err
    done = person.run("verify", "--read-data", "--repair", "--archive", "kept")
    assert (done.code, blob.is_file()) == (0, True)
    assert [p.name.partition("-")[0] for p in (person.home / "kept" / "quarantine").iterdir()] == [blob.name]
    assert person.run("verify", "--read-data", "--archive", "kept").code == 0


def test_a_budget_names_the_flag_and_the_next_run(person: Person) -> None:
    """Who gave --max-units is not told of a key of the configuration alone, and knows that nothing is lost."""
    done = person.run("backup", "natgeo", "--max-units", "2", "--archive", "kept")
    assert done.code == 5
    assert "--max-units or budget.max_units_per_run = 2" in done.err
    assert "the next run goes on where this one stopped" in done.err


def test_status_says_how_to_list_the_open_failures(person: Person, upstream: StandIn) -> None:
    """The command that it names works as printed, and the last success has no microseconds."""
    upstream.faults.add(actions.respond(404), listener="cdn", role="video", count=1)
    assert person.run("backup", "natgeo", "--archive", "kept").code == 3
    line = next(x for x in person.run("status", "--archive", "kept").out.splitlines() if "open f" in x)
    program, *words = line[line.index("(") + 1 : line.rindex(")")].split()
    assert program == "archiver"
    (gap,) = json.loads(person.run(*words, "--json", "--archive", "kept").out)["gaps"]
    assert (gap["reason"], gap["role"]) == ("not_found", "video")
    assert person.run("backup", "natgeo", "--archive", "kept").code == 0
    assert ":" in (text := person.run("status", "--archive", "kept").out.split("last success")[1])
    assert text.splitlines()[0].endswith(" UTC")
    assert "." not in text.splitlines()[0]


def test_plan_explains_its_plus_on_a_terminal(person: Person) -> None:
    """The legend stands under the table, and not in a pipe."""
    assert person.run("backup", "natgeo", "--archive", "kept").code == 0
    code, text = on_terminal(person, "plan", "natgeo", "--archive", "kept", stream="stdout")
    assert (code, text.splitlines()[-1]) == (
        0,
        "+: at least; only the tray, which costs units, tells more",
    )
    assert "at least" not in person.run("plan", "natgeo", "--archive", "kept").out


def test_a_terminal_is_asked_for_targets(person: Person) -> None:
    """``backup -`` typed by a person says what it waits for."""
    ours, theirs = os.openpty()
    process = person.start("backup", "-", "--archive", "kept", stdin=theirs)
    os.close(theirs)
    os.write(ours, b"natgeo\n\x04")
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert err.startswith("targets, one a line; end with Ctrl-D\n1 account, ")
