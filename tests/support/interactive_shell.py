"""bash, zsh and fish with a terminal, into which a test types, and what the line becomes."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

_PATIENCE = 30.0
_STUB = "archiver() {{ printf '%s\\0' \"$@\" > {done}.part && mv {done}.part {done}; }}\n"
_BASH = (
    "{script}\n" + _STUB + "set -o history -o histexpand\nbind 'set enable-bracketed-paste off'\n"
    """dump() {{ printf %s "$READLINE_LINE" > {line}.part && mv {line}.part {line}; }}\n"""
    """bind -x '"\\C-o": dump'\nPS1='ready> ' PS2='more> '\n"""
)
_ZSH = (
    "autoload -Uz compinit; compinit -u -D\n{script}\n" + _STUB + "setopt banghist\n"
    "dump() {{ print -rn -- $BUFFER > {line}.part && mv {line}.part {line} }}\n"
    "zle -N dump; bindkey '^O' dump\nPS1='ready> '\n"
)
_FISH = (
    "{script}\n"
    "function archiver; printf '%s\\0' $argv > {done}.part; and mv {done}.part {done}; end\n"
    "function dump; commandline > {line}.part; and mv {line}.part {line}; end\n"
    "bind ctrl-o dump\nfunction fish_prompt; echo -n 'ready> '; end\nset fish_greeting\n"
    "set -g fish_autosuggestion_enabled 0\n"
)


def require_program(name: str) -> str:
    """Return the path of a program. Without it, a test fails on Linux and is skipped elsewhere."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is missing: scripts/test installs it as root, or says how to"
        (pytest.fail if sys.platform == "linux" else pytest.skip)(message)
    assert path is not None
    return path


class InteractiveShell:
    """A shell that has loaded a completion ``script``. ``archiver`` only records its arguments."""

    def __init__(self, name: str, home: Path, script: str, environ: Mapping[str, str]) -> None:
        path = require_program(name)
        self._line, self._done = home / "line", home / "done"
        cwd = home / "cwd"
        for directory in (home, cwd, home / "config" / "fish"):
            directory.mkdir(parents=True, exist_ok=True)
        settings = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[name]
        text = settings.format(script=script, line=self._line, done=self._done)
        for file in (".rc", ".zshrc", "config/fish/config.fish"):
            (home / file).write_text(text)
        arguments = {"bash": ["--noprofile", "--rcfile", f"{home}/.rc"], "zsh": ["-d"], "fish": []}[name]
        own = {
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "TERM": "xterm" if name != "fish" else "dumb",
        }
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            os.execve(path, [name, *arguments, "-i"], {**environ, **own})
        self.cwd = cwd
        self.shown = b""
        self._wait_for(lambda: b"ready> " in self.shown)

    def complete(self, typed: str) -> str:
        """Type a line and Tab; return what the line has become."""
        self._line.unlink(missing_ok=True)
        self._type(f"{typed}\t\x0f")
        self._wait_for(self._line.exists)
        return self._line.read_text().removesuffix("\n")

    def enter(self) -> list[str]:
        """Press Enter; return the arguments that ``archiver`` gets."""
        self._done.unlink(missing_ok=True)
        self.shown = b""
        self._type("\r")
        self._wait_for(lambda: self._done.exists() and b"ready> " in self.shown)
        return self._done.read_text().split("\0")[:-1]

    def end_line(self) -> None:
        """Press Enter; while the shell waits for more, close what may be open, or give the line up."""
        while select.select([self._terminal], [], [], 0.03)[0]:  # the line, as it is shown again
            os.read(self._terminal, 65_536)
        for keys in ("\r", ")\r", "}\r", '"\r', ")\r", "'\r", "`\r", "\x03"):
            self.shown = b""
            self._type(keys)
            self._wait_for(lambda: self.shown.endswith((b"\nready> ", b"\nmore> ")))
            if self.shown.endswith(b"\nready> "):
                return

    def clear(self) -> None:
        """Discard the line."""
        self._type("\x15")

    def close(self) -> None:
        """End the shell."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def _type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, self.shown.decode(errors="replace")[-2000:]
            if select.select([self._terminal], [], [], 0.01)[0]:
                self.shown += os.read(self._terminal, 65_536)
