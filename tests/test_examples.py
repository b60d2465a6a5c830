"""The examples of docs/python.md and docs/tools.md, run as they stand on an archive named ``archive``."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.sandbox.standin import StandIn
from tests.support.sample_archive import make_nightly, shelve

DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NEEDS = {"The sqlite3 shell": "sqlite3"}
_HEAVY = {"pandas": "pandas", "DuckDB": "duckdb"}
"""Packages of a hundred megabytes each, which no test extra brings."""
_WHEN_WHOLE = {*_HEAVY, "Datasette", "sqlite-utils", "A WARC reader", "Programs that take files"}


def _sections() -> list[object]:
    found: list[object] = []
    for section in re.split(r"^## ", (DOCS / "tools.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        marks = [pytest.mark.whole] if title in _WHEN_WHOLE else []
        found.append(pytest.param(title, _BLOCK.findall(section), id=title.replace(" ", "-"), marks=marks))
    return found


@pytest.fixture
def place(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which somebody tries the examples."""
    (tmp_path / "archive").mkdir()
    shelve(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "archive" / "archive.db")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_about_python_says_what_happens(place: Path) -> None:
    """Each example returns what the page says, runs on the stand-in included."""
    with StandIn() as upstream:
        make_nightly(place, upstream)
        failed, attempted = doctest.testfile(str(DOCS / "python.md"), module_relative=False)
        assert upstream.units > 0
    assert failed == 0
    assert attempted > 30


@pytest.mark.parametrize(("title", "blocks"), _sections())
def test_the_examples_for_other_tools_work(place: Path, title: str, blocks: list[tuple[str, str]]) -> None:
    """Each ends well, in its order, and says something."""
    if title in _NEEDS and shutil.which(_NEEDS[title]) is None:
        pytest.skip(f"{_NEEDS[title]} is not installed here")
    if title in _HEAVY and importlib.util.find_spec(_HEAVY[title]) is None:
        pytest.skip(f"{_HEAVY[title]} is not installed here: pip install {_HEAVY[title]}")
    inherited = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environ = inherited | {"PATH": path, "HOME": str(place), "LC_ALL": "C.UTF-8"}
    assert blocks
    for language, text in blocks:
        command = ["sh", "-eu", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        ended = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout or ">" in text
