"""The result of ``archiver verify``, as lines for people and as fields of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archiver.cli import advice
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.archive.verification import RepairReport, Verification
    from archiver.verify.verify_journal import JournalReport


def json_fields(verification: Verification) -> dict[str, object]:
    """Return the result of a check as ``--json`` shows it."""
    blobs, answers = verification.blobs, verification.answers
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
    }


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
    yield from misplaced_lines(verification.journal.foreign)


def misplaced_lines(names: Sequence[str]) -> Iterator[str]:
    """Yield a line about files of the journal in the folder of a wrong month, if there are any."""
    if names:
        listed = ", ".join(f"journal/{name}" for name in names[:5]) + (", …" if len(names) > 5 else "")
        number = pluralize(len(names), "file")
        yield f"{number} of the journal in the folder of a wrong month, put there by somebody: {listed}"


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
