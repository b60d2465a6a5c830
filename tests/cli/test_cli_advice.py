"""The advice that the program prints is correct and works as printed."""

from __future__ import annotations

import ast
import os
import re
import shlex
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import advice, backup_command
from archiver.cli.commands import COMMANDS
from archiver.config import account_list, load
from archiver.errors import Reason
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.target import parse_target
from archiver.runner.tally import Summary
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, InProcessUser, on_terminal, write_config
from tests.support.forked_commands import shared_commands
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> CommandLineUser:
    """A user whose environment points to the stand-in and to no archive."""
    return InProcessUser(tmp_path, upstream, {"ARCHIVER_ARCHIVE": ""})


def test_init_writes_the_directory_that_it_was_given(person: CommandLineUser) -> None:
    """--archive becomes a line with the absolute path, so that later runs need no --archive."""
    done = person.run("init", "--config", "c.toml", "--archive", 'my "own" archive')
    assert done.code == 0, done.err
    directory = person.home / 'my "own" archive'
    text = (person.home / "c.toml").read_text()
    assert tomllib.loads(text)["archive"]["directory"] == str(directory)
    assert "# directory = " not in text
    assert person.run("status", "--config", "c.toml").code == 0
    assert (directory / "archive.db").exists()
    assert not (person.home / "archive").exists()


def test_the_default_archive_is_in_the_data_directory(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """``init`` makes the archive there. If there is only one beside the configuration, as it was before,
    every command that would use the default ends with 10, and prints a command that moves it.
    """
    assert person.run("init").code == 0
    new, former = person.home / ".local/share/archiver/archive", person.home / "config/archiver/archive"
    assert (new / "archive.db").exists()
    assert person.run("status").code == 0
    new.rename(former)
    refused = [
        person.run(*args) for args in (["init"], ["status"], ["run"], ["backup", "natgeo"], ["db", "upgrade"])
    ]
    assert {done.code for done in refused} == {10}
    (advised,) = {done.err.partition("(")[2].partition(";")[0] for done in refused}
    assert not new.exists()
    assert upstream.requests.api_calls() == []
    assert person.run("status", "--archive", str(former)).code == 0
    subprocess.run(["sh", "-c", advised], check=True)
    assert person.run("status").code == 0
    assert (new / "archive.db").exists()


def test_a_demo_never_becomes_the_archive_of_every_night(person: CommandLineUser) -> None:
    """Where there is no configuration, the ``init`` that a run advises does not name a demo archive."""
    assert person.run("demo", "-q").code == 0
    done = person.run("run", "--archive", "archiver-demo")
    assert (done.code, "archiver init writes one" in done.err) == (2, True)
    assert person.run("init", "--archive", "mine", "--config", "mine.toml").code == 0
    assert "--archive mine init" in person.run("run", "--archive", "mine").err


def test_init_makes_no_stray_archive(person: CommandLineUser) -> None:
    """If the configuration names another archive, ``init`` refuses, names both, and makes nothing."""
    assert person.run("init", "--config", "c.toml", "--archive", "first").code == 0
    done = person.run("init", "--config", "c.toml", "--archive", "second")
    assert done.code == 2
    for path in ("c.toml", "first", "second"):
        assert str(person.home / path) in done.err
    assert not (person.home / "second").exists()
    assert person.run("init", "--config", "c.toml", "--archive", "first").code == 0
    again = person.run("init", "--config", "c.toml")
    assert f"kept the existing archive {person.home / 'first'}" in again.err


def test_init_leaves_no_configuration_for_a_place_that_cannot_be_used(person: CommandLineUser) -> None:
    """A second ``init`` with a better directory finds no configuration that names the first."""
    (person.home / "photos").mkdir()
    (person.home / "photos" / "mine.jpg").touch()
    assert person.run("init", "--config", "c.toml", "--archive", "photos").code == 8
    assert person.run("init", "--config", "c.toml", "--archive", "better").code == 0


def test_init_advises_a_key_file_and_a_crontab_that_work(person: CommandLineUser, whole: bool) -> None:
    """As printed, they make a key file that others cannot read, and a crontab line without the key."""
    text = person.run("init", "--config", "c.toml", "--archive", "kept").err
    assert "(HIKERAPI_TOKEN is set in this shell, but cron does not know it)" in text
    write = next(line for line in text.splitlines() if "umask" in line).split("2. ")[1].split("    ")[0]
    subprocess.run(["sh", "-c", write], input="key\n", text=True, check=True)
    token = person.home / "hikerapi.token"
    assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("key\n", 0o600)
    assert f'token_file = "{token.name}"' in text
    assert person.run("add", "natgeo", "--config", "c.toml").code == 0
    cron = next(line for line in text.splitlines() if " 17 3 * * * " in line).split(" * * * ")[1]
    program, *words = shlex.split(cron)
    assert (Path(program).name, person.run(*words).code) == ("archiver", 0)
    if whole:
        done = subprocess.run(
            ["sh", "-c", cron], env=person.environ, cwd="/", capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_fault_h44_the_program_is_named_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named by its absolute path, not another one in PATH; cron needs percent signs escaped."""
    for name in ("50% mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "archiver").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["50% mine/archiver", "init"])
    assert advice.program_path() == advice.program_name() == f"'{tmp_path}/50% mine/archiver'"
    assert advice.cron_line() == rf"17 3 * * * '{tmp_path}/50\% mine/archiver' run"
    monkeypatch.setenv("PATH", str(tmp_path / "50% mine"))
    assert advice.program_name() == "archiver"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_path_can_stand_in_the_configuration(text: str) -> None:
    """A text written as TOML is read back unchanged."""
    assert tomllib.loads(f"x = {account_list.toml_value(text)}") == {"x": text}


def test_backup_on_a_terminal_says_where_it_is_and_how_to_go_on(person: CommandLineUser) -> None:
    """It names the archive and entries for what exists; a missing name is shown live and in the report."""
    link = "https://www.instagram.com/stories/highlights/18018069326790931/"
    code, text = on_terminal(
        person, "backup", "natgeo", "nobody.xyz", "75885841119", link, "--archive", "a b"
    )
    assert code == 3  # one of the names does not exist
    assert f"archive: {person.home / 'a b'}\n" in text
    advised = text[text.index("to archive this") :]
    assert f"init --archive '{person.home / 'a b'}'" in advised
    assert 'username = "natgeo"' in advised
    assert 'user_id = "75885841119"' in advised
    assert f'target = "{link}"' in advised
    assert "nobody.xyz" not in advised
    assert text.count("nobody.xyz") == 2
    assert "tried again in later runs" not in text


def test_fault_h43_the_advice_of_backup_makes_a_configuration_that_works(person: CommandLineUser) -> None:
    """After the first backup, the printed command and entries archive the same accounts every night.

    A later backup does not print them, nor does a backup beside a configuration.
    """
    code, text = on_terminal(person, "backup", "natgeo", "75885841119", "--archive", "a b")
    command, where, *entries = text[text.index("to archive this") :].splitlines()
    assert code == 0
    assert "to archive this" not in on_terminal(person, "backup", "natgeo", "--archive", "a b")[1]
    shell = command.partition(": ")[2]
    done = subprocess.run(["sh", "-c", shell], env=person.environ, cwd="/", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    config = person.home / "config" / "archiver" / "config.toml"
    assert where == f"then add to {config}:"
    written = config.read_text() + "\n".join(entries)
    config.write_text(written)
    found = load(config, {})
    assert [t.username or t.user_pk for t in found.accounts] == ["natgeo", "75885841119"]
    assert found.archive.directory == person.home / "a b"
    assert "to archive this" not in on_terminal(person, "backup", "natgeo", "--archive", "another")[1]
    assert config.read_text() == written


def test_backup_says_what_it_did_where_nobody_reads(person: CommandLineUser) -> None:
    """Off a terminal, a successful backup prints two lines, none with -q, and no advice."""
    done = person.run("backup", "natgeo", "--archive", "kept")
    told = "1 account, 3 of 3 highlights read, 5 units spent\nnew: 33 items, 49 files, 491.2 kB\n"
    assert (done.code, done.out, done.err) == (0, "", told)
    again = person.run("backup", "natgeo", "--archive", "kept", "-q")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_what_is_missing_is_not_advised() -> None:
    """A target that failed is left out; one of which only a file failed is not."""
    targets = [parse_target(text) for text in ("natgeo", "nobody.xyz", "787132")]
    failures = (
        Failure(Subject.TARGET, "nobody.xyz", None, Reason.GONE, ""),
        Failure(Subject.ITEM, "787132", Role.VIDEO, Reason.NETWORK, ""),
    )
    summary = Summary(1, "backup", failures=failures)
    assert backup_command.existing_targets(targets, summary) == [targets[0], targets[2]]


@pytest.mark.whole
def test_fault_e7_cron_is_told_of_a_missing_name(person: CommandLineUser) -> None:
    """One line names it and says what to do, with -q too, whenever the API was asked. During its back-off the
    run succeeds; ``--json`` and ``status`` name it."""
    config = write_config(person.home / "c.toml", ["natgeo", "nobody.xyz"])
    assert person.run("init", "-q", "--config", str(config)).code == 0
    what = "nobody.xyz: no account has this name: correct or remove it"
    for number in range(1, 5):
        done = person.run("run", "-q", "--json", "--config", str(config))
        asked = number < 4
        assert (done.code, done.object["units"]) == (3 if asked else 0, [0, 5 + 2, 1 + 1, 1 + 1, 1][number])
        lines = [line for line in done.err.splitlines() if "nobody.xyz" in line]
        assert lines == ([f"  {what}"] if asked else [])
        failures, missing = done.object["failures"], done.object["missing_targets"]
        assert isinstance(failures, list)
        assert isinstance(missing, list)
        assert [(f["subject_pk"], f["reason"]) for f in failures] == [("nobody.xyz", "gone")] * asked
        assert [m["target"] for m in missing] == ["nobody.xyz"] * (not asked)
    status = person.run("status", "--config", str(config))
    assert "does not exist: correct or remove it" in status.out
    assert "999: no account has this id: correct or remove it\n" in person.run("backup", "999").err


def test_a_rejected_key_names_the_file_that_it_came_from(person: CommandLineUser) -> None:
    """A run and the balance name the token_file; HIKERAPI_TOKEN is named if the key came from there."""
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


@pytest.mark.whole
def test_verify_says_where_the_damage_is_and_how_it_heals(person: CommandLineUser) -> None:
    """It names the path; --repair, as advised, moves the bytes to quarantine and fetches the file again."""
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


def test_a_budget_names_the_flag_and_the_next_run(person: CommandLineUser) -> None:
    """The message names --max-units or the setting, whichever was used, and no path of the API, and says that
    the next run continues.
    """
    done = person.run("backup", "natgeo", "--max-units", "2", "--archive", "kept")
    assert done.code == 5
    assert "backup: --max-units 2 is reached (run again to continue where this run stopped" in done.err
    done = person.run("backup", "natgeo", "--max-units", "0", "--archive", "kept")
    assert "backup: --max-units 0 is reached (raise the limit)" in done.err
    person.more["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    done = person.run("backup", "natgeo", "--max-units", "2", "--archive", "kept")
    assert "backup: budget.max_units_per_run = 1 is reached (run again" in done.err


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessUser]:
    """A user whose configuration names a missing archive, and who has another one in ``my kept``.

    That one lacks a video, for which the CDN answered 404, and the bytes of a cover.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    with FaultyStandIn(EditableWorld.seed()) as upstream:
        person = InProcessUser(home, upstream, {"ARCHIVER_ARCHIVE": ""})
        config = home / "config" / "archiver" / "config.toml"
        config.parent.mkdir(parents=True)
        write_config(config, ["salwaaa_ki"])
        upstream.faults.add(actions.respond(404), listener="cdn", role="video")
        assert person.run("backup", "natgeo", "--archive", "my kept").code == 3
        with closing(sqlite3.connect(home / "my kept" / "archive.db")) as rows:
            (sha256,) = rows.execute("SELECT sha256 FROM files WHERE role = 'cover'").fetchone()
        (home / "my kept" / "blobs" / sha256[:2] / sha256).unlink()
        yield person


def commands_in(text: str) -> list[str]:
    """Return each command of this program in ``text``, without the words around it."""
    named = re.findall(r"(?<![\w/])archiver ((?:'[^']*'|\"[^\"]*\"|[^()\n;:'\"]|:(?=\S))+)", text)
    return [re.split(r" (?:lists|shows|finds|records|writes|makes)\b", words)[0].strip() for words in named]


@pytest.mark.parametrize(
    ("asked", "advised", "brings"),
    [
        ("status", "{} gaps", "not_found"),
        ("show natgeo", "{} gaps natgeo", "not_found"),
        pytest.param("show nobody", "{} accounts", "natgeo", marks=pytest.mark.whole),
        pytest.param(
            "show item:99", '{} query "SELECT pk, code FROM items"', "code", marks=pytest.mark.whole
        ),
        ("search 'gift guide'", "{} show highlight:17983616051768088", "Gift Guide"),
        pytest.param("search 787132", "{} show 787132", "natgeo", marks=pytest.mark.whole),
        ("search natgeo yosemite", "{} search --account natgeo yosemite", ""),
        pytest.param("search gift -shop", "search {} gift -- -shop", "Gift Guide", marks=pytest.mark.whole),
        pytest.param("search -- -gift", "{} search -- shop -sale", "", marks=pytest.mark.whole),
        pytest.param(
            "query 'SELECT nonsense'", "{} query --schema", "account_items", marks=pytest.mark.whole
        ),
        ("export folder ./tree", "{} verify --repair", "missing"),
    ],
)
def test_fault_h44_a_printed_command_is_about_the_same_archive(
    elsewhere: InProcessUser, asked: str, advised: str, brings: str
) -> None:
    """As printed, it reads the archive of ``--archive``, not that of the configuration."""
    command, *words = shlex.split(asked)
    done = elsewhere.run(command, "--archive", "my kept", *words)
    printed = advised.format("--archive 'my kept'")
    assert printed in commands_in(done.out + done.err)
    ended = elsewhere.run(*shlex.split(printed))
    assert ended.code in (0, 3)
    assert brings in ended.out


def test_fault_h44_init_makes_the_archive_that_a_command_missed(person: CommandLineUser) -> None:
    """If the configuration names another archive, the printed ``init`` names a new configuration, and works.

    So does what a refused ``init`` prints. The next command then finds the archive.
    """
    config = person.home / "config" / "archiver" / "config.toml"
    config.parent.mkdir(parents=True)
    write_config(config, ["natgeo"])
    for words in (["status", "--archive", "my own"], ["init", "--archive", "second"]):
        done = person.run(*words)
        assert done.code in (10, 2)
        (printed,) = commands_in(done.err)
        assert person.run(*shlex.split(printed)).code == 0, printed
        assert person.run("status", "--archive", words[-1]).code == 0
    names = ["config.toml", "my own.toml", "second.toml"]
    assert sorted(path.name for path in config.parent.iterdir()) == names


@pytest.mark.whole
def test_fault_h44_a_program_that_no_shell_finds_is_printed_with_its_path(tmp_path: Path) -> None:
    """As after ``scripts/demo``, which adds nothing to PATH."""
    person = CommandLineUser(tmp_path, None, {"ARCHIVER_ARCHIVE": "", "PATH": "/usr/bin:/bin"})
    err = person.run("status", "--archive", "my own").err
    printed = err.partition("create one: ")[2].rstrip(")\n")
    assert printed.endswith("archiver --archive 'my own' init")
    subprocess.run(["sh", "-c", printed], cwd=tmp_path, env=person.environ, capture_output=True, check=True)
    assert person.run("status", "--archive", "my own").code == 0


@pytest.mark.whole
def test_fault_h44_a_report_names_the_archive_by_its_whole_path(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """Its reader may be in another directory than the run was."""
    upstream.faults.add(actions.respond(404), listener="cdn", count=99)
    config = write_config(person.home / "c.toml", ["natgeo"])
    config.write_text('archive.directory = "kept"\n' + config.read_text())
    assert person.run("init", "-q", "--config", "c.toml").code == 0
    (printed,) = commands_in(person.run("run", "--config", "c.toml").err)
    assert printed == f"--config {config} gaps"
    assert "not_found" in person.run(*shlex.split(printed)).out


def test_a_new_configuration_pays_for_nobody(person: CommandLineUser) -> None:
    """Its examples are comments. A run says how to list an account, and ``add`` lists that one only."""
    person.run("init", "--config", "c.toml")
    done = person.run("run", "--config", "c.toml")
    hint = "archiver --config c.toml add NAME adds one"
    assert (done.code, done.err) == (2, f"archiver: run: no account is listed ({hint})\n")
    assert person.run("add", "--config", "c.toml", "nasa").code == 0
    assert [target.username for target in load(person.home / "c.toml", {}).accounts] == ["nasa"]


def test_init_asks_for_no_key_that_is_there(person: CommandLineUser) -> None:
    """If the configuration has a ``token_file``, the only step is to write that file, if it is missing."""
    config = write_config(person.home / "c.toml", ["natgeo"])
    config.write_text('api.token_file = "my key"\n' + config.read_text())
    first = person.run("init", "--config", "c.toml").err
    assert "token_file =" not in first
    (write,) = re.findall(r"2\. (\(umask .*\))", first)
    subprocess.run(["sh", "-c", write], input="key\n", text=True, check=True)
    assert (person.home / "my key").read_text() == "key\n"
    (person.home / "list.txt").write_text("natgeo\n")
    config.write_text(f'sync.accounts_file = "list.txt"\n{config.read_text()}')
    again = person.run("init", "--config", "c.toml").err
    assert f"  1. list your accounts in {person.home / 'list.txt'}, or with" in again
    assert "umask" not in again
    assert "  2. archiver plan --config " in again


def test_a_path_is_one_word_of_a_shell() -> None:
    """That holds for any path; nothing printed contains what a terminal obeys or cannot show."""
    for path in (
        b"a b",
        b"it's $HOME",
        b"\x1b[2J\n'\\",
        "北京 🦋".encode(),
        b"\xff\xfe",
        "a\u202eb".encode(),
    ):
        text = os.fsdecode(path)
        word = advice.quote(text)
        assert word.isprintable()
        done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
        assert done.stdout == path


def test_no_text_of_the_command_line_names_a_command_without_its_archive() -> None:
    """Commands in messages come from ``advice.command_line``; hints are completed when printed."""
    package = Path(advice.__file__).parent
    bare = re.compile(rf"(?<!no )\barchiver (?:{'|'.join(COMMANDS)})\b(?!:)")
    found = [
        f"{path.name}:{node.lineno}: {node.value}"
        for path in package.glob("*.py")
        for node in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node.value, str) and bare.search(node.value)
    ]
    assert found == []


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the constants of ``tree`` that are neither docstrings nor part of an error."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant):
            yield node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        elif not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")):
            yield from _texts(node)


def test_plan_explains_its_plus(person: CommandLineUser, archive_copies: ArchiveCopies) -> None:
    """A line on stderr says what "+" means, with a command that works, and with a price the total in money;
    the table on stdout is for programs.
    """
    archive_copies.backed_up(person, "natgeo", to=person.home / "kept")
    person.more["ARCHIVER_BUDGET_PRICE_PER_1000"] = "600 EUR"
    done = person.run("plan", "natgeo", "--archive", "kept")
    assert done.err.splitlines() == [
        "+: at least this; only the list of highlights shows what is new or changed, and a run reads it first"
        " (archiver --archive kept plan --list natgeo reads it now, for at least 1 unit an account)",
        "price: 0.60 EUR or more, at 600 EUR for 1,000 units",
    ]
    assert "at least" not in done.out
    costs, status = (person.run(name, "--archive", "kept") for name in ("costs", "status"))
    assert costs.out.splitlines()[-1].split() == ["total", "5", "3.00", "EUR", "4"]
    assert "their price    3.00 EUR, including " in status.out
    in_json = [
        person.run(*words, "--archive", "kept", "--json").object for words in (("costs",), ("plan", "natgeo"))
    ]
    assert [one["price"] for one in in_json] == [3.0, 0.6]


def test_a_terminal_is_asked_for_targets(person: CommandLineUser) -> None:
    """On a terminal, ``backup -`` says that it waits for targets."""
    ours, theirs = os.openpty()
    commands, words = shared_commands(), ("backup", "-", "--archive", "kept")
    pid = commands.begin(person.environ, *words, cwd=person.home, stdin=os.ttyname(theirs))
    os.close(theirs)
    os.write(ours, b"natgeo\n\x04")
    ended = commands.end(pid)
    os.close(ours)
    assert ended.code == 0
    assert ended.err.startswith("targets, one a line; end with Ctrl-D\n1 account, ")
