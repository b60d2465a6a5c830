"""``archiver storage move``: into a bucket, and back into the directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.session import open_for_writing
from archiver.archive.storage_move import StorageMove, move_storage
from archiver.errors import ArchiverError, MarkerMismatch, StoppedBySignal, StorageError, UsageError
from archiver.runner.workers import StopFlag
from tests.support.archive_harness import ArchiveHarness
from tests.support.command_line import CommandLineUser
from tests.support.rebuilt_archive import all_rows, lose_database, rebuild
from tests.support.s3_server import BUCKET, QUICK, Handler, S3Server, refuse, s3_server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
STORAGE = "ARCHIVER_ARCHIVE_STORAGE"
PLACE = f"s3://{BUCKET}/a"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server(tmp_path / "s3") as started:
        for name, value in started.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("archiver.bucket.TimeLimits", lambda: QUICK)
        yield started


@pytest.fixture
def harness(tmp_path: Path, server: S3Server) -> Iterator[ArchiveHarness]:
    """An archive of one account in a directory, after its first night."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(ACCOUNT).exit_code == 0
        yield harness


def move(harness: ArchiveHarness, to: str | None, stop: StopFlag | None = None) -> StorageMove:
    """Move the archive, and let the configuration name the new place."""
    moved = move_storage(harness.config, to, stop=stop or StopFlag(), progress=lambda done, total: None)
    point_to(harness, to)
    return moved


def point_to(harness: ArchiveHarness, place: str | None) -> None:
    harness.environ.pop(STORAGE, None)
    if place is not None:
        harness.environ[STORAGE] = place


def require_whole(harness: ArchiveHarness) -> None:
    """Everything can be read, and a night costs one unit and fetches nothing."""
    with Archive(harness.config) as archive:
        found = archive.verify(read_data=True)
    assert (found.blobs.damaged, found.answers.damaged, found.journal.is_damaged) == ((), (), False)
    summary = harness.night(ACCOUNT)
    assert (summary.exit_code, summary.units, summary.files_new) == (0, 1, 0)


def test_there_and_back_again(harness: ArchiveHarness, server: S3Server) -> None:
    """The archive is whole in the bucket, and whole in the directory again; each journal gives all rows."""
    blobs = harness.one("select count(*) from blobs")
    moved = move(harness, PLACE)
    assert (moved.blobs, moved.copied) == (blobs, blobs)
    require_whole(harness)
    before = all_rows(harness)
    lose_database(harness)
    rebuild(harness)
    assert all_rows(harness) == before
    assert move(harness, None).copied == 0  # the blobs are still in the directory
    require_whole(harness)
    before = all_rows(harness)
    lose_database(harness)
    rebuild(harness)
    assert all_rows(harness) == before


@pytest.mark.parametrize("back", [False, True], ids=["to the bucket", "from the bucket"])
def test_the_old_place_is_refused(harness: ArchiveHarness, back: bool) -> None:
    """Neither the old configuration nor an older copy of the database writes there."""
    old_database = (harness.root / "archive.db").read_bytes()
    move(harness, PLACE)
    point_to(harness, None)
    with pytest.raises(StorageError, match="the archive is stored in"):
        harness.night(ACCOUNT)
    if back:
        point_to(harness, PLACE)
        old_database = (harness.root / "archive.db").read_bytes()
        move(harness, None)
        point_to(harness, PLACE)
        with pytest.raises(StorageError, match="the archive is stored in"):
            harness.night(ACCOUNT)
    lose_database(harness)
    (harness.root / "archive.db").write_bytes(old_database)
    for place in (None, PLACE):
        point_to(harness, place)
        with pytest.raises(MarkerMismatch, match="and the database says"):
            harness.night(ACCOUNT)


def test_a_move_that_is_stopped_goes_on_where_it_stopped(harness: ArchiveHarness, server: S3Server) -> None:
    """What was copied is not copied again; until the end the archive is where it was."""
    stop, seen = StopFlag(), 0

    def progress(done: int, total: int) -> None:
        nonlocal seen
        seen = done
        if done == 5:
            stop.stop(StoppedBySignal(2))

    with pytest.raises(StoppedBySignal):
        move_storage(harness.config, PLACE, stop=stop, progress=progress)
    assert seen == 5
    require_whole(harness)
    moved = move(harness, PLACE)
    assert moved.copied == moved.blobs - 5
    require_whole(harness)


@pytest.mark.parametrize("place", ["blobs", "answers", "journal", "archive.json"])
def test_a_store_that_fails_during_a_move_changes_nothing(
    harness: ArchiveHarness, server: S3Server, place: str
) -> None:
    """The archive is whole where it was, and the move can be repeated."""
    refused = refuse(503, "ServiceUnavailable")

    def fail(handler: Handler) -> bool:
        return handler.command == "PUT" and f"/{place}" in handler.path and refused(handler)

    server.act = fail
    with pytest.raises(StorageError, match="503"):
        move(harness, PLACE)
    server.act = None
    require_whole(harness)
    move(harness, PLACE)
    require_whole(harness)


def test_a_kill_before_the_markers_are_written_is_made_good(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database names the new place already: the same command writes the markers."""

    def kill(*_: object, **__: object) -> None:
        raise StoppedBySignal(9)

    with monkeypatch.context() as patch:
        patch.setattr("archiver.blobs.marker.rewrite", kill)
        with pytest.raises(StoppedBySignal):
            move(harness, PLACE)
    with pytest.raises(ArchiverError):
        harness.night(ACCOUNT)
    move(harness, PLACE)
    require_whole(harness)


def test_a_damaged_blob_is_not_moved(harness: ArchiveHarness) -> None:
    """The move ends, and names the command that repairs it."""
    digest = str(harness.one("select max(sha256) from blobs"))
    path = harness.root / "blobs" / digest[:2] / digest
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StorageError, match="is damaged"):
        move(harness, PLACE)
    require_same_place(harness)


def require_same_place(harness: ArchiveHarness) -> None:
    assert harness.one("select storage from archive") is None
    with open_for_writing(harness.config, "test", StopFlag(), wait=False):
        pass


def test_a_place_with_another_archive_is_refused(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Nothing is copied there."""
    other = ArchiveHarness(tmp_path / "other", harness.upstream, environ={STORAGE: PLACE})
    assert other.night(ACCOUNT).exit_code == 0
    with pytest.raises(MarkerMismatch):
        move(harness, PLACE)
    require_same_place(harness)
    require_whole(other)


def test_the_same_place_is_refused(harness: ArchiveHarness) -> None:
    """It says so."""
    with pytest.raises(UsageError, match="already"):
        move(harness, None)


def test_the_command_says_what_to_set(harness: ArchiveHarness, server: S3Server) -> None:
    """In both directions; a wrong destination is told."""
    more = harness.variables | server.environment()
    person = CommandLineUser(harness.root.parent, harness.upstream, more)
    done = person.run("storage", "move", PLACE)
    assert (done.code, f'storage = "{PLACE}"' in done.err) == (0, True), done.err
    wrong = person.run("storage", "move", "elsewhere")
    assert (wrong.code, "s3://" in wrong.err) == (2, True)
