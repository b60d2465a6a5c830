"""``archiver verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import Struct

from archiver.cli import load, output, progress, run_report, run_session, signals, text_table, verify_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions, RiskyOption, dry_run_option, is_on_terminal
from archiver.cli.parameter_types import WholeNumber
from archiver.errors import ArchiverError
from archiver.exit_codes import DAMAGED
from archiver.runner.threads import StopFlag
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from pathlib import Path

    from archiver.archive.archive import Archive
    from archiver.archive.verification import RepairReport, Verification
    from archiver.runner.tally import Summary
    from archiver.verify.verify_blobs import Damage

_NOTHING = {
    "checked": 0,
    "bytes_read": 0,
    "damaged": [],
    "lost": [],
    "found": [],
    "orphans": 0,
    "foreign": [],
    "answers_checked": 0,
    "answers_damaged": [],
    "answers_lost": [],
    "answers_unrecorded": 0,
    "answers_surplus": [],
    "answers_foreign": [],
    "journal_lines": 0,
    "journal_damage": None,
    "journal_differences": {},
    "journal_rows": [],
    "derived_differences": [],
    "journal_losses": [],
    "journal_foreign": [],
    "repair": None,
    "run": None,
}


class _RepairOptions(Struct, frozen=True):
    """The options that need --repair."""

    max_units: int | None
    wait: bool
    accept_loss: bool


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


@plain("verify", json=_NOTHING)
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
@click.option(
    "--max-units", type=WholeNumber(min=0), metavar="N", help="With --repair: spend no more than N units."
)
@click.option(
    "--wait", is_flag=True, help="With --repair: wait for another run to end, instead of exit code 11."
)
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
    read_data: bool | None,
    subset: float | None,
    repair: bool,
    max_units: int | None,
    wait: bool,
    accept_loss: bool,
    dry_run: bool,
) -> int:
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
    with load.open_archive(options, notes_older_copy=False) as archive:
        if repair and not dry_run:
            return _repair(options, archive, reads, share, _RepairOptions(max_units, wait, accept_loss))
        stop, report = StopFlag(), None
        with (
            signals.stop_on_signal(stop, quiet=options.quiet),
            progress.show_blobs(
                options, stop.check, **_progress_totals(options, archive, reads, share)
            ) as count,
        ):
            if repair:
                report = archive.repair(
                    read_data=reads,
                    share=share,
                    accept_loss=accept_loss,
                    dry_run=True,
                    progress=count,
                    stop=stop,
                )
                verification = report.verification
            else:
                verification = archive.verify(read_data=reads, share=share, dry_run=dry_run, progress=count)
    code = DAMAGED if verification.is_damaged else 0
    if options.blank is not None:
        _print_json(code, "damaged" if code else "ok", verification, report, report.lost if report else 0)
    else:
        _print_damage(archive.root, verification)
    if code or options.wants_summary:
        output.print_messages(*verify_report.check_lines(verification))
        if report is not None:
            output.print_messages(*verify_report.price_lines(report, max_units, dry_run=True))
        if code and not verification.journal.hint:
            how = "without --dry-run" if dry_run and repair else "with --repair"
            what = (
                "records what is lost, and fetches what is still shown"
                if verification.is_more_than_derived
                else "makes these again from the rows"
            )
            output.print_messages(f"the same command {how} {what}")
    return code


def _repair(
    options: GlobalOptions, archive: Archive, read_data: bool, share: float, repair_options: _RepairOptions
) -> int:
    stop = StopFlag()
    with signals.stop_on_signal(stop, quiet=options.quiet, hint=run_session.RESUME):
        totals = _progress_totals(options, archive, read_data, share)
        with progress.show_blobs(options, stop.check, **totals) as count:
            report = archive.repair(
                read_data=read_data,
                share=share,
                accept_loss=repair_options.accept_loss,
                wait=repair_options.wait,
                progress=count,
                stop=stop,
            )
        if options.blank is None:
            _print_damage(archive.root, report.verification)
        else:  # set now, so that it is printed even if the run cannot begin
            fields = verify_report.json_fields(report.verification)
            options.blank = {**fields, "repair": _repair_view(report), "run": None}
        if options.wants_summary:
            output.print_messages(
                *verify_report.check_lines(report.verification),
                *verify_report.repair_lines(report),
                *verify_report.price_lines(report, repair_options.max_units),
            )
        stop.check()
        summary, changes = None, RunChanges()
        if report.plans and repair_options.max_units != 0:
            summary = run_session.make_run(
                options,
                archive,
                report.targets,
                command="repair",
                run_options=report.run_options,
                max_units=repair_options.max_units,
                wait=repair_options.wait,
                changes=changes,
                stop=stop,
            )
        still_lost = archive.status().lost
    code = 0 if summary is None else summary.exit_code
    if options.blank is not None:
        outcome = "ok" if summary is None else summary.outcome
        _print_json(code, outcome, report.verification, report, still_lost, summary, changes)
    elif summary is not None:
        run_report.print_report(options, summary, changes)
    if report.lost and not options.quiet:
        units = pluralize(summary.units if summary is not None else 0, "unit")
        back = report.lost - still_lost
        output.print_messages(f"{back:,} of {pluralize(report.lost, 'lost blob')} recovered, {units} spent")
        if still_lost:
            output.print_messages(
                f"{still_lost:,} still lost: see lost_at in the table blobs; all other rows stay"
            )
    return code


def _print_damage(root: Path, verification: Verification) -> None:
    """Print the damage as a table on stdout, if there is any."""
    blobs = root / "blobs"
    rows = [
        (d.problem.value, str(blobs / d.sha256[:2] / d.sha256), _belongs_to(d))
        for d in verification.blobs.damaged
    ]
    rows += [("answer", a.why, f"answer {a.id}") for a in verification.answers.damaged]
    rows += [
        (
            "surplus",
            f"answers/{s.segment}",
            f"{pluralize(s.length, 'byte')} at offset {s.offset:,}, not written by archiver",
        )
        for s in verification.answers.surplus
    ]
    if rows:
        output.print_data(
            "".join(f"{line}\n" for line in text_table.format_table(("problem", "file", "belongs to"), rows))
        )


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


def _print_json(
    code: int,
    outcome: str,
    verification: Verification,
    report: RepairReport | None = None,
    still_lost: int = 0,
    summary: Summary | None = None,
    changes: RunChanges | None = None,
) -> None:
    document: dict[str, object] = {
        "exit_code": code,
        "outcome": outcome,
        **verify_report.json_fields(verification),
    }
    document["repair"] = None if report is None else _repair_view(report, report.lost - still_lost)
    document["run"] = None if summary is None else run_report.json_fields(summary, changes or RunChanges())
    output.print_json(document)


def _repair_view(report: RepairReport, back: int = 0) -> dict[str, object]:
    return {
        "lost": report.lost,
        "back": back,
        "quarantined": report.quarantined,
        "has_new_journal": report.has_new_journal,
        "accounts": len(report.plans),
        "highlights": verify_report.count_highlights(report),
        "units": report.units,
    }
