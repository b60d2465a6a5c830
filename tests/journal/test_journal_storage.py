"""Both places of a journal keep the same promises: a file is there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.errors import JournalDamaged, StorageError
from archiver.journal.bucket_journal import BucketJournal
from archiver.journal.disk_journal import DiskJournal
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import FORMAT, NO_HASH, FileHeader, encode_snapshot
from archiver.journal.journal_storage import JournalStorage
from tests.support.s3_server import Act, S3Server, ignore_range, refuse

HEADER = FileHeader("an archive", FORMAT, "1", "0013")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
FIRST, SECOND = "2026/10/000000000001-00000000.jsonl.gz", "2026/11/000000000003-00000000.jsonl.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "tmp").mkdir(parents=True)
    return tmp_path / "archive"


@pytest.fixture(params=["disk", "bucket"])
def storage(request: pytest.FixtureRequest, root: Path) -> JournalStorage:
    if request.param == "disk":
        return DiskJournal(root)
    return BucketJournal(request.getfixturevalue("server").bucket(), root)


def line(seq: int) -> bytes:
    return encode_snapshot(seq, NO_HASH, "2026-11-26 12:00:00.000000", None, {})


def numbers(storage: JournalStorage, name: str) -> list[int]:
    return [read.line.seq for read in JournalFiles(storage).read(name)]


def append(storage: JournalStorage, name: str, *seqs: int) -> int:
    file = storage.new_file(name, HEADER)
    file.append([line(seq) for seq in seqs])
    file.close()
    return file.length


def test_a_missing_journal_has_no_files(storage: JournalStorage) -> None:
    """Looking at it writes nothing and fails for no reason."""
    assert storage.names("") == []
    assert storage.size(FIRST) is None
    with pytest.raises(StorageError):
        storage.open(FIRST)


def test_what_is_appended_is_read_back(storage: JournalStorage) -> None:
    """The length is that of the file, and its lines come back with their header."""
    length = append(storage, FIRST, 1, 2)
    assert storage.size(FIRST) == length
    assert numbers(storage, FIRST) == [1, 2]


def test_the_files_from_a_name_on_are_found(storage: JournalStorage) -> None:
    """The name itself is among them, and no earlier one."""
    append(storage, FIRST, 1)
    append(storage, SECOND, 3)
    assert JournalFiles(storage).names() == [FIRST, SECOND]
    assert JournalFiles(storage).names(FIRST) == [FIRST, SECOND]
    assert JournalFiles(storage).names(SECOND) == [SECOND]


def test_a_file_without_lines_leaves_nothing(storage: JournalStorage) -> None:
    """A process that began a file and had nothing to write is not seen."""
    storage.new_file(FIRST, HEADER).close()
    assert JournalFiles(storage).names() == []


def test_a_snapshot_is_there_whole_or_not_at_all(storage: JournalStorage, root: Path) -> None:
    """If its rows cannot be read to their end, no file and no temporary file is left."""

    def lines(number: int) -> Iterator[bytes]:
        for seq in range(1, number):
            yield line(seq)
        raise JournalDamaged("no more rows")

    with pytest.raises(JournalDamaged):
        JournalFiles(storage).write_snapshot(FIRST, HEADER, lines(2))
    assert JournalFiles(storage).names() == []
    assert list((root / "tmp").iterdir()) == []
    assert JournalFiles(storage).write_snapshot(FIRST, HEADER, [line(1)]) == storage.size(FIRST)
    assert numbers(storage, FIRST) == [1]
    assert list((root / "tmp").iterdir()) == []


def test_a_journal_that_is_set_aside_makes_way_for_another(storage: JournalStorage) -> None:
    """Its files are absent afterwards, and a new one of the same name can be written."""
    append(storage, FIRST, 1)
    append(storage, SECOND, 3)
    storage.set_aside(NOON)
    assert JournalFiles(storage).names() == []
    assert storage.size(SECOND) is None
    append(storage, FIRST, 1, 2)
    assert numbers(storage, FIRST) == [1, 2]


@pytest.mark.parametrize("act", [None, ignore_range])
def test_in_a_bucket_a_file_is_read_by_one_request(server: S3Server, root: Path, act: Act | None) -> None:
    """However many parts it has, from wherever it is read, and also if the store ignores the header Range."""
    storage = BucketJournal(server.bucket(), root)
    JournalFiles(storage).write_snapshot(FIRST, HEADER, (line(seq) for seq in range(1, 61)))
    server.act = act
    server.calls()
    reads = list(JournalFiles(storage).read(FIRST))
    assert [read.line.seq for read in reads] == list(range(1, 61))
    assert server.calls() == [f"GET pre/fix/journal/{FIRST}"]
    rest = [read.line.seq for read in JournalFiles(storage).read(FIRST, reads[29].end)]
    assert rest == list(range(31, 61))
    assert server.calls() == [f"GET pre/fix/journal/{FIRST}"]


def test_in_a_bucket_each_batch_of_lines_is_a_file(server: S3Server, root: Path) -> None:
    """An object is put once and whole: whoever writes on begins another."""
    storage = BucketJournal(server.bucket(), root)
    file = storage.new_file(FIRST, HEADER)
    states = [file.is_usable]
    file.append([line(1)])
    assert [*states, file.is_usable] == [True, False]
    assert server.calls() == [f"PUT pre/fix/journal/{FIRST}"]
    with pytest.raises(ValueError, match="appended"):
        file.append([line(2)])


def test_in_a_bucket_the_bytes_of_a_journal_that_is_set_aside_are_kept(server: S3Server, root: Path) -> None:
    """Nothing is deleted: they are copied, and the names are emptied after all copies are there."""
    storage = BucketJournal(server.bucket(), root)
    append(storage, FIRST, 1)
    append(storage, SECOND, 3)
    before = [(server.objects / "pre/fix/journal" / name).read_bytes() for name in (FIRST, SECOND)]
    server.calls()
    storage.set_aside(NOON)
    calls = server.calls()
    place = "pre/fix/quarantine/journal-20261126T120000.000000Z"
    assert [(server.objects / place / name).read_bytes() for name in (FIRST, SECOND)] == before
    assert calls[-2:] == [f"PUT pre/fix/journal/{SECOND}", f"PUT pre/fix/journal/{FIRST}"]
    assert not [call for call in calls if call.startswith(("DELETE", "POST"))]


def test_in_a_bucket_a_journal_that_cannot_be_copied_stays(server: S3Server, root: Path) -> None:
    """As long as one copy is missing, no name is emptied."""
    storage = BucketJournal(server.bucket(), root)
    append(storage, FIRST, 1)
    append(storage, SECOND, 3)
    refused = refuse(403, "AccessDenied")
    server.act = lambda handler: "quarantine" in handler.path and SECOND in handler.path and refused(handler)
    with pytest.raises(StorageError):
        storage.set_aside(NOON)
    server.act = None
    assert JournalFiles(storage).names() == [FIRST, SECOND]


def test_in_a_bucket_an_incomplete_file_is_damaged(server: S3Server, root: Path) -> None:
    """No kill leaves one: it is never cut, which would lose what somebody else may restore."""
    storage = BucketJournal(server.bucket(), root)
    append(storage, FIRST, 1)
    path = server.objects / "pre/fix/journal" / FIRST
    path.write_bytes(path.read_bytes()[:-3])
    files = JournalFiles(storage)
    assert list(files.read(FIRST)) == []
    with pytest.raises(JournalDamaged):
        storage.cut(FIRST, files.torn[FIRST])
