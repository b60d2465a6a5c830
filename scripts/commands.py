#!/usr/bin/env python3
"""Write docs/commands.md: the help of every command.

    scripts/commands.py [--check]

``--check`` writes nothing, and fails if the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from archiver.cli.main import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
WIDTH = 100
HEAD = """# Commands

The help of every command, as `archiver COMMAND -h` prints it. This page is made by `scripts/commands.py`:
change the help in `archiver/cli/`, not here.
"""


def help_texts(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield path and help of a command and of all commands below it, in the order of their group."""
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for subcommand_name in command.list_commands(context):
            subcommand = command.get_command(context, subcommand_name)
            assert subcommand is not None
            yield from help_texts(subcommand, context, subcommand_name)


def format_page() -> str:
    """Return the whole page as Markdown."""
    sections = [
        f"## {path}\n\n```text\n{text.rstrip()}\n```\n" for path, text in help_texts(cli, None, "archiver")
    ]
    return "\n".join([HEAD, *sections])


def main() -> int:
    """Write or check the page, and return the exit code."""
    page = format_page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        return 0
    if PAGE.read_text() != page:
        print("docs/commands.md is out of date: run python scripts/commands.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
