"""``archiver reread``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, progress, signals
from archiver.cli.options import EPILOG, Given, everywhere, json_output
from archiver.runner.workers import StopFlag
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.reread.reread import RereadReport

_AGAIN = "run it again: it goes on where it stopped"
_NOTHING: dict[str, object] = {
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


@click.command("reread", epilog=EPILOG)
@click.option("--wait", is_flag=True, help="Wait for another run to end, instead of code 11.")
@json_output(_NOTHING)
@everywhere
@click.pass_obj
def command(given: Given, wait: bool) -> int:
    """Read all kept answers anew, and add what the database lacks of them: 0 units, no call.

    Use it after an upgrade, since a newer version may understand more of an old answer, and after an older copy of the database was
    put back: answers of the days between lie on disk and are recorded again, with their units, so that the next run does not pay
    for them twice.

    Rows that are missing are added under the time of their answer, columns that say nothing are filled; nothing else is altered,
    no change is noted, and no highlight counts as fetched. Twice is the same as once. Answers that cannot be read are told and left
    out (archiver verify looks into them). It takes the lock.

    \b
    Examples:
      archiver reread
      archiver reread --json
    """
    from archiver import archive

    config = load.config(given)
    stop = StopFlag()
    with (
        signals.stop_on_signal(stop, quiet=given.quiet, hint=_AGAIN),
        progress.show_steps(given, " answers") as steps,
    ):
        done = archive.reread(config, progress=steps, stop=stop, wait=wait)
    if given.blank is not None:
        output.print_json({"exit_code": 0, "outcome": "ok", **_fields_of(done)})
    if given.wants_summary or (done.replayed.unreadable and not given.quiet):
        output.print_messages(*_told(done))
    return 0


def _fields_of(done: RereadReport) -> dict[str, object]:
    return {
        "run_id": done.run_id,
        "answers_read": done.replayed.read,
        "answers_unreadable": [
            {"id": a.answer_id, "segment": a.segment, "why": a.why} for a in done.replayed.unreadable
        ],
        "answers_unclear": done.replayed.unclear,
        "answers_lost": done.lost,
        "answers_recorded": done.recovered.answers,
        "units_recorded": done.recovered.units,
        "added": {table: added for table, (added, _) in done.learnt.items()},
        "filled": {table: filled for table, (_, filled) in done.learnt.items()},
    }


def _told(done: RereadReport) -> Iterator[str]:
    learns = any(map(any, done.learnt.values()))
    yield f"{pluralize(done.replayed.read, 'answer')} read{'' if learns else ', nothing to add'}"
    if done.recovered.answers:
        again = pluralize(done.recovered.answers, "answer")
        yield f"{again} without a row recorded again, with {pluralize(done.recovered.units, 'unit')} that the ledger did not know"
    if done.replayed.unreadable:
        first = done.replayed.unreadable[0]
        verify = advice.command_line("verify --read-data")
        unreadable = pluralize(len(done.replayed.unreadable), "answer")
        yield f"{unreadable} cannot be read; the first: {first.why} ({verify})"
    if done.lost:
        yield f"{pluralize(done.lost, 'answer')} recorded as lost, and left out"
    for what, counts in (("added", 0), ("filled", 1)):
        learnt = [f"{n[counts]:,} in {table}" for table, n in done.learnt.items() if n[counts]]
        if learnt:
            yield f"rows {what}: {', '.join(learnt)}"
