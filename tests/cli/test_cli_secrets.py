"""The key and signed URLs appear in no output and no log, and the key is not visible to other processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import click
import pytest

from archiver import config
from archiver.archive.archive import Archive
from archiver.cli import main as front
from archiver.cli.commands import COMMANDS
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, on_terminal
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, requests_with

Shown = pytest.CaptureFixture[str]


def test_fault_l1_the_loudest_run_shows_neither_key_nor_signature(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """With ``-v --debug --json`` and failing downloads, no output or log has them; the CDN gets no key."""
    upstream.faults.add(actions.respond(500), listener="cdn", count=3)
    upstream.faults.add(actions.respond(404), listener="cdn", role="video")
    assert front.main(["backup", "natgeo", "-v", "--debug", "--json"]) == 3
    shown = capsys.readouterr()
    said = shown.out + shown.err + (person.archive / "log" / "archiver.log").read_text("utf-8")
    assert "the CDN answered 404" in said
    assert upstream.key not in said
    assert not re.search(r"\bo[eh]=|_nc_", said)
    assert requests_with(upstream.requests, upstream.key) == []


@pytest.mark.parametrize("key", ["SEC\nRET", "SEC\u2013RET", "SEC\x1b[2JRET", "SEC RET"])
def test_fault_l2_a_key_that_cannot_be_one_is_refused_unquoted(
    person: CommandLineUser, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch, capsys: Shown, key: str
) -> None:
    """A line break or a typographic dash in it gives code 4 before any call; no part of it is printed."""
    monkeypatch.setenv("HIKERAPI_TOKEN", key)
    assert front.main(["backup", "natgeo", "--debug", "--json"]) == 4
    shown = capsys.readouterr()
    assert "contains an invalid character" in shown.err
    assert "RET" not in shown.out + shown.err
    assert len(upstream.requests) == 0


_MISPLACED = {
    "token_file": '[api]\ntoken_file = "{key}"',
    "a setting": '[api]\n{key} = "x"',
    "a section": "[{key}]",
    "a line": "{key}",
    "an account": '[[accounts]]\nusername = "{key}"',
    "a target": '[[accounts]]\ntarget = "https://www.instagram.com/{key}/"',
    "the path of a list": '[sync]\naccounts_file = "{key}"',
    "a list": '[sync]\naccounts_file = "key file"',
}


@pytest.mark.parametrize("key", ["aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY", "c" * 63 + "1", str(UUID(int=10**38))])
def test_fault_k19_a_key_in_the_wrong_place_is_not_repeated(
    person: CommandLineUser, monkeypatch: pytest.MonkeyPatch, capsys: Shown, key: str
) -> None:
    """Where a setting, a variable, an account or the name of a file belongs. No message quotes it, also with
    ``--debug``, and no advice.
    """
    monkeypatch.delenv("HIKERAPI_TOKEN")
    (person.home / "key file").write_text(f"{key}\n")
    mistaken = person.home / "mistaken.toml"
    for name, text in _MISPLACED.items():
        mistaken.write_text(text.format(key=key))
        for command in (["status"], ["backup", "natgeo"]):
            assert front.main(["--config", str(mistaken), "--debug", *command]) != 0, name
            shown = capsys.readouterr()
            assert key.lower() not in (shown.out + shown.err).lower(), name
    for words in (
        *(["serve", "--token-file", key], ["plan", key], ["add", key], ["--config", key, "status"]),
        *(["show", key], ["serve", "--host", key], ["serve", f"--host={key}"], [key], ["show", f"--{key}"]),
    ):
        assert front.main(["--debug", *words]) != 0
        shown = capsys.readouterr()
        assert key.lower() not in (shown.out + shown.err).lower(), words
    for variable, value in ((f"ARCHIVER_{key}", "1"), ("ARCHIVER_CONFIG", key)):
        monkeypatch.setenv(variable, value)
        front.main(["--debug", "status"])
        assert key not in capsys.readouterr().err


def test_fault_k19_advice_about_a_disk_named_by_its_uuid_works_as_printed(
    person: CommandLineUser, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    """The directories of a path are no key; its last name may be one."""
    monkeypatch.delenv("HIKERAPI_TOKEN")
    disk = person.home / str(UUID(int=10**38))
    disk.mkdir()
    (disk / "token").write_text("aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY")
    (disk / "token").chmod(0o644)
    (disk / "config.toml").write_text('[api]\ntoken_file = "token"')
    front.main(["--config", str(disk / "config.toml"), "plan"])
    assert f"run chmod 600 {disk}/token\n" in capsys.readouterr().err


def test_fault_l2_a_bug_that_quotes_the_request_does_not_show_the_key(
    person: CommandLineUser,
    upstream: FaultyStandIn,
    archive_copies: ArchiveCopies,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shown,
) -> None:
    """An exception with key and URL in its text leaks neither: not in message, traceback or log."""
    archive_copies.backed_up(person, "natgeo")

    def fail(_: Archive) -> None:
        raise RuntimeError(
            f"illegal header b'{upstream.key}' for https://cdn.example/a.jpg?oh=00_Afsignature&oe=1"
        )

    monkeypatch.setattr(Archive, "status", fail)
    assert front.main(["status", "--debug", "--json"]) == 1
    shown = capsys.readouterr()
    log = (person.archive / "log" / "archiver.log").read_text("utf-8")
    for text in (shown.err, shown.out, log):
        assert "illegal header b'***' for https://cdn.example/a.jpg?…" in text
        assert upstream.key not in text
        assert "signature" not in text


def test_fault_l4_the_environment_gives_the_key_up(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown
) -> None:
    """Once the configuration is read, child processes cannot inherit the key."""
    assert os.environ["HIKERAPI_TOKEN"] == upstream.key
    assert front.main(["plan", "natgeo"]) == 10
    assert "HIKERAPI_TOKEN" not in os.environ


@pytest.mark.whole
def test_fault_l4_nobody_reads_the_key_in_a_list_of_processes(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """During a run no argument contains the key, and no child process exists that has it."""
    stall = upstream.faults.add(actions.stall(seconds=60), listener="cdn", count=None)
    process = person.start("backup", "natgeo")
    assert stall.reached.wait(20)
    listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.kill()
    process.communicate(timeout=20)
    assert b"backup" in listed
    assert upstream.key.encode() not in listed
    assert children == ""


def test_fault_l4_no_option_takes_a_key() -> None:
    """Options are visible in the shell's history and to other processes, so a secret is only read from a
    file.
    """
    takes_path = {
        option: isinstance(parameter.type, click.Path)
        for command in _commands(front.cli, click.Context(front.cli))
        for parameter in command.params
        for option in parameter.opts
    }
    assert "--max-units" in takes_path
    secrets = {name for name in takes_path if re.search("key|token|secret|password", name)}
    assert secrets == {"--token-file", "--tls-key"}
    assert all(takes_path[name] for name in secrets)


def _commands(command: click.Command, ctx: click.Context) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from _commands(found, ctx)


@pytest.mark.parametrize(
    "url", ["http://api.example.com", "http://127.0.0.1.example.com", "https://me:pw@api.example.com"]
)
def test_fault_l6_a_key_never_travels_in_the_clear(
    person: CommandLineUser, monkeypatch: pytest.MonkeyPatch, capsys: Shown, url: str
) -> None:
    """http:// to another machine, or a URL with a user, is refused with code 2 and not printed."""
    monkeypatch.setenv("ARCHIVER_API_BASE_URL", url)
    assert front.main(["backup", "natgeo"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("archiver: backup: ARCHIVER_API_BASE_URL cannot be used: expected https://HOST")
    assert "example.com" not in told
    assert not person.archive.exists()


def test_fault_l6_whoever_else_gets_the_key_is_named(
    person: CommandLineUser, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    """Another host than the vendor's is allowed, as for a proxy, and every start prints a note."""
    monkeypatch.setenv("ARCHIVER_API_BASE_URL", "https://api.example.com")
    assert front.main(["status"]) == 10
    assert (
        "archiver: note: the key is sent to api.example.com, which is not the vendor's\n"
        in capsys.readouterr().err
    )
    monkeypatch.setenv("ARCHIVER_API_BASE_URL", "https://api.hikerapi.com")
    assert front.main(["status"]) == 10
    assert "the key is sent" not in capsys.readouterr().err


def test_fault_l8_no_core_is_dumped(tmp_path: Path) -> None:
    """A crash writes no core dump, which would contain the key; the hard limit of the system stays."""
    script = """
import resource
from archiver.cli.main import main
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
main(["--version"])
print(resource.getrlimit(resource.RLIMIT_CORE) == (0, most))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=CommandLineUser(tmp_path).environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "True"


def test_fault_l9_nothing_that_is_advised_puts_the_key_into_a_history(
    person: CommandLineUser, upstream: FaultyStandIn, capsys: Shown, whole: bool
) -> None:
    """No printed command line has a place for the key: help, init, demo, backup, example configuration."""
    said = [config.example()]
    for words in (
        *([name, "--help"] for name in COMMANDS),
        ["--help"],
        ["init"],
        *([["demo", "there"]] if whole else []),
        ["--version"],
    ):
        assert front.main(words) == 0
        shown = capsys.readouterr()
        said += [shown.out, shown.err]
    code, terminal = on_terminal(person, "backup", "salwaaa_ki")
    assert code == 0
    said.append(terminal)
    text = "\n".join(said)
    assert "HIKERAPI_TOKEN" in text
    assert re.findall(r"HIKERAPI_TOKEN=\S*|x-access-key", text) == []
    assert upstream.key not in text
