"""The calls that a program makes to the kernel: a command under strace, strace's log read call by call, and
what the calls did to files and directories, as operations on inodes.

strace counts ``when`` for each call name and each thread by itself. A kill at the n-th ``fsync`` therefore
comes on the thread that first gets so far; what the others would have done between their own calls is left to
``disk_states``, whose disks with everything kept are those of a kill at every call of every thread. An
injected error comes on each thread that gets so far.

Operations stand in the order in which the kernel ended them; of two that overlapped, either order is a true
one. A call that changes files in a way that is not known here raises UnknownCall: a replay that leaves
something out would prove nothing.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_WHOLE_STRINGS = 64_000_000  # bytes of a buffer that strace writes out
_STRACE = ("strace", "-f", "-qq", "-e", "signal=none")
_QUICK = "--seccomp-bpf"  # stops the program at the traced calls only; strace 6.13 sends no signal then

_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(.*)", re.DOTALL)
_UNFINISHED = "<unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has ended.

    ``began``: how many calls had ended when it began. ``refused``: the kernel did not grant it.
    """

    thread: int
    name: str
    arguments: str
    result: int
    refused: bool
    began: int


def recording(log: Path, names: Sequence[str]) -> list[str]:
    """The words before a command that write these calls, those of all its threads, to ``log``."""
    trace = f"trace=/^({'|'.join(names)})$"
    return [*_STRACE, _QUICK, "-y", "-xx", "-s", str(_WHOLE_STRINGS), "-e", trace, "-o", str(log)]


def injecting(call: str, fault: str, about: Sequence[Path] = ()) -> list[str]:
    """The words before a command in which a fault (``signal=SIGKILL:when=3``, ``error=EIO:when=2+``) meets a
    call.

    ``when`` counts each thread's calls by themselves; with ``about``, only those that name one of these paths
    or hold it open.
    """
    words = [*_STRACE, *([] if "signal" in fault else [_QUICK])]
    words += [word for path in about for word in ("-P", str(path))]
    return [*words, "-e", f"trace={call}", "-e", f"inject={call}:{fault}", "-o", os.devnull]


def calls(log: Path) -> Iterator[Call]:
    """The calls in ``log`` in the order in which they ended; one that the end of the program cut off is left
    out.
    """
    begun: dict[int, tuple[str, int]] = {}
    ended = 0
    with log.open(newline="\n") as lines:
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            assert match is not None, line[:200]
            thread, text = int(match[1]), match[2]
            if text.startswith("+++"):
                continue
            earlier, began = begun.pop(thread, ("", ended))
            if text.endswith(_UNFINISHED):
                begun[thread] = (text.removesuffix(_UNFINISHED), began)
                continue
            call = _CALL.match(earlier + text)
            assert call is not None, text[:200]
            name, arguments, result, rest = call.groups()
            if result == "?":
                continue
            ended += 1
            yield Call(thread, name, arguments, int(result, 0), rest.lstrip().startswith("E"), began)


_TAUGHT = (
    "open openat lseek write pwrite64 ftruncate fallocate fsync fdatasync"
    " rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat fchmod fchmodat sendto"
)
_UNTAUGHT = (
    "creat openat2 truncate writev pwritev pwritev2 link linkat symlink symlinkat mknodat"
    " sendfile copy_file_range splice mmap dup dup2 dup3 io_uring_enter"
)
CALLS = tuple(f"{_TAUGHT} {_UNTAUGHT}".split())
"""What must be recorded."""

_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_PLACE = re.compile(rf"(?:(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{{2}})*)>, )?{_STRING.pattern}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory begins to mean ``inode``, or nothing (None).

    ``was``: where a rename took it from.
    """

    directory: int
    name: str
    inode: int | None
    is_directory: bool
    was: tuple[int, str] | None
    path: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file from ``offset`` on."""

    inode: int
    offset: int
    data: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Resize:
    """A file is made as long as ``size``; ``grow``: never shorter than it is."""

    inode: int
    size: int
    grow: bool
    path: str


@dataclass(frozen=True, slots=True)
class Sync:
    """What was done to this file or directory before operation ``upto`` is on the disk from now on."""

    inode: int
    upto: int
    path: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The program sent this over a socket: no operation on files, but a moment of their order."""

    data: bytes


Operation = Entry | Write | Resize | Sync | Sent


class UnknownCall(Exception):
    """A call changed files below the traced directory in a way that the model does not know."""


@dataclass(frozen=True, slots=True)
class Operations:
    """All operations below one directory, whose inode is 0.

    The first ``start`` of them are what stood there before, durable.
    """

    operations: Sequence[Operation]
    start: int


def list_files(base: Path) -> list[tuple[str, bytes | None]]:
    """What lies below ``base`` now, parents first: each path with its bytes, None for a directory."""
    paths = sorted(base.rglob("*"))
    return [(str(p.relative_to(base)), None if p.is_dir() else p.read_bytes()) for p in paths]


def follow(calls: Iterable[Call], base: Path, before: Iterable[tuple[str, bytes | None]] = ()) -> Operations:
    """The operations of these calls below ``base``, where ``before`` stood (see ``list_files``).

    Raises UnknownCall.
    """
    reader = _Reader(base)
    reader.stand(before)
    start = len(reader.operations)
    for call in calls:
        reader.take(call)
    return Operations(reader.operations, start)


def _plain(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


@dataclass(slots=True)
class _Reader:
    """Follows names, sizes and positions through the calls, and notes what each of them changed."""

    base: Path
    operations: list[Operation] = field(default_factory=list)
    _by_call: list[int] = field(default_factory=list)
    """For each operation of the program, how many calls had ended before it."""
    _ended: int = 0
    _names: dict[tuple[int, str], int] = field(default_factory=dict)
    _directories: set[int] = field(default_factory=lambda: {0})
    _sizes: dict[int, int] = field(default_factory=dict)
    _positions: dict[int, int | None] = field(default_factory=dict)  # by descriptor; None: it appends
    _inodes: int = 0

    def stand(self, before: Iterable[tuple[str, bytes | None]]) -> None:
        """What is there from the beginning, on the disk."""
        for path, data in before:
            inode = self._made(path, data is None)
            if data:
                self._write(inode, 0, data, path)
        for inode in range(self._inodes + 1):
            self._note(Sync(inode, len(self.operations), ""))

    def take(self, call: Call) -> None:
        """One call more."""
        name, arguments = call.name, call.arguments
        if call.refused or "chmod" in name:
            pass  # modes are not followed
        elif name == "sendto":
            if (sent := _STRING.search(arguments)) is not None:
                self._note(Sent(_plain(sent[1])))
        elif name in _UNTAUGHT.split():
            self._refuse(name, arguments)
        elif name in ("open", "openat"):
            self._open(arguments, call.result)
        elif name.startswith("rename"):
            self._rename(arguments)
        elif name.startswith("mkdir"):
            if (path := self._path(arguments)) is not None:
                self._made(path, True)
        elif name in ("unlink", "unlinkat", "rmdir"):
            if (path := self._path(arguments)) is not None:
                self._unlink(path)
        else:
            self._by_descriptor(call)
        self._ended += 1

    def _refuse(self, name: str, arguments: str) -> None:
        """Private mappings and those of the index of a write-ahead log, which nobody relies on after a crash,
        are let pass.
        """
        paths = [self._below(_plain(fd[2])) for fd in _FD.finditer(arguments)]
        paths += [self._path(arguments[place.start() :]) for place in _PLACE.finditer(arguments)]
        about = [path for path in paths if path is not None and not path.endswith("-shm")]
        if about and not (name == "mmap" and ("MAP_PRIVATE" in arguments or "PROT_WRITE" not in arguments)):
            raise UnknownCall(f"{name} on {about[0]}")

    def _open(self, arguments: str, fd: int) -> None:
        path = self._path(arguments)
        self._positions.pop(fd, None)
        if path is None:
            return
        if "O_TMPFILE" in arguments:
            raise UnknownCall(f"O_TMPFILE in {path}")
        if self._find(path) is None and "O_CREAT" in arguments:
            self._made(path, False)
        elif "O_TRUNC" in arguments:
            self._resize(self._inode(path), 0, False, path)
        self._positions[fd] = None if "O_APPEND" in arguments else 0

    def _unlink(self, path: str) -> None:
        directory, last = self._parent(path)
        inode = self._names.pop((directory, last))
        self._note(Entry(directory, last, None, inode in self._directories, None, path))

    def _rename(self, arguments: str) -> None:
        source, target = (self._path(arguments[place.start() :]) for place in _PLACE.finditer(arguments))
        if source is None and target is None:
            return
        if source is None or target is None:
            raise UnknownCall(f"a rename across the border of {self.base}: {source or target}")
        was, (directory, last) = self._parent(source), self._parent(target)
        inode = self._names[directory, last] = self._names.pop(was)
        self._note(Entry(directory, last, inode, inode in self._directories, was, target))

    def _by_descriptor(self, call: Call) -> None:
        fd = _FD.match(call.arguments)
        path = self._below(_plain(fd[2])) if fd is not None and fd[3] is None else None
        if fd is None or path is None:
            return
        inode, number, rest = self._inode(path), int(fd[1]), call.arguments[fd.end() :]
        numbers = [int(n) for n in re.findall(r", (\d+)\b", rest)]
        if call.name in ("fsync", "fdatasync"):
            self._note(Sync(inode, self._noted_by(call.began), path))
        elif call.name == "lseek":
            self._positions[number] = call.result
        elif call.name == "ftruncate":
            self._resize(inode, numbers[0], False, path)
        elif call.name == "fallocate":
            self._resize(inode, numbers[-2] + numbers[-1], True, path)
        else:
            string = _STRING.search(rest)
            assert string is not None, f"{call.name} on {path} without its bytes"
            offset = numbers[-1] if call.name == "pwrite64" else self._positions[number]
            if call.name == "write" and offset is not None:
                self._positions[number] = offset + call.result
            offset = self._sizes.get(inode, 0) if offset is None else offset
            self._write(inode, offset, _plain(string[1])[: call.result], path)

    def _write(self, inode: int, offset: int, data: bytes, path: str) -> None:
        self._sizes[inode] = max(self._sizes.get(inode, 0), offset + len(data))
        self._note(Write(inode, offset, data, path))

    def _resize(self, inode: int, size: int, grow: bool, path: str) -> None:
        self._sizes[inode] = max(size, self._sizes.get(inode, 0)) if grow else size
        self._note(Resize(inode, size, grow, path))

    def _made(self, path: str, is_directory: bool) -> int:
        self._inodes += 1
        directory, last = self._parent(path)
        self._names[directory, last] = self._inodes
        if is_directory:
            self._directories.add(self._inodes)
        self._note(Entry(directory, last, self._inodes, is_directory, None, path))
        return self._inodes

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)
        self._by_call.append(self._ended)

    def _noted_by(self, calls: int) -> int:
        """The number of operations that had been done when so many calls had ended."""
        return bisect_left(self._by_call, calls)

    def _path(self, arguments: str) -> str | None:
        """The path that a call is about, relative to the base; None if it lies elsewhere."""
        place = _PLACE.match(arguments)
        if place is None:
            return None
        path = PurePosixPath(os.fsdecode(_plain(place[1] or "")), os.fsdecode(_plain(place[2])))
        if not path.is_absolute():
            raise UnknownCall(f"{path}, in a working directory that strace does not tell")
        return self._below(os.fsencode(path))

    def _below(self, path: bytes) -> str | None:
        found = Path(os.path.normpath(os.fsdecode(path)))
        return str(found.relative_to(self.base)) if found.is_relative_to(self.base) else None

    def _parent(self, path: str) -> tuple[int, str]:
        parent, _, last = path.rpartition("/")
        return self._inode(parent), last

    def _inode(self, path: str) -> int:
        inode = self._find(path)
        assert inode is not None, f"{path} was there and nobody saw it made"
        return inode

    def _find(self, path: str) -> int | None:
        inode: int | None = 0
        for name in path.split("/") if path not in ("", ".") else ():
            inode = self._names.get((inode, name)) if inode is not None else None
        return inode
