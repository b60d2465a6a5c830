"""``archiver export``: its forms, and what they share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.core import ParameterSource
from msgspec import Struct, field

from archiver.cli import advice, output, progress, signals
from archiver.cli.commands import CommandGroup
from archiver.cli.decorators import Function, Result, group, reads
from archiver.cli.filter_options import FilterOptions, filter_options, gone_option, split_targets
from archiver.cli.options import (
    EPILOG,
    GlobalOptions,
    OutputDirectoryType,
    OutputFileType,
    RiskyOption,
    dry_run_option,
    is_on_terminal,
)
from archiver.errors import UsageError
from archiver.exit_codes import DAMAGED, PARTIAL
from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import DEFAULT_TEMPLATE, FIELDS
from archiver.model.values import replace
from archiver.runner.due_highlights import unmatched_globs
from archiver.text_format import format_size, pluralize
from archiver.work import StopFlag

if TYPE_CHECKING:
    from archiver.archive.archive import Archive

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
_FAILURES_SHOWN = 20


class _Group(CommandGroup):
    """The forms in the order of the table, with its one-line helps."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(FORMS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table as click would."""
        with formatter.section("Commands"):
            formatter.write_dl(list(FORMS.items()))


@group("export", _Group)
def command() -> None:
    """Export the archive in forms that need no archiver. Reads only, also during a run; costs nothing.

    Running it again updates the export: it moves files whose names changed, adds what is new, and never
    changes your own files. If it was killed or ran out of space, the same command continues. --dry-run prints
    what would be done. Each form has its own options; all can be narrowed to a part of the archive.

    \b
    Examples:
      archiver export folder ~/highlights --account natgeo
      archiver export csv ./tables --since 7d
    """


class ExportResult(Result, frozen=True):
    """What an export has made in ``place``, or what a check of one has found there.

    ``no_match``: what to say if the filters select no item; None without ``is_empty``.
    """

    form: str | None = None
    place: Path | None = None
    stats: ExportStats = field(default_factory=ExportStats)
    is_empty: bool = False
    dry_run: bool = False
    check: bool = False
    no_match: str | None = None

    @property
    def exit_code(self) -> int:
        """Return the exit code."""
        if not self.stats.failed or self.dry_run:
            return 0
        return DAMAGED if self.check else PARTIAL

    @property
    def is_file(self) -> bool:
        """Return whether the form is a single file."""
        return self.form in _FILE_FORMS

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        stats, place = self.stats, None if self.place is None else str(self.place)
        return {
            "form": self.form,
            "directory": None if self.is_file else place,
            "file": place if self.is_file else None,
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
            "troubles": [{"path": path, "why": why} for path, why in self._failures()],
            "empty": self.is_empty,
            "dry_run": self.dry_run,
            "check": self.check,
        }

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield what a check has found wrong."""
        if self.check and self.stats.failures:
            yield from output.format_table(("file", "problem"), list(self._failures()))

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield that nothing was selected, the first files that failed, and what was done or checked."""
        says = f"archiver: {options.command}: "
        if self.no_match is not None:
            yield f"{says}{self.no_match}"
        if not self.check and not options.quiet:
            for path, why in islice(self._failures(), _FAILURES_SHOWN):
                yield f"{says}{path}: {why}"
            if self.stats.failed > _FAILURES_SHOWN:
                yield f"{says}and {self.stats.failed - _FAILURES_SHOWN:,} more"
        if self.exit_code or options.wants_summary:
            yield self._describe_check() if self.check else self._summarize()

    def _failures(self) -> Iterator[tuple[str, str]]:
        return ((failure.path, advice.complete_commands(failure.why)) for failure in self.stats.failures)

    def _describe_check(self) -> str:
        stats, listed = self.stats, len(self.stats.failures)
        checked = stats.files + stats.failed + stats.others
        again = "; make it again with --force" if self.is_file and stats.failed else ""
        cut = f" (the first {listed:,} are listed)" if listed < stats.failed else ""
        lost = f", {stats.others:,} lost or changed by other programs" if stats.others else ""
        return (
            f"{pluralize(checked, 'record' if self.is_file else 'file')} checked,"
            f" {format_size(stats.bytes)} read: {stats.failed:,} wrong or missing{cut}{lost}{again}"
        )

    def _summarize(self) -> str:
        """Return a line such as ``1,204 files in highlights: 12 new (12 linked, 4.2 MB), 3 moved``."""
        stats = self.stats
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
        line = f"{pluralize(stats.files, 'file')} in {self.place}: {', '.join(parts) or 'nothing new'}"
        return f"dry run, nothing was changed; there would be {line}" if self.dry_run else line


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
_TABLES_DIRECTORY = click.argument("directory", metavar="DIR", type=OutputDirectoryType(allows_stdout=True))
_TABLES = click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    help="Only this table; may be repeated. [default: all]",
)
_OF_MEDIA = (_DIRECTORY, gone_option, _LINK, _PRUNE, _YES, _DRY_RUN, _CHECK)
_OF_A_FILE = (_FILE, gone_option, _DRY_RUN, _CHECK)
_OF_TABLES = (_TABLES_DIRECTORY, _TABLES, _DRY_RUN)


def form(
    name: str, shared: Sequence[Callable[[Function], Function]], **how: Any
) -> Callable[[Function], click.Command]:
    """Declare a form of export; ``how`` as for ``plain``. It gets the shared options as one ``request``.

    ``shared``: its options besides the filters and its own, which come before them.
    """

    def declare(function: Function) -> click.Command:
        own_parameters = function.__dict__.pop("__click_params__", [])

        @wraps(function)
        def with_request(
            options: GlobalOptions, archive: Archive, *, check: bool = False, **values: Any
        ) -> Result | int | None:
            if check:
                _require_check_alone()
                return _check_export(options, archive, ExportResult(name, values["directory"], check=True))
            request = {key: values.pop(key) for key in ExportRequest.__struct_fields__ if key in values}
            return function(options, archive, request=ExportRequest(**request), **values)

        decorated = filter_options(with_request)
        for option in reversed(shared):
            decorated = option(decorated)
        decorated.__dict__["__click_params__"] += own_parameters
        return reads(name, reports_interrupt=True, group=command, json=ExportResult.blank, **how)(decorated)

    return declare


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


def _check_export(options: GlobalOptions, archive: Archive, begun: ExportResult) -> ExportResult:
    """Check an export, and return what is wrong."""
    assert begun.place is not None
    assert begun.form is not None
    check = partial(archive.check_export, begun.place, form=begun.form)
    return replace(begun, stats=_watch(options, begun, check, hint=""))


def _watch(
    options: GlobalOptions,
    begun: ExportResult,
    work: Callable[..., ExportStats],
    *,
    hint: str,
    is_shown: bool = True,
) -> ExportStats:
    """Do the work of an export with a progress bar, stopped by signals.

    ``hint``: what to do after a stop. With ``is_shown`` the counts so far are printed even if it fails.
    """
    stop, so_far = StopFlag(), begun
    if options.blank is not None:
        options.blank = begun.json_fields()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint=hint),
        progress.show_steps(options, "files") as step,
    ):

        def watch(stats: ExportStats) -> None:
            nonlocal so_far
            so_far = replace(begun, stats=stats)
            stop.check()
            step(stats.files, stats.expected)

        try:
            return work(progress=watch)
        finally:
            if options.blank is not None and is_shown:
                options.blank = so_far.json_fields()


class ExportWork(Protocol):
    """A function that makes an export, given these arguments."""

    def __call__(
        self, *, dry_run: bool, progress: Callable[[ExportStats], None], on_empty: Callable[[], None]
    ) -> ExportStats: ...


def _export(
    options: GlobalOptions, archive: Archive, form: str, request: ExportRequest, export: ExportWork
) -> ExportResult:
    """Make an export with a progress bar, stopped by signals, and return what was done.

    What was done is printed also if it ends early. On a terminal it asks before files are removed. Raises
    UsageError if the answer is no, and the errors of ``export``.
    """
    is_empty = False
    begun = ExportResult(form, request.directory, dry_run=request.dry_run)

    def on_empty() -> None:
        nonlocal is_empty
        is_empty = True

    def run(*, dry_run: bool) -> ExportStats:
        work = partial(export, dry_run=dry_run, on_empty=on_empty)
        hint = _NOT_MADE if begun.is_file else _AGAIN
        return _watch(options, begun, work, hint=hint, is_shown=dry_run is request.dry_run)

    can_ask = is_on_terminal() and sys.stdin is not None and sys.stdin.isatty()
    if request.prune and not request.yes and not request.dry_run and can_ask:
        _confirm(request.directory, run(dry_run=True).removed)
    stats = run(dry_run=request.dry_run)
    no_match = _describe_no_match(archive, request.filters) if is_empty and not options.quiet else None
    return replace(begun, stats=stats, is_empty=is_empty, no_match=no_match)


def _confirm(to: Path, files: int) -> None:
    """Ask whether to remove these files, if there are any. Raises UsageError if the answer is no."""
    if not files:
        return
    output.print_messages(f"--prune will remove {pluralize(files, 'file')} of earlier exports from {to}")
    if not click.confirm("Continue?", err=True):
        raise UsageError("nothing was exported, and nothing removed", "without --prune those files stay")


def _describe_no_match(archive: Archive, filters: FilterOptions) -> str:
    """Return that the filters select no item: one may be mistyped. A title in another case is named."""
    accounts = split_targets(filters.accounts)["accounts"]
    shown = archive.highlights(accounts=accounts) if filters.titles else ()
    unmatched = unmatched_globs(filters.titles, (highlight.title for highlight in shown))
    near = [title for title in unmatched.values() if title is not None]
    case = f"; matching is case-sensitive: did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"{filters.describe_no_match()}{case}"


@form("folder", _OF_MEDIA, epilog=f"Fields of a template: {', '.join(sorted(FIELDS))}.\n\n{EPILOG}")
@click.option(
    "--template",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    metavar="PATH",
    help="Where each picture or video goes below DIR; must end in .{ext}. The fields are listed below;"
    " write {{ and }} for braces.",
)
@click.option(
    "--sidecars", is_flag=True, help="Write what the archive knows of each item beside it, as JSON."
)
@click.option(
    "--xmp",
    is_flag=True,
    help="Write an XMP sidecar beside each picture and video of an item (NAME.jpg.xmp), which photo programs"
    " such as Immich and digiKam read.",
)
def folder(
    options: GlobalOptions, archive: Archive, template: str, sidecars: bool, xmp: bool, request: ExportRequest
) -> ExportResult:
    """Export pictures and videos under readable names into DIR. Reads only, also during a run; costs nothing.

    An item that several highlights show is in each. Covers and avatars are included. The modification time of
    a file is when the item was taken (of a cover or avatar, when it was stored). The names work on Linux,
    macOS and Windows.

    Files are clones if the file system supports them, else copies; a folder that was made with hard links
    goes on with them. --link hardlink takes no space on the disk of the archive. A hard link is the archive's
    own file under a second name: it is write-protected, and changing it changes the archive.

    Running it again updates the export: files whose names changed are moved, new ones are added, and nothing
    is duplicated. A file in DIR that is not the export's, or that you changed, is left alone; if its name is
    needed, the export uses another one.

    \b
    Examples:
      archiver export folder ~/highlights
      archiver export folder /media/usb --account natgeo --type video --link copy
      archiver export folder ./new --since 7d --template '{username}/{date} {code}.{ext}'
    """
    export = partial(
        archive.export_folder,
        request.directory,
        template=template,
        sidecars=sidecars,
        xmp=xmp,
        **request.media_options(),
    )
    return _export(options, archive, "folder", request, export)


@form("jsonl", _OF_TABLES)
def jsonl(
    options: GlobalOptions, archive: Archive, tables: tuple[str, ...], request: ExportRequest
) -> ExportResult | None:
    """Export every table as JSON lines: DIR/users.jsonl and so on, one object a row. Reads only, also during
    a run; costs nothing.

    The export is exact: pks are texts, times are texts (UTC), numbers are whole, null is null. docs/schema.md
    describes the tables and columns.

    With a filter it has only rows of the selected accounts, highlights and items, and only the tables that
    have such rows: not runs, api_calls, answers, targets and archive. With - for DIR one table goes to
    stdout.

    Running it again replaces all tables of an earlier export, and removes those that are not exported now;
    your own files are never changed.

    \b
    Examples:
      archiver export jsonl ./tables
      archiver export jsonl ./natgeo --account natgeo
      archiver export jsonl - --table mentions | jq -r .username | sort | uniq -c
    """
    return _export_tables(options, archive, "jsonl", tables, request)


@form("csv", _OF_TABLES)
def csv(
    options: GlobalOptions, archive: Archive, tables: tuple[str, ...], request: ExportRequest
) -> ExportResult | None:
    """Export every table for a spreadsheet: DIR/users.csv and so on (RFC 4180, UTF-8). Reads only, also
    during a run; costs nothing.

    A text that a spreadsheet would run as a formula gets a leading apostrophe. In a cell, null and an empty
    text look the same; for programs, export jsonl is exact. Import pks as text: a spreadsheet would round
    them.

    With a filter it has only rows of the selected accounts, highlights and items, and only the tables that
    have such rows: not runs, api_calls, answers, targets and archive. With - for DIR one table goes to
    stdout.

    Running it again replaces all tables of an earlier export, and removes those that are not exported now;
    your own files are never changed.

    \b
    Examples:
      archiver export csv ./tables
      archiver export csv ./new --since 7d
      archiver export csv - --table highlights > highlights.csv
    """
    return _export_tables(options, archive, "csv", tables, request)


@form("site", _OF_MEDIA)
def site(options: GlobalOptions, archive: Archive, request: ExportRequest) -> ExportResult:
    """Export web pages into DIR that need no server and no network. Reads only, also during a run; costs
    nothing.

    Open DIR/index.html, from a disk, a USB stick or any web server. Each account has a page with its
    highlights and latest items, each highlight and each year a page with its items; what Instagram no longer
    shows is marked. Pictures and videos open in a viewer that works as stories do: tap to go on, hold to
    pause, swipe; or arrows, Home, End, space and Escape.

    The pages load nothing from elsewhere, and run only their own scripts. Running it again updates them.

    Media are clones if the file system supports them, else hard links, else copies. A hard link is the
    archive's own file under a second name: it is write-protected, and changing it changes the archive. --link
    copy avoids that.

    \b
    Examples:
      archiver export site ./natgeo --account natgeo
      archiver export site /media/usb --link copy --no-gone
    """
    export = partial(archive.export_site, request.directory, **request.media_options())
    return _export(options, archive, "site", request, export)


@form("wacz", _OF_A_FILE)
@click.option(
    "--with-answers",
    cls=RiskyOption,
    is_flag=True,
    help="Add the stored answers of the API. They contain signed links, and all that the API returned.",
)
@click.option("--force", cls=RiskyOption, is_flag=True, help="Replace FILE if it exists.")
def wacz(
    options: GlobalOptions, archive: Archive, with_answers: bool, force: bool, request: ExportRequest
) -> ExportResult:
    """Export the web pages that export site makes as one WACZ file, for a web archive or a player. Reads
    only, also during a run; costs nothing.

    Open it in ReplayWeb.page or serve it with pywb: both list its pages, and can seek within a video. The
    pages have an address that does not exist on the web. Every picture and video is compared with its SHA-256
    while it is copied.

    The file is written as .FILE.part, and renamed to FILE when it is complete. An existing FILE is refused
    (exit code 2), unless --force is given.

    \b
    Examples:
      archiver export wacz natgeo.wacz --account natgeo
      archiver export wacz archive.wacz --with-answers --force
    """
    export = partial(
        archive.export_wacz,
        request.directory,
        with_answers=with_answers,
        force=force,
        gone=request.filters.gone,
        **request.filters.narrowing(),
    )
    return _export(options, archive, "wacz", request, export)


@form("bagit", _OF_MEDIA)
@click.option(
    "--info",
    "fields",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Your own field for bag-info.txt, as in 'Source-Organization=City Archive'. Later exports keep it;"
    " LABEL= removes it. May be repeated, also with the same label.",
)
def bagit(
    options: GlobalOptions, archive: Archive, fields: tuple[str, ...], request: ExportRequest
) -> ExportResult:
    """Export a BagIt 1.0 bag (RFC 8493) with SHA-256 manifests into DIR, for libraries and archives. Reads
    only, also during a run; costs nothing.

    data/media has every picture and video, named by pks, each with a JSON file that describes it; data/tables
    has the tables as JSON lines. The API's own answers stay in the archive, since they contain signed links.
    Every file is read and compared with its SHA-256 before it is added.

    A hard link is the archive's own file: use --link copy for a bag that you give away.

    Running it again completes an interrupted bag and updates a complete one. bagit.txt is written last and
    removed first: an incomplete bag never looks like a bag.

    \b
    Examples:
      archiver export bagit ./bag --info 'Source-Organization=City Archive'
      archiver export bagit ./bag --account natgeo --link copy
      bagit.py --validate ./bag
    """
    export = partial(
        archive.export_bagit, request.directory, info=parse_fields(fields), **request.media_options()
    )
    return _export(options, archive, "bagit", request, export)


def parse_fields(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return ``LABEL=VALUE`` texts as pairs. Raises UsageError."""
    pairs = []
    for text in texts:
        label, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"invalid --info {text!r}: use LABEL=VALUE", "see archiver export bagit --help")
        pairs.append((label.strip(), value.strip()))
    return pairs


def _export_tables(
    options: GlobalOptions, archive: Archive, form: str, tables: tuple[str, ...], request: ExportRequest
) -> ExportResult | None:
    """Export tables into the directory, or print one if that is ``-``."""
    narrowing = request.filters.narrowing()
    if str(request.directory) != "-":
        export = partial(archive.export_tables, request.directory, form=form, tables=tables, **narrowing)
        return _export(options, archive, form, request, export)
    if len(tables) != 1 or options.blank is not None or request.dry_run:
        raise UsageError(
            "only one table can go to stdout, without --json and --dry-run",
            f"archiver export {form} - --table items",
        )

    def on_empty() -> None:
        if not options.quiet:
            output.print_messages(
                f"archiver: {options.command}: {_describe_no_match(archive, request.filters)}"
            )

    with signals.die_on_interrupt():
        for piece in archive.table_lines(tables[0], form=form, on_empty=on_empty, **narrowing):
            output.print_data(piece.encode(errors="replace"))
    return None
