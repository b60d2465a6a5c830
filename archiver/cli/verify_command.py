"""``archiver verify``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, output, progress, run_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.decorators import Result, writes
from archiver.cli.options import (
    GlobalOptions,
    RiskyOption,
    dry_run_option,
    is_on_terminal,
    max_units_option,
    wait_option,
)
from archiver.errors import ArchiverError
from archiver.exit_codes import DAMAGED, outcome
from archiver.model.values import replace
from archiver.text_format import format_size, pluralize
from archiver.wording import describe_misplaced_files

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.archive.verification import RepairReport, Verification
    from archiver.verify.verify_journal import JournalReport
    from archiver.verify.verify_stores import Damage
    from archiver.work import StopFlag


class VerifyResult(Result, frozen=True):
    """What a check of the archive at ``root`` found, and what a repair did, or would do.

    ``back``: how many lost blobs are there again. ``run``: the run that fetched them. ``price`` and
    ``advised`` are lines about what to do.
    """

    verification: Verification
    root: Path = Path()
    repair: RepairReport | None = None
    back: int = 0
    run: Mapping[str, object] | None = None
    price: tuple[str, ...] = ()
    advised: str = ""

    @classmethod
    def blank(cls) -> dict[str, object]:
        """Return the fields of ``--json`` if nothing was checked."""
        from archiver.archive.verification import Verification

        return cls(Verification()).json_fields()

    def json_fields(self) -> dict[str, object]:
        """Return the fields of ``--json``."""
        verification, blobs, answers = self.verification, self.verification.blobs, self.verification.answers
        return {
            "checked": blobs.checked,
            "bytes_read": blobs.bytes_read,
            "damaged": blobs.damaged,
            "lost": blobs.lost,
            "found": blobs.restored,
            "orphans": blobs.orphans,
            "foreign": blobs.foreign,
            "answers_checked": answers.checked,
            "answers_damaged": answers.damaged,
            "answers_lost": answers.lost,
            "answers_unrecorded": answers.unrecorded,
            "answers_surplus": answers.surplus,
            "answers_foreign": answers.foreign,
            "journal_lines": verification.journal.lines,
            "journal_damage": verification.journal.damage,
            "journal_differences": verification.journal.counts,
            "journal_rows": verification.journal.differences,
            "derived_differences": verification.derived_differences,
            "journal_losses": verification.journal.losses,
            "journal_foreign": verification.journal.foreign,
            "repair": None if self.repair is None else _describe_repair(self.repair, self.back),
            "run": self.run,
        }

    @property
    def exit_code(self) -> int:
        """Return the exit code of a check."""
        return DAMAGED if self.verification.is_damaged else 0

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the damage as a table, if there is any."""
        blobs, answers = self.root / "blobs", self.verification.answers
        rows = [
            (d.problem.value, str(blobs / d.sha256[:2] / d.sha256), _belongs_to(d))
            for d in self.verification.blobs.damaged
        ]
        rows += [("answer", a.why, f"answer {a.id}") for a in answers.damaged]
        rows += [
            (
                "surplus",
                f"answers/{s.segment}",
                f"{pluralize(s.length, 'byte')} at offset {s.offset:,}, not written by archiver",
            )
            for s in answers.surplus
        ]
        if rows:
            yield from output.format_table(("problem", "file", "belongs to"), rows)

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what a check found, and what to do about it."""
        if self.exit_code or options.wants_summary:
            yield from check_lines(self.verification)
            yield from self.price
            if self.advised and self.exit_code and not self.verification.journal.hint:
                yield self.advised


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a share such as ``5%`` as a number between 0 and 1."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:  # also refuses nan
        raise click.BadParameter(f"invalid share {value!r}: use 5% or 0.5%", ctx, param)
    return share


@writes(
    "verify", hint=run_report.RESUME, hint_needs="repair", notes_older_copy=False, json=VerifyResult.blank
)
@click.option(
    "--read-data/--quick",
    default=None,
    help="Read every byte and compare its SHA-256, or check only presence and size (the default).",
)
@click.option(
    "--subset",
    callback=_share,
    metavar="X%",
    help="Read only this share of all bytes, a different one each day: 5%, run daily, reads all in 20 days."
    " Implies --read-data.",
)
@click.option(
    "--repair", cls=RiskyOption, is_flag=True, help="Record what is lost, and fetch it again; see above."
)
@max_units_option("--repair")
@wait_option("--repair")
@click.option(
    "--accept-loss",
    cls=RiskyOption,
    is_flag=True,
    help="With --repair: continue even if no blob is left, as after the loss of a disk.",
)
@dry_run_option(
    "Only check: write nothing, not even verified_at. With --repair: say what it would cost at most."
)
def command(
    options: GlobalOptions,
    archive: Archive,
    stop: StopFlag,
    read_data: bool | None,
    subset: float | None,
    repair: bool,
    max_units: int | None,
    wait: bool,
    accept_loss: bool,
    dry_run: bool,
) -> VerifyResult | int:
    """Check the archive: every file that the database names exists and has the right size, and with
    --read-data the right bytes; every stored answer can be read; the database is intact, and lacks no entry
    of the journal; its sums are those of its rows; the journal is complete from its newest snapshot on, and
    with --read-data also before it, and gives the same rows and the same words to search. Costs nothing.

    It changes no file, and may run during a run. --read-data records when each blob was read (verified_at),
    unless a run holds the lock or the archive is read-only. --dry-run writes nothing: check a copy that you
    update so. Damage that is not yet recorded as lost gives exit code 12. Blobs without a row are harmless,
    and only counted: a later run uses them. Files in blobs/ and answers/ with names that archiver does not
    use, and files of the journal in the folder of a wrong month, are listed and left alone.

    --repair records what is damaged or missing as lost, and moves damaged and foreign bytes to quarantine/.
    Nothing is deleted; bytes between two answers are copied there, and do not count as damage while the copy
    exists. If any file of the journal is missing or damaged, or journal and database have different
    histories, the rows of the database stay as they are: the old journal is moved to quarantine/, and a new
    one begins. If only rows differ, those that only the journal has are added to the database, and a snapshot
    of all rows is written into the journal. Wrong sums are counted again, and the words to search are made
    again from the rows. If no blob exists at all, it refuses: the disk is probably not mounted.

    Then it prints what it should cost at most to fetch the lost files again, and fetches what Instagram still
    shows: 1 unit for each account and 1 for each highlight (0 if a stored answer still serves), 1 more for a
    lost answer, an expired link or an account that shows nothing. --max-units sets a limit; 0 repairs only
    what is on disk. If Instagram now has other bytes, they become a new file beside the lost one.

    \b
    Examples:
      archiver verify
      archiver verify -q --subset 5%    # each day, from cron: silent unless something is damaged
      archiver verify --archive /backup/archive --read-data --dry-run
      archiver verify --read-data --repair --max-units 20
    """
    if subset is not None and read_data is False:
        raise click.UsageError("--subset reads data: it cannot be combined with --quick")
    if not repair and (wait or accept_loss or max_units is not None):
        raise click.UsageError("--max-units, --wait and --accept-loss need --repair")
    reads = bool(read_data) or subset is not None
    share = subset or 1.0
    totals = _progress_totals(options, archive, reads, share)
    if repair and not dry_run:
        with progress.show_blobs(options, stop.check, **totals) as count:
            report = archive.repair(
                read_data=reads, share=share, accept_loss=accept_loss, wait=wait, progress=count, stop=stop
            )
        return _finish_repair(options, archive, stop, report, max_units=max_units, wait=wait)
    planned: RepairReport | None = None
    with progress.show_blobs(options, stop.check, **totals) as count:
        if repair:
            planned = archive.repair(
                read_data=reads, share=share, accept_loss=accept_loss, dry_run=True, progress=count, stop=stop
            )
            verification = planned.verification
        else:
            verification = archive.verify(read_data=reads, share=share, dry_run=dry_run, progress=count)
    how = "without --dry-run" if dry_run and repair else "with --repair"
    what = (
        "records what is lost, and fetches what is still shown"
        if verification.is_more_than_derived
        else "makes these again from the rows"
    )
    return VerifyResult(
        verification,
        archive.root,
        repair=planned,
        price=() if planned is None else tuple(price_lines(planned, max_units, dry_run=True)),
        advised=f"the same command {how} {what}",
    )


def _finish_repair(
    options: GlobalOptions,
    archive: Archive,
    stop: StopFlag,
    report: RepairReport,
    *,
    max_units: int | None,
    wait: bool,
) -> int:
    """Print what a repair did, fetch the lost files again, and print how that ended. Return the exit code."""
    verified = VerifyResult(report.verification, archive.root, report)
    if options.blank is None:
        output.print_lines(verified.lines(output.terminal_width()))
    else:  # set now, so that it is printed even if the run cannot begin
        options.blank = verified.json_fields()
    if options.wants_summary:
        output.print_messages(
            *check_lines(report.verification), *repair_lines(report), *price_lines(report, max_units)
        )
    stop.check()
    summary, changes = None, RunChanges()
    if report.plans and max_units != 0:
        summary = run_report.make_run(
            options,
            archive,
            report.targets,
            command="repair",
            run_options=report.run_options,
            max_units=max_units,
            wait=wait,
            changes=changes,
            stop=stop,
        )
    still_lost = archive.status().lost
    back = report.lost - still_lost
    code = 0 if summary is None else summary.exit_code
    if options.blank is not None:
        run = None if summary is None else run_report.json_fields(summary, changes)
        fields = replace(verified, back=back, run=run).json_fields()
        output.print_json({"exit_code": code, "outcome": outcome(code), **fields})
    elif summary is not None:
        run_report.print_report(options, summary, changes)
    if report.lost and not options.quiet:
        units = pluralize(summary.units if summary is not None else 0, "unit")
        output.print_messages(f"{back:,} of {pluralize(report.lost, 'lost blob')} recovered, {units} spent")
        if still_lost:
            output.print_messages(
                f"{still_lost:,} still lost: see lost_at in the table blobs; all other rows stay"
            )
    return code


def _describe_repair(report: RepairReport, back: int) -> dict[str, object]:
    return {
        "lost": report.lost,
        "back": back,
        "quarantined": report.quarantined,
        "has_new_journal": report.has_new_journal,
        "accounts": len(report.plans),
        "highlights": count_highlights(report),
        "units": report.units,
    }


def _belongs_to(damage: Damage) -> str:
    owners = "; ".join(damage.owners)
    return f"{' / '.join(damage.places)}: {owners}" if damage.places else owners


def _progress_totals(options: GlobalOptions, archive: Archive, reads: bool, share: float) -> dict[str, int]:
    """Return how many blobs a check looks at, and how many bytes it reads, for the bar of a terminal."""
    if not is_on_terminal() or options.quiet:
        return {}
    try:
        status = archive.status()
    except ArchiverError:  # the check says what is wrong
        return {}
    size = {"size": round(status.bytes * share)} if reads else {}
    return {"total": status.blobs, **size}


def check_lines(verification: Verification) -> Iterator[str]:
    """Yield what a check found."""
    blobs, answers = verification.blobs, verification.answers
    read = f", {format_size(blobs.bytes_read)} read" if blobs.bytes_read else ""
    yield f"{pluralize(blobs.checked, 'blob')} checked{read}: {len(blobs.damaged):,} damaged"
    yield f"{pluralize(answers.checked, 'answer')} checked: {len(answers.damaged):,} damaged"
    yield from _journal_lines(verification.journal)
    yield from verification.derived_differences
    if blobs.lost:
        yield f"{pluralize(len(blobs.lost), 'blob')} recorded as lost"
    if answers.lost:
        yield f"{pluralize(len(answers.lost), 'answer')} recorded as lost"
    if answers.unrecorded and not verification.journal.hint:  # with a hint, reread would be refused
        reread = advice.command_line("reread")
        yield f"{pluralize(answers.unrecorded, 'answer')} without a row ({reread} adds the rows)"
    if answers.surplus:
        yield f"{_surplus_size(verification)} in answers/ not written by archiver"
    if blobs.restored:
        number = pluralize(len(blobs.restored), "blob")
        yield f"{number} recorded as lost, but present and correct (--repair records that)"
    if blobs.orphans:
        yield f"{pluralize(blobs.orphans, 'blob')} without a row (harmless)"
    for directory, names in (("blobs", blobs.foreign), ("answers", answers.foreign)):
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            number = pluralize(len(names), "entry", "entries")
            yield f"{number} in {directory}/ not made by archiver, left alone: {listed}"
    yield from describe_misplaced_files(verification.journal.foreign)


def _journal_lines(journal: JournalReport) -> Iterator[str]:
    """Yield what the check of the journal found; nothing for an archive that has none yet."""
    if journal.hint:
        yield f"{journal.damage} ({advice.complete_commands(journal.hint)})"
    elif journal.damage is not None:
        yield f"the journal is damaged: {journal.damage}"
    elif journal.is_compared or journal.counts:
        number = pluralize(sum(journal.counts.values()), "different row")
        yield f"{pluralize(journal.lines, 'line')} of the journal compared with the database: {number}"
    yield from journal.losses
    for table, count in journal.counts.items():
        yield f"  {table}: {pluralize(count, 'row')} different or missing"
        for row in journal.differences:
            if row.table == table:
                what = "different values" if row.missing is None else f"missing in the {row.missing}"
                yield f"    {' '.join(map(str, row.key))}: {what}"
    if journal.losses and not (journal.damage or journal.counts):
        yield (
            "restore the file from a copy of journal/; or --repair moves this journal to quarantine/, and "
            "begins a new one with all rows"
        )
    elif journal.is_damaged and not journal.hint:
        yield "--repair adds the rows that only the journal has, and begins a new journal with all rows"


def repair_lines(report: RepairReport) -> Iterator[str]:
    """Yield what a repair recorded as lost and moved to quarantine/."""
    blobs, answers = report.verification.blobs, report.verification.answers
    if blobs.damaged:
        yield f"{pluralize(len(blobs.damaged), 'blob')} now recorded as lost"
    if answers.damaged:
        number = pluralize(len(answers.damaged), "answer")
        yield f"{number} now recorded as lost; the rows made from them stay"
    if answers.surplus:
        size = _surplus_size(report.verification)
        yield f"{size} not written by archiver: moved to quarantine/, or copied where answers follow it"
    if report.has_new_journal:
        yield "a new journal has begun with all rows; files of an older one, if any, are in quarantine/"
    elif report.verification.journal.is_damaged:
        yield "a snapshot of all rows was written into the journal"
    if report.verification.sums:
        yield "the sums were counted again"
    if report.verification.journal.wrong_words:
        yield "the words to search were made again from the rows"
    if report.quarantined:
        yield f"{pluralize(report.quarantined, 'damaged blob')} moved to quarantine/"


def price_lines(report: RepairReport, max_units: int | None, *, dry_run: bool = False) -> Iterator[str]:
    """Yield what it should cost at most to fetch again what is lost."""
    if report.plans:
        highlights = pluralize(count_highlights(report), "highlight")
        accounts, units = pluralize(len(report.plans), "account"), pluralize(report.units, "unit")
        next_step = "not fetching them (--dry-run)" if dry_run else "fetching now"
        if max_units == 0:
            next_step = "not fetching them (--max-units 0)"
        yield (
            f"fetching the lost files again should cost at most {units} "
            f"({highlights} of {accounts}); {next_step}"
        )


def count_highlights(report: RepairReport) -> int:
    """Return how many highlights must be fetched."""
    return sum(len(plan.highlights) for _, plan in report.plans)


def _surplus_size(verification: Verification) -> str:
    return format_size(sum(surplus.length for surplus in verification.answers.surplus))
