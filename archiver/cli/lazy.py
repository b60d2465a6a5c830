"""A group that imports a command's module only when that command is used: ``archiver --help`` imports none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from archiver.cli.options import Given


class Group(click.Group):
    """A group that notes which of its commands was given, for messages, and names near ones for a word that
    is none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` begins with. Raises click's UsageError, naming near ones, if there is
        none."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, n=2)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        path = ctx.command_path.partition(" ")[2]
        ctx.ensure_object(Given).command = f"{path} {args[0]}".strip()
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """``table``: command name → its one-line help. The command is ``command`` in the module whose name has that of the command between the two of ``place``."""

    table: Mapping[str, str]
    place = ("archiver.cli.", "_command")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if the table has none."""
        if cmd_name not in self.table:
            return None
        command = importlib.import_module(cmd_name.join(self.place)).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, as click would write it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))
