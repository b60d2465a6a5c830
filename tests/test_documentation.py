"""Pages that scripts make are new, and what pages show works as it is printed."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from archiver.sandbox.standin import StandIn
from tests.support import ROOT
from tests.support.interactive_shell import require_program
from tests.support.sample_archive import make_nightly, shelve


def test_the_page_of_commands_is_the_help_of_every_command() -> None:
    """docs/commands.md is what scripts/commands.py makes of the help."""
    check = [sys.executable, str(ROOT / "scripts" / "commands.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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


def test_every_grave_fault_has_a_test_or_a_reason_and_the_page_is_new() -> None:
    """docs/faults.md is what the matrix and the tests make of it; no row of severity 1 or 2 stands alone."""
    check = [sys.executable, str(ROOT / "scripts" / "faults.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def load_script(name: str) -> ModuleType:
    """Return a script as a module; ``scripts`` is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    """The script that makes the page of the fault matrix."""
    return load_script("faults")


def found(faults: ModuleType, root: Path, text: str) -> list[tuple[str, str, bool]]:
    """Return row, name and ``is_everyday`` of what is found in a test file of this text."""
    (root / "tests").mkdir()
    (root / "tests" / "test_some.py").write_text(text)
    tests = faults.find_tests(root)
    assert {test.file for some in tests.values() for test in some} <= {"tests/test_some.py"}
    return [(row, test.name, test.is_everyday) for row, some in tests.items() for test in some]


def test_functions_and_literal_ids_of_parameters_are_tests(faults: ModuleType, tmp_path: Path) -> None:
    """Each has its own mark ``whole``; other ids, and ids that are computed, are no tests of a row."""
    text = """
@pytest.mark.parametrize("fault", [
    pytest.param(1, id="test_fault_a1_one"),
    pytest.param(2, id="test_fault_a2_two", marks=pytest.mark.whole),
    pytest.param(3, id="test_fault_a3_three", marks=[pytest.mark.timeout(9), pytest.mark.whole]),
    pytest.param(4, id="test_fault_a4_four", marks=pytest.mark.xfail(reason="known")),
    pytest.param(5, id="five"),
    pytest.param(6, id=f"test_fault_a{6}_six"),
    pytest.param(7),
])
def test_night(fault): ...

@pytest.mark.whole
@pytest.mark.parametrize("fault", [pytest.param(1, id="test_fault_a1_slow")])
def test_fault_a5_five(fault): ...

@pytest.mark.xfail(reason="known")
@pytest.mark.parametrize("fault", [pytest.param(1, id="test_fault_a1_known")])
def test_fault_a6_six(fault): ...

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.xfail), pytest.param(2, marks=WHOLE)])
def test_fault_a7_seven(x): ...
"""
    assert found(faults, tmp_path, text) == [
        ("A1", "test_fault_a1_one", True),
        ("A1", "test_fault_a1_slow", False),
        ("A2", "test_fault_a2_two", False),
        ("A3", "test_fault_a3_three", False),
        ("A5", "test_fault_a5_five", False),
        ("A7", "test_fault_a7_seven", True),
    ]


def test_parameters_in_a_list_of_the_module_are_tests_of_who_names_it(
    faults: ModuleType, tmp_path: Path
) -> None:
    """The marks of the function count for them; a list that no function names shows nothing."""
    text = """
SOME = [pytest.param(1, id="test_fault_a1_one")]
MORE: list[object] = [*SOME, pytest.param(2, id="test_fault_a2_two")]
UNUSED = [pytest.param(3, id="test_fault_a3_three")]

@pytest.mark.parametrize("fault", MORE)
def test_night(fault): ...

@pytest.mark.whole
@pytest.mark.parametrize("fault", SOME)
def test_crash(fault): ...
"""
    assert found(faults, tmp_path, text) == [
        ("A2", "test_fault_a2_two", True),
        ("A1", "test_fault_a1_one", True),
        ("A1", "test_fault_a1_one", False),
    ]


@pytest.mark.parametrize("mark", ["pytest.mark.whole", "[pytest.mark.timeout(9), pytest.mark.whole]"])
def test_marks_of_the_module_count_for_parameters(faults: ModuleType, tmp_path: Path, mark: str) -> None:
    """One mark or several."""
    text = f"""
pytestmark = {mark}

@pytest.mark.parametrize("fault", [pytest.param(1, id="test_fault_a1_one")])
def test_night(fault): ...
"""
    assert found(faults, tmp_path, text) == [("A1", "test_fault_a1_one", False)]


def test_a_row_with_parameters_only_for_whole_is_a_problem(faults: ModuleType, tmp_path: Path) -> None:
    """As with functions: a grave row needs a test that runs every day."""
    text = """
@pytest.mark.parametrize("x", [pytest.param(1, id="test_fault_a1_one", marks=pytest.mark.whole)])
def test_night(x): ...
"""
    found(faults, tmp_path, text)
    problems = faults.find_problems(
        [faults.Row("A1", 1, "fault", "promise")], faults.find_tests(tmp_path), ""
    )
    assert "row A1 (severity 1) has tests only with --whole" in list(problems)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that makes the man pages."""
    return load_script("man_pages")


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
