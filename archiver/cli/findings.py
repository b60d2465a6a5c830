"""What ``verify`` found and mended, for people and as the object of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from archiver.cli import advice, show

if TYPE_CHECKING:
    from archiver.archive import Checked, Mended
    from archiver.verify.verify_answers import LostAnswer
    from archiver.verify.verify_blobs import Damage


def fields_of(checked: Checked) -> dict[str, object]:
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


def told(checked: Checked) -> Iterator[str]:
    """What was found, for people."""
    blobs, answers = checked.blobs, checked.answers
    read = f", {show.size(blobs.bytes_read)} read" if blobs.bytes_read else ""
    yield f"{show.count(blobs.checked, 'blob')} checked{read}: {len(blobs.damaged):,} damaged"
    yield f"{show.count(answers.checked, 'answer')} checked: {len(answers.damaged):,} damaged"
    if blobs.lost:
        yield f"{show.count(len(blobs.lost), 'blob')} recorded as lost"
    if answers.lost:
        yield f"{show.count(len(answers.lost), 'answer')} recorded as lost"
    if answers.unrecorded:
        reread = advice.command("reread")
        yield f"{show.count(answers.unrecorded, 'answer')} without a row ({reread} records them again)"
    if answers.surplus:
        size = show.size(sum(s.length for s in answers.surplus))
        yield f"{size} in answers/ not written by archiver"
    if blobs.found:
        yield f"{show.count(len(blobs.found), 'blob')} recorded as lost, and there again with the right bytes (noted by --repair)"
    if blobs.orphans:
        yield f"{show.count(blobs.orphans, 'blob')} without a row (harmless)"
    if blobs.foreign:
        yield f"{show.count(len(blobs.foreign), 'name')} in blobs/ that no blob can have: {_some(blobs.foreign)}"
    if answers.foreign:
        names = show.count(len(answers.foreign), "name")
        yield f"{names} in answers/ that archiver gives to no file: {_some(answers.foreign)}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def done(mended: Mended) -> Iterator[str]:
    """What was recorded, and what was set aside."""
    blobs, answers = mended.checked.blobs, mended.checked.answers
    if blobs.damaged:
        yield f"{show.count(len(blobs.damaged), 'blob')} now recorded as lost"
    if answers.damaged:
        yield f"{show.count(len(answers.damaged), 'answer')} now recorded as lost; what came from them stays"
    if answers.surplus:
        size = show.size(sum(s.length for s in answers.surplus))
        yield f"{size} not written by archiver moved to quarantine/ (only copied where answers follow)"
    if mended.quarantined:
        yield f"{show.count(mended.quarantined, 'damaged blob')} moved to quarantine/"


def priced(mended: Mended, max_units: int | None) -> Iterator[str]:
    """What it costs to have the lost again."""
    if mended.priced:
        spent = "nothing is spent" if max_units == 0 else "fetching now"
        pages = show.count(highlights(mended), "highlight")
        yield (
            f"to have the lost again: {pages} of {show.count(len(mended.priced), 'account')}, "
            f"{show.count(mended.units, 'unit')}; {spent}"
        )


def highlights(mended: Mended) -> int:
    """How many highlights it would fetch."""
    return sum(len(plan.highlights) for _, plan in mended.priced)
