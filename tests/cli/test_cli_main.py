"""The entry point: help, global options around the command, errors as one line with an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from archiver.cli import export_command
from archiver.cli import main as front
from archiver.cli.commands import COMMANDS, LazyGroup
from archiver.cli.options import GlobalOptions
from archiver.errors import CallFailed, KeyMissing, StoppedBySignal
from tests.support.command_line import CommandLineUser

_HEAVY = (
    "sqlalchemy",
    "alembic",
    "httpx",
    "tqdm",
    "msgspec",
    "warcio",
    "platformdirs",
    "archiver.archive",
    "archiver.config",
)
_LEAVES = [(name,) for name in COMMANDS] + [("db", "upgrade"), ("db", "current"), ("db", "backup")]
_LEAVES += [("export", form) for form in export_command.FORMS]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLineUser:
    """A user without configuration, key or archive."""
    person = CommandLineUser(tmp_path)
    for name in ("HIKERAPI_TOKEN", "ARCHIVER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in person.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return person


def test_help_imports_no_command(tmp_path: Path) -> None:
    """``archiver --help`` imports no command and none of their libraries, so it stays fast."""
    script = f"""
import sys
from contextlib import chdir
from archiver.cli.main import main
try:
    main(["--help"])
finally:
    loaded = [m for m in {_HEAVY!r} if m in sys.modules] + [m for m in sys.modules if m.endswith("_command")]
    print("loaded:", loaded)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=CommandLineUser(tmp_path).environ,
    )
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize("words", _LEAVES, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """--help says what the command does, and where the exit codes are listed."""
    assert front.main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.split("Options:")[0].split()) > 15
    assert "``" not in text
    assert "Exit codes" in text


def test_the_table_of_commands_is_true() -> None:
    """Every name in the table is a command with that name."""
    assert isinstance(front.cli, LazyGroup)
    for name in COMMANDS:
        command = front.cli.get_command(
            front.cli.make_context("archiver", [name], resilient_parsing=True), name
        )
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize("words", [[], ["db"]], ids=["archiver", "db"])
def test_no_arguments_show_the_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the whole help goes to stderr, since stdout is data, and the code is 2."""
    assert front.main(words) == 2
    shown = capsys.readouterr()
    assert "Commands:" in shown.err.splitlines()
    assert "..." not in shown.err.split("Commands:")[1]
    assert max(map(len, shown.err.splitlines())) <= 80
    assert shown.out == ""


@pytest.mark.parametrize(
    "args",
    [
        ["--archive", "elsewhere", "-v", "status"],
        ["status", "--archive", "elsewhere", "-v"],
        ["-v", "status", "--archive", "elsewhere"],
    ],
    ids=" ".join,
)
def test_global_options_stand_on_either_side(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--archive and -v are accepted before and after the command."""
    assert front.main(args) == 10
    text = capsys.readouterr().err
    assert "elsewhere" in text
    assert "[E_NO_ARCHIVE]" in text


def test_an_error_is_one_line_with_a_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """``archiver: <command>: <message> (<hint>)``, with the slug only if -v is given."""
    assert front.main(["status"]) == 10
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("archiver: status: there is no archive at ")
    assert lines[0].endswith("archiver init)")
    assert "E_" not in lines[0]
    assert front.main(["db", "backup"]) == 10
    assert capsys.readouterr().err.startswith("archiver: db backup: there is no archive at ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean run? (see archiver --help)"),
        (["db", "bakup"], "db: there is no command 'bakup'; did you mean backup? (see archiver db --help)"),
        (["run", "--fast"], "run: No such option"),
        (["backup"], "backup: no target is given (name an account, such as natgeo)"),
        (
            ["backup", "not a name"],
            "backup: 'not a name' is not a target: it contains white space or control characters",
        ),
        (["backup", "a" * 3000], "is too long"),
        (["run", "--ful"], "Did you mean '--full' (which spends units)?"),
        (
            ["run", "--max-units", "many"],
            "run: Invalid value for '--max-units': 'many' is not a whole number, 0 or more (see",
        ),
        (["worker", "--concurrency", "65"], "'65' is not a whole number, 1 to 64 (see"),
        (["serve", "--port", "http"], "'http' is not a whole number, 0 to 65,535 (see"),
        (["status", "--max-age", "36 hours"], "status: Invalid value for '--max-age'"),
        (["completion"], "Missing argument 'bash|zsh|fish'. Choose from: bash, zsh, fish (see "),
        (["query"], "query: give the SQL once"),
        (["query", " \n"], "query: the SQL is empty"),
        (
            ["query", "@missing.sql"],
            "query: the SQL file missing.sql cannot be read: No such file or directory",
        ),
        (["run"], "run: there is no configuration at "),
        (
            ["--config", "missing.toml", "run"],
            "missing.toml (the configuration) does not exist (archiver --config missing.toml init writes one",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_code_2(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in the arguments or the configuration is one line, and nothing goes to stdout."""
    assert front.main(args) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    "args",
    [
        ["\x1b]0;owned\x07"],
        ["run", "--\x1b[2J"],
        ["backup", "a\u202eb\n"],
        ["run", "x\x9b"],
        ["db", "\x1b[2J"],
        ["query", "x", "--format", "\x1b]52;c;ZXZpbA==\x07"],
        ["query", "x", "--limit", "1\x9b"],
        ["status", "--max-age", "\r\b3h"],
        ["status", "--config", "\x1b[2J.toml"],
        ["status", "stray\x1b"],
        ["query", "@\x1b[2J.sql"],
    ],
)
def test_fault_x11_control_characters_of_arguments_are_not_obeyed(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments are escaped in messages, which click does not do (its issue 3832)."""
    assert front.main(args) == 2
    text = capsys.readouterr().err
    assert text.removesuffix("\n").isprintable()


@pytest.mark.parametrize("command", ["run", "backup", "plan", "status", "verify"])
@pytest.mark.parametrize("option", ["--nonsense", "--config=missing.toml"])
def test_json_is_one_object_on_failure_too(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails, even the parsing of arguments, --json prints one object with the error."""
    target = ["natgeo"] if command == "backup" else []
    assert front.main([command, "--json", option, *target]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["exit_code"], found["outcome"]) == (2, "usage")
    assert set(found["error"]) == {"slug", "message", "hint"}


def test_a_run_that_never_began_has_all_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """All counts are integers in its object, too."""
    assert front.main(["backup", "natgeo", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    counts = "units api_calls accounts highlights_listed highlights_fetched"
    counts += " items_new files_new bytes_new files_failed"
    assert all(found[name] == 0 for name in counts.split())
    assert found["failures"] == []
    assert found["error"]["slug"] == "E_KEY"


def test_an_account_that_is_not_configured_names_near_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message suggests similar names."""
    (tmp_path / "c.toml").write_text('[[accounts]]\nusername = "natgeo"\n')
    assert front.main(["run", "natgoe", "--config", "c.toml"]) == 2
    assert "natgoe is not in the configuration; did you mean natgeo?" in capsys.readouterr().err


def test_doubts_about_the_configuration_are_told_unless_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown variable gives a note on stderr; with -q only the error is printed."""
    monkeypatch.setenv("ARCHIVER_SYNC_SWEPE_DAYS", "3")
    front.main(["status"])
    assert (
        "archiver: note: unknown environment variable 'ARCHIVER_SYNC_SWEPE_DAYS'" in capsys.readouterr().err
    )
    front.main(["status", "-q"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_debug_shows_where_an_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    """--debug prints the traceback before the same line, with the same code."""
    assert front.main(["status", "--debug"]) == 10
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.splitlines()[-1].startswith("archiver: status: there is no archive")


def test_a_failed_attempt_outside_a_run_means_upstream() -> None:
    """If a failed attempt ends a command, the code is 7."""
    assert CallFailed("no answer", was_sent=True).exit_code == 7
    assert KeyMissing("none").exit_code == 4
    assert StoppedBySignal(15).exit_code == 143


def test_a_bug_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected exception is shown without traceback and without the signature of a URL."""
    given = GlobalOptions(command="run", blank={"units": 0})
    error = RuntimeError("at https://cdn/x.jpg?oh=SIGNATURE \x1b[2J")
    assert front._report_bug(error, given) == 1
    shown = capsys.readouterr()
    assert "SIGNATURE" not in shown.err + shown.out
    assert "\x1b" not in shown.err + shown.out
    assert len(shown.err.splitlines()) == 1
    assert "--debug" in shown.err
    assert "report" not in shown.err  # nobody has said to whom
    assert json.loads(shown.out)["outcome"] == "bug"


def test_version_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    """--version works before and after a command."""
    assert front.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("archiver, version ")
    assert front.main(["run", "--version"]) == 0


def test_an_empty_option_names_no_archive(tmp_path: Path) -> None:
    """An unset variable in a script is not the current directory; an empty one is as if unset."""
    person = CommandLineUser(tmp_path).in_process
    for words in (["--archive", ""], ["--archive="], ["--config", ""]):
        ended = person.run("status", *words)
        assert ended.code == 2
        assert f"{words[0].rstrip('=')}': the path is empty" in ended.err
    assert person.run(*("init", "--archive", "", "--config", "c.toml")).code == 2
    assert not (tmp_path / "c.toml").exists()
    unset = CommandLineUser(
        tmp_path, None, {"ARCHIVER_ARCHIVE": "", "ARCHIVER_ARCHIVE_DIRECTORY": "named"}
    ).in_process
    assert f"no archive at {tmp_path / 'named'}" in unset.run("status").err


def test_a_command_that_a_hint_names_is_of_the_same_archive(tmp_path: Path) -> None:
    """It has the options that name the archive, quoted for a shell, and no others."""
    person = CommandLineUser(tmp_path).in_process
    (tmp_path / "c.toml").write_text('archive.directory = "my photos"\n')
    (tmp_path / "c.toml").chmod(0o600)
    bare = person.run("status").err
    assert "name another directory (--archive DIR), or create one: archiver init)" in bare
    given = person.run("--archive", "my photos", "status", "--config", "c.toml").err
    assert "or create one: archiver --config c.toml --archive 'my photos' init)" in given
    for words in (["show", "natgeo", "--role", "video"], ["nonsense"]):
        assert "--help" in person.run("--archive", "x", *words).err
        assert "--archive" not in person.run("--archive", "x", *words).err


def test_query_points_from_json_to_its_format(tmp_path: Path) -> None:
    """Users of the other commands look for --json first."""
    ended = CommandLineUser(tmp_path).in_process.run("query", "accounts", "--json")
    assert ended.code == 2
    assert "--format json" in ended.err
    assert "--version" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["--archive", "kept", "status"],
        ["--archive", "kept", "backup", "natgeo"],
        ["--config", "some.toml", "run"],
        ["--archive", "kept", "init"],
    ],
)
def test_a_relative_path_from_a_directory_that_is_gone_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a usage error of one sentence, not a bug."""
    gone = tmp_path / "gone"
    gone.mkdir()
    with chdir(gone):
        gone.rmdir()
        assert front.main(words) == 2
    said = "the working directory no longer exists (cd to another, or use absolute paths)\n"
    assert capsys.readouterr().err.endswith(said)
