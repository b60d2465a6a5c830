"""``archiver adopt``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, progress, signals
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions, dry_run_option
from archiver.cli.parameter_types import PathType
from archiver.cli.run_session import RESUME
from archiver.exit_codes import PARTIAL, outcome
from archiver.runner.threads import StopFlag
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.model.foreign_files import AdoptionReport, RefusedFile

_AUTO = "auto"
_TOOLS = (_AUTO, "insta-dl", "gallery-dl", "instaloader")
_NOTHING: dict[str, object] = {"adopted": 0, "waiting": 0, "known": 0, "metadata": 0, "refused": []}


@plain("adopt", json=_NOTHING)
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
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of exit code 11.")
def command(
    options: GlobalOptions,
    directories: tuple[Path, ...],
    tool: str,
    account: str | None,
    dry_run: bool,
    wait: bool,
) -> int:
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
    stop = StopFlag()
    with (
        load.open_archive(options) as archive,
        signals.stop_on_signal(stop, quiet=options.quiet, hint=RESUME),
        progress.show_steps(options, "files") as steps,
    ):
        report = archive.adopt(
            directories,
            tool=None if tool == _AUTO else tool,
            account=account,
            dry_run=dry_run,
            wait=wait,
            progress=lambda files: steps(files, None),
            stop=stop,
        )
    code = PARTIAL if report.refused else 0
    if options.blank is not None:
        fields = {"adopted": report.adopted, "waiting": report.waiting, "known": report.known}
        head = {"exit_code": code, "outcome": outcome(code), **fields, "metadata": report.metadata}
        output.print_json_list(head, "refused", report.refused)
    elif code or not options.quiet:
        output.print_messages(*_report_lines(report, dry_run, show_all=options.verbose))
    return code


def _report_lines(report: AdoptionReport, dry_run: bool, *, show_all: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    size = f" ({format_size(report.bytes)})" if report.bytes else ""
    yield (
        f"{pluralize(report.adopted, 'file')} {would}adopted, {report.waiting:,} {would}stored until a run"
        f" finds their items{size}; {report.known:,} known already"
    )
    if report.metadata:
        yield f"{pluralize(report.metadata, 'metadata file')} {would}stored"
    if report.waiting and not dry_run:
        yield f"{advice.command_line('show --adopted')} lists the waiting files"
    if report.refused:
        yield f"{pluralize(len(report.refused), 'file or directory', 'files or directories')} left alone:"
        yield from _refused_lines(report.refused, show_all=show_all)


def _refused_lines(refused: Sequence[RefusedFile], *, show_all: bool) -> Iterator[str]:
    """Yield each reason, with how many files it has and the first of them, or all."""
    for reason, group in groupby(sorted(refused, key=lambda one: one.reason), key=lambda one: one.reason):
        paths = [one.path for one in group]
        shown = paths if show_all else paths[:1]
        more = f" and {len(paths) - 1:,} more (-v lists all)" if len(paths) > len(shown) else ""
        yield f"  {reason}:"
        yield from (f"    {path}" for path in shown[:-1])
        yield f"    {shown[-1]}{more}"
