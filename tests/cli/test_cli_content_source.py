"""What the program's own source must not hold, so that no text from outside can ever be run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import archiver

ROOT = Path(archiver.__file__).parent
RUNNING = {"eval", "exec", "compile", "__import__", "execfile"}
LOADING = {"pickle", "marshal", "shelve", "dill", "yaml", "subprocess", "pty", "commands", "jinja2", "code"}
STARTING = {
    "system",
    "popen",
    "execv",
    "execve",
    "execvp",
    "spawnv",
    "spawnl",
    "posix_spawn",
    "startfile",
    "fork",
}


def dangers(source: str) -> Iterator[str]:
    """Every place where a text could become code, a process, an object, or a template with reach into
    objects.
    """
    tree = ast.parse(source)
    texts = {name for each in tree.body for name in _text_of_the_source(each)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in RUNNING:
                yield f"{name}() in line {node.lineno}"
            case ast.Import(names=names) if {n.name.partition(".")[0] for n in names} & LOADING:
                yield f"import in line {node.lineno}"
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in LOADING:
                yield f"import in line {node.lineno}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=name)) if name in STARTING:
                yield f"os.{name}() in line {node.lineno}"
            case ast.Call(func=ast.Attribute(value=value, attr="format" | "format_map")) if not (
                _is_constant(value) or ast.unparse(value) in {"super()", "self", *texts}
            ):
                yield f"format of a text that is no constant in line {node.lineno}"
            case ast.Attribute(attr="Template" | "Formatter", value=ast.Name(id="string")):
                yield f"a template in line {node.lineno}"


def _text_of_the_source(statement: ast.stmt) -> Iterator[str]:
    """The name of a constant of the module, if its value is a text that is written there."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str())) if name.isupper():
            yield name


def _is_constant(value: ast.expr) -> bool:
    """A text in the source, or one that is Markup, which escapes whatever it is given."""
    match value:
        case ast.Call(func=ast.Name(id="Markup"), args=[text]):
            return isinstance(text, ast.Constant)
    return isinstance(value, ast.Constant)


PAGES = "pages/html_pages.py"
"""Jinja2, for templates that the package brings along and nobody else writes."""


@pytest.mark.whole
def test_fault_x15_no_text_from_outside_becomes_code_or_a_template() -> None:
    """No eval, no shell, no process, no object loader and no format of a text that is not written in the
    source.
    """
    sources = sorted(ROOT.rglob("*.py"))
    assert len(sources) > 100
    found = {str(p.relative_to(ROOT)): told for p in sources if (told := list(dangers(p.read_text("utf-8"))))}
    (jinja,) = found.pop(PAGES)
    assert jinja.startswith("import in line")
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "eval(title)",
        "import pickle",
        "from subprocess import run",
        "os.system(title)",
        "os.execv(path, args)",
        "glob.format(item=item)",
        "'{}'.join(x).format(item)",
        "Markup(title).format(item)",
        "string.Template(title)",
    ],
)
def test_fault_x15_the_search_finds_what_it_looks_for(line: str) -> None:
    """Each of them, planted, is found; a format of a constant is not."""
    assert len(list(dangers(f"x = '{{}}'.format(1)\n{line}"))) == 1
