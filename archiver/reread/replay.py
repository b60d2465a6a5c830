"""What a stored answer says, by its endpoint; and recording all answers in another catalog, as they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog, record
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError
from archiver.hiker import endpoints, wire
from archiver.hiker.wire import Document
from archiver.model.api_calls import Answer, DatedAnswer, Meaning
from archiver.model.identity import utcnow
from archiver.model.upstream import HighlightPage, Tray, TrayNumbers, User

Content = Tray | HighlightPage | User

_READERS: Mapping[str, Callable[[Document, str], Content]] = {
    endpoints.TRAY: lambda document, pk: wire.parse_tray(document, pk),
    endpoints.PAGED_TRAY: lambda document, pk: wire.parse_tray_page(document, pk).tray,
    endpoints.TRAY_BY_NAME: lambda document, name: wire.parse_tray(document, username=name),
    endpoints.HIGHLIGHT: lambda document, pk: wire.parse_highlight_page(document, pk),
    endpoints.USER: lambda document, pk: wire.parse_user(document, pk),
    endpoints.USER_BY_NAME: lambda document, name: wire.parse_user(document, username=name),
}


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


_MAX_PENDING = 64


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
        if isinstance(content, Tray) and name is not None and _is_nameless(content):
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


def _is_nameless(tray: Tray) -> bool:
    return tray.user is not None and tray.user.username is None
