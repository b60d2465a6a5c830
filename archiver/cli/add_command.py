"""``archiver add``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from archiver.cli import advice, load
from archiver.cli.decorators import Result, reads
from archiver.cli.filter_options import complete_title
from archiver.cli.options import GlobalOptions, dry_run_option, list_file_option
from archiver.config import account_list
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive.archive import Archive


class ListedTarget(Struct, frozen=True):
    """A target that is listed already, and its entry in the list."""

    target: str
    entry: str


class AddResult(Result, frozen=True):
    """What was added to the list. ``_files``: the file of each; ``_dry_run``: what would be."""

    added: tuple[str, ...] = ()
    listed: tuple[ListedTarget, ...] = ()
    _files: tuple[Path, ...] = ()
    _dry_run: bool = False

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what was added, and what is listed already."""
        if options.quiet or options.blank is not None:
            return
        would = "would be " if self._dry_run else ""
        for text, file in zip(self.added, self._files, strict=True):
            yield f"{text}: {would}added to {file}"
        for one in self.listed:
            other_name = f" as {one.entry}" if one.entry != one.target else ""
            yield f"{one.target}: already listed{other_name}"
        if self.added and not self._dry_run and options.is_watched:
            yield f"{advice.command_line('plan')} shows what the next run costs"


@reads("add", reports_interrupt=True, json=AddResult.blank)
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
    archive: Archive,
    targets: tuple[str, ...],
    list_files: tuple[Path, ...],
    globs: tuple[str, ...],
    dry_run: bool,
) -> AddResult:
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
    config = options.settings
    account_list.require_file(config)
    new, listed = archive.split_listed(asked)
    account_list.add_to_list(config, new, dry_run=dry_run)
    return AddResult(
        tuple(target.text for target in new),
        tuple(ListedTarget(target.text, entry.text) for target, entry in listed),
        tuple(account_list.file_for(config, target) for target in new),
        dry_run,
    )


def _require_patterns(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        if not glob or not glob.isprintable():
            raise UsageError("a pattern of --highlights is empty or not printable", "give a title: 'BOTW*'")
    return globs
