"""Kept answers against their rows: what was paid for and cannot be read any more is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from archiver.answers.answer_store import AnswerStore, origin_of
from archiver.durable import is_rotten
from archiver.errors import AnswerMalformed, StorageError
from archiver.model.archived import StoredAnswer, Surplus
from archiver.model.identity import Digest


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """A kept Answer that cannot be read: the id of its row, its segment (path below ``answers/``), and why."""

    id: int
    segment: str
    why: str


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What was found. ``lost``: what is recorded as lost and is so; ``found``: ids recorded as lost that can be read again.

    ``unrecorded``: whole answers in files that no row names, as after an older copy of the database was put
    back. ``surplus``: bytes in the segments that are no record of ours. ``foreign``: names below ``answers/``
    that this program gives to no file, and that no row names.
    """

    checked: int
    damaged: tuple[LostAnswer, ...]
    lost: tuple[LostAnswer, ...]
    found: tuple[int, ...]
    unrecorded: int = 0
    surplus: tuple[Surplus, ...] = ()
    foreign: tuple[str, ...] = ()


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
        segment = answer.location.segment
        if segment not in sizes:
            sizes.clear()  # they come segment by segment: one is enough
            sizes[segment] = store.size(segment)
        read = answer.lost or (read_data and chosen(answer.location.sha256))
        why = _trouble(store, answer, sizes[segment], read)
        if why is not None:
            (lost if answer.lost else damaged).append(LostAnswer(answer.id, segment, why))
        elif answer.lost:
            found.append(answer.id)
    return AnswerReport(checked, tuple(damaged), tuple(lost), tuple(found))


def verify_segments(
    store: AnswerStore,
    is_named: Callable[[str], bool],
    rows_of: Callable[[str], Mapping[int, int]],
    *,
    read_data: bool,
    chosen: Callable[[Digest], bool] = lambda digest: True,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, tuple[Surplus, ...]]:
    """Count the whole answers in segments that no row names, and find what is in a segment beside records of
    ours.

    Segments that no row names are always read. Of the others only with ``read_data``, if they are ``chosen``
    (by a digest of their name), and only what no row covers: ``rows_of`` returns the lengths of the answers
    that have rows, by their offsets.

    ``is_named`` says of a segment whether a row names it, and is asked again after it was read: a run beside us may just have
    begun it. ``check`` is called once for each segment and may raise to stop. Raises StorageError for another
    reason than a rotten disk.
    """
    count, surplus = 0, list[Surplus]()
    for segment in store.segments():
        check()
        named = is_named(segment)
        if named and not (read_data and chosen(Digest(hashlib.sha256(segment.encode()).hexdigest()))):
            continue
        try:
            whole = 0 if named else sum(1 for _ in store.iterate(segment))
            rows = rows_of(segment) if named else {}
            found = list(store.surplus(segment, rows)) if named or origin_of(segment) is not None else []
        except AnswerMalformed:
            continue  # dropped meanwhile, or no file of ours
        except StorageError as error:
            if not is_rotten(error):
                raise
            continue  # the answers that cannot be read are damaged, each on its own
        if named or not is_named(segment):
            count += whole
            surplus += found
    return count, tuple(surplus)


def _trouble(store: AnswerStore, answer: StoredAnswer, size: int | None, read: bool) -> str | None:
    kept = answer.location
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
