"""Kept answers against their rows: what was paid for and cannot be read any more is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archiver.answers import AnswerStore
from archiver.durable import is_rotten
from archiver.errors import AnswerMalformed, StorageError
from archiver.model import Digest, StoredAnswer


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """A kept Answer that cannot be read: the id of its row, its segment (path below ``answers/``), and why."""

    id: int
    segment: str
    why: str


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What was found. ``lost``: what is recorded as lost and is so; ``found``: ids recorded as lost that can be read again.

    ``unrecorded``: whole answers in files that no row names, as after an older copy of the database was put back.
    """

    checked: int
    damaged: tuple[LostAnswer, ...]
    lost: tuple[LostAnswer, ...]
    found: tuple[int, ...]
    unrecorded: int = 0


def verify_answers(
    store: AnswerStore,
    answers: Iterator[StoredAnswer],
    *,
    read_data: bool,
    chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> AnswerReport:
    """Check that every answer lies within its segment; with ``read_data`` read those that are ``chosen``, as a rerun would.

    An answer that is recorded as lost is always read. ``check`` is called once for each and may raise to stop. Raises StorageError for
    another reason than a rotten disk.
    """
    checked = 0
    damaged: list[LostAnswer] = []
    lost: list[LostAnswer] = []
    found: list[int] = []
    sizes: dict[str, int | None] = {}
    for answer in answers:
        check()
        checked += 1
        segment = answer.kept.segment
        if segment not in sizes:
            sizes.clear()  # they come segment by segment: one is enough
            sizes[segment] = store.size(segment)
        read = answer.lost or (read_data and chosen(answer.kept.sha256))
        why = _trouble(store, answer, sizes[segment], read)
        if why is not None:
            (lost if answer.lost else damaged).append(LostAnswer(answer.id, segment, why))
        elif answer.lost:
            found.append(answer.id)
    return AnswerReport(checked, tuple(damaged), tuple(lost), tuple(found))


def count_unrecorded(
    store: AnswerStore, is_named: Callable[[str], bool], check: Callable[[], None] = lambda: None
) -> int:
    """How many whole answers lie in segments that no row names. Cheap where there are none: other segments are not opened.

    ``is_named`` says of a segment whether a row names it, and is asked again after it was read: a run beside us may just have
    begun it. ``check`` is called once for each segment and may raise to stop. Raises StorageError.
    """
    count = 0
    for segment in store.segments():
        check()
        if is_named(segment):
            continue
        try:
            whole = sum(1 for _ in store.iterate(segment))
        except AnswerMalformed:
            continue  # dropped meanwhile, or no file of ours
        count += 0 if is_named(segment) else whole
    return count


def _trouble(store: AnswerStore, answer: StoredAnswer, size: int | None, read: bool) -> str | None:
    kept = answer.kept
    if size is None:
        return f"answers/{kept.segment} is not there"
    if size < kept.offset + kept.length:
        return f"answers/{kept.segment} ends before it"
    if not read:
        return None
    try:
        store.read(kept)
    except AnswerMalformed as error:
        return str(error)
    except StorageError as error:
        if not is_rotten(error):
            raise
        return str(error)
    return None
