"""Whether a database and the journal of its archive belong together, and which of them is older."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from archiver.errors import JournalDamaged
from archiver.journal.journal_files import JournalFiles, ReadLine
from archiver.journal.journal_line import hash_line
from archiver.model.journal_entries import JournalHead

_REMEMBERED = 10_000
"""Lines that may come again: a process that is killed has written less than this since it deleted any."""


class JournalState(Enum):
    """How a database compares to the journal.

    ``NONE``: neither has a journal. ``CURRENT``: the journal has nothing that the database has not.
    ``BEHIND``: entries follow the database's last one: it is an older copy. ``DIFFERENT``: the two have
    different histories.
    """

    NONE = auto()
    CURRENT = auto()
    BEHIND = auto()
    DIFFERENT = auto()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result. ``head``: where the journal ends, as far as the database has it; ``torn``: what to cut.

    ``following``: the number of entries that the database lacks. If there are any, the gzip member that has
    the last common line may have some of them, so ``head.length`` is where that member begins.
    """

    state: JournalState
    head: JournalHead | None = None
    torn: tuple[tuple[str, int], ...] = ()
    following: int = 0


def compare(
    files: JournalFiles, archive_id: str, head: JournalHead | None, pending: Sequence[bytes]
) -> Comparison:
    """Compare the end of the journal as the database has it with the files.

    ``pending``: the lines, by their number, that a process may have written before it was killed. Nearly
    always one stat and one listing suffice. Raises JournalDamaged, StorageError.
    """
    if head is None:
        return _compare_without_head(files, archive_id)
    size = files.size(head.file)
    if size is None or size < head.length:
        return Comparison(JournalState.DIFFERENT, head)
    names = files.names(head.file)
    if names == [head.file] and size == head.length:
        return Comparison(JournalState.CURRENT, head)
    return _compare_following(files, archive_id, head, names, pending)


def _compare_without_head(files: JournalFiles, archive_id: str) -> Comparison:
    """A journal that has only snapshots was begun by an upgrade that was killed: it begins again."""
    for name in files.names():
        for read in files.read(name):
            if read.header.archive != archive_id or read.line.snapshot is None:
                return Comparison(JournalState.DIFFERENT)
    return Comparison(JournalState.NONE)


def _compare_following(
    files: JournalFiles, archive_id: str, head: JournalHead, names: Sequence[str], pending: Sequence[bytes]
) -> Comparison:
    """Read what follows the head: entries of our own outbox are no difference, nor is a snapshot."""
    expected = {head.seq + n: hash_line(line) for n, line in enumerate(pending, 1)}
    common, start, following = head, head.length, 0
    for read in _lines_after(files, head, names):
        line = read.line
        is_other = line.snapshot is None and expected.get(line.seq, line.hash) != line.hash
        if (
            read.header.archive != archive_id
            or (line.seq, line.prev) != (head.seq + 1, head.hash)
            or is_other
        ):
            return Comparison(JournalState.DIFFERENT, common)
        head = replace(head, seq=line.seq, hash=line.hash, file=read.file, length=read.end)
        if line.snapshot is None and line.seq not in expected:
            following += 1
        elif not following:
            common, start = head, read.start
    torn = tuple(files.torn.items())
    if following:
        return Comparison(JournalState.BEHIND, replace(common, length=start), torn, following)
    return Comparison(JournalState.CURRENT, common, torn)


def _lines_after(files: JournalFiles, head: JournalHead, names: Sequence[str]) -> Iterator[ReadLine]:
    """Yield the lines after the head once: a line that was shipped again after a kill equals the first."""
    known = {head.seq: head.hash}
    for name in names:
        for read in files.read(name, head.length if name == head.file else 0):
            if known.get(read.line.seq) != read.line.hash:
                known[read.line.seq] = read.line.hash
                yield read


def follow(
    files: JournalFiles, archive_id: str, names: Sequence[str], head: JournalHead | None
) -> Iterator[ReadLine]:
    """Yield the lines of these files once, in order, each checked against the one before.

    ``head``: begin after this line, which is the last one before ``head.length`` or follows there; without
    it, with the first line of the first file. Raises JournalDamaged where a line is missing, changed, or of
    another archive; StorageError.
    """
    last = None if head is None else (head.seq, head.hash)
    seen: dict[int, str] = {} if head is None else {head.seq: head.hash}
    for name in names:
        for read in files.read(name, head.length if head is not None and name == head.file else 0):
            line = read.line
            if read.header.archive != archive_id:
                raise JournalDamaged(
                    f"journal/{name} belongs to another archive ({read.header.archive})",
                    "move this file elsewhere",
                )
            if head is not None and line.seq < head.seq:
                continue
            if last is not None and line.seq <= last[0] and seen.get(line.seq) == line.hash:
                continue  # shipped again after a kill: equal lines count once
            if last is not None and (line.seq, line.prev) != (last[0] + 1, last[1]):
                raise JournalDamaged(
                    f"journal/{name}: line {line.seq} does not follow line {last[0]}: lines are missing, or "
                    "two databases wrote to this journal"
                )
            last = (line.seq, line.hash)
            seen[line.seq] = line.hash
            if len(seen) > _REMEMBERED:
                del seen[min(seen)]
            yield read


def newest_snapshot(files: JournalFiles, until: str | None = None) -> str:
    """Return the file of the newest complete snapshot; damage before it does not matter.

    ``until``: not a later file than this. Raises JournalDamaged if there is none.
    """
    for name in reversed(files.names()):
        if until is not None and name > until:
            continue
        try:
            if _is_snapshot(files.read(name)):
                return name
        except JournalDamaged:
            continue
    raise JournalDamaged(
        "the journal has no complete snapshot", "restore a copy of the database, or of the folder journal/"
    )


def _is_snapshot(lines: Iterator[ReadLine]) -> bool:
    last = None
    for read in lines:
        last = read.line.snapshot
        if last is None:
            return False
    return last == "end"
