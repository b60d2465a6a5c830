"""Recording stored answers that have no row, so that they are not paid for again and the ledger is right.

Rows are missing if the database was restored from an older copy, or if a run was killed between storing an
answer and writing its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore, holds_trays, parse_origin
from archiver.catalog import Catalog, record
from archiver.catalog.query import holdings
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError
from archiver.hiker import endpoints, wire
from archiver.model.api_calls import Answer, AnswerLocation, Origin, UnrecordedAnswer
from archiver.model.identity import Pk
from archiver.model.upstream import HighlightPage, Tray, TrayNumbers
from archiver.model.values import replace
from archiver.reread.replay import read_content

_BATCH = 200
_UNKNOWN = -1
"""A number that no tray states, for a page that was not fetched because of a tray."""


class Recovery(Struct, frozen=True):
    """How many answers were recorded, and the units of their calls that the ledger did not know."""

    answers: int = 0
    units: int = 0


def recover(catalog: Catalog, store: AnswerStore, check: Callable[[], None]) -> Recovery:
    """Record every whole answer that has no row, run by run in the order in which the runs began.

    The answers are already durable, so their rows may be written in any number of steps: after a kill, the
    next call continues. ``check`` is called for each answer that is read, and may raise to stop. Raises
    StorageError, DatabaseError.
    """
    answers = units = 0
    for origin, segments in sorted(_segments_by_run(store).items()):
        unrecorded = list(_unrecorded_answers(catalog, store, segments, check))
        in_order = sorted(unrecorded, key=lambda answer: (answer.started_at, answer.finished_at))
        in_order = _with_tray_numbers(store, segments, in_order, check)
        for start in range(0, len(in_order), _BATCH):
            check()
            batch = in_order[start : start + _BATCH]
            new_answers, new_units = catalog.write(record.recovered_answers, origin, segments, batch)
            answers, units = answers + new_answers, units + new_units
    return Recovery(answers, units)


def _segments_by_run(store: AnswerStore) -> dict[Origin, list[str]]:
    runs: dict[Origin, list[str]] = {}
    for segment in store.segments():
        origin = parse_origin(segment)
        if origin is not None:
            runs.setdefault(origin, []).append(segment)
    return runs


def _unrecorded_answers(
    catalog: Catalog, store: AnswerStore, segments: Sequence[str], check: Callable[[], None]
) -> Iterator[UnrecordedAnswer]:
    """Yield the answers of a run that have no row.

    Answers with a highlight get the numbers that they state.
    """
    for segment in segments:
        check()
        known_lengths = catalog.read(holdings.lengths_by_offset, segment)
        for location, answer in _readable_answers(store, segment, known_lengths):
            check()
            yield UnrecordedAnswer(
                location,
                answer.call,
                answer.status,
                wire.parse_outcome(wire.read_document(answer)).units,
                _own_numbers(answer) if answer.call.path == endpoints.HIGHLIGHT else TrayNumbers(),
                answer.started_at,
                answer.finished_at,
            )


def _readable_answers(
    store: AnswerStore, segment: str, known_lengths: dict[int, int]
) -> Iterator[tuple[AnswerLocation, Answer]]:
    """Yield the answers of a segment as far as it can be read. Damage must not stop the other segments."""
    try:
        yield from store.iterate(segment, known_lengths)
    except AnswerMalformed:
        return
    except StorageError as error:
        if not is_data_loss(error):
            raise


def _own_numbers(answer: Answer) -> TrayNumbers:
    """Return the numbers that a highlight's own page states.

    A number that it does not state becomes ``_UNKNOWN``: with None, the answer would always count as up to
    date, because None never counts as a difference.
    """
    try:
        page = read_content(answer)
    except AnswerMalformed:
        page = None
    numbers = page.highlight.numbers if isinstance(page, HighlightPage) else TrayNumbers()
    latest, count = numbers.latest_reel_media, numbers.media_count
    return TrayNumbers(_UNKNOWN if latest is None else latest, _UNKNOWN if count is None else count)


def _with_tray_numbers(
    store: AnswerStore,
    segments: Sequence[str],
    answers: list[UnrecordedAnswer],
    check: Callable[[], None],
) -> list[UnrecordedAnswer]:
    """Return the answers of a run, each highlight with the numbers of the last earlier tray that listed it.

    Only trays of the same run count, as one of them caused the highlight to be fetched.
    """
    if not any(answer.call.path == endpoints.HIGHLIGHT for answer in answers):
        return answers
    listed: dict[Pk, list[tuple[datetime, TrayNumbers]]] = {}
    for segment in filter(holds_trays, segments):
        for _, answer in _readable_answers(store, segment, {}):
            check()
            for pk, numbers in _numbers_in_tray(answer):
                listed.setdefault(pk, []).append((answer.finished_at, numbers))
    return [_with_last_numbers(answer, listed.get(answer.call.subject, ())) for answer in answers]


def _numbers_in_tray(answer: Answer) -> Iterator[tuple[Pk, TrayNumbers]]:
    try:
        tray = read_content(answer)
    except AnswerMalformed:
        return
    if isinstance(tray, Tray):
        yield from ((highlight.pk, highlight.numbers) for highlight in tray.highlights)


def _with_last_numbers(
    answer: UnrecordedAnswer, listed: Sequence[tuple[datetime, TrayNumbers]]
) -> UnrecordedAnswer:
    before = [at_and_numbers for at_and_numbers in listed if at_and_numbers[0] <= answer.started_at]
    if answer.call.path != endpoints.HIGHLIGHT or not before:
        return answer
    return replace(answer, numbers=max(before, key=lambda at_and_numbers: at_and_numbers[0])[1])
