"""The disks that a power loss may leave, made from what a run asked of the file system.

At each moment of a run, what was synced is there, and of the rest nothing, everything, or a random half,
writes torn at the edges of sectors. This is less than file systems promise: a synced file may lack its name,
a name its bytes, and names in different directories appear in any order. Not modelled: bytes in disorder
inside a synced file, and a disk that does not keep what it confirmed.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.crash.consistency_checks import Bill, violations
from tests.support.crash.syscall_trace import Entry, Operation, Operations, Resize, Sent, Sync, Write

_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Disk:
    """What lies below the traced directory after the power went before operation ``moment``; ``kept``: of
    what was not synced.
    """

    moment: int
    kept: str
    files: Mapping[str, bytes]
    directories: frozenset[str]

    def put(self, place: Path) -> None:
        """Make it real in the empty directory ``place``."""
        for path in sorted(self.directories):
            (place / path).mkdir(mode=0o700)
        for path, data in self.files.items():
            file = place / path
            file.write_bytes(data)
            file.chmod(0o444 if file.parent.parent.name == "blobs" else 0o600)


@dataclass(slots=True)
class Replay:
    """Makes the disks of a trace, for moments that only go forward."""

    course: Operations
    _synced: dict[int, int] = field(default_factory=dict)
    _seen: int = 0

    def disk(self, moment: int, kept: str) -> Disk:
        """``kept``: none, all, or the seed of a random half."""
        for operation in self.course.operations[self._seen : moment]:
            if isinstance(operation, Sync):
                self._synced[operation.inode] = max(operation.upto, self._synced.get(operation.inode, 0))
        self._seen = moment
        chance = random.Random(f"{kept} {moment}")
        contents: dict[int, bytearray] = {}
        names: dict[int, dict[str, int]] = {0: {}}
        for place, operation in enumerate(self.course.operations[:moment]):
            if isinstance(operation, Sync | Sent):
                continue
            owner = operation.directory if isinstance(operation, Entry) else operation.inode
            whole = kept == "all" or place < self._synced.get(owner, 0)
            if not whole and (kept == "none" or chance.random() < 0.5):
                continue
            if isinstance(operation, Entry):
                _enter(operation, names)
            elif isinstance(operation, Resize):
                _resize(operation, contents.setdefault(operation.inode, bytearray()))
            else:
                content = contents.setdefault(operation.inode, bytearray())
                _write(operation, content, None if whole or chance.random() < 0.5 else chance)
        files, directories = _tree(names, contents)
        return Disk(moment, kept, files, frozenset(directories))


def disks(course: Operations, moments: Sequence[int], halves: Sequence[int]) -> Iterator[Disk]:
    """The disks at these moments (ascending); those that differ in nothing from the one before come once."""
    last: dict[str, Mapping[str, bytes]] = {}
    replay = Replay(course)
    for moment in moments:
        for kept in ("none", "all", *map(str, halves)):
            disk = replay.disk(moment, kept)
            if disk.files != last.get(kept) and disk.files not in last.values():
                yield disk
            last[kept] = disk.files


def _enter(entry: Entry, names: dict[int, dict[str, int]]) -> None:
    directory = names.setdefault(entry.directory, {})
    if entry.inode is None:
        directory.pop(entry.name, None)
        return
    directory[entry.name] = entry.inode
    if entry.is_directory:
        names.setdefault(entry.inode, {})
    if entry.was is not None:
        before, name = entry.was
        if names.get(before, {}).get(name) == entry.inode:
            del names[before][name]


def _resize(resize: Resize, content: bytearray) -> None:
    if len(content) < resize.size:
        content.extend(bytes(resize.size - len(content)))
    elif not resize.grow:
        del content[resize.size :]


def _write(write: Write, content: bytearray, torn: random.Random | None) -> None:
    """All bytes, or with ``torn`` those of a random half of the sectors."""
    end = write.offset + len(write.data)
    start = write.offset
    while start < end:
        edge = end if torn is None else min(end, (start // _SECTOR + 1) * _SECTOR)
        if torn is None or torn.random() < 0.5:
            if len(content) < start:
                content.extend(bytes(start - len(content)))
            content[start:edge] = write.data[start - write.offset : edge - write.offset]
        start = edge


def _tree(
    names: Mapping[int, Mapping[str, int]], contents: Mapping[int, bytearray]
) -> tuple[dict[str, bytes], set[str]]:
    """What can be reached from the top, without the index of the write-ahead log, which lives in memory."""
    files: dict[str, bytes] = {}
    directories: set[str] = set()
    below = [("", 0)]
    while below:
        above, inode = below.pop()
        for name, child in names[inode].items():
            path = f"{above}{name}"
            if child in names:
                directories.add(path)
                below.append((f"{path}/", child))
            elif not name.endswith("-shm"):
                files[path] = bytes(contents.get(child, bytearray()))
    return files, directories


@dataclass(slots=True)
class Inspector:
    """Checks disks one after the other in one place, writing only what differs.

    Directories without a file are left out.
    """

    course: Operations
    archive: str
    """The archive's path below the traced directory."""
    place: Path
    secret: str
    prices: Mapping[str, int]
    """Units by path of the API."""
    _there: dict[str, bytes] = field(default_factory=dict)

    def violations(self, disk: Disk) -> list[str]:
        """What does not hold on this disk, after all that was told and paid for before the power went."""
        for path in self._there.keys() - disk.files.keys():
            (self.place / path).unlink()
        for path, data in disk.files.items():
            if self._there.get(path) != data:
                (self.place / path).parent.mkdir(parents=True, exist_ok=True)
                (self.place / path).write_bytes(data)
        self._there = dict(disk.files)
        before = self.course.operations[: disk.moment]
        bill = Bill(sum(billed_units(before, self.prices)), killed=1)
        root = self.place / self.archive
        try:
            found = violations(root, told=reported_by(before), bill=bill, secret=self.secret, modes=False)
        except sqlite3.DatabaseError as error:
            found = [f"I1: the database cannot be read: {error}"]
        return [
            f"{entry} (at {disk.moment} of {len(self.course.operations)}, {disk.kept} kept)"
            for entry in found
        ]


def reported_by(operations: Sequence[Operation]) -> list[str]:
    """The whole lines of the log that the program had written by then."""
    written = b"".join(
        o.data for o in operations if isinstance(o, Write) and o.path.endswith("/log/archiver.log")
    )
    return written.decode().split("\n")[:-1]


def billed_units(operations: Sequence[Operation], prices: Mapping[str, int]) -> Iterator[int]:
    """The units of each call that had been sent by then."""
    for operation in operations:
        if isinstance(operation, Sent):
            target = operation.data.split(b" ", 2)[1:2]
            yield prices.get(target[0].decode().partition("?")[0], 0) if target else 0
