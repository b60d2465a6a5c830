"""Whether a database and the journal of its archive belong together, and which of them is older."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import Enum, auto

from msgspec import Struct

from archiver.errors import JournalDamaged
from archiver.journal.journal_files import JOURNAL_FILE, JournalFiles, ReadLine, place_of
from archiver.journal.journal_line import JournalLine, hash_line
from archiver.model.journal_entries import JournalEnd, JournalHead, JournalPoint
from archiver.model.values import replace

_REMEMBERED = 25_000
"""How many lines are remembered, to recognize those that were shipped again after a kill: a process writes at
most ``outbox.MAX_CHANGES`` before it deletes them.
"""


class JournalState(Enum):
    """How a database compares to the journal.

    ``NONE``: neither has a journal. ``CURRENT``: the database has every entry of the journal. ``BEHIND``: the
    database is an older copy, and lacks the last entries. ``BEFORE_REMOVAL``: it is a copy from before
    ``archiver forget``. ``SHORT``: the journal ends before the last line that the database knows.
    ``DIFFERENT``: the two have different histories.
    """

    NONE = auto()
    CURRENT = auto()
    BEHIND = auto()
    BEFORE_REMOVAL = auto()
    SHORT = auto()
    DIFFERENT = auto()


class Comparison(Struct, frozen=True):
    """The result of comparing a database with the journal.

    ``head``: the last line that both have; None if there is none. If the journal has lines that a killed
    process wrote, but did not record, it is the last of those, and ``unrecorded`` are their files: they may
    not be on the disk yet. With ``has_new_snapshot`` some of them are a snapshot. If SHORT, ``head`` is the
    line that the journal lacks. ``torn``: the files with an incomplete end, each with the length to which it
    must be cut. ``following``: the number of entries that the database lacks, or 1 if they were not counted.
    If there are any, the gzip member of the last common line may contain some of them, so ``head.length`` is
    where that member begins. ``missing``: by how many lines the journal is shorter than it was, if CURRENT
    (the database lacks them too) or SHORT. With ``only_snapshot`` these lines are a snapshot of rows that are
    all there.
    """

    state: JournalState
    head: JournalHead | None = None
    torn: tuple[tuple[str, int], ...] = ()
    following: int = 0
    unrecorded: tuple[str, ...] = ()
    has_new_snapshot: bool = False
    missing: int = 0
    only_snapshot: bool = False


def ends_with(files: JournalFiles, head: JournalHead) -> bool:
    """Return whether the journal ends where the database says: one stat and one listing. Raises StorageError.

    If not, ``compare`` says why.
    """
    if JOURNAL_FILE.fullmatch(head.file) is None:  # a row of this database, which another program wrote
        return False
    return files.size(head.file) == head.length and files.names(head.file) == [head.file]


def compare(
    files: JournalFiles,
    archive_id: str,
    head: JournalHead | None,
    pending: Sequence[bytes],
    end: JournalEnd | None,
    *,
    counts: bool = True,
) -> Comparison:
    """Compare the end of the journal that the database knows (``head``) with the files.

    ``pending``: the lines after ``head``, in order, that a process may have written before it was killed.
    ``end``: where the journal ended according to ``archive.json``, read before the files. ``counts``: if the
    database lacks entries, read all of them. Nearly always one stat and one listing suffice. Raises
    JournalDamaged, StorageError.
    """
    if head is None:
        return _compare_without_head(files, archive_id, counts=counts)
    found = _compare_with_head(files, archive_id, head, pending, counts=counts)
    if found.state is JournalState.SHORT:
        last = _last_number(files)
        return replace(found, missing=max(head.seq, end.seq if end is not None else 0) - last)
    if found.state is JournalState.CURRENT and found.head is not None and end is not None:
        missing, only_snapshot = count_missing(end, JournalPoint(found.head.seq, found.head.hash))
        return replace(found, missing=missing, only_snapshot=only_snapshot)
    return found


def count_missing(end: JournalEnd | None, last: JournalPoint) -> tuple[int, bool]:
    """Return by how many lines a journal is shorter than it was, and whether these are only a snapshot.

    ``end``: where it ended according to ``archive.json``; None if that is not known. ``last``: its last line.
    """
    return (0, False) if end is None else (max(0, end.seq - last.seq), end.after == last)


def _compare_with_head(
    files: JournalFiles, archive_id: str, head: JournalHead, pending: Sequence[bytes], *, counts: bool
) -> Comparison:
    if ends_with(files, head):
        return Comparison(JournalState.CURRENT, head)
    if JOURNAL_FILE.fullmatch(head.file) is None:
        return Comparison(JournalState.DIFFERENT, head)
    size = files.size(head.file)
    if size is None or size < head.length:
        # Files are named after their first line: another one with this number or a later one is another end.
        others = [
            name
            for name in files.names()
            if name != head.file and first_number(name) >= first_number(head.file)
        ]
        return Comparison(JournalState.DIFFERENT if others else JournalState.SHORT, head)
    return _compare_following(files, archive_id, head, pending, counts=counts)


def first_number(name: str) -> int:
    """Return the number of the first line of a file, which is in its name."""
    return place_of(name)[0]


def _last_number(files: JournalFiles) -> int:
    """Return the number of the last line that can be read; 0 if there is none."""
    last = 0
    for name in reversed(files.names()):
        with suppress(JournalDamaged):
            for read in files.read(name):
                last = read.line.seq
        if last:
            break
    return last


class _Chain:
    """Whether each line follows the one before, or a snapshot in between is lost and nothing else."""

    def __init__(self, files: JournalFiles, head: JournalHead | None) -> None:
        self._last = None if head is None else JournalPoint(head.seq, head.hash)
        self._equal = {self._last, None if head is None else files.before_snapshot(head)}
        """The last entry, and the snapshots after it: lines after which the rows are the same."""

    @property
    def seq(self) -> int:
        """The number of the last line; 0 if there is none."""
        return 0 if self._last is None else self._last.seq

    def continues_with(self, line: JournalLine) -> bool:
        """Return whether the line follows the last one."""
        return self._last is None or (line.seq, line.prev) == (self._last.seq + 1, self._last.hash)

    def lacks_only_snapshot(self, line: JournalLine) -> bool:
        """Return whether the line says that only a snapshot, which changed nothing, is missing before it."""
        return line.after is not None and line.after in self._equal

    def error(self, name: str, line: JournalLine) -> JournalDamaged:
        return JournalDamaged(
            f"journal/{name}: line {line.seq} does not follow line {self.seq}: lines are missing, or two "
            "databases wrote to this journal"
        )

    def add(self, line: JournalLine) -> None:
        self._last = JournalPoint(line.seq, line.hash)
        if line.snapshot is None:
            self._equal = {self._last}
        elif line.after is not None:
            self._equal.add(line.after)
        elif line.snapshot == "end":
            self._equal.add(self._last)


def _compare_without_head(files: JournalFiles, archive_id: str, *, counts: bool) -> Comparison:
    """Return NONE if there are only snapshots: a command that was killed wrote them before its first entry.

    If there are entries, the database is a copy from before the first line.
    """
    following = 0
    try:
        for name in files.names():
            for read in files.read(name):
                if read.header.archive != archive_id:
                    return Comparison(JournalState.DIFFERENT)
                following += read.line.snapshot is None
                if following and not counts:
                    return Comparison(JournalState.BEHIND, following=1)
    except JournalDamaged:
        if not following:  # else the database is an older copy, whatever the rest says
            raise
    return Comparison(JournalState.BEHIND if following else JournalState.NONE, following=following)


def _compare_following(
    files: JournalFiles, archive_id: str, head: JournalHead, pending: Sequence[bytes], *, counts: bool
) -> Comparison:
    """Compare the lines after the head. Entries of our own outbox and snapshots are not a difference."""
    expected = {head.seq + n: hash_line(line) for n, line in enumerate(pending, 1)}
    chain = _Chain(files, head)
    common, start = head, head.length
    following, has_snapshot = 0, False
    unrecorded: dict[str, None] = {}
    try:
        for read in _lines_after(files, head, files.names(head.file)):
            line = read.line
            is_entry, is_ours = line.snapshot is None, expected.get(line.seq) == line.hash
            if (
                read.header.archive != archive_id
                or not (chain.continues_with(line) or chain.lacks_only_snapshot(line))
                or (is_entry and line.seq in expected and not is_ours)
            ):
                return Comparison(JournalState.DIFFERENT, common)
            head = replace(head, seq=line.seq, hash=line.hash, file=read.file, length=read.end)
            chain.add(line)
            unrecorded[read.file] = None
            following += is_entry and not is_ours
            has_snapshot |= not is_entry
            if is_ours and not has_snapshot and not following:
                common, start = head, read.start
            if following and not counts:
                break
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
    files: JournalFiles,
    archive_id: str,
    names: Sequence[str],
    head: JournalHead | None,
    lost: list[str],
) -> Iterator[ReadLine]:
    """Yield the lines of these files once, in order, each checked against the one before.

    ``head``: begin after this line; None: begin with the first line of the first file. Reading begins at
    ``head.length``, which is where the line ends or where its gzip member begins. ``lost`` gets a sentence
    for each snapshot that is missing or damaged, if the entry after it follows the line before it: no row is
    lost. Raises JournalDamaged where anything else is missing, changed, or from another archive;
    StorageError.
    """
    chain = _Chain(files, head)
    first = chain.seq
    seen: dict[int, str] = {} if head is None else {head.seq: head.hash}
    damage: list[JournalDamaged] = []
    for name in names:
        start = head.length if head is not None and name == head.file else 0
        for read in _until_damage(files.read(name, start), damage):
            line = read.line
            if read.header.archive != archive_id:
                raise JournalDamaged(
                    f"journal/{name} belongs to another archive ({read.header.archive})",
                    "move this file elsewhere",
                )
            if line.seq < first or (line.seq <= chain.seq and seen.get(line.seq) == line.hash):
                continue  # before ``head``; or shipped again after a kill: equal lines count once
            if chain.continues_with(line):
                if damage:
                    raise damage[0]
            elif chain.lacks_only_snapshot(line):
                lost.append(
                    f"the snapshot before line {line.seq} of the journal is missing or damaged (nothing is "
                    "lost: the journal has every change before and after it)"
                )
                damage.clear()
            else:
                raise damage[0] if damage else chain.error(name, line)
            chain.add(line)
            seen[line.seq] = line.hash
            if len(seen) > _REMEMBERED:
                del seen[next(iter(seen))]  # the first: the numbers ascend
            yield read
    if damage:
        raise damage[0]


def _until_damage(lines: Iterator[ReadLine], damage: list[JournalDamaged]) -> Iterator[ReadLine]:
    """Yield the lines of a file up to damage, and put that into ``damage``."""
    try:
        yield from lines
    except JournalDamaged as error:
        damage.append(error)


def newest_snapshot(files: JournalFiles, until: str = "") -> str:
    """Return the file of the newest complete snapshot; damaged files are skipped.

    ``until``: ignore files after this one. Raises JournalDamaged if there is no such snapshot, StorageError.
    """
    found = _newest_snapshot_of(files, files.names(until=until))
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
    return _newest_snapshot_of(files, [later for later in files.names(name) if later != name])


def count_rows_after(files: JournalFiles, name: str, table: str) -> int:
    """Return how many rows of a table the newest complete snapshot after this file has; 0 if none follows.

    Raises StorageError.
    """
    found = newest_snapshot_after(files, name)
    if found is None:
        return 0
    return sum(change.table == table for read in files.read(found) for change in read.line.changes)


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
