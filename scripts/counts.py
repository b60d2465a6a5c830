#!/usr/bin/env python3
"""Print how large the program and its tests are: files, lines, statements, and the share of imports.

    scripts/counts.py [FOLDER...]

Without folders: archiver, migrations and tests of this checkout. A statement is an ``ast.stmt`` that is not
only a string: definitions, imports and every line of a body count, docstrings do not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("archiver", "migrations", "tests")


def statements(text: str) -> tuple[int, int]:
    """Return how many statements a module has, and how many of them are imports."""
    found = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt) and not _is_string(node)
    ]
    return len(found), sum(isinstance(node, ast.Import | ast.ImportFrom) for node in found)


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def count(files: Iterable[Path]) -> tuple[int, int, int, int]:
    """Return how many files, lines, statements and imports there are."""
    texts = [file.read_text("utf-8") for file in files]
    found = [statements(text) for text in texts]
    lines = sum(len(text.splitlines()) for text in texts)
    return len(texts), lines, sum(each for each, _ in found), sum(each for _, each in found)


def main(folders: list[str]) -> None:
    print(f"{'':12}{'files':>8}{'lines':>9}{'statements':>12}{'imports':>9}{'share':>8}")
    for folder in map(Path, folders or [str(ROOT / name) for name in FOLDERS]):
        files, lines, found, imports = count(sorted(folder.rglob("*.py")))
        share = f"{imports / found:.1%}" if found else "-"
        print(f"{folder.name:12}{files:8,}{lines:9,}{found:12,}{imports:9,}{share:>8}")


if __name__ == "__main__":
    main(sys.argv[1:])
