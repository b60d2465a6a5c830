"""The page of the fault matrix says what is so."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def test_every_grave_fault_has_a_test_or_a_reason_and_the_page_is_new() -> None:
    """docs/faults.md is what the matrix and the tests make of it; no row of severity 1 or 2 stands alone."""
    check = [sys.executable, str(ROOT / "scripts" / "faults.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    """Return ``scripts/faults.py`` as a module; ``scripts`` is no package."""
    spec = importlib.util.spec_from_file_location("faults", ROOT / "scripts" / "faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
