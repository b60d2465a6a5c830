#!/usr/bin/env python3
"""Write docs/faults.md: the rows of docs/faults.toml, each with its promise and the tests that show it.

    scripts/faults.py [--check]

The tests of row A15 are the functions called ``test_fault_a15_...``, and the parameters with such an id:
``pytest.param(..., id="test_fault_a15_...")`` in the decorators of a function, or in a list of the same file
that they name. The id is written out: what a loop makes is not seen.

``--check`` writes nothing. It fails if the page is out of date, if a test names a row that does not exist, or
if a row of severity 1 or 2 has neither a test nor a reason, or only tests that need ``--whole``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"
SECTIONS = {
    "A": "The API",
    "C": "The CDN",
    "H": "Host, process, database",
    "X": "Content",
    "L": "Secrets",
    "B": "Spending",
    "S": "Object storage",
    "W": "Workers",
    "V": "The web server",
    "J": "Rows, rebuilds and copies",
    "E": "Pages, exports, and the price of a night",
    "K": "Attacks with archives, exports and stores",
}
TEST_NAME = re.compile(r"test_fault_([a-z]\d+)_")


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and what the program promises then. ``reason``: why it has no test."""

    id: str
    severity: int
    fault: str
    promise: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Test:
    """A test function or one of its parameters, and the file that contains it, relative to the root.

    ``is_everyday``: whether it runs without ``--whole``; a function, with at least some of its parameters.
    """

    name: str
    file: str
    is_everyday: bool


def read_rows() -> list[Row]:
    """Return the rows of the fault matrix, in their order."""
    with (ROOT / "docs" / "faults.toml").open("rb") as file:
        return [Row(**row) for row in tomllib.load(file)["fault"]]


def find_tests(root: Path = ROOT) -> Mapping[str, Sequence[Test]]:
    """Return the tests of each row, by its id, without those that are expected to fail: they show nothing.

    ``root``: the folder whose ``tests`` are read.
    """
    tests: dict[str, list[Test]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, marks in _named_tests(ast.parse(path.read_text())):
            if (row := TEST_NAME.match(name)) and "pytest.mark.xfail" not in marks:
                test = Test(name, path.relative_to(root).as_posix(), "pytest.mark.whole" not in marks)
                tests.setdefault(row[1].upper(), []).append(test)
    return tests


def _named_tests(module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Yield each function and each parameter with a literal id, with all the marks that it has."""
    values = {
        ast.unparse(target): node.value
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    marks_of_module = _marks(values["pytestmark"]) if "pytestmark" in values else set()
    for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)):
        marks = marks_of_module.union(*map(_marks, function.decorator_list))
        yield function.name, marks
        for decorator in function.decorator_list:
            for name, own_marks in _parameters(decorator, values):
                yield name, marks | own_marks


def _marks(node: ast.expr) -> set[str]:
    """Return the marks that a decorator, or the value of ``marks`` or ``pytestmark``, gives, without their
    arguments.
    """
    if isinstance(node, ast.List | ast.Tuple):
        return set().union(*map(_marks, node.elts))
    return {ast.unparse(node.func if isinstance(node, ast.Call) else node)}


def _parameters(node: ast.expr, values: Mapping[str, ast.expr]) -> Iterator[tuple[str, set[str]]]:
    """Yield the literal id and the marks of each ``pytest.param`` in an expression, and in the values of the
    module that it names.
    """
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in values:
            others = {name: value for name, value in values.items() if name != part.id}
            yield from _parameters(values[part.id], others)
        elif isinstance(part, ast.Call) and ast.unparse(part.func) == "pytest.param":
            keywords = {keyword.arg: keyword.value for keyword in part.keywords}
            match keywords.get("id"):
                case ast.Constant(value=str(name)):
                    yield name, _marks(keywords["marks"]) if "marks" in keywords else set()


def format_page(rows: Sequence[Row], tests: Mapping[str, Sequence[Test]]) -> str:
    """Return the page as Markdown."""
    grave = [row for row in rows if row.severity == 1]
    tested, tested_grave = (sum(row.id in tests for row in some) for some in (rows, grave))
    with_reason = sum(row.id not in tests and bool(row.reason) for row in grave)
    lines = [
        "# The fault matrix",
        "",
        "What can go wrong, what the program promises then, and the tests that show it. A code is the exit",
        "code of the command. This page is made by `scripts/faults.py` from `docs/faults.toml` and the names",
        "of the tests; a test checks that it is up to date.",
        "",
        "| Severity | Meaning |",
        "|---|---|",
        "| 1 | loss, corruption, leak, code execution, runaway cost |",
        "| 2 | wrong or missing records, or a hang |",
        "| 3 | a poor message, or waste |",
        "",
        f"{len(rows)} rows, {tested} with tests ({sum(map(len, tests.values()))} tests).",
        f"Severity 1: {len(grave)} rows, {tested_grave} with tests, {with_reason} with a reason instead.",
        "",
    ]
    for letter, title in SECTIONS.items():
        lines += [f"## {title}", ""]
        lines += ["| Row | Severity | Fault | Promise | Shown by |", "|---|---|---|---|---|"]
        lines += [_table_line(row, tests.get(row.id, ())) for row in rows if row.id[0] == letter]
        lines.append("")
    return "\n".join(lines)


def _table_line(row: Row, tests: Sequence[Test]) -> str:
    evidence = [f"[`{test.name.removeprefix('test_fault_')}`](../{test.file})" for test in tests]
    if row.reason:
        evidence.append(f"*{_cell(row.reason)}*")
    shown_by = "<br>".join(evidence) or "-"
    return f"| {row.id} | {row.severity} | {_cell(row.fault)} | {_cell(row.promise)} | {shown_by} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def find_problems(rows: Sequence[Row], tests: Mapping[str, Sequence[Test]], page: str) -> Iterator[str]:
    """Yield a message for each thing that is wrong with the matrix, the names of the tests, or the page."""
    for unknown in sorted(tests.keys() - {row.id for row in rows}):
        yield f"a test names row {unknown}, which docs/faults.toml does not have"
    for row in rows:
        if row.severity < 3 and row.id not in tests and not row.reason:
            yield f"row {row.id} (severity {row.severity}) has neither a test nor a reason"
        if row.severity < 3 and row.id in tests and not any(test.is_everyday for test in tests[row.id]):
            yield f"row {row.id} (severity {row.severity}) has tests only with --whole"
    if not PAGE.exists() or PAGE.read_text() != page:
        yield "docs/faults.md is out of date: run python scripts/faults.py"


def main() -> int:
    """Write or check the page, and return the exit code."""
    rows, tests = read_rows(), find_tests()
    page = format_page(rows, tests)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        return 0
    problems = list(find_problems(rows, tests, page))
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
