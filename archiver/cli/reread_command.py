"""``archiver reread``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from archiver.cli import advice, progress
from archiver.cli.decorators import Result, writes
from archiver.cli.options import GlobalOptions, dry_run_option, wait_option
from archiver.cli.run_report import RESUME
from archiver.text_format import pluralize

if TYPE_CHECKING:
    from archiver.archive.archive import Archive
    from archiver.reread import RereadReport
    from archiver.work import StopFlag


class RereadResult(Result, frozen=True):
    """What was read, and what was added by it."""

    dry_run: bool = False
    run_id: int | None = None
    answers_read: int = 0
    answers_unreadable: tuple[dict[str, object], ...] = ()
    answers_unclear: int = 0
    answers_lost: int = 0
    answers_recorded: int = 0
    units_recorded: int = 0
    added: Mapping[str, int] = {}
    filled: Mapping[str, int] = {}

    @classmethod
    def of(cls, report: RereadReport, *, dry_run: bool) -> RereadResult:
        """Return what a report says."""
        return cls(
            dry_run,
            report.run_id,
            report.replay.read_count,
            tuple({"id": a.answer_id, "segment": a.segment, "why": a.why} for a in report.replay.unreadable),
            report.replay.unclear_count,
            report.lost_count,
            report.recovery.answers,
            report.recovery.units,
            {table: added for table, (added, _) in report.row_counts.items()},
            {table: filled for table, (_, filled) in report.row_counts.items()},
        )

    def messages(self, options: GlobalOptions) -> Iterator[str]:
        """Yield what was done, or would be, if somebody reads it."""
        is_asked = self.dry_run and options.blank is None
        if is_asked or options.wants_summary or (self.answers_unreadable and not options.quiet):
            yield from self._describe()

    def _describe(self) -> Iterator[str]:
        would = "would be " if self.dry_run else ""
        learns = any(self.added.values()) or any(self.filled.values())
        yield f"{pluralize(self.answers_read, 'answer')} read{'' if learns else ', nothing to add'}"
        if self.answers_recorded:
            again = pluralize(self.answers_recorded, "stored answer")
            units = pluralize(self.units_recorded, "unit")
            lacked = "lacks" if self.dry_run else "lacked"
            yield f"{again} had no row: {would}recorded again, with {units} that the ledger {lacked}"
        if self.answers_unreadable:
            first = self.answers_unreadable[0]
            verify = advice.command_line("verify --read-data")
            unreadable = pluralize(len(self.answers_unreadable), "answer")
            yield f"{unreadable} cannot be read; the first: {first['why']} ({verify})"
        if self.answers_lost:
            yield f"{pluralize(self.answers_lost, 'answer')} recorded as lost, and left out"
        for what, counts in (("added", self.added), ("filled", self.filled)):
            rows = [f"{count:,} in {table}" for table, count in counts.items() if count]
            if rows:
                yield f"rows {would}{what}: {', '.join(rows)}"


@writes("reread", hint=RESUME, json=RereadResult.blank)
@wait_option()
@dry_run_option("Change nothing; do it to a copy of the rows, and print what would be added.")
def command(
    options: GlobalOptions, archive: Archive, stop: StopFlag, wait: bool, dry_run: bool
) -> RereadResult:
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
    if options.blank is not None:
        options.blank = {**options.blank, "dry_run": dry_run}
    with progress.show_steps(options, "answers") as steps:
        report = archive.reread(dry_run=dry_run, progress=steps, stop=stop, wait=wait)
    return RereadResult.of(report, dry_run=dry_run)
