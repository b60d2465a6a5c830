"""``archiver export``: the group of its forms, and what they share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.core import ParameterSource
from msgspec import Struct

from archiver.cli import advice, load, output, progress, signals, text_table
from archiver.cli.filter_options import FilterOptions, filter_options, gone_option, split_targets
from archiver.cli.lazy import LazyGroup, exit_code_of_group
from archiver.cli.options import (
    EPILOG,
    GlobalOptions,
    RiskyOption,
    dry_run_option,
    global_options,
    is_on_terminal,
    json_option,
)
from archiver.cli.parameter_types import OutputDirectoryType, OutputFileType
from archiver.errors import UsageError
from archiver.exit_codes import DAMAGED, PARTIAL, outcome
from archiver.runner.due_highlights import unmatched_globs
from archiver.runner.threads import StopFlag
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.export.export_entry import ExportStats

FORMS: Mapping[str, str] = {
    "folder": "Pictures and videos in folders, under readable names.",
    "jsonl": "Every table as JSON, one object a line.",
    "csv": "Every table for a spreadsheet.",
    "site": "Web pages that need no server, with a viewer.",
    "wacz": "The web pages as one WACZ file, for web archives.",
    "bagit": "A BagIt bag with SHA-256 manifests, for libraries and archives.",
}

_AGAIN = "the same command continues where it stopped"
_NOT_MADE = "the file was not made; run it again"
_FILE_FORMS = ("wacz",)

NOTHING: Mapping[str, object] = {
    "form": None,
    "directory": None,
    "file": None,
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
    "check": False,
}
"""The object of ``--json`` if nothing was done."""


class _Group(LazyGroup):
    table = FORMS
    place = ("archiver.cli.export_", "")


@click.group("export", cls=_Group, invoke_without_command=True, epilog=EPILOG)
@global_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """Export the archive in forms that need no archiver. Reads only, also during a run; costs nothing.

    Running it again updates the export: it moves files whose names changed, adds what is new, and never
    changes your own files. If it was killed or ran out of space, the same command continues. --dry-run prints
    what would be done. Each form has its own options; all can be narrowed to a part of the archive.

    \b
    Examples:
      archiver export folder ~/highlights --account natgeo
      archiver export csv ./tables --since 7d
    """
    return exit_code_of_group(ctx)


class ExportRequest(Struct, frozen=True):
    """The values of the options that all forms share.

    ``directory``: where to export to. If the form is a single file, this is the path of that file.
    """

    directory: Path
    filters: FilterOptions
    dry_run: bool
    link: str = "auto"
    prune: bool = False
    yes: bool = False

    def media_options(self) -> dict[str, Any]:
        """Return the keywords for a form with pictures and videos. Raises UsageError, TargetError."""
        own = {"gone": self.filters.gone, "link": self.link, "prune": self.prune}
        return {**self.filters.narrowing(), **own}


_DIRECTORY = click.argument("directory", metavar="DIR", type=OutputDirectoryType())
_LINK = click.option(
    "--link",
    type=click.Choice(["auto", "reflink", "hardlink", "copy"]),
    default="auto",
    show_default=True,
    help="Place files as clones, as hard links to the archive's own files, or as copies;"
    " auto uses the first of them that works; a new folder of pictures never gets hard links.",
)
_PRUNE = click.option(
    "--prune",
    cls=RiskyOption,
    is_flag=True,
    help="Remove files of earlier exports that this one does not select: with filters, all the rest."
    " On a terminal it asks first. Without it such files stay.",
)
_YES = click.option("--yes", cls=RiskyOption, is_flag=True, help="With --prune: do not ask.")
_DRY_RUN = dry_run_option("Make and remove nothing; print what would be done.")
_CHECK = click.option(
    "--check",
    is_flag=True,
    help="Change nothing, and check what an earlier export made: exit code 12 if a file is wrong or missing,"
    " 10 if there is no export. Takes none of the other options of this form.",
)
_FILE = click.argument("directory", metavar="FILE", type=OutputFileType())
_MEDIA_OPTIONS = (_DIRECTORY, gone_option, _LINK, _PRUNE, _YES, _DRY_RUN, _CHECK)


def media_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a form with pictures and videos. The command gets them as one ``request``."""
    return request_options(command, _MEDIA_OPTIONS)


def file_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a form that is one file. The command gets them as one ``request``."""
    return request_options(command, (_FILE, gone_option, _DRY_RUN, _CHECK))


def table_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a form of tables. The command gets ``tables``, and all others as one ``request``."""
    directory = click.argument("directory", metavar="DIR", type=OutputDirectoryType(allows_stdout=True))
    table = click.option(
        "--table",
        "tables",
        multiple=True,
        metavar="NAME",
        help="Only this table; may be repeated. [default: all]",
    )
    return request_options(command, (directory, table, _DRY_RUN))


def request_options(
    command: Callable[..., int], decorators: Sequence[Callable[[Callable[..., int]], Callable[..., int]]]
) -> Callable[..., int]:
    """Add these options, the filters, ``--json`` and the global options."""

    @wraps(command)
    def with_request(options: GlobalOptions, /, *, check: bool = False, **values: Any) -> int:
        if check:
            _require_check_alone()
            return _print_check(options, options.command.rpartition(" ")[2], values["directory"])
        shared = {name: values.pop(name) for name in ExportRequest.__struct_fields__ if name in values}
        return command(options, request=ExportRequest(**shared), **values)

    decorated = filter_options(json_option(NOTHING)(global_options(click.pass_obj(with_request))))
    for option in reversed(decorators):
        decorated = option(decorated)
    return decorated


def _require_check_alone() -> None:
    """Raise UsageError if an option was given besides ``--check`` and the global options."""
    context = click.get_current_context()
    for param in context.command.params:
        is_given = context.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT
        if isinstance(param, click.Option) and param.expose_value and param.name != "check" and is_given:
            is_off = param.secondary_opts and not context.params[str(param.name)]
            option = (param.secondary_opts if is_off else param.opts)[-1]
            raise UsageError(
                f"--check checks the whole export: it cannot be combined with {option}",
                f"leave out {option}",
            )


def _print_check(options: GlobalOptions, form: str, to: Path) -> int:
    """Check an export, and print what is wrong. Return the exit code."""
    if options.blank is not None:
        options.blank = {**options.blank, **_destination(form, to), "check": True}
    with load.open_archive(options) as archive:
        stats = _watch(options, form, to, partial(archive.check_export, to, form=form), hint="")
    code = DAMAGED if stats.failed else 0
    if options.blank is not None:
        view = {**options.blank, **_json_view(form, to, stats)}
        output.print_json({"exit_code": code, "outcome": outcome(code), **view})
    elif stats.failures:
        rows = [(failure.path, advice.complete_commands(failure.why)) for failure in stats.failures]
        output.print_data("".join(f"{line}\n" for line in text_table.format_table(("file", "problem"), rows)))
    if code or options.wants_summary:
        is_file, checked = form in _FILE_FORMS, stats.files + stats.failed + stats.others
        again = "; make it again with --force" if is_file and stats.failed else ""
        listed = len(stats.failures)
        cut = f" (the first {listed:,} are listed)" if listed < stats.failed else ""
        lost = f", {stats.others:,} lost or changed by other programs" if stats.others else ""
        output.print_messages(
            f"{pluralize(checked, 'record' if is_file else 'file')} checked,"
            f" {format_size(stats.bytes)} read: {stats.failed:,} wrong or missing{cut}{lost}{again}"
        )
    return code


def _watch(
    options: GlobalOptions,
    form: str,
    to: Path,
    work: Callable[..., ExportStats],
    *,
    hint: str,
    is_shown: bool = True,
) -> ExportStats:
    """Do the work of an export with a progress bar, stopped by signals.

    ``hint``: what to do after a stop. With ``is_shown`` the counts so far are printed even if it fails.
    """
    so_far: ExportStats | None = None
    stop = StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint=hint),
        progress.show_steps(options, "files") as step,
    ):

        def watch(stats: ExportStats) -> None:
            nonlocal so_far
            so_far = stats
            stop.check()
            step(stats.files, stats.expected)

        try:
            return work(progress=watch)
        finally:
            if options.blank is not None and so_far is not None and is_shown:
                options.blank = {**options.blank, **_json_view(form, to, so_far)}


class ExportWork(Protocol):
    """A function that makes an export, given these arguments."""

    def __call__(
        self, *, dry_run: bool, progress: Callable[[ExportStats], None], on_empty: Callable[[], None]
    ) -> ExportStats: ...


def print_export(options: GlobalOptions, form: str, request: ExportRequest, export: ExportWork) -> int:
    """Make an export with a progress bar, stopped by signals, and print what was done. Return the exit code.

    What was done is printed also if it ends early. On a terminal it asks before files are removed. Raises
    UsageError if the answer is no, and the errors of ``export``.
    """
    is_empty = False
    to, dry_run = request.directory, request.dry_run
    hint = _NOT_MADE if form in _FILE_FORMS else _AGAIN
    if options.blank is not None:
        options.blank = {**options.blank, **_destination(form, to), "dry_run": dry_run}

    def on_empty() -> None:
        nonlocal is_empty
        is_empty = True

    def run(*, dry_run: bool) -> ExportStats:
        work = partial(export, dry_run=dry_run, on_empty=on_empty)
        return _watch(options, form, to, work, hint=hint, is_shown=dry_run is request.dry_run)

    can_ask = is_on_terminal() and sys.stdin is not None and sys.stdin.isatty()
    if request.prune and not request.yes and not dry_run and can_ask:
        _confirm(to, run(dry_run=True).removed)
    stats = run(dry_run=dry_run)
    code = PARTIAL if stats.failed and not dry_run else 0
    if options.blank is not None:
        view = {**_json_view(form, to, stats), "empty": is_empty, "dry_run": dry_run, "check": False}
        output.print_json({"exit_code": code, "outcome": outcome(code), **view})
    if is_empty:
        print_empty(options, request.filters)
    _print_failures(options, stats)
    if code or options.wants_summary:
        output.print_messages(_summary_line(to, stats, dry_run=dry_run))
    return code


def _print_failures(options: GlobalOptions, stats: ExportStats) -> None:
    """Name the first files that could not be exported, unless ``-q`` is given."""
    if not options.quiet:
        for failure in stats.failures[:20]:
            output.print_messages(
                f"archiver: {options.command}: {failure.path}: {advice.complete_commands(failure.why)}"
            )
        if stats.failed > 20:
            output.print_messages(f"archiver: {options.command}: and {stats.failed - 20:,} more")


def _confirm(to: Path, files: int) -> None:
    """Ask whether to remove these files, if there are any. Raises UsageError if the answer is no."""
    if not files:
        return
    output.print_messages(f"--prune will remove {pluralize(files, 'file')} of earlier exports from {to}")
    if not click.confirm("Continue?", err=True):
        raise UsageError("nothing was exported, and nothing removed", "without --prune those files stay")


def print_empty(options: GlobalOptions, filters: FilterOptions) -> None:
    """Print that the filters select no item, unless ``-q`` is given: a filter may be mistyped.

    A title that would match in another case is named.
    """
    if options.quiet:
        return
    with load.open_archive(options) as archive:
        accounts = split_targets(filters.accounts)["accounts"]
        shown = archive.highlights(accounts=accounts) if filters.titles else ()
        unmatched = unmatched_globs(filters.titles, (highlight.title for highlight in shown))
    near = [title for title in unmatched.values() if title is not None]
    case = f"; matching is case-sensitive: did you mean {' or '.join(map(repr, near))}?" if near else ""
    output.print_messages(f"archiver: {options.command}: {filters.describe_no_match()}{case}")


def _destination(form: str, to: Path) -> dict[str, object]:
    is_file = form in _FILE_FORMS
    return {
        "form": form,
        "directory": None if is_file else str(to),
        "file": str(to) if is_file else None,
    }


def _json_view(form: str, to: Path, stats: ExportStats) -> dict[str, object]:
    return {
        **_destination(form, to),
        "files": stats.files,
        "new": stats.new,
        "replaced": stats.replaced,
        "moved": stats.moved,
        "removed": stats.removed,
        "others": stats.others,
        "avoided": stats.avoided,
        "failed": stats.failed,
        "bytes": stats.bytes,
        "reflinked": stats.methods["reflink"],
        "hardlinked": stats.methods["hardlink"],
        "copied": stats.methods["copy"],
        "written": stats.methods["written"],
        "troubles": [
            {"path": failure.path, "why": advice.complete_commands(failure.why)} for failure in stats.failures
        ],
    }


def _summary_line(to: Path, stats: ExportStats, *, dry_run: bool) -> str:
    """Return a line such as ``1,204 files in highlights: 12 new (12 linked, 4.2 MB), 3 moved``."""
    ways = {"reflink": "cloned", "hardlink": "linked", "copy": "copied", "written": "written"}
    how = ", ".join(f"{count:,} {ways[way]}" for way, count in stats.methods.items() if count)
    parts = []
    if stats.new or stats.replaced:
        replaced = f", {stats.replaced:,} replaced" if stats.replaced else ""
        parts.append(f"{stats.new:,} new{replaced} ({how}, {format_size(stats.bytes)})")
    counts = (
        (stats.moved, "moved"),
        (stats.removed, "removed"),
        (stats.avoided, "renamed, because their names were taken"),
        (stats.others, "kept from earlier exports, not selected now"),
        (stats.failed, "failed"),
    )
    parts += [f"{count:,} {what}" for count, what in counts if count]
    line = f"{pluralize(stats.files, 'file')} in {to}: {', '.join(parts) or 'nothing new'}"
    return f"dry run, nothing was changed; there would be {line}" if dry_run else line
