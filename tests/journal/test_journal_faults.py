"""Journals that a kill tore, that somebody changed, or that belong elsewhere: clear errors, nothing lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from archiver.archive import rebuild_archive
from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import RebuiltArchive, rebuild_database
from archiver.archive.session import open_for_writing
from archiver.catalog import Catalog, outbox
from archiver.catalog.column_types import time_text
from archiver.errors import (
    DiskFull,
    JournalDamaged,
    JournalDiffers,
    SchemaNew,
    StoppedBySignal,
    StorageError,
    UsageError,
)
from archiver.journal import journal_files
from archiver.journal.journal_check import newest_snapshot
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import FORMAT, FileHeader, encode_header, hash_line, parse_line
from archiver.model.identity import utcnow
from archiver.reread import Recovery
from archiver.store import disk, growing_file
from archiver.store.growing_file import GrowingFile
from archiver.work import StopFlag, Work
from tests.support.adopting_archive import AdoptingArchive, insta_dl_name, put
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.released_journal import released
from tests.support.table_dumps import execute

LINE = b'{"seq":5,"prev":"0","at":"2026-01-01T00:00:00.000000Z","run":null,"rows":{}}'


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of one account after its first night and a quiet one."""
    with archive_copies.after_nights(2, (1, 1, 1), tmp_path / "archive") as copied:
        yield copied


def files(harness: ArchiveHarness) -> list[Path]:
    return sorted(harness.root.glob("journal/*/*/*"))


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file."""
    path.write_bytes(
        gzip.compress(b"\n".join(change(gzip.decompress(path.read_bytes()).splitlines())) + b"\n")
    )


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(gzip.compress(LINE + b"\n")[:20], id="test_fault_h51_what_a_kill_tore_off_is_cut"),
        pytest.param(bytes(4096), id="test_fault_h51_zeros_that_a_power_loss_left_are_cut"),
    ],
)
def test_what_is_left_of_a_write_is_cut(harness: ArchiveHarness, left: bytes) -> None:
    """The next run goes on, and a rebuild gives back all rows."""
    last = files(harness)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole + left)
    assert harness.night("account0000").exit_code == 0
    assert last.read_bytes() == whole
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0].replace(b'"archive":"', b'"archive":"x'), *lines[1:]], "another archive"),
        (lambda lines: [*lines[:2], *lines[3:]], "does not follow"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"at":"2', b'"at":"1'), *lines[3:]], "does not follow"),
        (lambda lines: [lines[0], b"{}", *lines[2:]], "not a line of the journal"),
    ],
    ids=["another archive", "a gap", "a changed line", "no line"],
)
def test_fault_h52_a_damaged_journal_is_not_rebuilt(
    harness: ArchiveHarness, change: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    """The message names the file, and there is no database afterwards."""
    rewrite(files(harness)[-1], change)
    lose_database(harness)
    with pytest.raises(JournalDamaged, match=message):
        rebuild(harness)
    assert not (harness.root / "archive.db").exists()


def test_fault_h52_what_comes_before_the_damage_can_be_kept(tmp_path: Path, sqlite_template: Path) -> None:
    """On request; the old journal is moved away, and the archive works on with a new one."""
    archive = AdoptingArchive(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "new.db")))
    for item_pk in ("1", "2", "3"):
        archive.adopt(put(tmp_path / item_pk, (insta_dl_name(item_pk),)))
    second = sorted(archive.root.glob("journal/*/*/*"))[-2]
    rewrite(second, lambda lines: [*lines[:-2], lines[-1]])
    (archive.root / "archive.db").unlink()

    def rebuild(**options: bool) -> RebuiltArchive:
        return rebuild_database(archive.config, Work(), **options)

    with pytest.raises(JournalDamaged, match="does not follow") as raised:
        rebuild()
    assert "--skip-damage" in raised.value.hint
    damage = rebuild(skip_damage=True).journal.damage
    assert damage is not None
    assert second.name in damage
    assert [file.item_pk for file in archive.waiting()] == ["1"]
    with Archive(archive.config) as opened:
        assert not opened.verify(read_data=True).is_damaged
    assert archive.counts(tmp_path / "2", tmp_path / "3") == (0, 2, 0, 0)
    assert list(archive.root.glob(f"quarantine/journal-*/*/*/{second.name}"))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        LINE[:-1],
        LINE.replace(b"{}", b'{"users":[{"key":["1"],"set":{"username":NaN}}]}'),
        LINE.replace(b"{}", b'{"users":[{"key":["1"],"set":{"username":"\\ud800"}}]}'),
        LINE[:-1] + b',"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        LINE.replace(b"{}", b'{"users":[{"key":[],"set":{}}]}'),
        LINE.replace(b"{}", b'{"users":[{"key":["1"]}]}'),
        LINE.replace(b'"seq":5', b'"seq":"5"'),
    ],
)
def test_fault_x23_a_hostile_line_is_refused(line: bytes) -> None:
    """Whatever is wrong with it; the place is named."""
    with pytest.raises(JournalDamaged, match=r"a\.jsonl\.gz"):
        parse_line(line, "a.jsonl.gz")


_ANOTHER = {"id": "x", "format": 1, "created_at": "2026-01-01T00:00:00.000000Z"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"sqlite_master": [{"key": ["1"], "set": {"sql": "x"}}]}, "a table that does not exist"),
        ({"users": [{"key": ["1"], "set": {"pk": "1", "x y": 1}}]}, "a column that does not exist"),
        ({"users": [{"key": ["1"], "set": {"username": "x"}}]}, "a row of users that does not exist"),
        ({"users": [{"key": ["1", "2"], "removed": True}]}, "users whose key and values do not fit"),
        ({"users": [{"key": ["1"], "set": {}}]}, "users whose key and values do not fit"),
        ({"users": [{"key": ["1"], "set": {"pk": "1"}}]}, "a change of users that the database refuses"),
        ({"runs": [{"key": [True], "removed": True}]}, r"a value that runs\.id cannot have"),
        ({"runs": [{"key": [1], "set": {"units": 2**63}}]}, r"a value that runs\.units cannot have"),
        ({"runs": [{"key": [1], "set": {"units": "many"}}]}, r"a value that runs\.units cannot have"),
        ({"runs": [{"key": [1], "set": {"started_at": 5}}]}, r"a value that runs\.started_at cannot have"),
        (
            {"runs": [{"key": [1], "set": {"started_at": "a Z"}}]},
            r"a value that runs\.started_at cannot have",
        ),
        ({"items": [{"key": ["1"], "set": {"video_duration": True}}]}, "items.video_duration cannot have"),
        ({"files": [{"key": [1], "set": {"sha256": "0" * 64}}]}, "rows that refer to missing rows"),
        ({"archive": [{"key": ["x"], "set": _ANOTHER}]}, "name its archive exactly once"),
    ],
)
def test_fault_x23_an_entry_that_does_not_fit_is_refused(
    harness: ArchiveHarness, rows: dict[str, object], message: str
) -> None:
    """Names come from the schema, and nothing is taken in partially."""

    def append(lines: list[bytes]) -> list[bytes]:
        last = json.loads(lines[-1])
        new = {**last, "seq": last["seq"] + 1, "prev": hash_line(lines[-1]), "rows": rows}
        return [*lines, json.dumps(new).encode()]

    rewrite(files(harness)[-1], append)
    lose_database(harness)
    with pytest.raises(JournalDamaged, match=message):
        rebuild(harness)
    assert not (harness.root / "archive.db").exists()


def test_fault_x23_an_entry_that_names_a_missing_or_damaged_blob(harness: ArchiveHarness) -> None:
    """Its row comes back as it was; ``verify`` then names both blobs."""
    missing, damaged = sorted(path for path in harness.root.glob("blobs/*/*"))[:2]
    missing.unlink()
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    require_equal_after_rebuild(harness)
    with Archive(harness.config) as archive:
        found = {blob.sha256: blob.problem for blob in archive.verify(read_data=True).blobs.damaged}
    assert found == {missing.name: "missing", damaged.name: "hash"}


def test_fault_x23_a_torn_last_line_in_a_whole_part_is_damage(tmp_path: Path) -> None:
    """A kill does not leave this: nothing is cut, the message names the file."""
    files, names = released(tmp_path)
    last = tmp_path / "journal" / names[-1]
    last.write_bytes(last.read_bytes() + gzip.compress(LINE[:40]))
    with pytest.raises(JournalDamaged, match=r"jsonl\.gz: the line that ends at byte \d+ is not complete"):
        list(files.read(names[-1]))


def test_fault_h52_damage_elsewhere_does_not_hide_the_newest_snapshot(tmp_path: Path) -> None:
    """A rebuild begins there; a snapshot without its last line is none."""
    files, names = released(tmp_path)
    newest = newest_snapshot(files)
    (tmp_path / "journal" / names[0]).write_bytes(b"damaged")
    rewrite(tmp_path / "journal" / names[-1], lambda lines: [lines[0], b"damaged"])
    assert newest_snapshot(files) == newest > names[0]
    rewrite(tmp_path / "journal" / newest, lambda lines: lines[:-1])
    with pytest.raises(JournalDamaged, match="no complete snapshot"):
        newest_snapshot(files)


@pytest.mark.parametrize("has_lines", [True, False])
def test_fault_x23_a_large_part_does_not_fill_the_memory(
    has_lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unpacked in pieces, whether it is a bomb that ends at a limit or has many lines."""
    monkeypatch.setattr(journal_files, "LONGEST", 1 << 20)
    line = b'{"seq": 1, "prev": "%s", "at": "", "run": null, "rows": {}}\n' % (b"0" * 9000)
    content = encode_header(FileHeader("a", FORMAT, "1", "0010")) + (
        line * 1000 if has_lines else b"x" * (9 << 20)
    )
    path = tmp_path / "journal" / _NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(content, 1))
    found = JournalFiles(disk.Objects(tmp_path)).read(_NAME)
    tracemalloc.start()
    try:
        if has_lines:
            assert sum(1 for _ in found) == 1000
        else:
            with pytest.raises(JournalDamaged, match="too much data"):
                next(found)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


_NAME = "2026/11/000000000001-00000000.jsonl.gz"


def test_fault_h50_a_journal_beside_a_database_that_never_had_one_is_refused(harness: ArchiveHarness) -> None:
    """As after an older program's database was put back: nothing is written and nothing paid for."""

    execute(harness, "DELETE FROM journal_head")
    with pytest.raises(JournalDiffers):
        harness.night("account0000")
    assert harness.upstream.requests.api_calls() == []


def test_fault_h50_a_lost_journal_is_noticed_and_repaired(harness: ArchiveHarness) -> None:
    """The next run ends before it pays; a repair begins the journal again, and a rebuild equals the rows."""
    shutil.rmtree(harness.root / "journal")
    with pytest.raises(JournalDiffers, match="is missing or cut off"):
        harness.night("account0000")
    with pytest.raises(UsageError, match="has more than the journal"):
        rebuild(harness)
    with Archive(harness.config) as archive:
        assert archive.repair().has_new_journal
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize("command", ["repair", "db rebuild"])
def test_fault_h26_a_database_of_a_newer_version_and_its_journal_stay_as_they_are(
    harness: ArchiveHarness, command: str
) -> None:
    """Even if their histories differ: a repair by this version would set the journal aside, and a rebuild
    would rename the database.
    """
    execute(harness, "DELETE FROM journal_head")
    execute(harness, "UPDATE alembic_version SET version_num = '9999'")
    before = {path: path.read_bytes() for path in (harness.root / "journal").rglob("*.gz")}
    with pytest.raises(SchemaNew, match="newer"), Archive(harness.config) as archive:
        rebuild(harness) if command == "db rebuild" else archive.repair()
    assert {path: path.read_bytes() for path in (harness.root / "journal").rglob("*.gz")} == before != {}
    assert not list(harness.root.glob("archive.db.*T*"))


@pytest.mark.whole
def test_fault_h51_a_first_snapshot_that_its_database_does_not_know_is_moved_away(
    harness: ArchiveHarness,
) -> None:
    """A kill came between the two: the archive begins its journal again, and stays usable."""
    first, *others = files(harness)
    for other in others:
        other.unlink()
    first.rename(first.with_name("000000000001-ffffffff.jsonl.gz"))
    execute(harness, "DELETE FROM journal_head")
    assert harness.night("account0000").exit_code == 0
    require_equal_after_rebuild(harness)


def test_fault_h49_a_wal_without_its_database_stays_out_of_the_new_one(harness: ArchiveHarness) -> None:
    """It is set aside with what was there."""
    before = all_rows(harness)
    with closing(sqlite3.connect(harness.root / "archive.db")) as connection:
        connection.execute("UPDATE users SET full_name = 'in the WAL'")
        connection.commit()
        wal = (harness.root / "archive.db-wal").read_bytes()
        connection.rollback()
    lose_database(harness)
    (harness.root / "archive.db-wal").write_bytes(wal)
    rebuild(harness)
    assert all_rows(harness) == before


def test_fault_h51_a_journal_that_cannot_be_written_is_an_error_of_any_command(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that does not ask whether it should stop; the next command ships what is left."""

    def full(*_: object) -> None:
        raise DiskFull("the disk is full")

    def change_a_row() -> None:
        stop = StopFlag()
        with open_for_writing(harness.config, "test", Work(stop=stop)) as session:
            session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'A'")))
            until = time.monotonic() + 20
            while stop.cause is None:
                assert time.monotonic() < until
                time.sleep(0.002)

    with monkeypatch.context() as patch:
        patch.setattr(disk.Objects, "gather_seconds", 0)
        patch.setattr(disk.Objects, "grow", full)
        with pytest.raises(DiskFull):
            change_a_row()
    harness.night("account0000")
    require_equal_after_rebuild(harness)


def test_fault_h49_what_a_killed_creation_left_is_not_applied_to_the_next(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """A rollback journal that says that its file was empty would empty the new one: of a database that is
    created, of one that is rebuilt from an older copy, and of the one that is put in place.
    """
    journal = bytes.fromhex("d9d505f920a163d7 00000000 12345678 00000000 00000200 00001000").ljust(512, b"\0")
    (tmp_path / "new.db.new-journal").write_bytes(journal)
    Catalog.create(tmp_path / "new.db", "one", utcnow()).close()
    assert sorted(path.name for path in tmp_path.glob("new.db*")) == ["new.db"]
    copy = (harness.root / "archive.db").read_bytes()
    assert harness.night("account0000").exit_code == 0
    rows = all_rows(harness)
    lose_database(harness)
    (harness.root / "archive.db").write_bytes(copy)
    (harness.root / "archive.db.rebuild-journal").write_bytes(journal)
    rebuild(harness)
    assert all_rows(harness) == rows
    lose_database(harness)
    (harness.root / "archive.db-journal").write_bytes(journal)
    rebuild(harness)
    assert all_rows(harness) == rows


@pytest.mark.whole
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_fault_h9_a_file_that_was_given_up_is_no_other_history(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync its lines are written again, into a file whose name may come before or after."""
    failed: list[str] = []

    def sync(fd: int) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        if "/journal/" in path and not failed:
            failed.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    tokens = (f"{number:08x}" for number in range(1 << 31, 0, -1))
    with monkeypatch.context() as patch:
        patch.setattr(growing_file, "sync", sync)
        patch.setattr("archiver.journal.journal_files.secrets.token_hex", lambda size: next(tokens))
        with pytest.raises(StorageError):
            harness.night("account0000")
    assert failed
    assert harness.night("account0000").exit_code == 0
    require_equal_after_rebuild(harness)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_fault_h51_lines_that_a_killed_process_wrote_are_synced_before_they_are_recorded(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be read, and yet a power loss may take them: they may not be on the disk."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def change_a_row(patch: pytest.MonkeyPatch) -> None:
        with open_for_writing(harness.config, "test", Work()) as session:
            session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'A'")))
            patch.setattr(growing_file, "sync", fail)

    def note(fd: int) -> None:
        if not harness.rows("SELECT 1 FROM journal_outbox"):
            return
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())

    synced: list[Path] = []
    with monkeypatch.context() as patch, pytest.raises(StorageError):
        change_a_row(patch)
    never_synced = files(harness)[-1]
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync", note)
        patch.setattr(disk, "sync_directory", note)
        with open_for_writing(harness.config, "test", Work()):
            pass
    assert synced == [never_synced, never_synced.parent]
    require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_fault_h51_an_upgrade_after_a_kill_goes_on_after_its_lines(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot that the upgrade needs does not get the numbers of lines that were written already."""

    def kill(*_: object) -> None:
        raise StoppedBySignal(9)

    def change_a_row(patch: pytest.MonkeyPatch) -> None:
        with open_for_writing(harness.config, "test", Work()) as session:
            patch.setattr(outbox, "confirm", kill)
            session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'A'")))

    tokens = (f"{number:08x}" for number in range(1 << 31, 0, -1))  # a later file would come first
    monkeypatch.setattr("archiver.journal.journal_files.secrets.token_hex", lambda size: next(tokens))
    with monkeypatch.context() as patch, pytest.raises(StoppedBySignal):
        change_a_row(patch)
    execute(harness, "UPDATE journal_head SET snapshot_bytes = 0")
    with open_for_writing(harness.config, "test", Work()):
        pass
    assert harness.night("account0000").exit_code == 0
    require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_fault_h50_an_older_copy_from_before_a_new_journal_is_not_followed(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """The new journal goes on with the numbers, so the copy counts as one with another history."""
    shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
    shutil.rmtree(harness.root / "journal")
    with Archive(harness.config) as archive:
        archive.repair()
    rows = all_rows(harness)
    lose_database(harness)
    shutil.copy(tmp_path / "older.db", harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="different histories"):
        harness.night("account0000")
    rebuild(harness)
    assert all_rows(harness) == rows


def test_fault_h50_a_current_database_without_triggers_keeps_its_journal(harness: ArchiveHarness) -> None:
    """A rebuild refuses it and moves nothing: an upgrade creates the triggers. ``verify`` says so too."""
    execute(harness, "DROP TRIGGER journal_added_items")
    with Archive(harness.config) as archive:
        found = archive.verify().journal
    assert found.is_damaged
    assert "archiver db upgrade" in found.hint
    before = files(harness)
    with pytest.raises(JournalDiffers, match="lacks triggers"):
        rebuild(harness)
    assert files(harness) == before


def test_fault_h52_an_entry_that_does_not_fit_can_be_skipped(harness: ArchiveHarness) -> None:
    """A rebuild skips the whole entry. A value in a form that another program may write is not refused."""
    execute(harness, "UPDATE users SET gone_at = '2026-01-01 00:00:00', tray_length = 1.5")
    with open_for_writing(harness.config, "test", Work()):
        pass
    rows = all_rows(harness)

    def append(lines: list[bytes]) -> list[bytes]:
        last = json.loads(lines[-1])
        user = {"key": ["1"], "set": {"username": "x"}}
        changes = {"users": [{"keys": harness.rows("SELECT pk FROM users"), "set": {"full_name": "X"}}, user]}
        new = {**last, "seq": last["seq"] + 1, "prev": hash_line(lines[-1]), "rows": changes}
        return [*lines, json.dumps(new).encode()]

    rewrite(files(harness)[-1], append)
    lose_database(harness)
    damage = rebuild_database(harness.config, Work(), skip_damage=True).journal.damage
    assert damage is not None
    assert "a row of users that does not exist" in damage
    assert all_rows(harness) == rows


def test_fault_h9_a_disk_that_refuses_the_next_file_too_is_that_error(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was given up is closed once, whatever comes after."""
    grow, close, made = disk.Objects.grow, GrowingFile.close, 0
    closed: list[GrowingFile] = []

    def note(file: GrowingFile) -> None:
        closed.append(file)
        close(file)

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def only_one(*args: Any) -> GrowingFile:
        nonlocal made
        made += 1
        if made > 1:
            raise DiskFull("the disk is full")
        return grow(*args)

    def change_a_row() -> None:
        with open_for_writing(harness.config, "test", Work()) as session:
            session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'A'")))
            session.journal.write_due_snapshot()

    with monkeypatch.context() as patch:
        patch.setattr(disk.Objects, "grow", only_one)
        patch.setattr(GrowingFile, "close", note)
        patch.setattr(growing_file, "sync", fail)
        with pytest.raises(DiskFull):
            change_a_row()
    assert len(closed) == 1
    harness.night("account0000")
    require_equal_after_rebuild(harness)


def test_fault_h50_a_damaged_end_does_not_hide_that_the_database_is_an_older_copy(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """A repair that followed it would lose what the journal still has."""
    shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
    with open_for_writing(harness.config, "test", Work()) as session:
        session.catalog.write(lambda rows: rows.execute(text("UPDATE users SET full_name = 'A'")))
    last = files(harness)[-1]
    last.write_bytes(last.read_bytes() + gzip.compress(b"{"))
    lose_database(harness)
    shutil.copy(tmp_path / "older.db", harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="is an older copy"), Archive(harness.config) as archive:
        archive.repair()
    with pytest.raises(JournalDamaged) as raised:
        rebuild(harness)
    assert "--skip-damage" in raised.value.hint


def test_fault_j9_the_end_of_the_journal_does_not_hide_why_a_command_ends(harness: ArchiveHarness) -> None:
    """If the database cannot be read any more, archive.json stays as it is, and the first error is raised."""
    before = (harness.root / "archive.json").read_bytes()

    def stop_without_database() -> None:
        with open_for_writing(harness.config, "test", Work()) as session:
            session.catalog.write(lambda rows: rows.execute(text("DROP TABLE journal_head")))
            raise StoppedBySignal(15)

    with pytest.raises(StoppedBySignal):
        stop_without_database()
    assert (harness.root / "archive.json").read_bytes() == before


def test_fault_h50_a_repair_that_fails_leaves_no_journal_without_a_snapshot(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written after the old journal was moved away, so the next command refuses too."""

    def full(*_: object) -> int:
        raise DiskFull("the disk is full")

    shutil.rmtree(harness.root / "journal")
    execute(harness, "UPDATE users SET full_name = 'A'")
    with monkeypatch.context() as patch:
        patch.setattr(JournalFiles, "write_snapshot", full)
        with pytest.raises(DiskFull), Archive(harness.config) as archive:
            archive.repair()
    with pytest.raises(JournalDiffers):
        harness.night("account0000")
    with Archive(harness.config) as archive:
        archive.repair()
    require_equal_after_rebuild(harness)


def test_fault_h53_a_rebuild_that_ended_before_the_answers_were_recorded_goes_on(
    harness: ArchiveHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is in its place already; the next rebuild records them, and the one after has no work."""

    def stop(*_: object) -> Recovery:
        raise StoppedBySignal(2)

    shutil.copytree(harness.root / "journal", tmp_path / "journal")
    harness.night("account0000", full=True)
    units = harness.one("SELECT sum(units) FROM api_calls")
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(tmp_path / "journal", harness.root / "journal")
    lose_database(harness)
    with monkeypatch.context() as patch:
        patch.setattr(rebuild_archive, "recover", stop)
        with pytest.raises(StoppedBySignal):
            rebuild(harness)
    assert rebuild(harness).recovery.units == 2
    assert harness.one("SELECT sum(units) FROM api_calls") == units
    with pytest.raises(UsageError, match="nothing to rebuild"):
        rebuild(harness)


@pytest.mark.parametrize("name", ["x", "", "../../precious.txt", "2026/11/../../../precious.txt", "\0"])
def test_fault_k71_the_end_of_the_journal_is_no_other_file(harness: ArchiveHarness, name: str) -> None:
    """A row that says so belongs to another history: code 9, with the two ways out. ``repair`` is one.

    Also if it says that the journal ends with a snapshot, and entries wait behind it.
    """
    precious = harness.root.parent / "precious.txt"
    precious.write_text("precious")
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("update journal_head set file = ?, length = 0, entry_bytes = 0", (name,))
        rows.execute("update users set full_name = 'A'")
        at = time_text(utcnow())
        rows.execute("insert into journal_commits (txn, at) select max(txn), ? from journal_outbox", (at,))
    with pytest.raises(JournalDiffers, match="different histories"):
        rebuild_archive.take_snapshot(harness.config, Work())
    with Archive(harness.config) as archive:
        archive.repair()
    rebuild_archive.take_snapshot(harness.config, Work())
    assert precious.read_text() == "precious"
