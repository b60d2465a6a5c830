#!/usr/bin/env python3
"""Make docs/faults.md: each row of the fault matrix (docs/faults.toml), its promise, and the tests that show it.

The tests of row A15 are those called ``test_fault_a15_...``. ``--check`` writes nothing and fails if the page is not what it would be,
if a test names no row, or if a row of severity 1 or 2 has neither a test nor a reason.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
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
}
TEST = re.compile(r"test_fault_([a-z]\d+)_")


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, what the program promises then, and why it has no test if it has none."""

    id: str
    severity: int
    fault: str
    promise: str
    reason: str = ""


def rows() -> list[Row]:
    """The matrix, in its order."""
    with (ROOT / "docs" / "faults.toml").open("rb") as file:
        return [Row(**row) for row in tomllib.load(file)["fault"]]


def tests() -> Iterator[tuple[str, str, str]]:
    """Each test of a fault: the row, its file, its name."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (found := TEST.match(node.name)) and not _fails(node):
                yield found[1].upper(), path.relative_to(ROOT).as_posix(), node.name


def _fails(test: ast.FunctionDef) -> bool:
    """Whether it is known to fail: then it shows nothing."""
    return any("xfail" in ast.unparse(decorator) for decorator in test.decorator_list)


def page(matrix: list[Row], shown: dict[str, list[tuple[str, str]]]) -> str:
    """The page as Markdown."""
    worst = [row for row in matrix if row.severity == 1]
    lines = [
        "# The fault matrix",
        "",
        "What can go wrong, what the program promises then, and the tests that show it. Severity 1: loss, corruption, leak, code",
        "execution, runaway cost. 2: wrong or missing records, or a hang. 3: a poor message, or waste. Made by `scripts/faults.py`",
        "from `docs/faults.toml` and the names of the tests; a test holds it against both.",
        "",
        f"{len(matrix)} rows, {sum(row.id in shown for row in matrix)} with tests ({sum(map(len, shown.values()))} tests). "
        f"Severity 1: {len(worst)} rows, {sum(row.id in shown for row in worst)} with tests, "
        f"{sum(row.id not in shown and bool(row.reason) for row in worst)} with a reason instead.",
        "",
    ]
    for letter, title in SECTIONS.items():
        lines += [
            f"## {title}",
            "",
            "| Row | Severity | Fault | Promise | Shown by |",
            "|---|---|---|---|---|",
        ]
        for row in matrix:
            if row.id[0] == letter:
                lines.append(_line(row, shown.get(row.id, [])))
        lines.append("")
    return "\n".join(lines)


def _line(row: Row, tests: list[tuple[str, str]]) -> str:
    links = [f"[`{name.removeprefix('test_fault_')}`](../{path})" for path, name in tests]
    if row.reason:
        links.append(f"*{_cell(row.reason)}*")
    return f"| {row.id} | {row.severity} | {_cell(row.fault)} | {_cell(row.promise)} | {'<br>'.join(links) or '-'} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Write or check the page. Returns the exit code."""
    matrix = rows()
    shown: dict[str, list[tuple[str, str]]] = {}
    for row, path, name in tests():
        shown.setdefault(row, []).append((path, name))
    made = page(matrix, shown)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made)
        return 0
    wrong = [f"a test of {row}, which is no row" for row in shown.keys() - {row.id for row in matrix}]
    wrong += [
        f"{row.id} (severity {row.severity}) has neither a test nor a reason"
        for row in matrix
        if row.severity < 3 and row.id not in shown and not row.reason
    ]
    if not PAGE.exists() or PAGE.read_text() != made:
        wrong.append("docs/faults.md is not what scripts/faults.py makes: run it")
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
