"""The program as a process: signals, pipes and terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archiver.cli.signals import stop_on_signal
from archiver.work import StopFlag
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, CommandResult, on_terminal
from tests.support.forked_commands import shared_commands
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> CommandLineUser:
    """A user whose environment points to the stand-in."""
    return CommandLineUser(tmp_path, upstream)


@pytest.fixture
def kept(person: CommandLineUser, archive_copies: ArchiveCopies) -> CommandLineUser:
    """The same user after ``backup salwaaa_ki``."""
    archive_copies.backed_up(person, "salwaaa_ki")
    return person


def _signalled(
    person: CommandLineUser, upstream: FaultyStandIn, signum: int, *args: str, shell: str = 'exec "$@"'
) -> CommandResult:
    """Return a process that gets the signal while it downloads its fifth file."""
    process = person.start(*args, shell=shell)
    upstream.faults.add(None, listener="cdn", nth=5, before=lambda _: process.send_signal(signum))
    out, err = process.communicate(timeout=60)
    return CommandResult(process.returncode, out, err)


@pytest.mark.whole
def test_fault_h6_nohup_is_respected(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """A SIGHUP that was ignored when the program began does not stop it."""
    ended = _signalled(person, upstream, signal.SIGHUP, "backup", "natgeo", shell='trap "" HUP; exec "$@"')
    assert ended.code == 0


def test_fault_h6_a_hang_up_that_was_ignored_stays_ignored() -> None:
    """As below, within this process: every day. Any other is a request to end."""
    stop, before = StopFlag(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal(stop, quiet=True):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.cause is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.whole
def test_a_long_query_dies_of_its_signal(kept: CommandLineUser) -> None:
    """SIGINT ends a query at once, and is not shown as a failed query."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    process = kept.start("query", endless, "--timeout", "30")
    time.sleep(1)  # nothing outside tells that SQLite is at work
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (-signal.SIGINT, "")
    assert "took longer" not in err


def test_fault_h6_a_reader_that_goes_away_ends_it_quietly(kept: CommandLineUser) -> None:
    """``archiver query ... | head`` dies of SIGPIPE and prints nothing on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    process = kept.start("query", "SELECT * FROM items", stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGPIPE, "")


@pytest.mark.whole
@pytest.mark.parametrize("form", ["csv", pytest.param("ndjson", marks=pytest.mark.whole)])
def test_rows_come_as_they_are_read(kept: CommandLineUser, form: str) -> None:
    """An endless query piped to ``head`` prints its first rows at once, then dies of SIGPIPE."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    with kept.start("query", endless, "--format", form, "--timeout", "20") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == {"csv": "x\n", "ndjson": '{"x": 1}\n'}[form]
        process.stdout.close()
        assert (process.stderr.read(), process.wait(20)) == ("", -signal.SIGPIPE)


def test_fault_h6_a_stdout_that_takes_nothing_is_code_8(person: CommandLineUser, whole: bool) -> None:
    """A full disk, or (--whole) a closed descriptor: one line says what failed; the archive is made."""
    if whole:
        closed = person.run("backup", "salwaaa_ki", "--json", "-q", shell='exec "$@" >&-')
        assert (closed.code, len(closed.err.splitlines())) == (8, 1)
        assert "standard output" in closed.err
        told = person.run("run", "--help", shell='exec "$@" >&-')
        assert (told.code, "standard output" in told.err, "bug" in told.err) == (8, True, False)
    commands = shared_commands()
    for words in (
        ["backup", "salwaaa_ki", "--json", "-q"],
        ["status"],
        ["--help"],
        ["run", "--help"],
        ["db", "--help"],
        ["--version"],
    ):
        pid = commands.begin(person.environ, *words, cwd=person.home, stdout="/dev/full")
        full = commands.end(pid)
        assert full.code == 8, words
        assert len(full.err.splitlines()) == 1
        assert "standard output" in full.err
        assert "bug" not in full.err
    assert person.in_process.run("verify").code == 0


def test_a_stderr_that_takes_nothing_stops_nothing(person: CommandLineUser, whole: bool) -> None:
    """Messages that cannot be written change neither the run nor its code."""
    commands = shared_commands()
    words = ("backup", "salwaaa_ki", "-v")
    full = commands.end(commands.begin(person.environ, *words, cwd=person.home, stderr="/dev/full"))
    assert full.code == 0
    if whole:
        assert person.run(*words, shell='exec "$@" 2>&-').code == 0


@pytest.mark.whole
def test_an_ascii_terminal_gets_escapes(kept: CommandLineUser) -> None:
    """Titles with emoji can be printed to a stdout that only knows ASCII."""
    kept.more["PYTHONIOENCODING"] = "ascii"
    asked = "SELECT title FROM highlights"
    assert "me \\U0001f98b" in kept.run("query", asked).out
    assert '"me \\ud83e\\udd8b"' in kept.run("query", asked, "--format", "json").out


def test_a_terminal_sees_progress_and_a_summary(person: CommandLineUser) -> None:
    """A terminal gets a bar, then the report, then how to do the same every night."""
    code, text = on_terminal(person, "backup", "natgeo")
    assert code == 0
    assert "1/1 accounts" in text
    assert "1 account, 3 of 3 highlights read, 5 units spent" in text
    assert "init --archive" in text


def test_an_interrupt_while_modules_are_imported_prints_nothing() -> None:
    """Ctrl-C before the program has begun: death by SIGINT, without a traceback."""
    code = (
        "import os, signal, sys\n"
        "class Interrupter:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'archiver.cli.main':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupter())\n"
        "from archiver.__main__ import main\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_a_narrow_terminal_shows_the_counts(person: CommandLineUser) -> None:
    """In 40 columns accounts, units and files are readable, and no line wraps."""
    code, text = on_terminal(person, "backup", "natgeo", columns=40)
    assert code == 0
    drawn = [piece for piece in re.split("[\r\n]", text) if re.match("[01]/1 accounts", piece)]
    assert any(re.match("1/1 accounts, 5 units, 49 files", piece) for piece in drawn)
    assert max(map(len, drawn)) <= 40


def test_demo_makes_two_nights_and_then_one(person: CommandLineUser) -> None:
    """The second run costs a unit per account and downloads nothing, as does one in a new process.

    A broken configuration and the user's own key are ignored.
    """
    config = person.home / "config" / "archiver" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("this is no TOML")
    person.more["ARCHIVER_API_BASE_URL"] = "https://127.0.0.1:1"
    first = person.run("demo", "there")
    assert first.code == 0, first.err
    assert "second night: 2 units, 0 downloads" in first.err
    assert "archiver status --archive there" in first.err
    again = person.run("demo", "there")
    assert again.code == 0, again.err
    assert "one more night: 2 units, 0 downloads" in again.err
    assert not person.archive.exists()
    config.unlink()
    assert person.in_process.run("verify", "--read-data", "--archive", "there").code == 0


def test_demo_refuses_what_is_no_demo(kept: CommandLineUser) -> None:
    """A real archive and a directory with other files stay unchanged."""
    before = sorted(kept.archive.rglob("*"))
    ended = kept.in_process.run("demo", "kept")
    assert (ended.code, "is not a demo" in ended.err) == (2, True)
    assert sorted(kept.archive.rglob("*")) == before
    (kept.home / "photos").mkdir()
    (kept.home / "photos" / "mine.jpg").touch()
    assert kept.in_process.run("demo", "photos").code == 8
    assert [p.name for p in (kept.home / "photos").iterdir()] == ["mine.jpg"]
