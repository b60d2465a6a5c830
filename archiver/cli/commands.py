"""The commands by name, and click groups that import a command's module when that command is used.

That is click's LazyGroup pattern.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from archiver.cli.options import GlobalOptions
from archiver.errors import UsageError

COMMANDS: Mapping[str, str] = {
    "init": "Write a configuration and make the empty archive that it names.",
    "backup": "Archive accounts or highlights once; needs no configuration.",
    "accounts": "List the accounts that are followed, their state and their size.",
    "add": "Follow accounts from the next run on.",
    "remove": "Stop following an account; what is archived stays.",
    "run": "Archive every account of the configuration; run it each night.",
    "worker": "Visit accounts for runs that several machines share.",
    "plan": "Show what the next run would do and cost.",
    "status": "Show the archive in numbers; units left at the API.",
    "metrics": "Write the numbers of the archive for Prometheus.",
    "changes": "List what owners edited, added and removed.",
    "search": "Find accounts, highlights and items by words.",
    "gaps": "List what the archive lacks, and why.",
    "costs": "Sum up what was paid, by day, account, endpoint or run.",
    "show": "Show one account, highlight or item, and where its files are.",
    "export": "Export pictures, web pages, tables or a BagIt bag.",
    "query": "Query the archive with SQL, read-only.",
    "serve": "Show the archive in a browser, with a viewer and search.",
    "datasette": "Write what Datasette needs to show the archive with its pictures.",
    "verify": "Check files, stored answers, journal and database; repair.",
    "adopt": "Take in what other tools have downloaded; free.",
    "reread": "Read stored answers again, and add what the database lacks; free.",
    "db": "Upgrade, copy or rebuild the database.",
    "storage": "Move pictures, answers and journal to a bucket, or back.",
    "forget": "Delete an account and every trace of it.",
    "completion": "Print the script that completes names in bash, zsh or fish.",
    "demo": "Try it: two nights against a stand-in; no key, no network, no cost.",
}


class CommandGroup(click.Group):
    """A group that records which command was used, for messages, and suggests similar names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` begins with. Raises click's UsageError, naming similar ones."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            similar = difflib.get_close_matches(args[0], known, n=2)
            meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        path = ctx.command_path.partition(" ")[2]
        ctx.ensure_object(GlobalOptions).command = f"{path} {args[0]}".strip()
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
    """A group of commands that are not imported yet.

    ``table``: the name of each command and its one-line help. ``place``: the prefix and suffix of the name of
    its module, which defines the command as ``command``.
    """

    table: Mapping[str, str]
    place = ("archiver.cli.", "_command")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name; None if the table has none."""
        if cmd_name not in self.table:
            return None
        command = importlib.import_module(cmd_name.join(self.place)).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table as click would."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))


def exit_code_of_group(ctx: click.Context) -> int:
    """Return the exit code of a group: 0 if a command follows; without one, print the help and return 2."""
    if ctx.invoked_subcommand is not None:
        return 0
    from archiver.cli import output

    output.print_help(ctx.get_help())
    return UsageError.exit_code
