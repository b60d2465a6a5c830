"""Kept answers that no row tells of, found on the disk and recorded again: what was paid for serves, and the ledger is right.

A database that was restored from an older copy does not know what was paid for since; a kill may have come between an answer and
its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.answers.answer_store import AnswerStore, holds_trays, origin_of
from archiver.catalog import Catalog, record
from archiver.catalog.query import stored_answers
from archiver.durable import is_rotten
from archiver.errors import AnswerMalformed, StorageError
from archiver.hiker import wire
from archiver.model.billing import Answer, AnswerLocation, Origin, UnrecordedAnswer
from archiver.model.identity import Pk
from archiver.model.upstream import HighlightPage, Tray, TrayFacts
from archiver.reread.reading import PAGE, told

_AT_ONCE = 200
_UNKNOWN = -1
"""A number under which a page was not asked for: it differs from whatever a tray says."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How many answers were recorded again, and the units of their calls that the ledger did not know."""

    answers: int = 0
    units: int = 0


def recover(catalog: Catalog, store: AnswerStore, check: Callable[[], None]) -> Recovery:
    """Record every whole answer below ``answers/`` that has no row, run by run in the order in which those began.

    Bytes are on the disk already, so rows may come in any number of steps: killed between two of them, the next call goes on.
    ``check`` is called for each answer that is read, and may raise to stop. Raises StorageError, DatabaseError.
    """
    answers = units = 0
    for origin, segments in sorted(_by_run(store).items()):
        found = _facts_of_trays(store, segments, list(_unrecorded(catalog, store, segments, check)), check)
        for start in range(0, len(found), _AT_ONCE):
            check()
            batch = found[start : start + _AT_ONCE]
            some = catalog.write(record.recovered_answers, origin, segments, batch)
            answers, units = answers + some[0], units + some[1]
    return Recovery(answers, units)


def _by_run(store: AnswerStore) -> dict[Origin, list[str]]:
    runs: dict[Origin, list[str]] = {}
    for segment in store.segments():
        origin = origin_of(segment)
        if origin is not None:
            runs.setdefault(origin, []).append(segment)
    return runs


def _unrecorded(
    catalog: Catalog, store: AnswerStore, segments: Sequence[str], check: Callable[[], None]
) -> Iterator[UnrecordedAnswer]:
    """The answers of a run that have no row; of a page with the numbers that it tells itself."""
    for segment in segments:
        check()
        past = catalog.read(stored_answers.lengths_by_offset, segment)
        for kept, answer in _readable(store.iterate(segment, past)):
            check()
            verdict = wire.parse_verdict(answer)
            yield UnrecordedAnswer(
                kept,
                answer.call,
                answer.status,
                verdict.units,
                _own_facts(answer) if answer.call.path == PAGE else TrayFacts(),
                answer.started_at,
                answer.finished_at,
            )


def _readable(answers: Iterator[tuple[AnswerLocation, Answer]]) -> Iterator[tuple[AnswerLocation, Answer]]:
    """As far as the segment can be read: one that is lost, or lies on rotten ground, keeps nobody from the others."""
    try:
        yield from answers
    except AnswerMalformed:
        return
    except StorageError as error:
        if not is_rotten(error):
            raise


def _own_facts(answer: Answer) -> TrayFacts:
    """What a page says of its own numbers; where it says nothing it must serve nobody, for a null would differ from nothing."""
    try:
        page = told(answer)
    except AnswerMalformed:
        page = None
    facts = page.highlight.facts if isinstance(page, HighlightPage) else TrayFacts()
    latest, count = facts.latest_reel_media, facts.media_count
    return TrayFacts(_UNKNOWN if latest is None else latest, _UNKNOWN if count is None else count)


def _facts_of_trays(
    store: AnswerStore, segments: Sequence[str], found: Sequence[UnrecordedAnswer], check: Callable[[], None]
) -> list[UnrecordedAnswer]:
    """The answers in the order in which they came, each page with the numbers of the last tray before it that listed it.

    Only a tray of the same run counts: it is the one that caused the page to be fetched. One of an earlier night is not.
    """
    in_order = sorted(found, key=lambda answer: (answer.started_at, answer.finished_at))
    if not any(answer.call.path == PAGE for answer in in_order):
        return in_order
    listed: dict[Pk, list[tuple[datetime, TrayFacts]]] = {}
    for segment in filter(holds_trays, segments):
        for _, answer in _readable(store.iterate(segment)):
            check()
            for pk, facts in _listed(answer):
                listed.setdefault(pk, []).append((answer.finished_at, facts))
    return [_under(answer, listed.get(answer.call.subject, ())) for answer in in_order]


def _listed(answer: Answer) -> Iterator[tuple[Pk, TrayFacts]]:
    try:
        tray = told(answer)
    except AnswerMalformed:
        return
    if isinstance(tray, Tray):
        yield from ((highlight.pk, highlight.facts) for highlight in tray.highlights)


def _under(answer: UnrecordedAnswer, listed: Sequence[tuple[datetime, TrayFacts]]) -> UnrecordedAnswer:
    before = [at_and_facts for at_and_facts in listed if at_and_facts[0] <= answer.started_at]
    if answer.call.path != PAGE or not before:
        return answer
    return replace(answer, facts=max(before, key=lambda at_and_facts: at_and_facts[0])[1])
