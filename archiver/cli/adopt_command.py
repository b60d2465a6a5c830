"""``archiver adopt``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, progress
from archiver.cli.decorators import Result, writes
from archiver.cli.options import GlobalOptions, PathType, dry_run_option, wait_option
from archiver.cli.run_report import RESUME
from archiver.exit_codes import PARTIAL
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.model.foreign_files import RefusedFile
    from archiver.work import StopFlag

_AUTO = "auto"
_TOOLS = (_AUTO, "insta-dl", "gallery-dl", "instaloader")


class AdoptResult(Result, frozen=True):
    """What was taken in. ``_bytes``: their size; ``_dry_run``: what would be."""

    adopted: int = 0
    waiting: int = 0
    known: int = 0
    metadata: int = 0
    refused: tuple[RefusedFile, ...] = ()
    _bytes: int = 0
    _dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """Return the exit code."""
        return PARTIAL if self.refused else 0

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        return {**super().json_fields(), "refused": iter(self.refused)}

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what was done, and why files were left alone."""
        if options.blank is not None or (options.quiet and not self.refused):
            return
        would = "would be " if self._dry_run else ""
        size = f" ({format_size(self._bytes)})" if self._bytes else ""
        yield (
            f"{pluralize(self.adopted, 'file')} {would}adopted, {self.waiting:,} {would}stored until a run"
            f" finds their items{size}; {self.known:,} known already"
        )
        if self.metadata:
            yield f"{pluralize(self.metadata, 'metadata file')} {would}stored"
        if self.waiting and not self._dry_run:
            yield f"{advice.command_line('show --adopted')} lists the waiting files"
        if self.refused:
            yield f"{pluralize(len(self.refused), 'file or directory', 'files or directories')} left alone:"
            yield from _refused_lines(self.refused, show_all=options.verbose)


@writes("adopt", hint=RESUME, json=AdoptResult.blank)
@click.argument("directories", nargs=-1, required=True, type=PathType("directory"), metavar="DIR...")
@click.option(
    "--from",
    "tool",
    type=click.Choice(_TOOLS),
    default=_AUTO,
    show_default=True,
    help="The tool that filled DIR. auto: each file is recognized by its name.",
)
@click.option(
    "--account",
    metavar="NAME",
    help="The account whose files these are, if the folders do not say so (instaloader without metadata).",
)
@dry_run_option("Only say what would be done; store and record nothing.")
@wait_option()
def command(
    options: GlobalOptions,
    archive: Archive,
    stop: StopFlag,
    directories: tuple[Path, ...],
    tool: str,
    account: str | None,
    dry_run: bool,
    wait: bool,
) -> AdoptResult:
    """Take in pictures and videos of highlights that insta-dl, gallery-dl or instaloader has put into DIR.
    Makes no call, costs nothing; the next run does not download them again.

    The files in DIR are only read, and copied (as clones, if the file system supports them). Each is checked
    for completeness, and matched to an item by the pk in its name or its metadata:

    \b
      insta-dl     <account>/highlights/<pk>_<title>/<time>_<item pk>.<ext>
      gallery-dl   <account>/<item pk>.<ext>, with --write-metadata: <item pk>.<ext>.json
      instaloader  <account>/<title>/<time>_UTC.<ext>, with <time>_UTC.json.xz; without that
                   file, the account must have exactly one item of that second in the archive

    If the archive knows the item, the file becomes a file of that item. If it only knows the account, or the
    metadata names it, the item gets a place in the archive with the time and title that the tool has saved,
    as one that only the tool has seen. Other files are stored, and wait until a run finds their item or their
    account: archiver show --adopted lists them. Metadata is stored too. What cannot be matched with certainty
    is listed with the reason, and left alone (exit code 3). A file that archiver has downloaded itself is
    never replaced. Running the command again only adds what is missing.

    An adopted file is marked with the name of its tool wherever it is shown. archiver run --full downloads
    such files again, and keeps both.

    \b
    Examples:
      archiver adopt ~/insta-dl --dry-run
      archiver adopt ~/gallery-dl ~/instaloader/natgeo
      archiver adopt ./natgeo --from instaloader --account natgeo --json
    """
    with progress.show_steps(options, "files") as steps:
        report = archive.adopt(
            directories,
            tool=None if tool == _AUTO else tool,
            account=account,
            dry_run=dry_run,
            wait=wait,
            progress=lambda files: steps(files, None),
            stop=stop,
        )
    return AdoptResult(
        report.adopted, report.waiting, report.known, report.metadata, report.refused, report.bytes, dry_run
    )


def _refused_lines(refused: Sequence[RefusedFile], *, show_all: bool) -> Iterator[str]:
    """Yield each reason, with how many files it has and the first of them, or all."""
    for reason, group in groupby(sorted(refused, key=lambda one: one.reason), key=lambda one: one.reason):
        paths = [one.path for one in group]
        shown = paths if show_all else paths[:1]
        more = f" and {len(paths) - 1:,} more (-v lists all)" if len(paths) > len(shown) else ""
        yield f"  {reason}:"
        yield from (f"    {path}" for path in shown[:-1])
        yield f"    {shown[-1]}{more}"
