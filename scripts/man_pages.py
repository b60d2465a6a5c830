"""Make the man pages from docs/commands.md: a build hook of hatch, which puts them into the wheel.

It needs only the standard library, so that a wheel can be built without the program's dependencies.

    scripts/man_pages.py DIR     write them to DIR
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_COMMAND = re.compile(r"^## (archiver[a-z ]*)\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_ESCAPES = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    '"': "\\(dq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
}
_SECTION = re.compile(r"^(Options|Commands):$")


def man_pages(root: Path = ROOT) -> dict[str, str]:
    """Return each page by its file name, such as ``archiver-run.1``."""
    version = _VERSION.search((root / "archiver" / "__init__.py").read_text(encoding="utf-8"))
    assert version is not None
    text = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    return {
        f"{_page_name(path)}.1": "\n".join(_page_lines(path, body, version[1])) + "\n"
        for path, body in _COMMAND.findall(text)
    }


def _page_name(path: str) -> str:
    return path.replace(" ", "-")


def _page_lines(path: str, body: str, version: str) -> Iterator[str]:
    name = _page_name(path)
    usage, _, rest = body.partition("\n\n")
    description = [" ".join(lines) for lines in _paragraphs(rest.splitlines())]
    summary = re.split(r"(?<=[.:]) ", " ".join(description[0].split()), maxsplit=1)[0].rstrip(".:")
    yield '.\\" Made from docs/commands.md by scripts/man_pages.py.'
    yield f'.TH "{_escape(name.upper())}" "1" "" "archiver {_escape(version)}" "archiver"'
    yield ".SH NAME"
    yield f"{_escape(name)} \\- {_escape(summary[0].lower() + summary[1:])}"
    yield ".SH SYNOPSIS"
    words = " ".join(usage.removeprefix("Usage:").split())
    yield f"\\fB{_escape(path)}\\fR{_escape(words.removeprefix(path))}"
    yield ".SH DESCRIPTION"
    yield from _section_lines(rest.splitlines())
    yield ".SH SEE ALSO"
    others = ("archiver-run", "archiver-backup") if path == "archiver" else ("archiver",)
    yield ", ".join(f"\\fB{_escape(other)}\\fR(1)" for other in others)


def _section_lines(lines: list[str]) -> Iterator[str]:
    """Yield the text of the help, with the options and commands as lists with tags."""
    is_list = False
    for paragraph in _paragraphs(lines):
        heading = _SECTION.match(paragraph[0])
        if heading is not None:
            yield f".SH {heading[1].upper()}"
            is_list = True
            yield from _list_lines(paragraph[1:])
        elif is_list:
            yield ".SH NOTES"
            is_list = False
            yield from _paragraph_lines(paragraph, is_first=True)
        else:
            yield from _paragraph_lines(paragraph, is_first=paragraph[0] == lines[0])


def _paragraph_lines(paragraph: list[str], *, is_first: bool) -> Iterator[str]:
    """Yield a paragraph. Lines that are indented further keep their form."""
    if not is_first:
        yield ".PP"
    for is_kept, group in groupby(paragraph, key=lambda line: line.startswith("   ")):
        texts = [_line(line[2:]) for line in group]
        if is_kept:
            yield from (".nf", *texts, ".fi")
        else:
            yield from texts


def _list_lines(lines: list[str]) -> Iterator[str]:
    """Yield the entries of a list of options or commands, each with its tag and its text."""
    for line in lines:
        if re.match(r"  \S", line):
            tag, _, text = line.strip().partition("  ")
            yield from (".TP", f"\\fB{_escape(tag)}\\fR")
        else:
            text = line
        if text.strip():
            yield _line(text.strip())


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    for is_blank, group in groupby(lines, key=lambda line: not line.strip()):
        if not is_blank:
            yield list(group)


def _line(text: str) -> str:
    """Return a line of text that roff does not take for a request."""
    escaped = _escape(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)


def write_pages(directory: Path, root: Path = ROOT) -> list[Path]:
    """Write all pages to the directory, and return their paths."""
    paths = []
    for name, text in man_pages(root).items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


with suppress(ImportError):  # it is installed where a wheel is built
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class ManPagesHook(BuildHookInterface):  # type: ignore[type-arg]
        """Adds the pages to the wheel, below ``share/man``."""

        def initialize(self, version: str, build_data: dict[str, dict[str, str]]) -> None:
            """Write the pages to a temporary directory, which lives until ``finalize``."""
            self._directory = tempfile.TemporaryDirectory()
            for path in write_pages(Path(self._directory.name), Path(self.root)):
                build_data["shared_data"][str(path)] = f"share/man/man1/{path.name}"

        def finalize(self, version: str, build_data: dict[str, dict[str, str]], artifact_path: str) -> None:
            """Remove the temporary directory."""
            self._directory.cleanup()


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
