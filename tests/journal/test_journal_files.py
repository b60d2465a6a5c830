"""The files of the journal: which lines they get, when, and where."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest

from archiver.archive import journaling
from archiver.catalog import Catalog, outbox, record, schema, writer
from archiver.errors import JournalDamaged, StorageError
from archiver.journal import shipper
from archiver.journal.journal_files import JournalFiles, pack_lines
from archiver.journal.journal_line import FORMAT, NO_HASH, FileHeader, encode_entries, encode_snapshot
from archiver.journal.shipper import Shipper
from archiver.model.identity import utcnow
from archiver.model.journal_entries import Entry, JournalHead, RowChange
from archiver.model.values import replace
from archiver.runner import run
from archiver.store import bucket, disk
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import NATGEO
from tests.support.crash.consistency_checks import lines_of
from tests.support.databases import NOW, PostgresServer, make_newer_migrations
from tests.support.memory_objects import MemoryObjects
from tests.support.nights.thirty_nights import ThirtyNights
from tests.support.s3_server import Act, S3Server, ignore_range, refuse
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

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


class _ClosedWhileCleared(threading.Event):
    """An event that its own ``clear`` sets just before: by a call of ``close`` in another thread."""

    def __init__(self, shipper: Shipper) -> None:
        super().__init__()
        self.closer = threading.Thread(target=shipper.close, daemon=True)

    def clear(self) -> None:
        self.closer.start()
        assert self.wait(10)
        super().clear()


def test_a_close_while_the_thread_clears_its_notice_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that closes the journal just when a second of gathering ends does not wait forever.

    The thread has seen that nobody closes and is about to clear its notice; then ``close`` sets both.
    """
    monkeypatch.setattr(disk.Objects, "gather_seconds", 0.01)
    closed = Shipper(
        JournalFiles(disk.Objects(tmp_path)),
        FileHeader("an archive", FORMAT, "a program", "a schema"),
        lambda written: (None, ()),
        lambda: 0,
        on_error=lambda error: None,
        clock=utcnow,
        time_text=str,
    )
    waited_for = closed._waiting
    closed._waiting = event = _ClosedWhileCleared(closed)
    waited_for.set()
    assert event.wait(10)
    event.closer.join(10)
    assert not event.closer.is_alive()


@pytest.mark.parametrize(
    ("size", "is_early"), [pytest.param((1 << 20) - 1, False, marks=pytest.mark.whole), (1 << 20, True)]
)
def test_a_megabyte_is_shipped_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, is_early: bool
) -> None:
    """Entries are gathered for ten seconds where every file is an object, unless there are many."""
    monkeypatch.setattr(disk.Objects, "gather_seconds", 10)
    monkeypatch.setattr(shipper, "_CHECK_SECONDS", 0.1)
    shipped = threading.Event()

    def advance(written: JournalHead | None) -> tuple[None, tuple[()]]:
        shipped.set()
        return None, ()

    opened = Shipper(
        JournalFiles(disk.Objects(tmp_path)),
        FileHeader("an archive", FORMAT, "a program", "a schema"),
        advance,
        lambda: size,
        on_error=lambda error: None,
        clock=utcnow,
        time_text=str,
    )
    opened.notify()
    assert shipped.wait(2) == is_early
    opened.close()
    assert shipped.is_set()


def test_the_size_of_what_is_not_shipped_is_known(catalog: Catalog, run_id: int) -> None:
    """It grows with what is committed; nothing ships it here."""
    before = catalog.read(outbox.size)
    catalog.write(record.record_user, run_id, replace(NATGEO, full_name="x" * 5000), NOW)
    assert 5000 < catalog.read(outbox.size) - before < 20_000


def files_of(root: Path) -> list[tuple[str, str]]:
    """Return the schema of each file of the journal, and whether it holds a snapshot or entries."""
    files = JournalFiles(disk.Objects(root))
    found = []
    for name in files.names():
        lines = list(files.read(name))
        found.append((lines[0].header.schema, "entries" if lines[0].line.snapshot is None else "snapshot"))
    return found


def test_a_run_writes_a_snapshot_once_the_entries_outgrow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive_copies: ArchiveCopies
) -> None:
    """Few entries need none: they are replayed in a moment."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        assert [kind for _, kind in files_of(harness.root)] == ["snapshot", "entries"]
        monkeypatch.setattr(journaling, "_FEW_BYTES", 0)
        assert harness.night("account0000").exit_code == 0
        kinds = [kind for _, kind in files_of(harness.root)]
        assert kinds == ["snapshot", "entries", "entries", "snapshot"]
        assert harness.night("account0000").exit_code == 0
        assert [kind for _, kind in files_of(harness.root)] == [*kinds, "entries"]


def test_an_upgrade_that_was_killed_before_its_snapshot_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive_copies: ArchiveCopies
) -> None:
    """What a migration changes is in no entry: the next run writes all rows first."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        before, old = files_of(harness.root), schema.head()
        make_newer_migrations(tmp_path / "migrations")
        monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
        Catalog.open(harness.root / "archive.db", write=True).close()
        assert files_of(harness.root) == before
        assert harness.night("account0000").exit_code == 0
        assert files_of(harness.root) == [*before, ("9999", "snapshot"), ("9999", "entries")]
        assert {revision for revision, _ in before} == {old}


LONG = "0.30000000000000004"
FIRST_NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def two_nights(harness: ArchiveHarness) -> None:
    """A first night, and one with an edit and a number of 17 digits."""
    assert harness.night("account0000").exit_code == 0
    execute(harness, f"UPDATE items SET video_duration = {LONG}")
    harness.upstream.world.accounts[0].highlights[0].title = "Edited"
    assert harness.night("account0000").exit_code == 0


def a_month(harness: ArchiveHarness) -> None:
    """Thirty nights of edits of all kinds."""
    assert list(ThirtyNights(harness, seed=4, sweep_days=5, a_night=5).nights()) == []


def changes_of(
    nights: Callable[[ArchiveHarness], None], root: Path, database: str | None, world: EditableWorld
) -> list[str]:
    """Return the journal's entries of these nights.

    Without their answers, whose bytes differ each time. Threads decide which of two entries comes first.
    """
    with FaultyStandIn(world) as upstream:
        harness = ArchiveHarness(root / "archive", upstream, database)
        harness.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "1"
        nights(harness)
    found = []
    for path in sorted((root / "archive").glob("journal/*/*/*")):
        for line in map(json.loads, lines_of(path)):
            if "snapshot" not in line and "rows" in line:
                line["rows"].pop("answers", None)
                found.append(json.dumps([line["at"], line["run"], line["rows"]]))
    return [re.sub(r"127\.0\.0\.1:\d+", "HOST", text) for text in found]


def test_the_same_nights_give_the_same_lines(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Times, floats, booleans and the order of members are those of SQLite's columns.

    Every day two nights of one account, with --whole a month of three.
    """
    monkeypatch.setattr(ArchiveHarness, "now", property(lambda harness: FIRST_NOON + harness.later))
    for number in ("_ACCOUNTS_AT_FIRST", "ACCOUNTS_AT_MOST", "JOBS_AT_ONCE"):
        monkeypatch.setattr(run, number, 1)
    monkeypatch.setattr(writer, "_MAX_BATCH", 1)
    nights, size = (a_month, (3, 5, 4)) if whole else (two_nights, (1, 1, 2))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    lite = changes_of(nights, tmp_path / "one", None, EditableWorld.generate(*size))
    with postgres.database() as url:
        other = changes_of(nights, tmp_path / "two", url, EditableWorld.generate(*size))
    assert sorted(other) == sorted(lite)
    assert any(LONG in text for text in lite) or whole


def test_the_order_in_which_a_statement_changes_rows_does_not_show() -> None:
    """Each database has its own."""
    changes = [RowChange("files", (number,), {"last_seen_at": "now"}) for number in (9, 10, 11)]
    lines = {
        encode_entries([Entry(1, FIRST_NOON, 1, order)], None, None, str)[0]
        for order in permutations(changes)
    }
    assert len(lines) == 1
