"""A journal that is damaged, lost or older than the database: what is noticed, and what is put right."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.database import upgrade_schema
from archiver.archive.rebuild_archive import take_snapshot
from archiver.archive.verification import Verification
from archiver.blobs import marker
from archiver.catalog import Catalog, record
from archiver.cli.verify_command import check_lines
from archiver.errors import DatabaseError, JournalDamaged, JournalDiffers
from archiver.journal.journal_files import JournalFiles
from archiver.model.identity import Digest, utcnow
from archiver.model.journal_entries import JournalEnd, JournalPoint
from archiver.runner import run_lock
from archiver.store import disk
from archiver.verify.verify_journal import verify_journal
from archiver.work import Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_damage import flip_bit
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute

ACCOUNT = "account0000"


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive: a night, a snapshot, an edited title, and another snapshot and edited title."""

    def live(first: ArchiveHarness) -> None:
        assert first.night(ACCOUNT).exit_code == 0
        for title in ("Second", "Third"):
            take_snapshot(first.config, Work())
            first.upstream.world.accounts[0].highlights[0].title = title
            assert first.night(ACCOUNT).exit_code == 0

    size, to = (1, 2, 1), tmp_path / "archive"
    with archive_copies.lived("two snapshots", lambda: EditableWorld.generate(*size), live, to) as copied:
        copied.upstream.world.accounts[0].highlights[0].title = "Third"
        yield copied


def files(harness: ArchiveHarness) -> list[Path]:
    return sorted(harness.root.glob("journal/*/*/*"))


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()[1:]]


def snapshots(harness: ArchiveHarness) -> list[Path]:
    return [file for file in files(harness) if "snapshot" in lines_of(file)[0]]


def verify(harness: ArchiveHarness) -> Verification:
    with Archive(harness.config) as archive:
        return archive.verify(read_data=True, dry_run=True)


def repair(harness: ArchiveHarness) -> None:
    with Archive(harness.config) as archive:
        assert archive.repair(read_data=True).has_new_journal


RENAMED = "000000009999-aaaaaaaa.jsonl.gz"
"""A name with a number that is greater than all others."""


def put_copy(harness: ArchiveHarness, number: int, month: str, name: str = "") -> Path:
    """Copy a file of the journal into another month."""
    original = files(harness)[number]
    copy = harness.root / "journal" / month / (name or original.name)
    copy.parent.mkdir(parents=True)
    shutil.copy(original, copy)
    return copy


@pytest.mark.parametrize(
    ("number", "month", "name"),
    [
        pytest.param(0, "2199/01", "", id="test_fault_j5_an_old_file_in_a_later_month_is_not_followed"),
        pytest.param(-1, "2026/01", "", id="test_fault_j5_a_copy_in_an_earlier_month_accuses_no_other"),
        pytest.param(0, "2026/01", RENAMED, id="test_fault_j5_a_renamed_file_in_an_earlier_month"),
    ],
)
def test_a_copied_file_of_the_journal_is_named_and_not_followed(
    harness: ArchiveHarness, number: int, month: str, name: str
) -> None:
    """Whatever its name says: a rebuild gives all rows, and nothing else minds it."""
    copy = put_copy(harness, number, month, name)
    found = verify(harness)
    assert not found.is_damaged
    assert found.journal.foreign == [f"{month}/{copy.name}"]
    require_equal_after_rebuild(harness)
    assert harness.night(ACCOUNT).units == 1
    assert copy.exists()


def test_fault_j5_a_renamed_file_in_a_later_month_is_refused(harness: ArchiveHarness) -> None:
    """``verify`` and a rebuild name it, and the rebuild says what to do; that works."""
    rows = all_rows(harness)
    stray = put_copy(harness, 0, "2199/01", RENAMED)
    assert stray.name in (verify(harness).journal.damage or "")
    lose_database(harness)
    with pytest.raises(JournalDamaged, match=rf"{stray.name} begins with line 1, not") as refused:
        rebuild(harness)
    assert "move it elsewhere" in refused.value.hint
    stray.unlink()
    rebuild(harness)
    assert all_rows(harness) == rows


def test_fault_j5_forget_deletes_an_old_file_in_a_later_month_too(harness: ArchiveHarness) -> None:
    """It names the account, and its number is smaller than that of the new journal."""
    copy = put_copy(harness, 0, "2199/01")
    with Archive(harness.config) as archive:
        archive.forget(ACCOUNT)
    assert not copy.exists()
    assert end_of(harness).seq == lines_of(files(harness)[-1])[-1]["seq"]
    require_equal_after_rebuild(harness)


def test_fault_j16_a_file_with_a_number_that_no_journal_has_is_left_alone(harness: ArchiveHarness) -> None:
    """A repair of the damage beside it begins a journal that every reader finds. One with a number from which
    a journal could not go on is named.
    """
    flip_bit(files(harness)[1])
    stray = harness.root / "journal" / "2199" / "01" / "999999999999-aaaaaaaa.jsonl.gz"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    repair(harness)
    assert not verify(harness).is_damaged
    require_equal_after_rebuild(harness)
    flip_bit(files(harness)[0])
    stray = stray.with_name("009999999999-aaaaaaaa.jsonl.gz")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x")
    with pytest.raises(JournalDamaged, match=stray.name):
        repair(harness)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(("damage", "number"), [(flip_bit, 0), (zero, 1), (empty, 2), (Path.unlink, 1)])
def test_fault_j6_damage_before_the_newest_snapshot_is_found(
    harness: ArchiveHarness, damage: Callable[[Path], None], number: int
) -> None:
    """It says that no row is lost. Verify without --read-data does not read there; a repair ends it."""
    older = files(harness)[: files(harness).index(snapshots(harness)[-1])]
    assert not verify(harness).is_damaged
    damage(older[number])
    found = verify(harness)
    assert found.is_damaged
    assert found.journal.damage is None
    assert found.journal.losses
    assert all("no row is lost" in each or "nothing is lost" in each for each in found.journal.losses)
    with Archive(harness.config) as archive:
        assert not archive.verify(dry_run=True).is_damaged
    repair(harness)
    assert not verify(harness).is_damaged
    require_equal_after_rebuild(harness)


def test_fault_j6_files_of_an_older_journal_in_a_copy_are_no_damage(harness: ArchiveHarness) -> None:
    """After a repair has begun the journal again, an updated copy still has the files from before."""
    older = [(file, file.read_bytes()) for file in files(harness)]
    flip_bit(files(harness)[1])
    repair(harness)
    for file, data in older:
        file.write_bytes(data)
    assert not verify(harness).is_damaged


@pytest.mark.parametrize("damage", [flip_bit, empty, Path.unlink])
def test_fault_j7_a_lost_snapshot_costs_nothing(
    harness: ArchiveHarness, damage: Callable[[Path], None]
) -> None:
    """The newest snapshot and the database are lost, and so is the snapshot before it: every row comes back.

    The rebuild says what is lost, and begins the journal again.
    """
    before = all_rows(harness)
    for snapshot in snapshots(harness)[1:]:
        damage(snapshot)
    assert verify(harness).journal.losses
    lose_database(harness)
    rebuilt = rebuild(harness)
    assert rebuilt.is_complete
    assert len(rebuilt.journal.lost) == 2
    assert all_rows(harness) == before
    assert not verify(harness).is_damaged
    assert harness.night(ACCOUNT).units == 1


@pytest.mark.whole
def test_fault_j7_a_lost_snapshot_costs_nothing_on_postgresql(
    harness: ArchiveHarness, postgres: PostgresServer
) -> None:
    """All rows come back there too, and the next night is quiet."""
    with postgres.database() as url:
        other = replace(harness, database=url)
        rebuild(other)
        take_snapshot(other.config, Work())
        other.upstream.world.accounts[0].highlights[0].title = "Fourth"
        assert other.night(ACCOUNT).exit_code == 0
        snapshots(other)[-1].unlink()
        require_equal_after_rebuild(other)
        assert other.night(ACCOUNT).units == 1
        assert not verify(other).is_damaged


def test_fault_j7_an_older_copy_goes_on_over_a_lost_snapshot(harness: ArchiveHarness) -> None:
    """The database is a copy from before a snapshot that is lost: a rebuild brings it up to date."""
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    take_snapshot(harness.config, Work())
    harness.upstream.world.accounts[0].highlights[0].title = "Fourth"
    harness.night(ACCOUNT)
    before = all_rows(harness)
    snapshots(harness)[-1].unlink()
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="older copy"):
        harness.night(ACCOUNT)
    rebuilt = rebuild(harness)
    assert rebuilt.was_copy
    assert all_rows(harness) == before


def test_fault_j7_a_snapshot_that_changes_rows_is_needed(harness: ArchiveHarness) -> None:
    """What a repair wrote is in no entry, so the entry after it does not name the one before."""
    from archiver.archive.session import open_for_writing

    with open_for_writing(harness.config, "test", Work()) as session:
        session.journal.write_snapshot()
    harness.upstream.world.accounts[0].highlights[0].title = "Fourth"
    harness.night(ACCOUNT)
    assert "after" not in lines_of(snapshots(harness)[-1])[0]
    assert "after" not in lines_of(files(harness)[-1])[0]


def test_fault_j7_a_lost_journal_is_still_named_if_entries_wait(harness: ArchiveHarness) -> None:
    """It ended with a snapshot, and a command was killed before it wrote anything after that."""
    take_snapshot(harness.config, Work())
    with Catalog.open(harness.root / "archive.db", write=True) as catalog:
        catalog.write(
            record.record_verified_blobs,
            (Digest(str(harness.one("SELECT min(sha256) FROM blobs"))),),
            utcnow(),
        )
    shutil.rmtree(harness.root / "journal")
    with pytest.raises(JournalDiffers, match="missing or cut off"):
        harness.night(ACCOUNT)


def end_of(harness: ArchiveHarness) -> JournalEnd:
    end = marker.read(harness.root).journal
    assert end is not None
    return end


def cut_before_last_member(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: data.rindex(b"\x1f\x8b\x08")])


def test_fault_j9_archive_json_says_where_the_journal_ended(harness: ArchiveHarness) -> None:
    """Each command that writes records the last line; after a snapshot, also the line before it."""
    last = lines_of(files(harness)[-1])[-1]
    before = end_of(harness)
    assert before.seq == last["seq"]
    head = take_snapshot(harness.config, Work())
    assert end_of(harness) == JournalEnd(head.seq, head.hash, JournalPoint(before.seq, before.hash))


def test_fault_j9_a_lost_end_of_the_journal_is_counted(harness: ArchiveHarness) -> None:
    """The last file is cut between two parts: verify and a rebuild say how many lines are missing.

    The rebuild ends with 3, and gives no number twice: a copy of the journal can still be put back.
    """
    end, last = end_of(harness), files(harness)[-1]
    before = len(lines_of(last))
    cut_before_last_member(last)
    missing = before - len(lines_of(last))
    assert missing > 0
    assert f"({missing} line" in str(verify(harness).journal.damage)
    lose_database(harness)
    rebuilt = rebuild(harness)
    assert (rebuilt.journal.missing, rebuilt.is_complete) == (missing, False)
    assert lines_of(files(harness)[0])[0]["seq"] == end.seq + 1
    assert not verify(harness).is_damaged
    assert end_of(harness).seq > end.seq
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize("mend", [rebuild, repair])
def test_fault_j9_older_copies_of_database_and_journal_are_noticed(
    harness: ArchiveHarness, tmp_path: Path, mend: Callable[[ArchiveHarness], object]
) -> None:
    """Neither has the last lines: verify counts them; a rebuild and a repair go on after their numbers."""
    older = tmp_path / "older"
    shutil.copytree(harness.root, older)
    end = end_of(harness)
    harness.upstream.world.accounts[0].highlights[0].title = "Fourth"
    harness.night(ACCOUNT)
    missing = end_of(harness).seq - end.seq
    lose_database(harness)
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(older / "journal", harness.root / "journal")
    shutil.copy(older / "archive.db", harness.root / "archive.db")
    found = verify(harness).journal
    assert f"lack the last {missing} lines" in str(found.damage)
    assert "archiver db rebuild" in found.hint
    with pytest.raises(JournalDiffers, match=f"lack the last {missing} lines"):
        harness.night(ACCOUNT)  # it would pay again, and hide the loss
    mend(harness)
    assert int(str(lines_of(files(harness)[0])[0]["seq"])) > end.seq + missing
    assert not verify(harness).is_damaged
    assert harness.night(ACCOUNT).exit_code == 0


def test_fault_j9_a_lost_last_snapshot_is_no_loss(harness: ArchiveHarness) -> None:
    """The journal ended with a snapshot that is lost with the database: the rebuild has all rows."""
    take_snapshot(harness.config, Work())
    before = all_rows(harness)
    files(harness)[-1].unlink()
    lose_database(harness)
    rebuilt = rebuild(harness)
    assert rebuilt.journal.only_snapshot
    assert rebuilt.is_complete
    assert all_rows(harness) == before
    assert not verify(harness).is_damaged


def test_fault_j9_a_marker_of_an_older_version_says_nothing(harness: ArchiveHarness) -> None:
    """A shorter journal is rebuilt as far as it goes; the end of the journal is recorded from then on."""
    fields = json.loads((harness.root / "archive.json").read_bytes())
    del fields["journal"]
    (harness.root / "archive.json").write_text(json.dumps(fields))
    files(harness)[-1].unlink()
    lose_database(harness)
    assert rebuild(harness).journal.is_whole
    assert end_of(harness).seq > 0


def test_fault_j9_a_longer_journal_counts(harness: ArchiveHarness) -> None:
    """A kill left archive.json with an older end: nothing is missing, and the end is recorded again."""
    older = (harness.root / "archive.json").read_bytes()
    harness.upstream.world.accounts[0].highlights[0].title = "Fourth"
    harness.night(ACCOUNT)
    end = end_of(harness)
    (harness.root / "archive.json").write_bytes(older)
    assert end_of(harness).seq < end.seq
    assert not verify(harness).is_damaged
    require_equal_after_rebuild(harness)
    assert end_of(harness).seq >= end.seq


@pytest.mark.parametrize("lost", [(1,), (0, 1)])
def test_fault_j7_two_snapshots_without_an_entry_between(
    harness: ArchiveHarness, lost: tuple[int, ...]
) -> None:
    """Whichever are lost, every row comes back, also to a copy of the database from between them."""
    heads = [take_snapshot(harness.config, Work())]
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    heads.append(take_snapshot(harness.config, Work()))
    harness.upstream.world.accounts[0].highlights[0].title = "Fourth"
    harness.night(ACCOUNT)
    before = all_rows(harness)
    for number in lost:
        (harness.root / "journal" / heads[number].file).unlink()
    assert len(verify(harness).journal.losses) == 1
    whole = harness.root.parent / "whole"
    shutil.copytree(harness.root, whole)
    for database in (None, copy):
        shutil.rmtree(harness.root)
        shutil.copytree(whole, harness.root)
        lose_database(harness)
        if database is not None:
            shutil.copy(database, harness.root / "archive.db")
        assert rebuild(harness).is_complete
        assert all_rows(harness) == before


@pytest.fixture
def one_night(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of one account after its first night."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as copied:
        yield copied


def change_unseen(one_night: ArchiveHarness, table: str, statement: str) -> None:
    """Change rows while the triggers of their table do not exist."""
    triggers = [
        (str(name), str(sql))
        for name, sql in one_night.rows(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE ?", f"journal_%_{table}"
        )
    ]
    assert len(triggers) == 3
    execute(
        one_night, *(f"DROP TRIGGER {name}" for name, _ in triggers), statement, *(sql for _, sql in triggers)
    )


def test_what_is_recorded_while_the_journal_is_read_is_compared_too(one_night: ArchiveHarness) -> None:
    """It is read afterwards, and is no difference."""
    nights: list[int] = []

    def check() -> None:
        if len(nights) < 2:
            one_night.sleep(days=1)
            nights.append(one_night.night("account0000", full=True).exit_code)

    with Catalog.open(one_night.root / "archive.db", write=False) as catalog:
        files = JournalFiles(disk.Objects(one_night.root))
        report = verify_journal(files, catalog, one_night.root, read_all=True, check=check)
    assert (report.damage, report.counts, report.is_compared, nights) == (None, {}, True, [0, 0])


def test_a_row_that_only_the_journal_has_is_written_again(one_night: ArchiveHarness) -> None:
    """It is damage until a repair; afterwards journal and rows agree."""
    before = all_rows(one_night)
    change_unseen(one_night, "files", "DELETE FROM files WHERE id = (SELECT max(id) FROM files)")
    with Archive(one_night.config) as archive:
        found = archive.verify(read_data=True)
        assert (found.is_damaged, found.journal.counts) == (True, {"files": 1})
        assert list(check_lines(found))[-3:] == [
            "  files: 1 row different or missing",
            f"    {len(before['files'])}: missing in the database",
            "--repair adds the rows that only the journal has, and begins a new journal with all rows",
        ]
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
    assert all_rows(one_night)["files"] == before["files"]


def test_where_values_differ_the_database_is_right(one_night: ArchiveHarness) -> None:
    """A repair begins the journal again with a snapshot."""
    change_unseen(one_night, "users", "UPDATE users SET full_name = 'Corrected'")
    with Archive(one_night.config) as archive:
        assert archive.verify(read_data=True).journal.counts == {"users": 1}
        archive.repair(read_data=True)
        assert not archive.verify(read_data=True).is_damaged
    lose_database(one_night)
    rebuild(one_night)
    assert one_night.one("SELECT full_name FROM users") == "Corrected"


def test_fault_h50_an_older_copy_is_not_sound(one_night: ArchiveHarness, tmp_path: Path) -> None:
    """Nothing is missing from it, but ``verify`` says what the commands that write would say.

    While a command writes, the entries that follow are its own.
    """
    shutil.copy(one_night.root / "archive.db", tmp_path / "old.db")
    one_night.upstream.world.retitle(one_night.upstream.world.accounts[0].highlights[0].pk, "Another")
    assert one_night.night("account0000").exit_code == 0
    lose_database(one_night)
    shutil.copy(tmp_path / "old.db", one_night.root / "archive.db")
    with Archive(one_night.config) as archive:
        found = archive.verify()
        assert found.is_damaged
        text = "\n".join(check_lines(found))
        assert "the database is an older copy: it lacks the last" in text
        assert "db rebuild adds them" in text
        assert "reread" not in text
        with run_lock.hold_run_lock(one_night.root / "lock", "run"):
            assert not archive.verify().is_damaged
    rebuild(one_night)
    with Archive(one_night.config) as archive:
        assert not archive.verify().is_damaged


def test_a_change_by_another_program_is_no_damage(one_night: ArchiveHarness) -> None:
    """It is committed, and waits for the next transaction of ours to get its place in the journal."""
    execute(one_night, "UPDATE users SET full_name = 'Corrected by hand'")
    report = one_night.verify().journal
    assert (report.damage, report.counts) == (None, {})


def test_changes_that_no_trigger_sees_are_not_possible(one_night: ArchiveHarness) -> None:
    """Without one of its triggers a database is not opened for writing."""
    execute(one_night, "DROP TRIGGER journal_added_items")
    with pytest.raises(DatabaseError, match="lacks triggers"):
        one_night.night("account0000")
    assert one_night.upstream.requests.api_calls() == []


def test_missing_triggers_of_the_counters_are_created_when_a_run_begins(one_night: ArchiveHarness) -> None:
    """Otherwise no limit of the budget would hold: calls that were not counted are counted now."""
    execute(one_night, "DROP TRIGGER counter_call", "DELETE FROM budget_totals")
    one_night.environ["ARCHIVER_BUDGET_MAX_UNITS_PER_RUN"] = "1"
    assert one_night.night("account0000").units == 1
    spent = one_night.one("SELECT sum(units) FROM api_calls")
    assert one_night.one("SELECT sum(units) FROM budget_totals WHERE period LIKE 'run %'") == spent


def test_fault_h50_missing_triggers_are_created_again(one_night: ArchiveHarness) -> None:
    """By ``db upgrade``, which begins the journal again; a rebuild then gives all rows."""
    execute(one_night, "DROP TRIGGER journal_added_items", "UPDATE users SET full_name = 'Unseen'")
    upgrade_schema(one_night.config)
    assert one_night.night("account0000").exit_code == 0
    rows = all_rows(one_night)
    lose_database(one_night)
    rebuild(one_night)
    assert all_rows(one_night) == rows
