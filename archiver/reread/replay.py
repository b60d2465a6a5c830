"""All kept answers mapped anew, in the order in which they came and each under its own time, into a catalog of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog, record
from archiver.durable import is_rotten
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.billing import DatedAnswer
from archiver.model.identity import utcnow
from archiver.model.upstream import HighlightPage, Tray, TrayFacts, User
from archiver.reread.reading import Told, asked_name, told

_WAITING = 64


@dataclass(frozen=True, slots=True)
class UnreadableAnswer:
    """A kept Answer whose bytes are damaged or gone: the id of its row, its segment (path below ``answers/``), and why."""

    answer_id: int
    segment: str
    why: str


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How many answers were read, those that could not be, and how many of the read ones are not what their endpoint promises."""

    read: int
    unreadable: tuple[UnreadableAnswer, ...]
    unclear: int


def replay(
    answers: Iterable[DatedAnswer], store: AnswerStore, into: Catalog, progress: Callable[[int], None]
) -> ReplayReport:
    """Record what the answers tell into the catalog ``into``, as runs would have, but for all that absence would be evidence of.

    A tray that was asked for by name and does not state it counts as in a run: only if the look at the account that came
    after it shows the same account under that name.

    ``progress`` is told how many were looked at, before each, and may raise to stop. Raises StorageError for another reason than a
    rotten disk, DatabaseError, DiskFull.
    """
    run_id = into.write(record.start_run, "reread", utcnow())
    waiting: list[Future[object]] = []
    unreadable: list[UnreadableAnswer] = []
    unconfirmed: dict[str, tuple[DatedAnswer, Tray]] = {}
    read = unclear = 0
    for looked_at, paid in enumerate(answers):
        progress(looked_at)
        try:
            answer = store.read(paid.location)
        except (AnswerMalformed, StorageError) as error:
            if isinstance(error, StorageError) and not is_rotten(error):
                raise
            unreadable.append(UnreadableAnswer(paid.answer_id, paid.location.segment, str(error)))
            continue
        read += 1
        try:
            found = told(answer)
        except AnswerMalformed:
            unclear += 1
            continue
        name = asked_name(answer)
        if isinstance(found, Tray) and name is not None and _is_nameless(found):
            unconfirmed[name] = paid, found
            continue
        if isinstance(found, User) and name in unconfirmed:
            listed, tray = unconfirmed.pop(name)
            if tray.user is None or tray.user.pk != found.pk:
                unclear += 2
                continue
            waiting += _recorded(into, run_id, listed, tray)
        if found is not None:
            waiting += _recorded(into, run_id, paid, found)
        if len(waiting) >= _WAITING:
            _wait(waiting)
    _wait(waiting)
    return ReplayReport(read, tuple(unreadable), unclear + len(unconfirmed))


def _recorded(into: Catalog, run_id: int, paid: DatedAnswer, found: Told) -> Iterable[Future[object]]:
    now = paid.finished_at
    match found:
        case Tray():
            owner = found.user or next((highlight.user for highlight in found.highlights), None)
            if owner is not None:  # an empty one tells nothing
                yield into.submit(record.tray, run_id, owner.pk, found, now)
        case HighlightPage():
            yield into.submit(record.page, run_id, paid.answer_id, found, TrayFacts(), now)
        case User():
            yield into.submit(record.user, run_id, found, now)


def _is_nameless(tray: Tray) -> bool:
    return tray.user is not None and tray.user.username is None


def _wait(waiting: list[Future[object]]) -> None:
    for future in waiting:
        future.result()
    waiting.clear()
