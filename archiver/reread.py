"""Replay of all stored answers, to add what a newer version understands or a restored database lacks.

It makes no call and costs nothing. Answers without a row are recorded first, so that they are not paid for
again and the ledger is right: rows are missing if the database was restored from an older copy, or if a run
was killed between storing an answer and writing its row. Then all answers are recorded in a scratch catalog,
as runs would record them, and whatever the archive lacks is merged from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore, holds_trays, parse_origin
from archiver.catalog import Catalog, record, schema
from archiver.catalog.merge import merge
from archiver.catalog.query import holdings
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, ArchiverError, StorageError
from archiver.exit_codes import outcome
from archiver.hiker import endpoints, wire
from archiver.hiker.wire import Document
from archiver.model.api_calls import Answer, AnswerLocation, DatedAnswer, Meaning, Origin, UnrecordedAnswer
from archiver.model.identity import Pk, Subject, utcnow
from archiver.model.upstream import HighlightPage, Tray, TrayNumbers, User
from archiver.model.values import replace
from archiver.temporary import temporary_directory
from archiver.work import Work

Content = Tray | HighlightPage | User

_READERS: Mapping[str, Callable[[Document, str], Content]] = {
    endpoints.TRAY: lambda document, pk: wire.parse_tray(document, pk),
    endpoints.PAGED_TRAY: lambda document, pk: wire.parse_tray_page(document, pk).tray,
    endpoints.TRAY_BY_NAME: lambda document, name: wire.parse_tray(document, username=name),
    endpoints.HIGHLIGHT: lambda document, pk: wire.parse_highlight_page(document, pk),
    endpoints.USER: lambda document, pk: wire.parse_user(document, pk),
    endpoints.USER_BY_NAME: lambda document, name: wire.parse_user(document, username=name),
}

_MAX_PENDING = 64
_BATCH = 200
_UNKNOWN = -1
"""A number that no tray states, for a page that was not fetched because of a tray."""
COMMAND = "reread"


def asked_username(answer: Answer) -> str | None:
    """Return the username by which an account or its tray was requested; None for any other call."""
    return answer.call.subject if answer.call.path in endpoints.BY_NAME else None


def read_content(answer: Answer) -> Content | None:
    """Return the content of an answer; None for an error, and for an endpoint that this version does not use.

    Raises AnswerMalformed if it is not what its endpoint promises.
    """
    read = _READERS.get(answer.call.path)
    if read is None:
        return None
    document = wire.read_document(answer)
    return read(document, answer.call.subject) if wire.parse_outcome(document).meaning is Meaning.OK else None


class UnreadableAnswer(Struct, frozen=True):
    """A damaged or missing answer: the id of its row, its segment (path below ``answers/``), and why."""

    answer_id: int
    segment: str
    why: str


class ReplayReport(Struct, frozen=True):
    """The result of a replay.

    ``unclear_count``: how many of the answers are not what their endpoint promises.
    """

    read_count: int
    unreadable: tuple[UnreadableAnswer, ...]
    unclear_count: int


def replay(
    answers: Iterable[DatedAnswer], store: AnswerStore, into: Catalog, progress: Callable[[int], None]
) -> ReplayReport:
    """Record answers in the catalog ``into`` as runs would, but conclude nothing from what they do not list.

    ``progress`` is called before each answer with the number of answers before it, and may raise to stop.
    Raises StorageError if the disk fails, but not for a damaged part of it; DatabaseError, DiskFull.
    """
    replayer = _Replayer(into)
    unreadable: list[UnreadableAnswer] = []
    read = 0
    for number, dated in enumerate(answers):
        progress(number)
        try:
            answer = store.read(dated.location)
        except (AnswerMalformed, StorageError) as error:
            if isinstance(error, StorageError) and not is_data_loss(error):
                raise
            unreadable.append(UnreadableAnswer(dated.answer_id, dated.location.segment, str(error)))
            continue
        read += 1
        replayer.replay(dated, answer)
    return ReplayReport(read, tuple(unreadable), replayer.finish())


class _Replayer:
    """Records one answer after another.

    A tray that was requested by username but does not state one waits for the next answer about that
    username, as in a run. It is recorded only if that answer shows the same account.
    """

    def __init__(self, into: Catalog) -> None:
        self._into = into
        self._run_id = into.write(record.start_run, "reread", utcnow())
        self._pending: list[Future[object]] = []
        self._unconfirmed: dict[str, tuple[DatedAnswer, Tray]] = {}
        self._unclear = 0

    def replay(self, dated: DatedAnswer, answer: Answer) -> None:
        try:
            content = read_content(answer)
        except AnswerMalformed:
            self._unclear += 1
            return
        name = asked_username(answer)
        if (
            isinstance(content, Tray)
            and name is not None
            and content.user is not None
            and content.user.username is None
        ):
            self._unconfirmed[name] = dated, content
            return
        if isinstance(content, User) and name in self._unconfirmed:
            dated_tray, tray = self._unconfirmed.pop(name)
            if tray.user is None or tray.user.pk != content.pk:
                self._unclear += 2
                return
            self._record(dated_tray, tray)
        if content is not None:
            self._record(dated, content)

    def finish(self) -> int:
        """Wait until everything is recorded, and return how many answers were unclear."""
        self._wait()
        return self._unclear + len(self._unconfirmed)

    def _record(self, dated: DatedAnswer, content: Content) -> None:
        self._pending += self._submit(dated, content)
        if len(self._pending) >= _MAX_PENDING:
            self._wait()

    def _submit(self, dated: DatedAnswer, content: Content) -> Iterator[Future[object]]:
        submit, run_id, now = self._into.submit, self._run_id, dated.finished_at
        match content:
            case Tray():
                owner = content.user or next((highlight.user for highlight in content.highlights), None)
                if owner is not None:  # an empty tray does not state its owner
                    yield submit(record.record_tray, run_id, owner.pk, content, now, endpoint=endpoints.TRAY)
            case HighlightPage():
                yield submit(record.record_page, run_id, dated.answer_id, content, TrayNumbers(), now)
            case User():
                yield submit(record.record_user, run_id, content, now)

    def _wait(self) -> None:
        for future in self._pending:
            future.result()
        self._pending.clear()


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
            new_answers, new_units = catalog.write(record.record_recovered_answers, origin, segments, batch)
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


class RereadReport(Struct, frozen=True):
    """The result. ``row_counts``: for each table, how many rows were added and how many were filled.

    ``run_id``: None for a dry run. ``lost_count``: how many answers are recorded as lost and were therefore
    not read.
    """

    run_id: int | None
    recovery: Recovery
    replay: ReplayReport
    lost_count: int
    row_counts: Mapping[str, tuple[int, int]]


def reread(catalog: Catalog, store: AnswerStore, root: Path, work: Work) -> RereadReport:
    """Replay all stored answers and add what the catalog lacks. Repeating it adds nothing.

    No row of ``changes`` is written, and no highlight counts as fetched. ``root`` is the directory
    of the archive. ``work.stop`` ends it at the next step: what was added so far stays, and the next reread
    continues. ``work.progress`` gets the number of answers read so far and the total. Raises StorageError,
    DatabaseError, and the cause of the stop. The outcome of the run is recorded.
    """
    clock, check = work.clock, work.stop.check
    run_id = catalog.write(record.start_run, COMMAND, clock())
    try:
        recovery = recover(catalog, store, check)
        rows, lost = catalog.read(holdings.answer_counts)

        def report_progress(answers: int) -> None:
            check()
            work.progress(answers, rows - lost)

        with _scratch_catalog(catalog, root, clock()) as scratch:
            answers = catalog.read_pages(holdings.paid_answers_after)
            replay_report = replay(answers, store, scratch, report_progress)
            report_progress(rows - lost)
            row_counts = merge(scratch, catalog, check)
        catalog.write(record.settle_all_waiting, run_id, clock())
        for subject in (Subject.USER, Subject.HIGHLIGHT):
            catalog.write(record.show_pictures, clock(), subject)
        catalog.write(record.order_names)
    except BaseException as error:
        code = error.exit_code if isinstance(error, ArchiverError) else ArchiverError.exit_code
        with suppress(ArchiverError):  # the first error is the one to raise
            catalog.write(record.finish_run, run_id, clock(), outcome(code), code)
        raise
    catalog.write(record.finish_run, run_id, clock(), outcome(0), 0)
    return RereadReport(run_id, recovery, replay_report, lost, row_counts)


@contextmanager
def _scratch_catalog(catalog: Catalog, root: Path, now: datetime) -> Iterator[Catalog]:
    """Create an empty catalog in a temporary file."""
    with (
        temporary_directory(root) as place,
        Catalog.create(place / "scratch.db", catalog.archive_id, now) as scratch,
    ):
        scratch.write(schema.drop_journal_triggers)  # it has no journal, and would collect all changes
        yield scratch
