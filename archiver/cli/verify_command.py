"""``archiver verify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from archiver.cli import load, night, output, progress, run_report, signals, text_table, verify_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.options import EPILOG, Given, Unsuggested, everywhere, json_output
from archiver.runner.workers import StopFlag
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.archive import Checked, Mended
    from archiver.config import Config
    from archiver.runner.tally import Summary

_DAMAGED = 12
_AGAIN = "run it again: it goes on where it stopped"
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
    "repair": None,
    "run": None,
}


@dataclass(frozen=True, slots=True)
class _Repair:
    """What was given along with --repair."""

    max_units: int | None
    wait: bool
    accept_loss: bool


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A share such as ``5%``, as a number between 0 and 1."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:  # nor is nan
        raise click.BadParameter(f"{value!r} is not a share such as 5% or 0.5%", ctx, param)
    return share


@click.command("verify", epilog=EPILOG)
@click.option(
    "--read-data/--quick",
    default=None,
    help="Read every byte and compare its SHA-256, or look at presence and size only (the default).",
)
@click.option(
    "--subset",
    callback=_share,
    metavar="X%",
    help="Read only this share of all bytes, another one each day (UTC): 5%, run daily, reads all in 20 days. Implies --read-data.",
)
@click.option("--repair", cls=Unsuggested, is_flag=True, help="Mend what can be mended; see above.")
@click.option(
    "--max-units", type=click.IntRange(min=0), metavar="N", help="With --repair: spend no more than N units."
)
@click.option("--wait", is_flag=True, help="With --repair: wait for another run to end, instead of code 11.")
@click.option(
    "--accept-loss",
    cls=Unsuggested,
    is_flag=True,
    help="With --repair: go on even where not one blob is left, as after the loss of a disk.",
)
@json_output(_NOTHING)
@everywhere
@click.pass_obj
def command(
    given: Given,
    read_data: bool | None,
    subset: float | None,
    repair: bool,
    max_units: int | None,
    wait: bool,
    accept_loss: bool,
) -> int:
    """Check what is kept: every row's blob is there, of the right size, and with --read-data of the right bytes; every paid answer
    can be read, and nothing else is among them; the database is sound. Costs nothing.

    It changes no file and may run beside a run. --read-data notes when each blob was read (verified_at), unless another run holds
    the lock or the archive is read-only. Damage that is not yet recorded as lost gives code 12. Blobs without a row are
    harmless and only counted: a later run adopts equal bytes. Files in blobs/ and answers/ with names that
    archiver does not give are named, and left alone.

    --repair records what is damaged or missing as lost, moves damaged and foreign bytes to quarantine/
    (nothing is deleted; what is between two answers is copied there, and no damage as long as the copy
    exists), says what it costs to have the lost again, and fetches what Instagram still shows: 1 unit for
    each account and 1 for each highlight; a lost answer, an expired link or an account that shows nothing
    costs 1 more. --max-units 0 mends the disk and spends nothing. Bytes that were encoded anew become a new
    file beside the lost one. Where not one blob is there it refuses, since that is a disk which is not
    mounted.

    \b
    Examples:
      archiver verify
      archiver verify -q --subset 5%    # each day, from cron: silent unless something is damaged
      archiver verify --read-data --repair --max-units 20
    """
    from archiver import archive

    if subset is not None and read_data is False:
        raise click.UsageError("--subset reads data: it does not go with --quick")
    if not repair and (wait or accept_loss or max_units is not None):
        raise click.UsageError("--max-units, --wait and --accept-loss go with --repair")
    config = load.config(given)
    reading = bool(read_data) or subset is not None
    share = subset or 1.0
    if repair:
        return _repair(given, config, reading, share, _Repair(max_units, wait, accept_loss))
    stop = StopFlag()
    with signals.stop_on_signal(stop, quiet=given.quiet), progress.show_blobs(given, stop.check) as count:
        checked = archive.verify(config, read_data=reading, progress=count, share=share)
    code = _DAMAGED if checked.damaged else 0
    if given.blank is not None:
        _document(code, "damaged" if code else "ok", checked)
    else:
        _listed(config, checked)
    if code or given.wants_summary:
        output.print_messages(*verify_report.check_lines(checked))
        if code:
            output.print_messages(
                "the same command with --repair records what is lost, and fetches it again where it is still shown"
            )
    return code


def _repair(given: Given, config: Config, reading: bool, share: float, asked: _Repair) -> int:
    from archiver import archive
    from archiver.runner.context import RunOptions

    stop = StopFlag()
    with signals.stop_on_signal(stop, quiet=given.quiet, hint=_AGAIN):
        with progress.show_blobs(given, stop.check) as count:
            mended = archive.mend(
                config,
                read_data=reading,
                progress=count,
                stop=stop,
                share=share,
                wait=asked.wait,
                accept_loss=asked.accept_loss,
            )
        if given.blank is None:
            _listed(config, mended.checked)
        else:
            given.blank = {
                **verify_report.json_fields(mended.checked),
                "repair": _done(mended),
                "run": None,
            }  # also if the run cannot begin
        if given.wants_summary:
            output.print_messages(
                *verify_report.check_lines(mended.checked),
                *verify_report.repair_lines(mended),
                *verify_report.price_lines(mended, asked.max_units),
            )
        stop.check()
        summary, seen = None, RunChanges()
        if mended.priced and asked.max_units != 0:
            summary = night.keep(
                given,
                config,
                mended.targets,
                command="repair",
                manner=RunOptions(repair=mended.sought),
                max_units=asked.max_units,
                wait=asked.wait,
                news=seen,
                stop=stop,
            )
        still = archive.status(config).lost
    code = 0 if summary is None else summary.exit_code
    if given.blank is not None:
        outcome = "ok" if summary is None else summary.outcome
        _document(code, outcome, mended.checked, mended, still, summary, seen)
    elif summary is not None:
        run_report.print_report(given, summary, seen)
    if mended.lost and not given.quiet:
        units = pluralize(summary.units if summary is not None else 0, "unit")
        output.print_messages(
            f"{mended.lost - still:,} of {pluralize(mended.lost, 'lost blob')} back, {units} spent"
        )
        if still:
            output.print_messages(
                f"{still:,} still lost: recorded in the table blobs (lost_at), with the rows of what they belong to"
            )
    return code


def _listed(config: Config, checked: Checked) -> None:
    """The damage as a table on stdout, nothing where there is none."""
    blobs = config.archive.directory / "blobs"
    rows = [
        (d.problem.value, str(blobs / d.sha256[:2] / d.sha256), "; ".join(d.owners))
        for d in checked.blobs.damaged
    ]
    rows += [("answer", a.why, f"answer {a.id}") for a in checked.answers.damaged]
    rows += [
        (
            "surplus",
            f"answers/{s.segment}",
            f"not archiver's: {pluralize(s.length, 'byte')} at offset {s.offset:,}",
        )
        for s in checked.answers.surplus
    ]
    if rows:
        output.print_lines(text_table.format_table(("problem", "file", "belongs to"), rows))


def _document(
    code: int,
    outcome: str,
    checked: Checked,
    mended: Mended | None = None,
    still_lost: int = 0,
    summary: Summary | None = None,
    seen: RunChanges | None = None,
) -> None:
    document: dict[str, object] = {
        "exit_code": code,
        "outcome": outcome,
        **verify_report.json_fields(checked),
    }
    document["repair"] = None if mended is None else _done(mended, mended.lost - still_lost)
    document["run"] = None if summary is None else run_report.json_fields(summary, seen or RunChanges())
    output.print_json(document)


def _done(mended: Mended, back: int = 0) -> dict[str, object]:
    return {
        "lost": mended.lost,
        "back": back,
        "quarantined": mended.quarantined,
        "accounts": len(mended.priced),
        "highlights": verify_report.count_highlights(mended),
        "units": mended.units,
    }
