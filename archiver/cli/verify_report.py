"""What ``verify`` found and mended, for people and as the object of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from archiver.cli import advice
from archiver.text_format import format_size, pluralize

if TYPE_CHECKING:
    from archiver.archive import Checked, Mended
    from archiver.verify.verify_answers import LostAnswer
    from archiver.verify.verify_blobs import Damage


def json_fields(checked: Checked) -> dict[str, object]:
    """What was found, as ``--json`` shows it."""
    blobs, answers = checked.blobs, checked.answers
    return {
        "checked": blobs.checked,
        "bytes_read": blobs.bytes_read,
        "damaged": _damages(blobs.damaged),
        "lost": _damages(blobs.lost),
        "found": list(blobs.found),
        "orphans": blobs.orphans,
        "foreign": list(blobs.foreign),
        "answers_checked": answers.checked,
        "answers_damaged": _answers(answers.damaged),
        "answers_lost": _answers(answers.lost),
        "answers_unrecorded": answers.unrecorded,
        "answers_surplus": [
            {"segment": s.segment, "offset": s.offset, "length": s.length} for s in answers.surplus
        ],
        "answers_foreign": list(answers.foreign),
    }


def _damages(damages: tuple[Damage, ...]) -> list[dict[str, object]]:
    return [{"sha256": d.sha256, "problem": d.problem.value, "owners": list(d.owners)} for d in damages]


def _answers(answers: tuple[LostAnswer, ...]) -> list[dict[str, object]]:
    return [{"id": a.id, "segment": a.segment, "why": a.why} for a in answers]


def check_lines(checked: Checked) -> Iterator[str]:
    """What was found, for people."""
    blobs, answers = checked.blobs, checked.answers
    read = f", {format_size(blobs.bytes_read)} read" if blobs.bytes_read else ""
    yield f"{pluralize(blobs.checked, 'blob')} checked{read}: {len(blobs.damaged):,} damaged"
    yield f"{pluralize(answers.checked, 'answer')} checked: {len(answers.damaged):,} damaged"
    if blobs.lost:
        yield f"{pluralize(len(blobs.lost), 'blob')} recorded as lost"
    if answers.lost:
        yield f"{pluralize(len(answers.lost), 'answer')} recorded as lost"
    if answers.unrecorded:
        reread = advice.command_line("reread")
        yield f"{pluralize(answers.unrecorded, 'answer')} without a row ({reread} records them again)"
    if answers.surplus:
        size = format_size(sum(s.length for s in answers.surplus))
        yield f"{size} in answers/ not written by archiver"
    if blobs.found:
        yield f"{pluralize(len(blobs.found), 'blob')} recorded as lost, and there again with the right bytes (noted by --repair)"
    if blobs.orphans:
        yield f"{pluralize(blobs.orphans, 'blob')} without a row (harmless)"
    if blobs.foreign:
        yield f"{pluralize(len(blobs.foreign), 'name')} in blobs/ that no blob can have: {_some(blobs.foreign)}"
    if answers.foreign:
        names = pluralize(len(answers.foreign), "name")
        yield f"{names} in answers/ that archiver gives to no file: {_some(answers.foreign)}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def repair_lines(mended: Mended) -> Iterator[str]:
    """What was recorded, and what was set aside."""
    blobs, answers = mended.checked.blobs, mended.checked.answers
    if blobs.damaged:
        yield f"{pluralize(len(blobs.damaged), 'blob')} now recorded as lost"
    if answers.damaged:
        yield f"{pluralize(len(answers.damaged), 'answer')} now recorded as lost; what came from them stays"
    if answers.surplus:
        size = format_size(sum(s.length for s in answers.surplus))
        yield f"{size} not written by archiver moved to quarantine/ (only copied where answers follow)"
    if mended.quarantined:
        yield f"{pluralize(mended.quarantined, 'damaged blob')} moved to quarantine/"


def price_lines(mended: Mended, max_units: int | None) -> Iterator[str]:
    """What it costs to have the lost again."""
    if mended.priced:
        spent = "nothing is spent" if max_units == 0 else "fetching now"
        pages = pluralize(count_highlights(mended), "highlight")
        yield (
            f"to have the lost again: {pages} of {pluralize(len(mended.priced), 'account')}, "
            f"{pluralize(mended.units, 'unit')}; {spent}"
        )


def count_highlights(mended: Mended) -> int:
    """How many highlights it would fetch."""
    return sum(len(plan.highlights) for _, plan in mended.priced)
