"""H3: the order of calls by which a power loss loses nothing, read from a recorded night: a broken link is
named before any disk is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from tests.support.crash.file_operations import Entry, Operation, Sent, Sync, Write
from tests.support.crash.traced_run import ARCHIVE, TracedRun

pytestmark = pytest.mark.usefixtures("strace")

_WAL = f"{ARCHIVE}/archive.db-wal"
_LOG = f"{ARCHIVE}/log/archiver.log"


def _first(operations: Sequence[Operation], true: Callable[[Operation], bool]) -> int:
    return next(at for at, operation in enumerate(operations) if true(operation))


def _written(operations: Sequence[Operation], path: str, text: object) -> int:
    """When a text was first written to the file at this path."""
    data = str(text).encode()
    return _first(operations, lambda o: isinstance(o, Write) and o.path == path and data in o.data)


def _named(operations: Sequence[Operation], name: object) -> int:
    """When the name stood in its last directory."""
    return _first(operations, lambda o: isinstance(o, Entry) and o.name == name and o.inode is not None)


def _last_byte(operations: Sequence[Operation], inode: int | None) -> int:
    return max(at for at, o in enumerate(operations) if isinstance(o, Write) and o.inode == inode)


def _synced(operations: Sequence[Operation], at: int) -> int:
    """When the operation at this place was on the disk."""
    done = operations[at]
    assert isinstance(done, Entry | Write)
    owner = done.directory if isinstance(done, Entry) else done.inode
    return _first(operations, lambda o: isinstance(o, Sync) and o.inode == owner and o.upto > at)


def _in_order(steps: dict[str, int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(steps.values()))


def test_fault_h3_a_file_is_synced_named_and_recorded_before_it_is_told(night: TracedRun) -> None:
    """Bytes, their sync, the name, its sync, the row, its commit, and only then the word «stored»: for every
    file of the night.
    """
    operations = night.course.operations
    for user, highlight, item, role, digest, *_ in night.golden["files"]:
        named = _named(operations, digest)
        entry = operations[named]
        assert isinstance(entry, Entry)
        byte = _last_byte(operations, entry.inode)
        row = _written(operations, _WAL, digest)
        kind, pk = next((k, p) for k, p in (("item", item), ("highlight", highlight), ("user", user)) if p)
        steps = {
            "last byte": byte,
            "its sync": _synced(operations, byte),
            "name": named,
            "sync of its directory": _synced(operations, named),
            "row": row,
            "commit": _synced(operations, row),
            "word": _written(operations, _LOG, f"stored the {role} of {kind} {pk},"),
        }
        assert _in_order(steps), (digest, steps)


def test_fault_h3_a_paid_answer_is_on_the_disk_before_anything_is_made_of_it(night: TracedRun) -> None:
    """Each segment: name and bytes are synced before the row that names it, and with it all that was read
    from the answer.
    """
    operations = night.course.operations
    segments = [o for o in operations if isinstance(o, Entry) and o.path.endswith(".warc.gz")]
    assert len(segments) == 2
    for segment in segments:
        named = _named(operations, segment.name)
        byte = _last_byte(operations, segment.inode)
        row = _written(operations, _WAL, segment.name)
        assert _synced(operations, named) < row, segment.name
        assert byte < _synced(operations, byte) < row, segment.name


def test_fault_h3_a_call_is_in_the_ledger_before_it_is_sent(night: TracedRun) -> None:
    """The row that reserves the units is committed before the first byte of the request goes out."""
    operations = night.course.operations
    assert night.prices
    for path in night.prices:
        row = _written(operations, _WAL, path)
        asked = tuple(f" {path}{end}".encode() for end in "? ")
        sent = _first(operations, lambda o, a=asked: isinstance(o, Sent) and any(x in o.data for x in a))  # type: ignore[misc]
        assert row < _synced(operations, row) < sent, path


def test_fault_h3_the_marker_comes_when_all_else_of_an_archive_is_on_the_disk(night: TracedRun) -> None:
    """Directories and database stand and are synced, names too, before the name archive.json is there."""
    operations = night.course.operations
    marker = _named(operations, "archive.json")
    for name in ("tmp", "blobs", "00", "ff", "archive.db"):
        assert _synced(operations, _named(operations, name)) < marker, name
    byte = _written(operations, f"{ARCHIVE}/.archive.json.part", "format")
    assert _synced(operations, byte) < marker
