"""The page of commands is the help of the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_commands_is_the_help_of_every_command() -> None:
    """docs/commands.md is what scripts/commands.py makes of the help."""
    check = [sys.executable, str(ROOT / "scripts" / "commands.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
