"""Files of the journal that are lost or in a wrong place: what is noticed, and what it costs."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import take_snapshot
from archiver.archive.verification import Verification
from archiver.blobs import marker
from archiver.catalog import Catalog, record
from archiver.errors import JournalDamaged, JournalDiffers
from archiver.model.identity import Digest, utcnow
from archiver.model.journal_entries import JournalEnd, JournalPoint
from archiver.work import Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_damage import flip_bit
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive: a night, a snapshot, an edited title, and another snapshot and edited title."""

    def make(workshop: Path) -> Path:
        with FaultyStandIn(EditableWorld.generate(1, 2, 1)) as first:
            made = ArchiveHarness(workshop / "archive", first)
            assert made.night(ACCOUNT).exit_code == 0
            for title in ("Second", "Third"):
                take_snapshot(made.config, Work())
                first.world.accounts[0].highlights[0].title = title
                assert made.night(ACCOUNT).exit_code == 0
        return made.root

    archive_copies.copy("three titles and two snapshots", make, tmp_path / "archive")
    with FaultyStandIn(EditableWorld.generate(1, 2, 1)) as upstream:
        upstream.world.accounts[0].highlights[0].title = "Third"
        yield ArchiveHarness(tmp_path / "archive", upstream)


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


def test_fault_j5_an_old_file_in_a_later_month_is_named_and_not_followed(harness: ArchiveHarness) -> None:
    """A copy of the first snapshot in the next year: a rebuild gives all rows, and nothing else minds it."""
    copy = harness.root / "journal" / "2199" / "01" / files(harness)[0].name
    copy.parent.mkdir(parents=True)
    shutil.copy(files(harness)[0], copy)
    found = verify(harness)
    assert not found.is_damaged
    assert found.journal.foreign == [f"2199/01/{copy.name}"]
    require_equal_after_rebuild(harness)
    assert harness.night(ACCOUNT).units == 1
    assert copy.exists()


def test_fault_j5_a_copy_in_an_earlier_month_is_named_and_not_the_others(harness: ArchiveHarness) -> None:
    """A copy of the newest file: nothing accuses the files after which it was put there."""
    copy = harness.root / "journal" / "2026" / "01" / files(harness)[-1].name
    copy.parent.mkdir(parents=True)
    shutil.copy(files(harness)[-1], copy)
    found = verify(harness)
    assert not found.is_damaged
    assert found.journal.foreign == [f"2026/01/{copy.name}"]
    require_equal_after_rebuild(harness)


def put_renamed_snapshot(harness: ArchiveHarness, month: str) -> Path:
    """Copy the first snapshot to a name whose number is greater than all others."""
    stray = harness.root / "journal" / month / "000000009999-aaaaaaaa.jsonl.gz"
    stray.parent.mkdir(parents=True)
    shutil.copy(files(harness)[0], stray)
    return stray


def test_fault_j5_a_renamed_file_in_an_earlier_month_is_named_and_not_followed(
    harness: ArchiveHarness,
) -> None:
    """It is not the newest snapshot, whatever its name says."""
    stray = put_renamed_snapshot(harness, "2026/01")
    assert verify(harness).journal.foreign == [f"2026/01/{stray.name}"]
    require_equal_after_rebuild(harness)


def test_fault_j5_a_renamed_file_in_a_later_month_is_refused(harness: ArchiveHarness) -> None:
    """``verify`` and a rebuild name it, and the rebuild says what to do; that works."""
    rows = all_rows(harness)
    stray = put_renamed_snapshot(harness, "2199/01")
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
    copy = harness.root / "journal" / "2199" / "01" / files(harness)[0].name
    copy.parent.mkdir(parents=True)
    shutil.copy(files(harness)[0], copy)
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
            record.verified_blobs, (Digest(str(harness.one("SELECT min(sha256) FROM blobs"))),), utcnow()
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
