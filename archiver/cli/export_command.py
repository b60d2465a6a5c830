"""``archiver export``: the group of its forms, and what they share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from archiver.cli import advice, output, progress, signals
from archiver.cli.lazy import LazyGroup
from archiver.cli.options import EPILOG, Given, Unsuggested, everywhere, on_terminal
from archiver.cli.parameter_types import OutputDirectoryType
from archiver.errors import UsageError, outcome
from archiver.runner.workers import StopFlag
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.cli.filter_options import FilterOptions
    from archiver.export.export_entry import ExportStats

C = TypeVar("C", bound=Callable[..., object] | click.Command)

FORMS: Mapping[str, str] = {
    "folder": "A tree of pictures and videos under names for people.",
    "jsonl": "Every table as JSON, one object a line.",
    "csv": "Every table for a spreadsheet.",
    "site": "Web pages that need no server, with a viewer.",
    "bagit": "A BagIt bag with SHA-256 manifests, for a library or archive.",
}

_AGAIN = "the same command goes on where it stopped"

NOTHING: Mapping[str, object] = {
    "form": None,
    "directory": None,
    "files": 0,
    "new": 0,
    "replaced": 0,
    "moved": 0,
    "removed": 0,
    "others": 0,
    "avoided": 0,
    "failed": 0,
    "bytes": 0,
    "reflinked": 0,
    "hardlinked": 0,
    "copied": 0,
    "written": 0,
    "troubles": [],
    "empty": False,
    "dry_run": False,
}
"""The object of ``--json`` where nothing was done."""


class _Group(LazyGroup):
    table = FORMS
    place = ("archiver.cli.export_", "")


@click.group("export", cls=_Group, invoke_without_command=True, epilog=EPILOG)
@everywhere
@click.pass_context
def command(ctx: click.Context) -> int:
    """Hand the archive on in forms that need no archiver. Reads only, beside a run too; costs nothing.

    A rerun brings the export up to date: it moves what has another name now, adds what is new, and touches no
    file of yours. Killed or out of space, the same command goes on. --dry-run says what would be done. Each
    form has options of its own; all can be narrowed to a part of the archive.

    \b
    Examples:
      archiver export folder ~/highlights --account natgeo
      archiver export csv ./tables --since 7d
    """
    if ctx.invoked_subcommand is None:
        output.print_help(ctx.get_help())
        return UsageError.exit_code
    return 0


def directory(command: C) -> C:
    """The argument DIR, for forms of many files."""
    return click.argument("directory", metavar="DIR", type=OutputDirectoryType())(command)


def linking(command: C) -> C:
    """``--link``, for forms that hand blobs on."""
    return click.option(
        "--link",
        "way",
        type=click.Choice(["auto", "reflink", "hardlink", "copy"]),
        default="auto",
        show_default=True,
        help="How files come there: as a clone, as a second name of the archive's own file, as a copy; auto takes the first that can be.",
    )(command)


def pruning(command: C) -> C:
    """``--prune`` and ``--yes``."""
    prune = click.option(
        "--prune",
        cls=Unsuggested,
        is_flag=True,
        help="Remove what earlier exports put there and this one does not select: with filters, all the"
        " rest. On a terminal it asks first. Without it such files stay.",
    )
    yes = click.option("--yes", cls=Unsuggested, is_flag=True, help="With --prune: do not ask.")
    return prune(yes(command))


def dry_running(command: C) -> C:
    """``--dry-run``."""
    return click.option(
        "-n",
        "--dry-run",
        is_flag=True,
        help="Make and remove nothing; say what would be done.",
    )(command)


def exported(
    given: Given,
    form: str,
    to: Path,
    filters: FilterOptions,
    work: Callable[[Callable[[ExportStats], None], Callable[[], None], bool], ExportStats],
    *,
    dry_run: bool,
    asks: bool = False,
) -> int:
    """Do the work with a bar and an ear for signals, then tell what came of it.

    ``work`` gets what it calls with what was done so far, what it calls where the filters selects no item, and
    whether it is to be a dry run. An end before the last file is told with that, too. ``asks``: on a
    terminal, ask before files are removed. Raises UsageError if the answer is no.
    """
    empty = False
    if given.blank is not None:
        given.blank = {**given.blank, "form": form, "directory": str(to), "dry_run": dry_run}

    def bare() -> None:
        nonlocal empty
        empty = True

    def done(*, dry: bool) -> ExportStats:
        so_far: ExportStats | None = None
        stop = StopFlag()
        with (
            signals.stop_on_signal(stop, quiet=given.quiet, hint=_AGAIN),
            progress.show_steps(given, " files") as step,
        ):

            def watch(tally: ExportStats) -> None:
                nonlocal so_far
                so_far = tally
                stop.check()
                step(tally.files, None)

            try:
                return work(watch, bare, dry)
            finally:
                if given.blank is not None and so_far is not None and dry is dry_run:
                    given.blank = {**given.blank, **_fields(form, to, so_far)}

    if asks and not dry_run and on_terminal() and sys.stdin is not None and sys.stdin.isatty():
        _confirm(to, done(dry=True).removed)
    tally = done(dry=dry_run)
    code = 3 if tally.failed and not dry_run else 0
    if given.blank is not None:
        fields = {**_fields(form, to, tally), "empty": empty, "dry_run": dry_run}
        output.print_json({"exit_code": code, "outcome": outcome(code), **fields})
    if empty:
        warn(given, filters)
    if not given.quiet:
        for failure in tally.failures[:20]:
            output.print_messages(
                f"archiver: {given.command}: {failure.path}: {advice.complete_commands(failure.why)}"
            )
        if tally.failed > 20:
            output.print_messages(f"archiver: {given.command}: and {tally.failed - 20:,} more")
    if code or given.wants_summary:
        output.print_messages(_line(to, tally, dry_run=dry_run))
    return code


def _confirm(to: Path, removed: int) -> None:
    """Ask whether so many files are to go, if any. Raises UsageError if not."""
    if not removed:
        return
    output.print_messages(f"--prune will remove {pluralize(removed, 'file')} of earlier exports from {to}")
    if not click.confirm("Go on?", err=True):
        raise UsageError("nothing was exported, and nothing removed", "without --prune those files stay")


def warn(given: Given, filters: FilterOptions) -> None:
    """Say that the filters selects no item, which may be a filter that was mistyped; not under ``-q``."""
    if not given.quiet:
        output.print_messages(f"archiver: {given.command}: {filters.describe_no_match()}")


def _fields(form: str, to: Path, tally: ExportStats) -> dict[str, object]:
    return {
        "form": form,
        "directory": str(to),
        "files": tally.files,
        "new": tally.new,
        "replaced": tally.replaced,
        "moved": tally.moved,
        "removed": tally.removed,
        "others": tally.others,
        "avoided": tally.avoided,
        "failed": tally.failed,
        "bytes": tally.bytes,
        "reflinked": tally.methods["reflink"],
        "hardlinked": tally.methods["hardlink"],
        "copied": tally.methods["copy"],
        "written": tally.methods["written"],
        "troubles": [
            {"path": failure.path, "why": advice.complete_commands(failure.why)} for failure in tally.failures
        ],
    }


def _line(to: Path, tally: ExportStats, *, dry_run: bool) -> str:
    """``1,204 files in highlights: 12 new (12 linked, 4.2 MB), 3 moved``; of a dry run what would be."""
    ways = {"reflink": "cloned", "hardlink": "linked", "copy": "copied", "written": "written"}
    how = ", ".join(f"{count:,} {ways[way]}" for way, count in tally.methods.items() if count)
    parts = []
    if tally.new or tally.replaced:
        replaced = f", {tally.replaced:,} replaced" if tally.replaced else ""
        parts.append(f"{tally.new:,} new{replaced} ({how}, {format_size(tally.bytes)})")
    told = (
        (tally.moved, "moved"),
        (tally.removed, "removed"),
        (tally.avoided, "beside files that are not ours"),
        (tally.others, "of earlier exports not selected, and kept"),
        (tally.failed, "failed"),
    )
    parts += [f"{count:,} {what}" for count, what in told if count]
    found = f"{pluralize(tally.files, 'file')} in {to}: {', '.join(parts) or 'nothing new'}"
    return f"dry run, nothing was changed; there would be {found}" if dry_run else found
