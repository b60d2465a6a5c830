"""The replay itself: what is durable when, on disks made from operations by hand, and calls that it must not
pass over.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash.disk_states import Disk, Replay
from tests.support.crash.file_operations import Entry, Operation, Operations, Sync, UnknownCall, Write, follow
from tests.support.crash.syscall_trace import Call

_MADE = Entry(0, "a", 1, False, None, "a")
_BYTES = Write(1, 0, b"bytes", "a")


def last(kept: str, *operations: Operation) -> Disk:
    """The disk after all these operations."""
    return Replay(Operations(operations, 0)).disk(len(operations), kept)


def hexadecimal(text: str) -> str:
    """As strace writes a string with -xx."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def test_a_name_needs_the_sync_of_its_directory_and_bytes_that_of_their_file() -> None:
    """Neither vouches for the other."""
    assert last("none", _MADE, _BYTES, Sync(1, 2, "a")).files == {}
    assert last("none", _MADE, _BYTES, Sync(0, 2, "")).files == {"a": b""}
    assert last("none", _MADE, _BYTES, Sync(1, 2, "a"), Sync(0, 3, "")).files == {"a": b"bytes"}
    assert last("all", _MADE, _BYTES).files == {"a": b"bytes"}


def test_a_sync_keeps_what_was_done_before_it_began() -> None:
    """Bytes written while it was under way may be lost."""
    more = Write(1, 5, b" and more", "a")
    assert last("none", _MADE, Sync(0, 1, ""), _BYTES, more, Sync(1, 3, "a")).files == {"a": b"bytes"}


def test_a_rename_without_the_sync_of_its_directory_leaves_the_old_name() -> None:
    """The file is where it was, and nowhere else."""
    directory = Entry(0, "d", 2, True, None, "d")
    renamed = Entry(2, "b", 1, False, (0, "a"), "d/b")
    before = (_MADE, directory, Sync(0, 2, ""), renamed)
    assert set(last("none", *before).files) == {"a"}
    assert set(last("none", *before, Sync(2, 4, "d")).files) == {"d/b"}


def test_half_a_write_is_torn_between_sectors_only() -> None:
    """Each sector of an unsynced write is there or not, and over many seeds there are torn ones."""
    write = Write(1, 100, b"x" * 2000, "a")
    contents = {last(str(seed), _MADE, Sync(0, 1, ""), write).files["a"] for seed in range(50)}
    torn = {content for content in contents if 0 < content.count(b"x") < 2000}
    assert torn
    for content in torn:
        sectors = [content[at : at + 512] for at in range(0, len(content), 512)]
        assert all(len(set(sector[100 if n == 0 else 0 :])) == 1 for n, sector in enumerate(sectors))


_BASE, _FILE = f"3<{hexadecimal('/base')}>", f"4<{hexadecimal('/base/a')}>"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linkat", f'{_BASE}, "{hexadecimal("a")}", {_BASE}, "{hexadecimal("b")}", 0'),
        ("mmap", f"NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {_FILE}, 0"),
        ("copy_file_range", f"{_FILE}, NULL, 5<{hexadecimal('/elsewhere')}>, NULL, 9, 0"),
        ("unlink", f'"{hexadecimal("a")}"'),
    ],
)
def test_a_call_that_the_replay_does_not_know_is_refused(name: str, arguments: str) -> None:
    """A link, a shared mapping, a copy inside the kernel, a path beside an unknown directory: nothing is
    silently left out.
    """
    with pytest.raises(UnknownCall):
        follow([Call(1, name, arguments, 0, False, 0)], Path("/base"))
