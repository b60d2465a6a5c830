"""``archiver storage move``: into a bucket, and back into the directory."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from archiver.archive.archive import Archive
from archiver.archive.database import upgrade_schema
from archiver.archive.rebuild_archive import take_snapshot
from archiver.archive.session import open_for_reading, open_for_writing
from archiver.archive.storage_move import StorageMove, move_storage
from archiver.blobs import marker
from archiver.catalog import Catalog
from archiver.errors import (
    ArchiveLocked,
    ArchiverError,
    DatabaseError,
    JournalDamaged,
    JournalDiffers,
    MarkerMismatch,
    StoppedBySignal,
    StorageError,
)
from archiver.store import bucket, disk
from archiver.store.objects import size_of
from archiver.work import StopFlag, Work
from tests.support.archive_copies import ArchiveCopies
from tests.support.archive_harness import ArchiveHarness
from tests.support.command_line import CommandLineUser
from tests.support.databases import PostgresServer
from tests.support.forgotten_account import begin_to_forget
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild, require_equal_after_rebuild
from tests.support.s3_server import BUCKET, Handler, S3Server, at, ignore_preconditions, refuse, stall_until
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
PLACE, OTHER_PLACE = f"s3://{BUCKET}/a", f"s3://{BUCKET}/b"


@pytest.fixture
def harness(tmp_path: Path, server: S3Server, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """A copy of an archive of one account in a directory, after its first night."""
    with archive_copies.after_nights(1, (1, 2, 4), tmp_path / "archive") as copied:
        yield copied


@pytest.fixture
def of_two(tmp_path: Path, server: S3Server, archive_copies: ArchiveCopies) -> Iterator[ArchiveHarness]:
    """As ``harness``, of two accounts."""
    with archive_copies.after_nights(1, (2, 1, 1), tmp_path / "archive") as copied:
        yield copied


def move(
    harness: ArchiveHarness,
    to: str | None,
    stop: StopFlag | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> StorageMove:
    """Move the archive, and let the configuration name the new place."""
    moved = move_storage(harness.config, to, Work(stop=stop or StopFlag(), progress=progress))
    harness.storage = to
    return moved


def require_whole(harness: ArchiveHarness) -> None:
    """Everything can be read, and a night costs one unit and fetches nothing."""
    found = harness.verify()
    assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)


def contents(*places: Path) -> dict[str, bytes]:
    """Return every file below these places."""
    return {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


def some_file(place: Path) -> Path:
    return max(path for path in place.rglob("*") if path.is_file())


def fill_with_zeros(path: Path) -> bytes:
    """Damage a file, and return what was in it."""
    right = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(bytes(len(right)))
    return right


def test_there_and_back_again(harness: ArchiveHarness) -> None:
    """The archive is whole in the bucket, and whole in the directory again; each journal gives all rows."""
    blobs = harness.one("select count(*) from blobs")
    moved = move(harness, PLACE)
    assert (moved.blobs, moved.copied) == (blobs, blobs)
    require_whole(harness)
    require_equal_after_rebuild(harness)
    assert move(harness, None).copied == 0  # the blobs are still in the directory
    require_whole(harness)
    require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_a_place_that_was_left_can_be_used_again(harness: ArchiveHarness) -> None:
    """Between a directory and a bucket, and between two buckets."""
    for place in (PLACE, None, PLACE, OTHER_PLACE, PLACE, None):
        assert harness.night(ACCOUNT).exit_code == 0
        move(harness, place)
    require_whole(harness)
    require_equal_after_rebuild(harness)


def test_a_place_that_was_left_before_an_account_was_forgotten_is_refused(of_two: ArchiveHarness) -> None:
    """Its answers would be recorded again, even without its journal. Once it is empty, it can be used."""
    move(of_two, PLACE)
    with Archive(of_two.config) as archive:
        assert {"answers", "blobs", "journal"} <= set(archive.forget("account0001").unknown)
    shutil.rmtree(of_two.root / "journal")
    with pytest.raises(JournalDiffers, match="before an account was forgotten") as refused:
        move(of_two, None)
    assert refused.value.hint.startswith(f"delete blobs, answers and journal in {of_two.root}")
    shutil.rmtree(of_two.root / "answers")
    shutil.rmtree(of_two.root / "blobs")
    move(of_two, None)
    require_whole(of_two)


def test_a_move_that_finishes_a_removal_counts_it_in_both_markers(
    of_two: ArchiveHarness, server: S3Server
) -> None:
    """An older copy of the database is refused at the new place too."""
    begin_to_forget(of_two)
    move(of_two, PLACE)
    assert marker.read(of_two.root).removals == 1
    assert b'"removals": 1' in (server.objects / "a/archive.json").read_bytes()


@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "from the bucket"]
)
def test_the_old_place_is_refused(harness: ArchiveHarness, back: bool) -> None:
    """Neither the old configuration nor an older copy of the database writes there."""
    old_database = (harness.root / "archive.db").read_bytes()
    move(harness, PLACE)
    harness.storage = None
    with pytest.raises(StorageError, match="the archive is stored in"):
        harness.night(ACCOUNT)
    if back:
        harness.storage = PLACE
        old_database = (harness.root / "archive.db").read_bytes()
        move(harness, None)
        harness.storage = PLACE
        with pytest.raises(StorageError, match="the archive is stored in"):
            harness.night(ACCOUNT)
    lose_database(harness)
    (harness.root / "archive.db").write_bytes(old_database)
    for place in (None, PLACE):
        harness.storage = place
        with pytest.raises(MarkerMismatch, match="and the database says"):
            harness.night(ACCOUNT)


@pytest.mark.whole
def test_a_move_that_is_stopped_goes_on_where_it_stopped(harness: ArchiveHarness, server: S3Server) -> None:
    """What was copied is not copied again; until the end the archive is where it was."""
    stop, seen = StopFlag(), 0

    def progress(done: int, *_: object) -> None:
        nonlocal seen
        seen = done
        if done == 5:
            stop.stop(StoppedBySignal(2))

    with pytest.raises(StoppedBySignal):
        move_storage(harness.config, PLACE, Work(stop=stop, progress=progress))
    assert seen >= 5
    require_whole(harness)
    moved = move(harness, PLACE)
    assert moved.copied == moved.blobs - seen
    put = [call for call in server.calls() if call.startswith("PUT a/blobs/")]
    assert len(put) == moved.blobs
    require_whole(harness)


@pytest.mark.parametrize(
    "place",
    [
        *(pytest.param(place, marks=pytest.mark.whole) for place in ("blobs", "answers", "journal")),
        "archive.json",
    ],
)
def test_a_store_that_fails_during_a_move_changes_nothing(
    harness: ArchiveHarness, server: S3Server, place: str
) -> None:
    """The archive is whole where it was, and the move can be repeated."""
    server.act = at("PUT", f"/{place}", refuse(503, "ServiceUnavailable"))
    with pytest.raises(StorageError, match="503"):
        move(harness, PLACE)
    server.act = None
    require_whole(harness)
    move(harness, PLACE)
    require_whole(harness)


# --- places that have something


def make_other(harness: ArchiveHarness, tmp_path: Path) -> ArchiveHarness:
    """Return another archive, which is in the bucket."""
    other = ArchiveHarness(tmp_path / "other", harness.upstream, storage=PLACE)
    assert other.night(ACCOUNT).exit_code == 0
    return other


@pytest.mark.parametrize("has_preconditions", [True, pytest.param(False, marks=pytest.mark.whole)])
def test_fault_s4_a_place_with_another_archive_is_refused(
    harness: ArchiveHarness, server: S3Server, tmp_path: Path, has_preconditions: bool
) -> None:
    """Nothing is written there, even if the store replaces what a conditional put must leave."""
    other = make_other(harness, tmp_path)
    if not has_preconditions:
        server.act = ignore_preconditions
    before = contents(server.objects)
    with pytest.raises(MarkerMismatch, match="belongs to another archive"):
        move(harness, PLACE)
    assert contents(server.objects) == before
    require_whole(harness)
    require_whole(other)


@pytest.mark.whole
def test_fault_s4_a_configuration_that_names_the_place_of_another_archive_harms_it_not(
    harness: ArchiveHarness, server: S3Server, tmp_path: Path
) -> None:
    """The old place is where marker and database say that the archive is, whatever the configuration says."""
    other = make_other(harness, tmp_path)
    before = contents(server.objects)
    harness.storage = PLACE
    moved = move_storage(harness.config, None, Work())
    assert moved.old == moved.new == str(harness.root)
    with pytest.raises(StorageError, match="the archive is stored in the directory"):
        move_storage(harness.config, OTHER_PLACE, Work())
    assert contents(server.objects) == before
    require_whole(other)


@pytest.mark.whole
def test_fault_s9_an_older_database_is_no_interrupted_move(harness: ArchiveHarness, server: S3Server) -> None:
    """A database from before the move names the directory. It does not bring the archive back there."""
    old_database = (harness.root / "archive.db").read_bytes()
    move(harness, PLACE)
    harness.upstream.world.add_highlight(harness.upstream.world.accounts[0].pk, "New", 3)
    assert harness.night(ACCOUNT).exit_code == 0
    lose_database(harness)
    (harness.root / "archive.db").write_bytes(old_database)
    before = contents(server.objects, harness.root)
    for place in (None, PLACE):
        harness.storage = place
        for destination in (None, PLACE, OTHER_PLACE):
            with pytest.raises(MarkerMismatch):
                move_storage(harness.config, destination, Work())
    after = contents(server.objects, harness.root)
    assert {name for name in before if before[name] != after.get(name)} <= {str(harness.root / "lock")}
    harness.storage = PLACE
    rebuild(harness)
    require_whole(harness)


@pytest.mark.whole
@pytest.mark.parametrize("has_left", [False, True])
def test_fault_s9_an_older_directory_does_not_move_over_what_is_newer(
    harness: ArchiveHarness, server: S3Server, tmp_path: Path, has_left: bool
) -> None:
    """A directory from before the move goes on by itself. Its journal is not mixed with that in the bucket,
    whether the archive is still there or not.
    """
    shutil.copytree(harness.root, tmp_path / "copy")
    move(harness, PLACE)
    assert harness.night(ACCOUNT).exit_code == 0
    if has_left:
        move(harness, None)
    older = ArchiveHarness(tmp_path / "copy", harness.upstream)
    assert older.night(ACCOUNT).exit_code == 0
    before = contents(server.objects)
    with pytest.raises(JournalDiffers if has_left else MarkerMismatch) as refused:
        move(older, PLACE)
    assert refused.value.hint
    assert contents(server.objects) == before
    require_whole(harness)
    require_whole(older)


@pytest.mark.parametrize(
    "back", [pytest.param(False, marks=pytest.mark.whole), True], ids=["to the bucket", "to the directory"]
)
def test_what_a_place_still_has_is_checked_before_it_counts(
    harness: ArchiveHarness, server: S3Server, back: bool
) -> None:
    """A blob and a segment that were damaged after the archive left are copied again."""
    move(harness, PLACE)
    if not back:
        move(harness, None)
    place = harness.root if back else server.objects / "a"
    files = [some_file(place / folder) for folder in ("blobs", "answers")]
    right = [fill_with_zeros(file) for file in files]
    assert move(harness, None if back else PLACE).copied == 1
    assert [file.read_bytes() for file in files] == right
    require_whole(harness)


def test_answers_that_are_longer_than_those_of_the_archive_are_not_replaced(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """The new place may be that of a newer copy: the move names the segment, and leaves it."""
    move(harness, PLACE)
    move(harness, None)
    segment = some_file(server.objects / "a" / "answers")
    longer = segment.read_bytes() + b"more"
    segment.write_bytes(longer)
    with pytest.raises(StorageError, match="is longer than the file that would replace it"):
        move(harness, PLACE)
    assert segment.read_bytes() == longer
    require_whole(harness)


@pytest.mark.parametrize("store", [bucket.Objects, disk.Objects], ids=["bucket", "disk"])
def test_a_store_that_keeps_other_bytes_than_it_was_given_gets_no_archive(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch, store: Any
) -> None:
    """Each file is compared once it is stored: the archive stays where it was, and is whole."""
    to: str | None = PLACE
    if store is disk.Objects:
        move(harness, PLACE)
        some_file(harness.root / "blobs").unlink()
        to = None
    put, present = store.put, harness.storage

    def put_zeros(objects: Any, name: str, content: Any, **options: Any) -> None:
        put(objects, name, bytes(size_of(content)) if name.startswith("blobs/") else content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", put_zeros)
        with pytest.raises(StorageError, match="has other bytes than were written"):
            move(harness, to)
    assert marker.read(harness.root).storage == present
    require_whole(harness)


@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "to the directory"]
)
def test_fault_s9_a_journal_with_other_bytes_is_not_replaced(
    harness: ArchiveHarness, server: S3Server, back: bool
) -> None:
    """The move is refused before anything is written; without that file it works."""
    move(harness, PLACE)
    if not back:
        move(harness, None)
    place = harness.root if back else server.objects / "a"
    broken = some_file(place / "journal")
    fill_with_zeros(broken)
    before = contents(place / "journal", place / "blobs", place / "answers")
    with pytest.raises(JournalDiffers, match=broken.name) as refused:
        move(harness, None if back else PLACE)
    assert "move it to another folder" in refused.value.hint or "another prefix" in refused.value.hint
    assert contents(place / "journal", place / "blobs", place / "answers") == before
    require_whole(harness)
    broken.unlink()
    move(harness, None if back else PLACE)
    require_whole(harness)


# --- what cannot be moved


@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "to the directory"]
)
@pytest.mark.parametrize(
    "is_missing", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["damaged", "missing"]
)
@pytest.mark.parametrize("folder", ["blobs", pytest.param("answers", marks=pytest.mark.whole)])
def test_fault_s9_what_is_damaged_or_missing_is_not_moved(
    harness: ArchiveHarness, server: S3Server, folder: str, is_missing: bool, back: bool
) -> None:
    """The move ends, and names the command that records the loss. After that it works."""
    if back:
        move(harness, PLACE)
        shutil.rmtree(harness.root / folder)
        (harness.root / folder).mkdir(0o700)
    broken = some_file((server.objects / "a" if back else harness.root) / folder)
    if is_missing:
        broken.unlink()
    else:
        fill_with_zeros(broken)
    with pytest.raises(
        StorageError, match=f"{broken.name}.*is {'missing' if is_missing else 'damaged'}"
    ) as it:
        move(harness, None if back else PLACE)
    assert it.value.hint.startswith(
        "archiver verify --repair" if is_missing else "archiver verify --read-data --repair"
    )
    with open_for_writing(harness.config, "test", Work()):
        pass  # the archive is where it was
    with Archive(harness.config) as archive:
        archive.repair(read_data=not is_missing)
    move(harness, None if back else PLACE)
    assert harness.night(ACCOUNT, full=True).exit_code == 0
    require_whole(harness)


@pytest.mark.whole
@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "to the directory"]
)
def test_fault_s9_a_damaged_journal_is_not_moved(
    harness: ArchiveHarness, server: S3Server, back: bool
) -> None:
    """The move ends before anything is copied; ``verify --repair`` begins the journal again."""
    if back:
        move(harness, PLACE)
        shutil.rmtree(harness.root / "journal")
    assert harness.night(ACCOUNT).exit_code == 0
    place = server.objects / "a" if back else harness.root
    broken = min(path for path in (place / "journal").rglob("*") if path.is_file())
    fill_with_zeros(broken)
    with pytest.raises(JournalDamaged) as it:
        move(harness, None if back else PLACE)
    assert it.value.hint.startswith("archiver verify --repair")
    with Archive(harness.config) as archive:
        archive.repair()
    move(harness, None if back else PLACE)
    require_whole(harness)


def test_trays_in_the_spool_are_moved_too(harness: ArchiveHarness) -> None:
    """A run that failed has left them there. Nothing stays in the spool."""
    move(harness, PLACE)
    month = some_file(harness.root / "answers").parent
    spool = harness.root / "tmp" / "answers" / month.relative_to(harness.root / "answers")
    spool.mkdir(0o700, parents=True)
    segment = some_file(month)
    waiting = spool / segment.name.replace("0", "1", 1)
    shutil.copy(segment, waiting)
    move(harness, None)
    assert (month / waiting.name).read_bytes() == segment.read_bytes()
    assert [path for path in (harness.root / "tmp").rglob("*") if path.is_file()] == []


# --- the end of a move


def interrupt(harness: ArchiveHarness, to: str | None, at: str) -> None:
    """Begin a move that ends without an exception handler of its own at this function."""

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at, kill)
        with pytest.raises(KeyboardInterrupt):
            move(harness, to)


UNRECORDED = "archiver.catalog.record.record_storage"
"""Everything is copied, and the database still names the old place."""
RECORDED = "archiver.blobs.bucket_marker.rewrite"
"""The database names the new place, and the markers do not yet."""


@pytest.mark.parametrize("at", [pytest.param(UNRECORDED, marks=pytest.mark.whole), RECORDED])
@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "to the directory"]
)
def test_fault_s9_every_command_names_the_move_that_has_not_ended(
    harness: ArchiveHarness, server: S3Server, tmp_path: Path, at: str, back: bool
) -> None:
    """None reads or writes in either place, whichever the configuration names; nothing is paid for."""
    old, new = (PLACE, None) if back else (None, PLACE)
    if back:
        move(harness, PLACE)
    interrupt(harness, new, at)
    before = contents(server.objects)

    def verify() -> None:
        with Archive(harness.config) as archive:
            archive.verify()

    def read() -> None:
        with open_for_reading(harness.config):
            pass

    commands: list[Callable[[], object]] = [
        lambda: harness.night(ACCOUNT),
        lambda: upgrade_schema(harness.config),
        lambda: take_snapshot(harness.config, Work()),
        lambda: rebuild(harness),
        lambda: move_storage(harness.config, OTHER_PLACE, Work()),
        verify,
        read,
    ]
    for place in (old, new):
        harness.storage = place
        for command in commands:
            with pytest.raises(StorageError, match="is being moved to") as refused:
                command()
            assert f"archiver storage move {new or 'directory'}" in refused.value.hint
    assert harness.upstream.units == 0
    assert contents(server.objects) == before
    move(harness, new)
    require_whole(harness)
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize("at", [UNRECORDED, pytest.param(RECORDED, marks=pytest.mark.whole)])
@pytest.mark.parametrize(
    "back", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["to the bucket", "to the directory"]
)
def test_a_move_can_be_given_up_until_the_database_has_it(
    harness: ArchiveHarness, server: S3Server, at: str, back: bool
) -> None:
    """The command with the old place as destination: after that the archive is there, and can be moved."""
    old, new = (PLACE, None) if back else (None, PLACE)
    if back:
        move(harness, PLACE)
    interrupt(harness, new, at)
    if at == RECORDED:
        with pytest.raises(StorageError, match="is being moved to"):
            move(harness, old)
        move(harness, new)
    else:
        moved = move(harness, old)
        assert moved.old == moved.new
        require_whole(harness)
        move(harness, new)
    require_whole(harness)
    require_equal_after_rebuild(harness)


@pytest.mark.parametrize("at", [UNRECORDED, pytest.param(RECORDED, marks=pytest.mark.whole)])
def test_fault_s9_a_database_that_is_lost_before_the_move_ends_is_rebuilt(
    harness: ArchiveHarness, at: str
) -> None:
    """The same command ends the move, and names the command that makes the database again."""
    before = all_rows(harness)
    interrupt(harness, PLACE, at)
    lose_database(harness)
    with pytest.raises(DatabaseError) as lost:
        move(harness, PLACE)
    assert "archiver db rebuild" in lost.value.hint
    harness.storage = PLACE
    rebuild(harness)
    after = all_rows(harness)
    assert [name for name in before if before[name] != after[name]] == ["archive"]
    require_whole(harness)


@pytest.mark.whole
def test_fault_s9_an_older_database_does_not_end_a_move(harness: ArchiveHarness) -> None:
    """It is refused with the command that brings it up to date, and that does."""
    old_database = (harness.root / "archive.db").read_bytes()
    assert harness.night(ACCOUNT).exit_code == 0
    interrupt(harness, PLACE, RECORDED)
    lose_database(harness)
    (harness.root / "archive.db").write_bytes(old_database)
    with pytest.raises(JournalDiffers) as older:
        move(harness, PLACE)
    assert "archiver db rebuild" in older.value.hint
    harness.storage = PLACE
    with pytest.raises(MarkerMismatch):
        harness.night(ACCOUNT)
    rebuild(harness)
    require_whole(harness)


# --- locks, signals, transactions


def test_a_run_that_waits_for_a_move_sees_where_the_archive_is_then(harness: ArchiveHarness) -> None:
    """Marker and database are read when the lock is free, not before."""
    begun, outcome = threading.Event(), list[BaseException | None]()

    def wait() -> None:
        begun.set()
        try:
            with open_for_writing(config, "run", Work(wait=True)):
                outcome.append(None)
        except ArchiverError as error:
            outcome.append(error)

    def progress(*_: object) -> None:
        if not begun.is_set():
            waiting.start()
            begun.wait(10)
            time.sleep(0.3)

    config, waiting = harness.config, threading.Thread(target=wait)
    move(harness, PLACE, progress=progress)
    waiting.join(20)
    assert [type(error) for error in outcome] == [StorageError]
    assert "the archive is stored in" in str(outcome[0])


def test_a_reader_that_opens_during_the_end_of_a_move_sees_the_new_place(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker that it has read before is not compared with the database that it reads after."""
    harness.storage = PLACE
    config, open_catalog = harness.config, Catalog.open

    def open_after_move(database: str | Path, **how: Any) -> Catalog:
        move(harness, PLACE)
        return open_catalog(database, **how)

    monkeypatch.setattr(Catalog, "open", open_after_move)
    with open_for_reading(config) as session:
        assert session.catalog.storage == PLACE


@pytest.mark.whole
def test_no_other_writer_and_no_open_transaction_on_postgresql(
    tmp_path: Path, server: S3Server, postgres: PostgresServer
) -> None:
    """The writer's lock is held from the beginning to the end, in both directions. No transaction is open as
    long as a request takes.
    """
    with postgres.database() as url, FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream, database=url)
        assert harness.night(ACCOUNT).exit_code == 0
        requests, opened = itertools.count(), list[tuple[object, ...]]()

        def look(handler: Handler) -> bool:
            if next(requests) % 10 == 0:
                time.sleep(0.7)
                with psycopg.connect(url.replace("+psycopg", "")) as connection:
                    query = (
                        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database()"
                        " AND now() - xact_start > interval '0.5 s'"
                    )
                    opened.extend(connection.execute(query).fetchall())
            return False

        def write(*_: object) -> None:
            with pytest.raises(ArchiveLocked):
                Catalog.prepare(url)

        server.act = look
        for place in (PLACE, None):
            move(harness, place, progress=write)
        server.act = None
        assert opened == []
        assert next(requests) > 20
        require_whole(harness)
        require_equal_after_rebuild(harness)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.whole), signal.SIGTERM])
def test_a_signal_ends_a_move_at_once(
    harness: ArchiveHarness, server: S3Server, number: signal.Signals
) -> None:
    """Even while the store does not answer. The process dies of the signal, and the move can go on."""
    person = CommandLineUser(harness.root.parent, harness.upstream, harness.variables | server.environment())
    over, reached = threading.Event(), threading.Event()
    stalled = stall_until(over)

    def stall(handler: Handler) -> bool:
        if handler.command != "PUT" or "/blobs/" not in handler.path:
            return False
        reached.set()
        return stalled(handler)

    server.act = stall
    process = person.start("storage", "move", PLACE)
    try:
        assert reached.wait(30)
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, time.monotonic() - began < 5) == (-number, True)
        assert f"stopped by {number.name} (run it again)" in err
    finally:
        process.kill()
        over.set()
    server.act = None
    require_whole(harness)
    move(harness, PLACE)
    require_whole(harness)


# --- the command


def test_the_command_says_what_to_set(harness: ArchiveHarness, server: S3Server) -> None:
    """In both directions, also if it is called once more."""
    more = harness.variables | server.environment()
    person = CommandLineUser(harness.root.parent, harness.upstream, more)
    done = person.run("storage", "move", PLACE)
    assert (done.code, f'storage = "{PLACE}"' in done.err) == (0, True), done.err
    assert f"moved from {harness.root} to {PLACE}" in done.err
    assert "unencrypted" not in done.err  # the store is on this machine
    looked = person.run("storage", "move", "-n", "directory")
    assert (looked.code, f"would be copied from {PLACE} to " in looked.err) == (0, True)
    again = person.run("storage", "move", PLACE)
    assert (again.code, f'storage = "{PLACE}"' in again.err) == (0, True), again.err
    assert f"the archive is in {PLACE}: there is nothing to move" in again.err
    person.more["ARCHIVER_ARCHIVE_STORAGE"] = PLACE
    back = person.run("storage", "move", "directory")
    assert (back.code, "now remove storage from [archive]" in back.err) == (0, True), back.err


@pytest.mark.whole
def test_the_configuration_may_name_the_new_place_first(harness: ArchiveHarness, server: S3Server) -> None:
    """What the database records decides where the archive is; then nothing is left to set."""
    more = harness.variables | server.environment() | {"ARCHIVER_ARCHIVE_STORAGE": PLACE}
    person = CommandLineUser(harness.root.parent, harness.upstream, more)
    done = person.run("storage", "move", PLACE)
    assert (done.code, "moved from" in done.err, "now set" in done.err) == (0, True, False), done.err
    harness.storage = PLACE
    require_whole(harness)


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("elsewhere", "neither s3://BUCKET/PREFIX nor the word directory"),
        ("s3://", "names no bucket"),
        ("s3://AKIAKEY:secret@bucket/a", "contains access keys (remove them and set AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_wrong_destination_is_refused(harness: ArchiveHarness, destination: str, message: str) -> None:
    """With code 2 and what is wrong; no key is quoted."""
    person = CommandLineUser(harness.root.parent, harness.upstream, harness.variables).in_process
    wrong = person.run("storage", "move", destination)
    assert (wrong.code, message in wrong.err) == (2, True), wrong.err
    assert "AKIAKEY" not in wrong.err
