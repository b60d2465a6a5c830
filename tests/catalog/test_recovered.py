"""Answers that are recorded again: under which run, as which call, and once."""

from __future__ import annotations

from datetime import timedelta

from archiver.catalog import Catalog, ledger, record
from archiver.catalog.query import holdings
from archiver.model.api_calls import AnswerLocation, Limits, Origin, UnrecordedAnswer
from tests.support.catalog_samples import FACTS, LATER, call, digest, rows
from tests.support.databases import NOW, SQLITE_EVERYDAY

TRAYS, FETCHED = (f"2026/03/7-{kind}-20260331T233000Z-ab.warc.gz" for kind in ("trays", "fetched"))
BEGAN = NOW.replace(microsecond=0)
CALLS = "SELECT run_id, subject, status, units FROM api_calls ORDER BY id"


def found(offset: int, subject: str = "1", segment: str = FETCHED, after: int = 1) -> UnrecordedAnswer:
    """An answer that came two seconds after it was asked for, ``after`` seconds from the beginning."""
    asked = NOW + timedelta(seconds=after)
    kept = AnswerLocation(segment, offset, 100, digest(f"{segment} {offset}"))
    return UnrecordedAnswer(kept, call(subject=subject), 200, 1, FACTS, asked, asked + timedelta(seconds=2))


@SQLITE_EVERYDAY
def test_a_run_that_nobody_knows_gets_a_row_of_its_own_once(catalog: Catalog, run_id: int) -> None:
    """With the sum of its units and the end of its last call; the same answers again, some at a time, make
    nothing more.
    """
    origin, answers = Origin(BEGAN, 7), [found(0), found(300, "2", after=9)]
    assert catalog.write(record.record_recovered_answers, origin, [TRAYS, FETCHED], answers[:1]) == (1, 1)
    assert catalog.write(record.record_recovered_answers, origin, [TRAYS, FETCHED], answers) == (1, 1)
    assert catalog.write(record.record_recovered_answers, origin, [TRAYS, FETCHED], answers) == (0, 0)
    assert rows(catalog, CALLS) == [(2, "1", 200, 1), (2, "2", 200, 1)]
    runs = rows(catalog, "SELECT id, command, outcome, units FROM runs ORDER BY id")
    assert runs == [(1, "run", None, 0), (2, "recovered", "recovered", 2)]
    assert [a.finished_at for a in catalog.read_pages(holdings.paid_answers_after)] == [
        a.finished_at for a in answers
    ]
    assert catalog.read(holdings.lengths_by_offset, FETCHED) == {0: 100, 300: 100}
    ended = rows(
        catalog,
        (
            "SELECT count(*) FROM runs JOIN api_calls c ON c.run_id = runs.id AND "
            "runs.finished_at = c.finished_at"
        ),
    )
    assert ended == [(1,)]


def test_the_run_of_that_id_counts_only_if_it_began_then(catalog: Catalog, run_id: int) -> None:
    """A restored database gives ids anew: the run of the name is the one that began in its second, or a
    moment before.
    """
    segments = [f"2026/03/{run_id}-fetched-{n}.warc.gz" for n in range(3)]
    late = timedelta(days=1)
    for segment, began in zip(segments, (BEGAN, BEGAN + timedelta(seconds=2), BEGAN + late), strict=True):
        answer = found(0, segment=segment)
        origin = Origin(began, run_id)
        assert catalog.write(record.record_recovered_answers, origin, [segment], [answer]) == (1, 1)
    assert [row[0] for row in rows(catalog, CALLS)] == [run_id, run_id, 2]
    assert rows(catalog, "SELECT units FROM runs ORDER BY id") == [(2,), (1,)]


@SQLITE_EVERYDAY
def test_a_call_that_has_its_row_is_that_call(catalog: Catalog, run_id: int) -> None:
    """Reserved and never settled, or settled with an answer that was dropped; another attempt at the same
    thing is another call.
    """
    calls = [
        catalog.write(ledger.reserve, run_id, call(), NOW + timedelta(seconds=s), Limits())
        for s in (0, 10, 20)
    ]
    for call_id, end in zip(calls[:2], (4, 14), strict=True):
        catalog.write(ledger.settle, call_id, None if end == 4 else 200, 1, NOW + timedelta(seconds=end))
    origin = Origin(BEGAN, run_id)
    answers = [found(0, after=11), found(300, after=21), found(600, after=31)]
    assert catalog.write(record.record_recovered_answers, origin, [FETCHED], answers) == (3, 1)
    recorded = "SELECT api_call_id, answers.offset FROM answers ORDER BY answers.offset"
    whole = [(calls[1], 0), (calls[2], 300), (calls[2] + 1, 600)]
    assert rows(catalog, recorded) == whole
    statuses = [(None, 1), (200, 1), (200, 1), (200, 1)]
    assert rows(catalog, "SELECT status, units FROM api_calls ORDER BY id") == statuses
    copy = found(900, after=11)
    assert catalog.write(record.record_recovered_answers, origin, [FETCHED], [copy]) == (1, 1)
    assert rows(catalog, recorded) == [*whole, (calls[2] + 2, 900)], "nobody takes the place of another"


@SQLITE_EVERYDAY
def test_answers_come_in_the_order_of_their_arrival_from_any_of_them_on(
    catalog: Catalog, run_id: int
) -> None:
    """Run by run, and as they were recorded, whatever the clock said. Lost ones are left out."""
    later_run = catalog.write(record.start_run, "run", LATER)
    for offset, after in enumerate((40, 20, 30, 20, 10, 20)):
        run, segment = (later_run, TRAYS) if offset == 1 else (run_id, FETCHED)
        recorded = [found(offset, str(offset), after=after, segment=segment)]
        origin = Origin(LATER if offset == 1 else BEGAN, run)
        assert catalog.write(record.record_recovered_answers, origin, [segment], recorded) == (1, 1)
    catalog.write(record.record_lost_answers, (3,), LATER)
    answers = list(catalog.read_pages(holdings.paid_answers_after))
    assert [answer.location.offset for answer in answers] == [0, 3, 4, 5, 1]
    for number, answer in enumerate(answers, 1):
        assert catalog.read(holdings.paid_answers_after, answer) == answers[number:]
