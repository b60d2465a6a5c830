"""``archiver add``."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import advice, load, output
from archiver.cli.decorators import plain
from archiver.cli.name_completion import complete_title
from archiver.cli.options import GlobalOptions, dry_run_option, list_file_option
from archiver.config import account_list
from archiver.errors import UsageError


@plain("add", json={"added": [], "listed": []})
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@list_file_option
@click.option(
    "--highlights",
    "globs",
    multiple=True,
    metavar="GLOB",
    shell_complete=complete_title,
    help="Only highlights with such a title, as in 'BOTW*'; matching is case-sensitive. May be repeated.",
)
@dry_run_option("Only say what would be added; write nothing.")
def command(
    options: GlobalOptions,
    targets: tuple[str, ...],
    list_files: tuple[Path, ...],
    globs: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Add accounts or highlights to the list of the configuration; the next run archives them. Makes no call,
    costs nothing.

    A TARGET is what archiver backup takes: a username, @username, numeric user id, profile or highlight link,
    highlight:<pk> or /s/ share link. Whether the account exists is found out by the next run. What is listed
    already, under any name that the archive knows, is not added again.

    Each becomes an [[accounts]] table below the last one or, if sync.accounts_file names a list, a line of
    that (unless it has patterns). Everything else in the files stays as it is, comments too.

    \b
    Examples:
      archiver add natgeo https://www.instagram.com/nasa/
      archiver add natgeo --highlights 'BOTW*' --highlights 'Photo of the day'
      archiver add -i accounts.txt --dry-run
    """
    asked = load.targets(targets, list_files, _require_patterns(globs))
    config = load.config(options)
    account_list.require_file(config)
    with load.open_archive(options) as archive:
        new, listed = archive.split_listed(asked)
    account_list.add_to_list(config, new, dry_run=dry_run)
    if options.blank is not None:
        fields = {
            "added": [target.text for target in new],
            "listed": [{"target": target.text, "entry": entry.text} for target, entry in listed],
        }
        output.print_json({"exit_code": 0, "outcome": "ok", **fields})
    elif not options.quiet:
        would = "would be " if dry_run else ""
        output.print_messages(
            *(f"{target.text}: {would}added to {account_list.file_for(config, target)}" for target in new),
            *(f"{one.text}: already listed{_other_name(one.text, entry.text)}" for one, entry in listed),
        )
        if new and not dry_run and options.is_watched:
            output.print_messages(f"{advice.command_line('plan')} shows what the next run costs")
    return 0


def _require_patterns(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        if not glob or not glob.isprintable():
            raise UsageError("a pattern of --highlights is empty or not printable", "give a title: 'BOTW*'")
    return globs


def _other_name(text: str, entry: str) -> str:
    return f" as {entry}" if entry != text else ""
