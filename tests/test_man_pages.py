"""The man pages are made from the help, and roff reads them without a complaint."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.interactive_shell import require_program

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that makes the pages."""
    spec = importlib.util.spec_from_file_location("man_pages", ROOT / "scripts" / "man_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_page_without_faults(script: ModuleType, tmp_path: Path) -> None:
    """Each command of docs/commands.md has a page; mandoc finds no fault but the missing date."""
    mandoc = require_program("mandoc")
    pages = script.write_pages(tmp_path)
    commands = re.findall("^## (.+)$", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert [page.stem for page in pages] == [command.replace(" ", "-") for command in commands]
    done = subprocess.run(
        [mandoc, "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
    assert complaints == []


def test_a_page_shows_the_help(script: ModuleType, tmp_path: Path) -> None:
    """The words of a page are those of the help: usage, description, examples, options and their texts."""
    mandoc = require_program("mandoc")
    script.write_pages(tmp_path)
    for command in ("archiver", "archiver export folder", "archiver query"):
        page = tmp_path / f"{command.replace(' ', '-')}.1"
        show = [mandoc, "-Tutf8", "-O", "width=400", str(page)]
        shown = subprocess.run(show, capture_output=True, text=True, check=True, timeout=60).stdout
        text = (ROOT / "docs" / "commands.md").read_text()
        body = text.partition(f"## {command}\n\n```text\nUsage: ")[2].partition("```")[0]
        plain = re.sub(".\b", "", shown)
        words = re.sub(r"^(Options|Commands):$", "", body, flags=re.MULTILINE).split()
        missing = [word for word in words if word not in plain]
        assert missing == []


def test_pages_need_only_the_standard_library(tmp_path: Path) -> None:
    """A wheel can be built where the program's dependencies are missing."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "scripts" / "man_pages.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "archiver.1").exists()
    shutil.rmtree(tmp_path)
