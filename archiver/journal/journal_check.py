"""Whether a database and the journal of its archive belong together, and which of them is older."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import Enum, auto

from msgspec import Struct

from archiver.errors import JournalDamaged
from archiver.journal.journal_files import JournalFiles, ReadLine
from archiver.journal.journal_line import hash_line
from archiver.model.journal_entries import JournalHead
from archiver.model.values import replace

_REMEMBERED = 25_000
"""How many lines are remembered, to recognize those that were shipped again after a kill: a process writes at
most ``outbox.MAX_CHANGES`` before it deletes them.
"""


class JournalState(Enum):
    """How a database compares to the journal.

    ``NONE``: neither has a journal. ``CURRENT``: the database has every entry of the journal. ``BEHIND``: the
    database is an older copy, and lacks the last entries. ``SHORT``: the journal ends before the
    last line that the database knows. ``DIFFERENT``: the two have different histories.
    """

    NONE = auto()
    CURRENT = auto()
    BEHIND = auto()
    SHORT = auto()
    DIFFERENT = auto()


class Comparison(Struct, frozen=True):
    """The result of comparing a database with the journal.

    ``head``: the last line that both have. If the journal has lines that a killed process wrote, but did not
    record, it is the last of those, and ``unrecorded`` are their files: they may not be on the disk yet. With
    ``has_new_snapshot`` some of them are a snapshot. If SHORT, ``head`` is the line that the journal lacks.
    ``torn``: the files with an incomplete end, each with the length to which it must be cut. ``following``:
    the number of entries that the database lacks. If there are any, the gzip member of the last common line
    may contain some of them, so ``head.length`` is where that member begins.
    """

    state: JournalState
    head: JournalHead | None = None
    torn: tuple[tuple[str, int], ...] = ()
    following: int = 0
    unrecorded: tuple[str, ...] = ()
    has_new_snapshot: bool = False


def compare(
    files: JournalFiles, archive_id: str, head: JournalHead | None, pending: Sequence[bytes]
) -> Comparison:
    """Compare the end of the journal that the database knows (``head``) with the files.

    ``pending``: the lines after ``head``, in order, that a process may have written before it was killed.
    Nearly always one stat and one listing suffice. Raises JournalDamaged, StorageError.
    """
    if head is None:
        return _compare_without_head(files, archive_id)
    size = files.storage.size(head.file)
    if size is None or size < head.length:
        # Files are named after their first line: another one with this number or a later one is another end.
        others = [
            name
            for name in files.names()
            if name != head.file and first_number(name) >= first_number(head.file)
        ]
        return Comparison(JournalState.DIFFERENT if others else JournalState.SHORT, head)
    names = files.names(head.file)
    if names == [head.file] and size == head.length:
        return Comparison(JournalState.CURRENT, head)
    return _compare_following(files, archive_id, head, names, pending)


def first_number(name: str) -> int:
    """Return the number of the first line of a file, which is in its name."""
    return int(name.rpartition("/")[2].partition("-")[0])


def _compare_without_head(files: JournalFiles, archive_id: str) -> Comparison:
    """Return NONE if there are only snapshots: an upgrade that was killed wrote them. Else DIFFERENT."""
    for name in files.names():
        for read in files.read(name):
            if read.header.archive != archive_id or read.line.snapshot is None:
                return Comparison(JournalState.DIFFERENT)
    return Comparison(JournalState.NONE)


def _compare_following(
    files: JournalFiles, archive_id: str, head: JournalHead, names: Sequence[str], pending: Sequence[bytes]
) -> Comparison:
    """Compare the lines after the head. Entries of our own outbox and snapshots are not a difference."""
    expected = {head.seq + n: hash_line(line) for n, line in enumerate(pending, 1)}
    common, start = head, head.length
    following, has_snapshot = 0, False
    unrecorded: dict[str, None] = {}
    try:
        for read in _lines_after(files, head, names):
            line = read.line
            is_entry, is_ours = line.snapshot is None, expected.get(line.seq) == line.hash
            if (
                read.header.archive != archive_id
                or (line.seq, line.prev) != (head.seq + 1, head.hash)
                or (is_entry and line.seq in expected and not is_ours)
            ):
                return Comparison(JournalState.DIFFERENT, common)
            head = replace(head, seq=line.seq, hash=line.hash, file=read.file, length=read.end)
            unrecorded[read.file] = None
            following += is_entry and not is_ours
            has_snapshot |= not is_entry
            if is_ours and not has_snapshot and not following:
                common, start = head, read.start
    except JournalDamaged:
        if not following:  # else the database is an older copy, whatever the rest says
            raise
    torn = tuple(files.torn.items())
    if following:
        return Comparison(JournalState.BEHIND, replace(common, length=start), torn, following)
    return Comparison(JournalState.CURRENT, head, torn, 0, tuple(unrecorded), has_snapshot)


def _lines_after(files: JournalFiles, head: JournalHead, names: Sequence[str]) -> Iterator[ReadLine]:
    """Yield each line after the head once: one that was written again has the same hash."""
    known = {head.seq: head.hash}
    for name in names:
        for read in files.read(name, head.length if name == head.file else 0):
            line = read.line
            if line.seq < head.seq and line.seq not in known:
                # In a file that was given up after a failed sync: the next one has the same lines.
                before = (old for old in files.read(head.file) if old.end <= head.length)
                known |= {old.line.seq: old.line.hash for old in before}
            if known.get(line.seq) != line.hash:
                known[line.seq] = line.hash
                yield read


def follow(
    files: JournalFiles, archive_id: str, names: Sequence[str], head: JournalHead | None
) -> Iterator[ReadLine]:
    """Yield the lines of these files once, in order, each checked against the one before.

    ``head``: begin after this line; None: begin with the first line of the first file. Reading begins at
    ``head.length``, which is where the line ends or where its gzip member begins. Raises JournalDamaged where
    a line is missing, changed, or from another archive; StorageError.
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
                del seen[next(iter(seen))]  # the first: the numbers ascend
            yield read


def newest_snapshot(files: JournalFiles, until: str | None = None) -> str:
    """Return the file of the newest complete snapshot; damaged files are skipped.

    ``until``: ignore files after this one. Raises JournalDamaged if there is no such snapshot, StorageError.
    """
    names = [name for name in files.names() if until is None or name <= until]
    found = _newest_snapshot_of(files, names)
    if found is None:
        raise JournalDamaged(
            "the journal has no complete snapshot",
            "restore a copy of the database, or of journal/",
        )
    return found


def newest_snapshot_after(files: JournalFiles, name: str) -> str | None:
    """Return the file of the newest complete snapshot after this file; None if none follows.

    Raises StorageError.
    """
    return _newest_snapshot_of(files, [later for later in files.names(name) if later > name])


def _newest_snapshot_of(files: JournalFiles, names: Sequence[str]) -> str | None:
    for name in reversed(names):
        with suppress(JournalDamaged):
            if _is_snapshot(files.read(name)):
                return name
    return None


def _is_snapshot(lines: Iterator[ReadLine]) -> bool:
    last = None
    for read in lines:
        last = read.line.snapshot
        if last is None:
            return False
    return last == "end"
