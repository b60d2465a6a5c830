"""Command lines in files and pages, checked against the program without running them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from archiver.cli.main import cli


def parse_command(words: Sequence[str]) -> str:
    """Parse the words after ``archiver`` as the program does, and return the name of the command.

    Raises click's usage errors.
    """
    command: click.Command = cli
    context: click.Context | None = None
    rest, name = list(words), "archiver"
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=name)
        name = rest.pop(0)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"there is no command {name}")
        command = found
    command.make_context(name, rest, parent=context)
    return name
