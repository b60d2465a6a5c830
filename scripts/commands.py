#!/usr/bin/env python3
"""Make docs/commands.md: the help of every command. ``--check`` writes nothing and fails if the page is out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from archiver.cli.main import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
WIDTH = 100
HEAD = """# Commands

The help of every command, as `archiver COMMAND -h` prints it. Made by `scripts/commands.py`: change the help in
`archiver/cli/`, not this page.
"""


def commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the help of a command and of every command below it, in the order of its group."""
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from commands(found, context, below)


def page() -> str:
    """Return the whole page."""
    sections = [
        f"## {path}\n\n```text\n{text.rstrip()}\n```\n" for path, text in commands(cli, None, "archiver")
    ]
    return "\n".join([HEAD, *sections])


def main() -> int:
    """Write the page, or check it."""
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() == page():
            return 0
        print("docs/commands.md is out of date: run python scripts/commands.py", file=sys.stderr)
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
