"""The command line against a stand-in for upstream: in a process of its own, or in this one where many calls
must be fast.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import archiver
from archiver.cli import main as front
from tests.support import leak_detector
from tests.support.forked_commands import needs_own_interpreter, shared_commands
from tests.support.standin.faulty_standin import FaultyStandIn

_ROOT = Path(archiver.__file__).parent.parent
_EXEC = 'exec "$@"'


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a process ended: its code (negative for a signal), and what it wrote."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        leak_detector.note_output(self.out, self.err)

    @property
    def object(self) -> dict[str, object]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(slots=True)
class CommandLineUser:
    """A user with a home directory ``home``, whose environment points to ``upstream`` if there is one."""

    home: Path
    upstream: FaultyStandIn | None = None
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        leak_detector.watch_archive(self.home, lambda: self.environ.get("HIKERAPI_TOKEN", ""))

    @property
    def archive(self) -> Path:
        """Where the archive is, by ARCHIVER_ARCHIVE."""
        return self.home / "kept"

    @property
    def environ(self) -> dict[str, str]:
        """The whole environment. Of the environment of the tests only the path to Python is inherited."""
        inherited = {
            name: os.environ[name]
            for name in ("PATH", "PYTHONPATH", "COVERAGE_PROCESS_START")
            if name in os.environ
        }
        path = os.pathsep.join(p for p in (str(_ROOT), inherited.get("PYTHONPATH", "")) if p)
        environ = inherited | {
            "PYTHONPATH": path,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "LC_ALL": "C.UTF-8",
            "ARCHIVER_ARCHIVE": str(self.archive),
            "ARCHIVER_ARCHIVE_RESERVE": "0",
        }
        return environ | upstream_environ(self.upstream) | self.more

    @property
    def in_process(self) -> InProcessUser:
        """The same user, for commands that need no process of their own."""
        return InProcessUser(self.home, self.upstream, self.more)

    def list_accounts(self, *accounts: str) -> Path:
        """Write a configuration with these accounts, which the environment names; return its path."""
        config = write_config(self.home / "config.toml", accounts)
        self.more["ARCHIVER_CONFIG"] = str(config)
        return config

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Let this process have the user's environment and home."""
        patch.delenv("ARCHIVER_CONFIG", raising=False)
        for name, value in self.environ.items():
            patch.setenv(name, value)
        patch.chdir(self.home)

    def start(
        self,
        *args: str,
        shell: str = _EXEC,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """``archiver ARGS`` as a process of its own, in their home; ``shell`` is what sh makes of it."""
        return subprocess.Popen(
            ["sh", "-c", shell, "sh", sys.executable, "-W", "error", "-m", "archiver", *args],
            cwd=self.home,
            env=self.environ,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
        )

    def run(self, *args: str, shell: str = _EXEC, stdin: str | None = None) -> CommandResult:
        """``archiver ARGS`` to its end.

        Forked, unless a shell or the environment has to do with how the process starts.
        """
        environ = self.environ
        if shell != _EXEC or needs_own_interpreter(environ):
            with self.start(
                *args, shell=shell, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL
            ) as process:
                out, err = process.communicate(stdin, timeout=60)
            return CommandResult(process.returncode, out, err)
        commands = shared_commands()
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as typed:
            typed.write(stdin or "")
            typed.flush()
            given = typed.name if stdin is not None else os.devnull
            ended = commands.end(commands.begin(environ, *args, cwd=self.home, stdin=given))
        return CommandResult(ended.code, ended.out, ended.err)


class InProcessUser(CommandLineUser):
    """A user whose commands run in this process, in a tenth of the time of a process of its own."""

    def run(self, *args: str, shell: str = "", stdin: str | None = None) -> CommandResult:
        """``archiver ARGS`` to its end, with this person's environment and nothing else."""
        assert not shell
        assert stdin is None
        before, theirs, out, err = dict(os.environ), self.environ, _Stream(), _Stream()
        os.environ.clear()
        os.environ.update(theirs)
        try:
            with chdir(self.home), redirect_stdout(out), redirect_stderr(err):
                code = front.main(args)
        finally:
            os.environ.clear()
            os.environ.update(before)
        return CommandResult(code, out.text, err.text)


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def on_terminal(
    person: CommandLineUser,
    *args: str,
    stream: str = "stderr",
    columns: int = 120,
    typed: str | None = None,
) -> tuple[int, str]:
    """Run ``archiver ARGS`` with one stream on a terminal, and return its code and what the terminal
    shows. With ``typed``, stdin is on it too, and somebody has typed that.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    commands = shared_commands()
    streams = {"stdout": os.devnull, "stderr": os.devnull, stream: os.ttyname(theirs)}
    if typed is not None:
        streams["stdin"] = os.ttyname(theirs)
        os.write(ours, typed.encode())
    pid = commands.begin(person.environ, *args, cwd=person.home, **streams)
    os.close(theirs)
    seen = b""
    while piece := _read(ours):
        seen += piece
    os.close(ours)
    leak_detector.note_output(seen.decode())
    return commands.end(pid).code, seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux: the other side has closed it
        return b""


def upstream_environ(upstream: FaultyStandIn | None) -> dict[str, str]:
    """Return the environment that points the program to a stand-in."""
    if upstream is None:
        return {}
    return {
        "HIKERAPI_TOKEN": upstream.key,
        "ARCHIVER_API_BASE_URL": upstream.base_url,
        "ARCHIVER_API_REQUESTS_PER_SECOND": "100",
        "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
    }


def write_config(path: Path, accounts: Sequence[str]) -> Path:
    """Write a configuration with these accounts, mode 0600."""
    path.write_text("".join(f'[[accounts]]\ntarget = "{account}"\n' for account in accounts))
    path.chmod(0o600)
    return path


def files_of(root: Path) -> dict[str, int]:
    """Return every regular file below ``root`` with its size."""
    return {str(p.relative_to(root)): p.stat().st_size for p in sorted(root.rglob("*")) if p.is_file()}
