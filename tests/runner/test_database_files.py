"""The files of a SQLite database, and what others do to them: a second writer, a long reader, ``verify``, a
WAL that is gone or is not ours.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.catalog import sqlite
from archiver.errors import DatabaseError
from archiver.verify.verify_stores import VerifyReport
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(items=5, archived="salwaaa_ki")
HELD = "select count(*) from files"
INCOMPLETE = "select count(*) from highlights where completed_at is null"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program waits a third of a second for its turn, instead of the ten that it waits by default."""
    assert sqlite._SETTINGS[0] == "PRAGMA busy_timeout = 10000"
    monkeypatch.setattr(sqlite, "_SETTINGS", ("PRAGMA busy_timeout = 333", *sqlite._SETTINGS[1:]))


@pytest.mark.usefixtures("patience")
def test_fault_h21_another_program_that_writes_is_waited_for_and_then_named(harness: ArchiveHarness) -> None:
    """A second writer for a moment costs nothing but the moment; one that stays ends the run with code 9 and
    an instruction.
    """
    outsider = sqlite3.connect(harness.root / "archive.db", isolation_level=None, check_same_thread=False)

    def to_stay(_: object) -> None:
        outsider.execute("BEGIN IMMEDIATE")

    def for_a_moment(_: object) -> None:
        to_stay(_)
        threading.Timer(0.1, outsider.execute, ["ROLLBACK"]).start()

    harness.upstream.faults.add(None, listener="cdn", nth=2, before=for_a_moment)
    with closing(outsider):
        assert harness.night("natgeo").exit_code == 0
        harness.upstream.world.add_item("18018069326790931")
        harness.upstream.faults.add(None, listener="cdn", before=to_stay)
        summary = harness.night("natgeo")
        assert (summary.exit_code, summary.hint) == (9, "close what writes to it, then run again")
        assert "is locked by another program" in summary.message
    assert harness.night("natgeo").exit_code == 0
    assert harness.one(INCOMPLETE) == 0


def test_fault_h22_a_reader_open_during_a_whole_run_harms_nobody(harness: ArchiveHarness) -> None:
    """The run ends well, the reader sees its own moment, and what the WAL held is in the file after the next
    night.
    """
    with closing(sqlite3.connect(harness.root / "archive.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        (before,) = reader.execute(HELD).fetchone()
        assert harness.night("natgeo").exit_code == 0
        assert reader.execute(HELD).fetchone() == (before,)
        written = (harness.root / "archive.db-wal").stat().st_size
        assert 0 < written < 4_000_000
    assert harness.night("natgeo").exit_code == 0
    assert not (harness.root / "archive.db-wal").exists()


def test_a_backup_beside_a_run_is_whole_and_of_one_moment(harness: ArchiveHarness, tmp_path: Path) -> None:
    """``db backup`` in mid-run: a sound copy in which every row has its bytes and the run is not over; the
    run does not notice.
    """
    copy = tmp_path / "copy.db"

    def back_up(_: object) -> None:
        with Archive(harness.config) as archive:
            archive.backup_database(copy)

    harness.upstream.faults.add(None, listener="cdn", nth=10, before=back_up)
    before = harness.one(HELD)
    assert harness.night("natgeo").exit_code == 0
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert reader.execute("pragma foreign_key_check").fetchall() == []
        held = {sha256 for (sha256,) in reader.execute("select sha256 from files")}
        assert reader.execute("select outcome from runs order by id").fetchall() == [("ok",), (None,)]
        assert before <= reader.execute(HELD).fetchone()[0] < harness.one(HELD)
    assert held <= {path.name for path in (harness.root / "blobs").glob("*/*")}


def _cut_short(harness: ArchiveHarness, to: Path, account: str = "natgeo") -> ArchiveHarness:
    """What a night that is killed in its middle leaves, in ``to``: the database and a WAL that is not in it
    yet.
    """

    def now(_: object) -> None:
        shutil.copytree(harness.root, to)

    harness.upstream.faults.add(None, listener="cdn", nth=12, before=now)
    assert harness.night(account).exit_code == 0
    assert (to / "archive.db-wal").stat().st_size > 0
    return ArchiveHarness(to, harness.upstream)


def _verified_blobs(harness: ArchiveHarness) -> VerifyReport:
    return harness.verify().blobs


@pytest.mark.whole
def test_fault_h24_a_wal_that_was_deleted_takes_rows_and_no_bytes(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """The database stands at its last checkpoint; ``verify`` counts the blobs without a row, and the next
    night adopts them.
    """
    left = _cut_short(harness, tmp_path / "left")
    (left.root / "archive.db-wal").unlink()
    (left.root / "archive.db-shm").unlink(missing_ok=True)
    blobs = _verified_blobs(left)
    assert (blobs.damaged, blobs.orphans > 5) == ((), True)
    assert left.night("natgeo", "salwaaa_ki").exit_code == 0
    assert left.rows(HELD) == harness.rows(HELD)
    blobs = _verified_blobs(left)
    assert (blobs.damaged, blobs.orphans) == ((), 0)


def test_fault_h24_a_wal_of_another_database_is_refused(harness: ArchiveHarness, tmp_path: Path) -> None:
    """SQLite would take it for its own: what then does not fit together is found before a run writes, code 9,
    and nothing is touched.

    Without it the database opens at its last checkpoint.
    """
    left = _cut_short(harness, tmp_path / "left")
    with FaultyStandIn(EditableWorld.generate(2, 4, 4)) as elsewhere:
        other = ArchiveHarness(tmp_path / "other", elsewhere)
        other.night("account0000")
        wal = _cut_short(other, tmp_path / "stranger", "account0001").root / "archive.db-wal"
    (left.root / "archive.db-shm").unlink(missing_ok=True)
    ours = left.root / "archive.db-wal"
    shutil.copy2(wal, ours)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in (left.root / "archive.db", ours)]
    with pytest.raises(DatabaseError, match="is damaged") as raised:
        left.night("natgeo")
    assert (raised.value.exit_code, "restore a copy" in raised.value.hint) == (9, True)
    assert before == [
        (path.read_bytes(), path.stat().st_mtime_ns) for path in (left.root / "archive.db", ours)
    ]
    ours.unlink()
    (left.root / "archive.db-shm").unlink(missing_ok=True)
    assert left.night("natgeo", "salwaaa_ki").exit_code == 0
    assert left.one(INCOMPLETE) == 0
