"""A lost database is made again from the journal, also from one of an earlier checkout."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import RebuiltArchive, plan_rebuild, rebuild_database, take_snapshot
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import schema, sqlite
from archiver.config import Config, load
from archiver.errors import (
    ArchiveLocked,
    ArchiveTooOld,
    DatabaseError,
    DatabaseForeign,
    JournalDamaged,
    JournalDiffers,
    MarkerMismatch,
    UsageError,
)
from archiver.journal.journal_check import JournalState, compare, follow
from archiver.model.journal_entries import JournalHead
from archiver.rebuild import RebuildReport
from archiver.runner import run_lock
from archiver.work import Work
from tests.support.adopting_archive import AdoptingArchive
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_damage import flip_bit
from tests.support.archive_harness import ArchiveHarness
from tests.support.crash.consistency_checks import lines_of
from tests.support.databases import PostgresServer, make_newer_migrations, make_too_old
from tests.support.nights.killed_run import KillMoment, run_until_killed
from tests.support.rebuilt_archive import (
    all_rows,
    lose_database,
    rebuild,
    rebuild_from,
    require_equal_after_rebuild,
    require_equal_elsewhere,
    rows_of,
)
from tests.support.released_journal import FOLDER, date_back, released
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of two accounts after a first night and a night with an edited title."""

    def live(first: ArchiveHarness) -> None:
        assert first.night("account0000", "account0001").exit_code == 0
        first.upstream.world.accounts[0].highlights[0].title = "Edited"
        assert first.night("account0000", "account0001").exit_code == 0

    size, to = (2, 2, 1), tmp_path / "archive"
    with archive_copies.lived("an edit", lambda: EditableWorld.generate(*size), live, to) as copied:
        copied.upstream.world.accounts[0].highlights[0].title = "Edited"
        yield copied


def test_fault_h49_a_lost_database_comes_back_row_by_row(harness: ArchiveHarness) -> None:
    """Every table equals the original, and the next night is quiet: a unit for each account, no download."""
    require_equal_after_rebuild(harness)
    quiet = harness.night("account0000", "account0001")
    assert (quiet.exit_code, quiet.units, quiet.files_new) == (0, 2, 0)


def test_fault_h49_a_sqlite_archive_moves_to_postgresql(
    harness: ArchiveHarness, postgres: PostgresServer
) -> None:
    """The journal does not depend on the database that wrote it; the next night adds rows there."""
    with postgres.database() as url:
        require_equal_elsewhere(harness, url)
        harness.upstream.world.retitle(harness.upstream.world.accounts[0].highlights[0].pk, "On PostgreSQL")
        assert replace(harness, database=url).night("account0000").exit_code == 0


def test_a_current_database_is_not_rebuilt(harness: ArchiveHarness) -> None:
    """It is left alone."""
    with pytest.raises(UsageError, match="is complete"):
        rebuild(harness)


def edit_later(harness: ArchiveHarness) -> dict[str, list[str]]:
    """One more night with an edited title; return all rows."""
    harness.upstream.world.accounts[1].highlights[0].title = "Edited later"
    harness.night("account0000", "account0001")
    return all_rows(harness)


def require_brought_up_to_date(harness: ArchiveHarness, rows: dict[str, list[str]]) -> RebuildReport:
    """A run ends before anything is asked for; then a rebuild gives these rows, and a night is quiet."""
    with pytest.raises(JournalDiffers, match="older copy") as refused:
        harness.night("account0000")
    assert refused.value.exit_code == 9
    assert harness.upstream.requests.api_calls() == []
    rebuilt = rebuild(harness)
    assert rebuilt.was_copy
    assert all_rows(harness) == rows
    assert harness.night("account0000", "account0001").units == 2
    return rebuilt.journal


def test_fault_h50_an_older_copy_is_refused_and_brought_up_to_date(harness: ArchiveHarness) -> None:
    """A run ends before anything is asked for; afterwards all rows are those of the lost database."""
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    rows = edit_later(harness)
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    report = require_brought_up_to_date(harness, rows)
    assert report.set_aside is not None
    assert report.set_aside.read_bytes()[:6] == b"SQLite"


def all_files(harness: ArchiveHarness) -> dict[str, bytes]:
    """Return the files of an archive, but for the index and the empty WAL that any reader makes."""
    return {
        str(path.relative_to(harness.root)): path.read_bytes()
        for path in harness.root.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def plan(harness: ArchiveHarness) -> RebuiltArchive:
    """Return what a rebuild would do; it must change no file."""
    before = all_files(harness)
    planned = plan_rebuild(harness.config, Work())
    assert all_files(harness) == before
    return planned


def test_a_dry_run_says_what_a_rebuild_does_to_each_database(harness: ArchiveHarness) -> None:
    """To a current one nothing; an older copy is brought up to date; without a database it is all built."""
    with pytest.raises(UsageError, match="is complete"):
        plan(harness)
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    edit_later(harness)
    lose_database(harness)
    built = plan(harness)
    assert (built.was_copy, built.journal.set_aside, built.is_complete) == (False, None, True)
    shutil.copy(copy, harness.root / "archive.db")
    planned = plan(harness)
    assert planned.journal.set_aside == harness.root / "archive.db"
    rebuilt = rebuild(harness)
    assert planned.was_copy
    assert rebuilt.was_copy
    assert planned.journal.entries == rebuilt.journal.entries > 0
    lose_database(harness)
    assert rebuild(harness) == built


def test_a_dry_run_reads_no_more_of_the_journal_than_a_rebuild(harness: ArchiveHarness) -> None:
    """Damage before the end that an older copy knows matters to neither, and a complete one needs nothing."""
    copy = harness.root.parent / "older.db"
    shutil.copy(harness.root / "archive.db", copy)
    edit_later(harness)
    first = min(harness.root.glob("journal/*/*/*.gz"))
    content = first.read_bytes()
    first.chmod(0o600)
    first.write_bytes(content[:60] + b"garbage" + content[67:])
    with pytest.raises(UsageError, match="is complete"):
        plan(harness)
    lose_database(harness)
    shutil.copy(copy, harness.root / "archive.db")
    planned = plan(harness)
    assert planned.was_copy
    assert planned.is_complete
    assert rebuild(harness).is_complete


def test_a_dry_run_of_a_rebuild_refuses_what_a_rebuild_refuses(
    harness: ArchiveHarness, postgres: PostgresServer
) -> None:
    """A run that goes on, a PostgreSQL database that has other tables, a journal that is damaged."""
    with run_lock.hold_run_lock(harness.root / "lock", "run"), pytest.raises(ArchiveLocked):
        plan(harness)
    with postgres.database() as url:
        elsewhere = replace(harness, database=url)
        planned = plan(elsewhere)
        assert (planned.was_copy, planned.journal.set_aside) == (False, None)
        execute(elsewhere, "CREATE TABLE other (a int)")
        with pytest.raises(DatabaseForeign):
            plan(elsewhere)
    lose_database(harness)
    last = max(harness.root.glob("journal/*/*/*.gz"))
    content = last.read_bytes()
    last.write_bytes(content[:60] + b"garbage" + content[67:])
    with pytest.raises(JournalDamaged):
        plan(harness)


def test_a_database_of_another_archive_is_not_set_aside(tmp_path: Path, sqlite_template: Path) -> None:
    """It may be the wrong path, and that archive needs it."""
    archive = AdoptingArchive(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "new.db")))
    (archive.root / "archive.json").unlink()
    marker.write(archive.root, Marker("0" * 32))
    before = (archive.root / "archive.db").read_bytes()
    with pytest.raises(MarkerMismatch, match="different archives"):
        rebuild_database(archive.config, Work())
    assert (archive.root / "archive.db").read_bytes() == before


@pytest.mark.whole
def test_answers_that_no_entry_names_are_in_the_journal_when_a_rebuild_ends(harness: ArchiveHarness) -> None:
    """As after a power loss that took the end of the journal: the rebuild records and ships them itself."""
    newest = max(harness.root.glob("journal/*/*/*.gz"))
    harness.night("account0000", full=True)
    for later in harness.root.glob("journal/*/*/*.gz"):
        if later > newest:
            later.unlink()
    lose_database(harness)
    steps: list[tuple[int, int]] = []
    rebuilt = rebuild_database(harness.config, Work(progress=lambda done, total: steps.append((done, total))))
    assert rebuilt.recovery.answers
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert harness.one("SELECT count(*) FROM journal_outbox") == 0
    assert not harness.verify().is_damaged
    rows = all_rows(harness)
    lose_database(harness)
    assert rebuild(harness).recovery.answers == 0
    assert all_rows(harness) == rows


def test_fault_h50_what_an_older_copy_had_in_its_outbox_is_not_missed(tmp_path: Path) -> None:
    """The journal may have it in one part with what came later: only that is applied, and all of it."""
    files, names = released(tmp_path)
    last = list(files.read(names[-3]))[-1]
    head = JournalHead(last.line.seq, last.line.hash, names[-3], last.end)
    written = list(lines_of(tmp_path / "journal" / names[-2]))[1:]
    found = compare(files, last.header.archive, head, written[:3], None)
    assert found.state is JournalState.BEHIND
    assert found.head is not None
    following = [
        read.line.seq
        for read in follow(files, last.header.archive, files.names(found.head.file), found.head, [])
    ]
    assert following[: len(written) - 3] == [head.seq + number for number in range(4, len(written) + 1)]
    assert found.following == len(following)


@pytest.mark.whole
@pytest.mark.parametrize("moment", [KillMoment("event", 3, 1), KillMoment("after a write", 1, 0.01)], ids=str)
def test_fault_h50_a_copy_of_what_a_kill_left_is_brought_up_to_date(
    harness: ArchiveHarness, moment: KillMoment
) -> None:
    """Its outbox has changes that the journal has by now."""
    account = harness.upstream.world.accounts[1]
    for highlight in account.highlights:
        harness.upstream.world.add_item(highlight.pk)
    assert run_until_killed(harness.variables, [account.username], moment, harness.later)
    assert harness.one("SELECT count(*) FROM journal_outbox")
    copies = harness.root.parent / "copies"
    copies.mkdir()
    for file in harness.root.glob("archive.db*"):
        shutil.copy(file, copies)
    rows = edit_later(harness)
    lose_database(harness)
    for file in copies.iterdir():
        shutil.copy(file, harness.root)
    require_brought_up_to_date(harness, rows)


@pytest.mark.whole
def test_fault_h50_an_older_copy_of_a_postgresql_database_is_brought_up_to_date(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """As on SQLite."""
    with FaultyStandIn(EditableWorld.generate(2, 2, 2)) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)
        assert harness.night("account0000", "account0001").exit_code == 0
        with postgres.database(make_url(url).database or "") as copy:
            rows = edit_later(harness)
            require_brought_up_to_date(replace(harness, database=copy), rows)


@pytest.mark.parametrize("is_too_old", [False, True])
def test_fault_h50_an_older_copy_with_an_older_schema_makes_room_for_a_new_database(
    harness: ArchiveHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_too_old: bool
) -> None:
    """Every upgrade leaves one beside the database. A run names the rebuild, which follows the journal."""
    if not is_too_old:
        make_newer_migrations(tmp_path / "migrations")
    shutil.copy(harness.root / "archive.db", tmp_path / "older.db")
    if is_too_old:
        make_too_old(tmp_path / "older.db")
    else:
        monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    rows = edit_later(harness)
    lose_database(harness)
    shutil.copy(tmp_path / "older.db", harness.root / "archive.db")
    with pytest.raises(ArchiveTooOld if is_too_old else JournalDiffers) as refused:
        harness.night("account0000")
    assert "db rebuild" in refused.value.hint
    assert rebuild(harness).journal.set_aside is not None
    assert all_rows(harness) == rows


@pytest.mark.parametrize("way", ["db rebuild", pytest.param("verify --repair", marks=pytest.mark.whole)])
def test_fault_h50_a_database_that_was_used_elsewhere_is_refused(
    harness: ArchiveHarness, tmp_path: Path, way: str
) -> None:
    """Either way out leaves an archive that works: with the journal's rows, or with the database's."""
    shutil.copytree(harness.root, tmp_path / "elsewhere")
    elsewhere = ArchiveHarness(tmp_path / "elsewhere", harness.upstream)
    harness.night("account0000")
    elsewhere.sleep(hours=1)
    elsewhere.night("account0001")
    rows = all_rows(harness if way == "db rebuild" else elsewhere)
    lose_database(harness)
    shutil.copy(elsewhere.root / "archive.db", harness.root / "archive.db")
    with pytest.raises(JournalDiffers, match="different histories") as refused:
        harness.night("account0000")
    assert refused.value.exit_code == 9
    assert harness.upstream.requests.api_calls() == []
    if way == "db rebuild":
        rebuild(harness)
    else:
        with Archive(harness.config) as archive:
            archive.repair()
        rows["answers"] = all_rows(harness)["answers"]  # the repair says which of them are elsewhere
    assert all_rows(harness) == rows
    harness.reread()  # the repaired database has no rows of the answers that came here
    require_equal_after_rebuild(harness)
    assert harness.night("account0000", "account0001").exit_code == 0


def test_what_a_transaction_elsewhere_changed_is_in_the_journal(harness: ArchiveHarness) -> None:
    """Another program may write rows: the triggers see it, and the next run ships it."""
    execute(harness, "UPDATE users SET full_name = 'By hand' WHERE pk = (SELECT min(pk) FROM users)")
    harness.night("account0000", "account0001")
    require_equal_after_rebuild(harness)


def test_a_locked_database_is_not_set_aside(harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program has it open: the rebuild ends, and the file stays where it is."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(sqlite, "_SETTINGS", ("PRAGMA busy_timeout = 100", *sqlite._SETTINGS[1:]))
    with closing(sqlite3.connect(harness.root / "archive.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE runs SET command = command")
        with pytest.raises(DatabaseError, match="locked"):
            rebuild(harness)
    assert [file.name for file in harness.root.glob("archive.db.*")] == []


def test_fault_k75_a_database_with_a_foreign_key_of_a_stranger_is_refused_and_set_aside(
    harness: ArchiveHarness,
) -> None:
    """No command that writes removes a row of it, and ``db rebuild`` makes a good one from the journal."""
    path, files = harness.root / "archive.db", harness.rows("select * from files order by id")
    with closing(sqlite3.connect(path)) as planted:
        planted.executescript(
            "CREATE TABLE notes (u TEXT REFERENCES users (pk) ON DELETE CASCADE);"
            " INSERT INTO notes SELECT pk FROM users;"
            " CREATE TRIGGER noted AFTER DELETE ON notes BEGIN DELETE FROM files; END"
        )
    before = path.read_bytes()
    with pytest.raises(DatabaseForeign, match="table notes"), Archive(harness.config) as archive:
        archive.reread()
    assert path.read_bytes() == before

    rebuild(harness)
    assert harness.rows("select * from files order by id") == files


def _released(revision: str, root: Path) -> Config:
    shutil.copytree(FOLDER / revision, root)
    return load(None, {"ARCHIVER_ARCHIVE": str(root), "ARCHIVER_ARCHIVE_RESERVE": "0"})


def _require_rows(root: Path) -> None:
    """Compare the rebuilt rows with those of then, in the columns of then."""
    rebuilt = rows_of(root / "archive.db")
    for table, rows in json.loads((root / "rows.json").read_text()).items():
        found = [json.loads(row) for row in rebuilt[table]]
        then = [{column: row[column] for column in rows[0]} for row in found]
        assert then == rows, table


@pytest.mark.parametrize("revision", schema.revisions())
def test_fault_h49_the_journal_of_each_released_revision_is_rebuilt(tmp_path: Path, revision: str) -> None:
    """Every row comes back with the values that it had, and the archive can be used."""
    config = _released(revision, tmp_path / "archive")
    rebuild_from(config)
    _require_rows(tmp_path / "archive")
    with Archive(config) as archive:
        assert archive.status().items >= 4


def test_fault_h49_a_journal_is_rebuilt_across_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are migrated as those of a database are; a snapshot of the new schema follows."""
    before = schema.head()
    config = _released(before, tmp_path / "archive")
    make_newer_migrations(
        tmp_path / "migrations", "op.execute(\"UPDATE users SET biography = 'of ' || username\")"
    )
    monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    rebuild_from(config)
    _require_rows(tmp_path / "archive")
    with Archive(config) as archive:
        found = archive.query("SELECT count(*) FROM users WHERE biography = 'of ' || username").rows
        assert found == ((1,),)


def _contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def test_fault_h49_a_rebuild_does_not_begin_with_lines_of_an_earlier_checkout(tmp_path: Path) -> None:
    """Code 9, with the last commit that can; nothing is changed."""
    config = _released(schema.head(), tmp_path / "archive")
    for file in (tmp_path / "archive" / "journal").rglob("*.gz"):
        date_back(file)
    before = _contents(tmp_path / "archive")
    with pytest.raises(ArchiveTooOld, match="begin with lines of the journal that are too old") as refused:
        rebuild_from(config)
    assert refused.value.exit_code == 9
    assert "22731ab190bd: install that, run archiver db rebuild," in refused.value.hint
    after = _contents(tmp_path / "archive")
    assert {path: after[path] for path in before} == before
    assert {path.name.partition("-")[0] for path in after.keys() - before.keys()} <= {"archive.db.rebuild"}


def test_fault_h49_lines_of_an_earlier_checkout_before_the_newest_snapshot_are_checked(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """``verify --read-data`` reads them and finds damage in them; a rebuild does not need them."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        take_snapshot(harness.config, Work())
        *earlier, _ = sorted(harness.root.glob("journal/*/*/*"))
        for file in earlier:
            date_back(file)
        with Archive(harness.config) as archive:
            found = archive.verify(read_data=True)
            assert (found.is_damaged, found.journal.is_compared) == (False, True)
            flip_bit(earlier[-1])
            assert archive.verify(read_data=True).journal.losses
        require_equal_after_rebuild(harness)


def test_fault_h49_a_newest_snapshot_of_an_earlier_checkout_is_damage(
    tmp_path: Path, archive_copies: ArchiveCopies
) -> None:
    """A rebuild would not give the rows: ``verify --read-data`` says so, and its repair begins again."""
    with archive_copies.after_nights(1, (1, 1, 1), tmp_path / "archive") as harness:
        date_back(min(harness.root.glob("journal/*/*/*")))
        with Archive(harness.config) as archive:
            assert "too old for this version" in str(archive.verify(read_data=True).journal.damage)
            assert archive.repair(read_data=True).has_new_journal
            assert not archive.verify(read_data=True).is_damaged
        require_equal_after_rebuild(harness)
