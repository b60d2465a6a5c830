"""``archiver reread``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, progress, signals
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions, dry_run_option
from archiver.cli.run_session import RESUME
from archiver.runner.threads import StopFlag
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.reread.reread import RereadReport

_NOTHING: dict[str, object] = {
    "dry_run": False,
    "run_id": None,
    "answers_read": 0,
    "answers_unreadable": [],
    "answers_unclear": 0,
    "answers_lost": 0,
    "answers_recorded": 0,
    "units_recorded": 0,
    "added": {},
    "filled": {},
}


@plain("reread", json=_NOTHING)
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of exit code 11.")
@dry_run_option("Change nothing; do it to a copy of the rows, and print what would be added.")
def command(options: GlobalOptions, wait: bool, dry_run: bool) -> int:
    """Read all stored answers again, and add what the database lacks. Makes no call, costs nothing.

    Use it after an upgrade, since a newer version may understand more of an old answer, and after you
    restored an older copy of the database: later answers are still on disk, and are recorded again, with
    their units, so that the next run does not pay for them twice.

    Missing rows are added with the time of their answer, and empty columns are filled. Nothing else changes:
    no change is recorded, and no highlight counts as fetched. Running it twice does no more than running it
    once. Answers that cannot be read are listed and left out (archiver verify checks them). Not possible
    during a run: it ends with exit code 11, or waits with --wait. --dry-run does not upgrade an older schema:
    run archiver db upgrade first.

    \b
    Examples:
      archiver reread
      archiver reread --dry-run
      archiver reread --json
    """
    stop = StopFlag()
    if options.blank is not None:
        options.blank = {**options.blank, "dry_run": dry_run}
    with (
        load.open_archive(options) as archive,
        signals.stop_on_signal(stop, quiet=options.quiet, hint="" if dry_run else RESUME),
        progress.show_steps(options, "answers") as steps,
    ):
        report = archive.reread(dry_run=dry_run, progress=steps, stop=stop, wait=wait)
    if options.blank is not None:
        output.print_json({"exit_code": 0, "outcome": "ok", "dry_run": dry_run, **_json_view(report)})
    is_asked = dry_run and options.blank is None
    if is_asked or options.wants_summary or (report.replay.unreadable and not options.quiet):
        output.print_messages(*_report_lines(report, dry_run=dry_run))
    return 0


def _json_view(report: RereadReport) -> dict[str, object]:
    return {
        "run_id": report.run_id,
        "answers_read": report.replay.read_count,
        "answers_unreadable": [
            {"id": a.answer_id, "segment": a.segment, "why": a.why} for a in report.replay.unreadable
        ],
        "answers_unclear": report.replay.unclear_count,
        "answers_lost": report.lost_count,
        "answers_recorded": report.recovery.answers,
        "units_recorded": report.recovery.units,
        "added": {table: added for table, (added, _) in report.row_counts.items()},
        "filled": {table: filled for table, (_, filled) in report.row_counts.items()},
    }


def _report_lines(report: RereadReport, *, dry_run: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    learns = any(map(any, report.row_counts.values()))
    yield f"{pluralize(report.replay.read_count, 'answer')} read{'' if learns else ', nothing to add'}"
    if report.recovery.answers:
        again = pluralize(report.recovery.answers, "stored answer")
        units = pluralize(report.recovery.units, "unit")
        lacked = "lacks" if dry_run else "lacked"
        yield f"{again} had no row: {would}recorded again, with {units} that the ledger {lacked}"
    if report.replay.unreadable:
        first = report.replay.unreadable[0]
        verify = advice.command_line("verify --read-data")
        unreadable = pluralize(len(report.replay.unreadable), "answer")
        yield f"{unreadable} cannot be read; the first: {first.why} ({verify})"
    if report.lost_count:
        yield f"{pluralize(report.lost_count, 'answer')} recorded as lost, and left out"
    for what, counts in (("added", 0), ("filled", 1)):
        rows = [f"{n[counts]:,} in {table}" for table, n in report.row_counts.items() if n[counts]]
        if rows:
            yield f"rows {would}{what}: {', '.join(rows)}"
