"""What the journal asks of a store, and what a bucket is sent of it. The rest is in tests/store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.errors import JournalDamaged, StorageError
from archiver.journal.journal_files import JournalFiles, pack_lines
from archiver.journal.journal_line import FORMAT, NO_HASH, FileHeader, encode_snapshot
from archiver.store import bucket
from tests.support.memory_objects import MemoryObjects
from tests.support.s3_server import Act, S3Server, ignore_range, refuse

HEADER = FileHeader("an archive", FORMAT, "1", "0013")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
FIRST, SECOND = "2026/10/000000000001-00000000.jsonl.gz", "2026/11/000000000003-00000000.jsonl.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "tmp").mkdir(parents=True)
    return tmp_path / "archive"


@pytest.fixture
def files() -> JournalFiles:
    return JournalFiles(MemoryObjects())


def in_bucket(server: S3Server, root: Path) -> JournalFiles:
    return JournalFiles(bucket.Objects(server.bucket(), root))


def line(seq: int) -> bytes:
    return encode_snapshot(seq, NO_HASH, "2026-11-26 12:00:00.000000", None, {})


def numbers(files: JournalFiles, name: str) -> list[int]:
    return [read.line.seq for read in files.read(name)]


def append(files: JournalFiles, name: str, *seqs: int) -> int:
    appender, member = files.appender(HEADER, lambda: name), pack_lines([line(seq) for seq in seqs])
    made, offset = appender.append(member)
    appender.close()
    assert made == f"journal/{name}"
    return offset + len(member)


def test_what_is_appended_is_read_back(files: JournalFiles) -> None:
    """The length is that of the file, and its lines come back with their header."""
    length = append(files, FIRST, 1, 2)
    assert files.size(FIRST) == length
    assert numbers(files, FIRST) == [1, 2]
    assert files.write_snapshot(SECOND, HEADER, [line(3)]) == files.size(SECOND)
    assert numbers(files, SECOND) == [3]


def test_the_files_from_a_name_on_are_found(files: JournalFiles) -> None:
    """The name itself is among them, and no earlier one."""
    assert files.names("") == []
    append(files, FIRST, 1)
    append(files, SECOND, 3)
    assert files.names() == [FIRST, SECOND]
    assert files.names(FIRST) == [FIRST, SECOND]
    assert files.names(SECOND) == [SECOND]


@pytest.mark.parametrize("act", [None, ignore_range])
def test_in_a_bucket_a_file_is_read_by_one_request(server: S3Server, root: Path, act: Act | None) -> None:
    """However many parts it has, from wherever it is read, and also if the store ignores the header Range."""
    files = in_bucket(server, root)
    files.write_snapshot(FIRST, HEADER, (line(seq) for seq in range(1, 61)))
    server.act = act
    server.calls()
    reads = list(files.read(FIRST))
    assert [read.line.seq for read in reads] == list(range(1, 61))
    assert server.calls() == [f"GET pre/fix/journal/{FIRST}"]
    rest = [read.line.seq for read in files.read(FIRST, reads[29].end)]
    assert rest == list(range(31, 61))
    assert server.calls() == [f"GET pre/fix/journal/{FIRST}"]


def test_in_a_bucket_each_batch_of_lines_is_a_file(server: S3Server, root: Path) -> None:
    """An object is put once and whole: what is appended next begins another."""
    files, names = in_bucket(server, root), iter((FIRST, SECOND))
    appender = files.appender(HEADER, lambda: next(names))
    for seq in (1, 3):
        appender.append(pack_lines([line(seq)]))
    assert server.calls() == [f"PUT pre/fix/journal/{name}" for name in (FIRST, SECOND)]
    assert [numbers(files, name) for name in (FIRST, SECOND)] == [[1], [3]]


def test_in_a_bucket_the_bytes_of_a_journal_that_is_set_aside_are_kept(server: S3Server, root: Path) -> None:
    """Nothing is deleted: they are copied, and the names are emptied after all copies are there."""
    files = in_bucket(server, root)
    append(files, FIRST, 1)
    append(files, SECOND, 3)
    before = [(server.objects / "pre/fix/journal" / name).read_bytes() for name in (FIRST, SECOND)]
    server.calls()
    files.set_aside(NOON)
    calls = server.calls()
    place = "pre/fix/quarantine/journal-20261126T120000.000000Z"
    assert [(server.objects / place / name).read_bytes() for name in (FIRST, SECOND)] == before
    assert calls[-2:] == [f"PUT pre/fix/journal/{SECOND}", f"PUT pre/fix/journal/{FIRST}"]
    assert not [call for call in calls if call.startswith(("DELETE", "POST"))]


def test_in_a_bucket_a_journal_that_cannot_be_copied_stays(server: S3Server, root: Path) -> None:
    """As long as one copy is missing, no name is emptied."""
    files = in_bucket(server, root)
    append(files, FIRST, 1)
    append(files, SECOND, 3)
    refused = refuse(403, "AccessDenied")
    server.act = lambda handler: "quarantine" in handler.path and SECOND in handler.path and refused(handler)
    with pytest.raises(StorageError):
        files.set_aside(NOON)
    server.act = None
    assert files.names() == [FIRST, SECOND]


def test_in_a_bucket_an_incomplete_file_is_damaged(server: S3Server, root: Path) -> None:
    """No kill leaves one: it is never cut, which would lose what somebody else may restore."""
    files = in_bucket(server, root)
    append(files, FIRST, 1)
    path = server.objects / "pre/fix/journal" / FIRST
    path.write_bytes(path.read_bytes()[:-3])
    assert list(files.read(FIRST)) == []
    with pytest.raises(JournalDamaged):
        files.cut(FIRST, files.torn[FIRST])
