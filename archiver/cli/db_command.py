"""``archiver db``: upgrade, current, backup, rebuild, snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, progress, signals
from archiver.cli.decorators import group, plain, reads
from archiver.cli.options import GlobalOptions, RiskyOption, dry_run_option
from archiver.exit_codes import PARTIAL
from archiver.text_format import format_size, make_safe, pluralize
from archiver.wording import describe_misplaced_files
from archiver.work import StopFlag, Work

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.archive.rebuild_archive import RebuiltArchive

_RESTART = "run it again"


@group("db")
def command() -> None:
    """Upgrade, copy or rebuild the database, or write all its rows into the journal. Costs nothing."""


@plain("upgrade", short_help="Upgrade the schema to that of this version.", group=command)
@dry_run_option("Change nothing; print the revisions.")
def upgrade(options: GlobalOptions, dry_run: bool) -> None:
    """Upgrade the schema to that of this version; a SQLite file is copied first. Not possible
    during a run (exit code 11).

    archiver run and other commands that write do this themselves. Commands that only read refuse an older
    schema (exit code 9) and name this command. A newer schema is never changed.
    """
    from archiver.archive.database import upgrade_schema

    before, after = _read_revisions(options) if dry_run else upgrade_schema(load.config(options))
    if not options.quiet:
        change = "would be" if dry_run else "was"
        output.print_messages(
            f"the schema is already at revision {after}"
            if before == after
            else f"the schema {change} upgraded from revision {before} to {after}"
        )


@plain("current", short_help="Print the schema's revision.", group=command)
def current(options: GlobalOptions) -> None:
    """Print the schema's revision, and what to do if this version needs another."""
    present, needed = _read_revisions(options)
    output.print_data(f"{present}\n")
    if present != needed and not options.quiet:
        upgrade_it = advice.command_line("db upgrade")
        output.print_messages(
            f"archiver: db current: this version works with revision {needed} ({upgrade_it})"
        )


def _read_revisions(options: GlobalOptions) -> tuple[str, str]:
    """Return the present and the needed revision; if they are equal, name an older copy as readers do."""
    from archiver.archive.database import read_revisions

    revisions = present, needed = read_revisions(load.config(options))
    if present == needed:
        with load.open_archive(options) as archive:
            _ = archive.is_behind  # opening it says so
    return revisions


@reads(
    "backup",
    reports_interrupt=True,
    short_help="Copy the SQLite database, also during a run.",
    group=command,
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The copy; must not exist.",
)
@dry_run_option("Write nothing; print the size of the copy.")
def backup(archive: Archive, file: Path | None, dry_run: bool) -> None:
    """Copy the SQLite database, consistently also during a run, and print where it is. For PostgreSQL use
    pg_dump.

    Without -o the copy is archive-<time>.db in the current directory. Pictures and videos are plain files:
    copy blobs/ as it is.
    """
    to = file if file is not None else Path(f"archive-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db")
    size = archive.backup_database(to.absolute(), dry_run=dry_run)
    if dry_run:
        output.print_messages(f"the database, {format_size(size)}, would be copied to {to}")
    else:
        output.print_data(f"{make_safe(str(to))}\n")


@plain("rebuild", short_help="Make the database again from the archive's journal.", group=command)
@click.option(
    "--skip-damage",
    cls=RiskyOption,
    is_flag=True,
    help="Where the journal is damaged, keep the rows up to there, and begin the journal again.",
)
@dry_run_option("Change nothing; read the journal into a temporary database, and print what would be done.")
def rebuild(options: GlobalOptions, skip_damage: bool, dry_run: bool) -> int:
    """Make the database again from the journal of the archive, or bring an older copy up to date. Costs
    nothing, and downloads nothing.

    A SQLite file that is an older copy, has another history or cannot be used is renamed, never overwritten,
    and its new name is printed. A database of another archive is refused. A PostgreSQL database must be empty
    or an older copy. If the command is interrupted, run it again. Afterwards the database has every row that
    it had.

    If a part of the journal is damaged or missing, restore journal/ from a copy. If you have none,
    --skip-damage keeps the rows up to that point. Stored answers of later runs are recorded as well, and
    archiver reread adds what they contain. Files that only the lost part of the journal named are used again
    by the next run, if Instagram still shows them. The old journal is moved to quarantine/. If rows may be
    missing, the exit code is 3.
    """
    from archiver.archive.rebuild_archive import plan_rebuild, rebuild_database

    stop = StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=options.quiet, hint="" if dry_run else _RESTART),
        progress.show_steps(options, "bytes") as steps,
    ):
        rebuild = plan_rebuild if dry_run else rebuild_database
        rebuilt = rebuild(load.config(options), Work(stop=stop, progress=steps), skip_damage=skip_damage)
    if dry_run or options.wants_summary:
        output.print_messages(*_rebuild_lines(rebuilt, dry_run=dry_run))
    output.print_messages(*_missing_lines(rebuilt, dry_run=dry_run))  # also under cron
    return 0 if rebuilt.is_complete else PARTIAL


def _rebuild_lines(rebuilt: RebuiltArchive, *, dry_run: bool) -> Iterator[str]:
    report, was, were = rebuilt.journal, *(("would be",) * 2 if dry_run else ("was", "were"))
    entries = pluralize(report.entries, "entry", "entries")
    if not report.rows:
        yield f"the database {'has' if dry_run else 'had'} every entry of the journal already"
    elif rebuilt.was_copy and report.begins_with_snapshot:
        yield (
            f"all rows of the older database {were} replaced by those of the journal's newest snapshot, with "
            f"{entries} after it"
        )
    elif rebuilt.was_copy:
        yield f"the older database {was} brought up to date with {entries} of the journal"
    else:
        yield f"the database {was} rebuilt from the journal: a snapshot and {entries}"
    if report.set_aside is not None and dry_run:
        yield f"the database file {report.set_aside} would be renamed"
    elif report.set_aside is not None:
        yield f"the database file that was there before is now {report.set_aside}"
    if rebuilt.has_finished_removal:
        yield "the removal of an account that was interrupted is finished"
    if rebuilt.deleted is not None:
        yield "the database file that was there before is deleted: it still held the account"
    if rebuilt.was_before_removal:
        then = "then " if dry_run else ""
        yield f"it is from before an account was forgotten, and still holds it: {then}delete that file"


def _missing_lines(rebuilt: RebuiltArchive, *, dry_run: bool) -> Iterator[str]:
    recovery = rebuilt.recovery
    if rebuilt.journal.damage is not None:
        yield f"the journal ends early: {rebuilt.journal.damage}"
        yield (
            "what came later would be missing, and a new journal would begin"
            if dry_run
            else "what came later is missing; the old journal is in quarantine/, and a new one has begun"
        )
    yield from rebuilt.journal.lost
    if rebuilt.journal.only_snapshot:
        yield "the newest snapshot of the journal is missing; nothing is lost with it"
    elif rebuilt.journal.missing:
        lines = pluralize(rebuilt.journal.missing, "line")
        yield f"the journal lacks its last {lines}, which archive.json counts: what they recorded is missing"
    if rebuilt.journal.begins_again and rebuilt.journal.damage is None:
        yield (
            "a new journal would begin"
            if dry_run
            else "a new journal has begun with all rows; the old one is in quarantine/"
        )
    yield from describe_misplaced_files(rebuilt.foreign)
    if rebuilt.torn is not None:
        yield (
            f"the end of journal/{rebuilt.torn} could not be read, and what was there is missing: "
            "a kill or a power loss tore it, or it is damaged"
        )
    if rebuilt.torn is not None or not rebuilt.journal.is_whole:
        yield (
            "if you have a copy of journal/: move the database away, put the copy where journal/ is, "
            "and run this again"
        )
    if recovery.answers:
        answers, units = pluralize(recovery.answers, "answer"), pluralize(recovery.units, "unit")
        were = "would be" if dry_run else "were"
        yield f"stored answers that are not in the journal {were} recorded: {answers}, {units}"
        yield f"{advice.command_line('reread')} adds what they contain"


@plain("snapshot", short_help="Write all rows into the archive's journal.", group=command)
@dry_run_option("Write nothing; print how many rows there are.")
def snapshot(options: GlobalOptions, dry_run: bool) -> None:
    """Write all rows into a new file of the journal. Not possible during a run (exit code 11).

    The next db rebuild begins with that file, and applies only the changes after it. A run writes such a file
    itself once the changes since the last one are larger than it, and larger than 1 MiB.
    """
    from archiver.archive.rebuild_archive import plan_snapshot, take_snapshot

    if dry_run:
        rows = pluralize(plan_snapshot(load.config(options)), "row")
        output.print_messages(f"{rows} would be written into a new file in journal/")
        return
    head = take_snapshot(load.config(options), Work())
    if not options.quiet:
        output.print_messages(f"all rows are in journal/{head.file}")
