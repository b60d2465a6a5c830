"""What a stranger can rely on in the tree: every name occurs once, is a verb or a noun, and no line is too
long.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

COLUMNS = 110

_IRREGULAR = re.compile(
    "arisen|been|begun|bent|bitten|blown|borne|bought|bound|broken|"
    "brought|built|burnt|caught|chosen|clung|crept|dealt|done|drawn|driven|drunk|"
    "dug|eaten|fallen|fed|felt|fled|flown|forbidden|forgotten|forgiven|fought|found|"
    "frozen|given|gone|got|ground|grown|had|heard|held|hidden|hung|kept|knelt|"
    "known|laid|learnt|led|left|lent|lit|lost|made|meant|met|mistaken|overtaken|paid|"
    "proven|risen|ridden|rung|said|sat|seen|sent|sewn|shaken|shone|shot|shown|shrunk|"
    "slept|slid|sold|sought|spent|spoken|sprung|spun|stood|stolen|struck|stuck|stung|"
    "sung|sunk|sworn|swept|swum|swung|taken|taught|thought|thrown|told|torn|understood|"
    "undone|unread|untold|upheld|withdrawn|withheld|woken|won|worn|wound|woven|written"
)
_DOCUMENTED = frozenset({"Dated", "Placed", "Said", "held", "archived"})
"""Names in docs/python.md, which stay; and ``model/archived``, the values that the archive holds."""

_VERBS_AND_NOUNS = re.compile("breed|embed|exceed|feed|heed|need|proceed|seed|shed|speed|succeed")
"""Words that look like participles and are also verbs in the present, or nouns."""


_IN_EACH_OF_A_PAIR = frozenset({"Objects", "Appender", "Database", "Dialect"})
"""Classes of the same name in ``store/objects``, which says what they do, in ``disk`` and in ``bucket``; in
``catalog/sqlite`` and in ``postgresql``.
"""


def modules() -> list[Path]:
    """Return the modules of the package."""
    return sorted((ROOT / "archiver").rglob("*.py"))


@functools.cache
def definitions(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """Return every function, method and class of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def is_participle(name: str) -> bool:
    """Whether a name is nothing but a participle: ``told``, ``_kept``, ``Refused``, but not
    ``failed_calls``.
    """
    word = name.strip("_").lower()
    if "_" in word or _VERBS_AND_NOUNS.fullmatch(word) or re.search(r"[a-z][A-Z]", name.strip("_")):
        return False
    return bool(_IRREGULAR.fullmatch(word)) or (word.endswith("ed") and len(word) > 4)


def text_files() -> Iterator[Path]:
    """Yield the code and text files that people write: Python, Markdown, TOML and scripts."""
    for folder in ("archiver", "migrations", "tests", "docs", "benchmarks", "contrib", "scripts", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            is_script = not path.suffix and folder in ("scripts", ".ci") and path.is_file()
            if path.suffix in (".py", ".md", ".toml") or is_script:
                yield path
    yield from (path for path in ROOT.glob("*.*") if path.suffix in (".md", ".toml"))


def long_lines(path: Path) -> Iterator[str]:
    """Yield each line of a file that is too long and can be broken.

    A row of a table, a line with a URL, a line of one word, a command in a page, and what ``noqa`` or
    ``type: ignore`` adds cannot. Pages that a script writes are exempt, and the SQL of released migrations.
    """
    text = path.read_text("utf-8")
    if re.search(r"[Mm]ade by `scripts/", text) or path.parent.name == "versions":
        return
    is_in_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        is_in_code ^= line.startswith("```")
        code = re.sub(r"\s*# (noqa|type: ignore).*", "", line)
        is_exempt = code.lstrip().startswith(("|", "<img")) or "://" in code or len(code.split()) == 1
        is_exempt = is_exempt or (path.suffix == ".md" and is_in_code)
        if len(code) > COLUMNS and not is_exempt:
            yield f"{path.relative_to(ROOT)}:{number}: {len(code)} columns"


def test_no_file_name_occurs_twice() -> None:
    """A file is found by its name alone; every package has an ``__init__``, and two may be run
    (``__main__``).
    """
    names = Counter(path.name for path in modules())
    twice = sorted(name for name, count in names.items() if count > 1 and not name.startswith("__"))
    assert twice == []


def test_no_public_class_name_occurs_twice() -> None:
    """One word means one thing."""
    names = Counter(
        node.name
        for path in modules()
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} <= _IN_EACH_OF_A_PAIR


def test_no_name_is_a_bare_participle() -> None:
    """A function says what it does, a class and a module what they are: ``told`` says neither."""
    found = [
        str(path.relative_to(ROOT))
        for path in modules()
        if is_participle(path.stem) and path.stem not in _DOCUMENTED
    ]
    found += [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in modules()
        for node in definitions(path)
        if is_participle(node.name) and node.name not in _DOCUMENTED
    ]
    assert found == []


def test_errors_name_no_page_of_the_checkout() -> None:
    """Whoever installed a wheel has no docs/: only docstrings, which become help and pages, may name them."""
    named = []
    for path in modules():
        text = path.read_text("utf-8")
        nodes = list(ast.walk(ast.parse(text))) if "docs/" in text else []
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
        named += [f"{path.name}:{node.lineno}" for node in texts if "docs/" in str(node.value)]
    assert named == []


def test_no_line_is_too_long() -> None:
    """Code, comments, docstrings and pages fit into 110 columns."""
    assert [line for path in text_files() for line in long_lines(path)] == []


def test_no_file_has_marks_of_a_conflict() -> None:
    """A merge that was committed before it was finished would be published."""
    marked = [
        str(path.relative_to(ROOT))
        for path in text_files()
        if re.search("^(<{7}|>{7}) ", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert marked == []


@pytest.mark.parametrize(
    "name", ["told", "_kept", "held", "found", "Refused", "noted", "_said", "met", "unread"]
)
def test_participles_are_seen(name: str) -> None:
    """Public or private, regular or not, of functions and of classes."""
    assert is_participle(name)


@pytest.mark.parametrize(
    "name", ["read", "put", "set_up", "seed", "failed_calls", "RunKiller", "cut", "find", "id"]
)
def test_verbs_and_nouns_pass(name: str) -> None:
    """Verbs whose participle is the same word, nouns, and participles that say of what."""
    assert not is_participle(name)
