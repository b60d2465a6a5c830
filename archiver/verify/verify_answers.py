"""Checking the stored answers against their rows: finds unreadable answers, and bytes without a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore, parse_origin
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.archived import StoredAnswer, Surplus
from archiver.model.identity import Digest

_NOTHING = (None, 0)


class LostAnswer(Struct, frozen=True):
    """An answer that cannot be read: the id of its row, its segment (path below ``answers/``), and why."""

    id: int
    segment: str
    why: str


class AnswerReport(Struct, frozen=True):
    """The result of a check.

    ``damaged``: cannot be read, and not yet recorded as lost. ``lost``: recorded as lost, and still
    unreadable. ``restored``: ids of answers that are recorded as lost but can be read again. ``unrecorded``:
    the number of whole answers in segments without rows, as after the database was restored from an older
    copy. ``surplus``: bytes in segments that are not records of this program. ``foreign``: names below
    ``answers/`` that this program does not create and that are in no row.
    """

    checked: int = 0
    damaged: tuple[LostAnswer, ...] = ()
    lost: tuple[LostAnswer, ...] = ()
    restored: tuple[int, ...] = ()
    unrecorded: int = 0
    surplus: tuple[Surplus, ...] = ()
    foreign: tuple[str, ...] = ()


def verify_answers(
    store: AnswerStore,
    answers: Iterator[StoredAnswer],
    *,
    read_data: bool,
    is_chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> AnswerReport:
    """Check that every answer is within its segment.

    With ``read_data``, also read those that ``is_chosen`` accepts. An answer that is recorded as lost is
    always read. ``check`` is called for each answer and may raise to stop. Raises StorageError if the disk
    fails, but not for a damaged part of it.
    """
    checked = 0
    damaged: list[LostAnswer] = []
    lost: list[LostAnswer] = []
    readable: list[int] = []
    listed = store.sizes()
    name, size = next(listed, _NOTHING)
    sizes: dict[str, int | None] = {}
    for answer in answers:
        check()
        checked += 1
        segment = answer.location.segment
        if segment not in sizes:
            sizes.clear()  # answers are sorted by segment: keep only one size
            while name is not None and name < segment:
                name, size = next(listed, _NOTHING)
            # A segment that is not listed may have been stored since.
            sizes[segment] = size if name == segment else store.size(segment)
        must_read = answer.is_lost or (read_data and is_chosen(answer.location.sha256))
        why = _damage_of(store, answer, sizes[segment], must_read)
        if why is not None:
            (lost if answer.is_lost else damaged).append(LostAnswer(answer.id, segment, why))
        elif answer.is_lost:
            readable.append(answer.id)
    return AnswerReport(checked, tuple(damaged), tuple(lost), tuple(readable))


def verify_segments(
    store: AnswerStore,
    has_rows: Callable[[str], bool],
    rows_of: Callable[[str], Mapping[int, int]],
    *,
    read_data: bool,
    is_chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, tuple[Surplus, ...]]:
    """Count the whole answers in segments without rows, and return the surplus bytes of all segments.

    A segment without rows is always read. A segment with rows is read only with ``read_data``, if
    ``is_chosen`` accepts the digest of its name, and only between the answers that have rows: ``rows_of``
    returns their lengths by offset.

    ``has_rows`` is called again after a segment was read, because a concurrent run may have just begun that
    segment. ``check`` is called for each segment and may raise to stop. Raises StorageError if the disk
    fails, but not for a damaged part of it.
    """
    count, surplus = 0, list[Surplus]()
    for segment in store.segments():
        check()
        is_known = has_rows(segment)
        if is_known and not (read_data and is_chosen(Digest(hashlib.sha256(segment.encode()).hexdigest()))):
            continue
        try:
            whole = 0 if is_known else sum(1 for _ in store.iterate(segment))
            rows = rows_of(segment) if is_known else {}
            is_ours = is_known or parse_origin(segment) is not None
            extra = list(store.surplus(segment, rows)) if is_ours else []
        except AnswerMalformed:
            continue  # removed in the meantime, or not a file of this program
        except StorageError as error:
            if not is_data_loss(error):
                raise
            continue  # each answer that cannot be read is reported by verify_answers
        if is_known or not has_rows(segment):
            count += whole
            surplus += extra
    return count, tuple(surplus)


def _damage_of(store: AnswerStore, answer: StoredAnswer, size: int | None, must_read: bool) -> str | None:
    location = answer.location
    if size is None:
        return f"answers/{location.segment} does not exist"
    if size < location.offset + location.length:
        return f"answers/{location.segment} ends before this answer does"
    if not must_read:
        return None
    try:
        store.read(location)
    except AnswerMalformed as error:
        return str(error)
    except StorageError as error:
        if not is_data_loss(error):
            raise
        return str(error)
    return None
