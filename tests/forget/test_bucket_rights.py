"""``archiver forget`` in a bucket needs the right to delete objects, which nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.storage_move import move_storage
from archiver.blobs import marker
from archiver.errors import MarkerMismatch, StorageError
from archiver.work import StopFlag
from tests.support.archive_harness import ArchiveHarness
from tests.support.forgotten_account import NAME, OTHER, begin_to_forget, find_words, make_world, words_of
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.s3_server import BUCKET, QUICK, Handler, S3Server, refuse
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server.set_environment(monkeypatch, limits=QUICK)
    return server


@pytest.fixture
def harness(tmp_path: Path, server: S3Server) -> Iterator[ArchiveHarness]:
    """An archive of two accounts in a bucket, after a night."""
    with FaultyStandIn(make_world(is_edited=True)) as upstream:
        made = ArchiveHarness(tmp_path / "archive", upstream, storage=f"s3://{BUCKET}/pre/fix")
        assert made.night(NAME, OTHER).exit_code == 0
        yield made


def _refuse_deletion(server: S3Server, *, after: int = 0) -> None:
    left = after

    def act(handler: Handler) -> bool:
        nonlocal left
        if handler.command != "DELETE":
            return False
        left -= 1
        return left < 0 and refuse(403, "AccessDenied")(handler)

    server.act = act


def test_fault_s10_without_the_right_to_delete_nothing_is_removed(
    harness: ArchiveHarness, server: S3Server
) -> None:
    """Code 8; the message names the right."""
    _refuse_deletion(server)
    with Archive(harness.config) as archive, pytest.raises(StorageError, match="does not allow") as refused:
        archive.forget(NAME)
    assert refused.value.exit_code == 8
    assert "DeleteObject" in refused.value.hint
    assert harness.one("select count(*) from users") == 2
    server.act = None
    assert harness.night(NAME, OTHER).units == 2
    assert not harness.verify().is_damaged


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.whole), 4, pytest.param(12, marks=pytest.mark.whole)]
)
def test_fault_s10_a_right_that_is_lost_in_the_middle_lets_the_rest_wait(
    harness: ArchiveHarness, server: S3Server, after: int
) -> None:
    """The account is gone from the rows. Every command that writes ends with code 8 until the right is back,
    and the next one then deletes the rest.
    """
    _refuse_deletion(server, after=after)
    with Archive(harness.config) as archive, pytest.raises(StorageError, match="does not allow"):
        archive.forget(NAME)
    assert harness.one("select count(*) from users") == 1
    with pytest.raises(StorageError, match="does not allow"):
        harness.night(OTHER)
    server.act = None
    assert harness.night(OTHER).units == 1
    for place in (harness.root, server.objects):
        assert find_words(place, words_of(harness)) == []
    require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_a_move_first_finishes_a_removal(harness: ArchiveHarness, server: S3Server) -> None:
    """Nothing of the account gets to the new place."""
    begin_to_forget(harness)
    move_storage(harness.config, None, stop=StopFlag(), progress=lambda *_: None)
    harness.storage = None
    for place in (harness.root, server.objects):
        assert find_words(place, words_of(harness)) == []
    assert not harness.verify().is_damaged
    assert marker.read(harness.root).removals == 1


def test_an_older_marker_in_the_directory_is_refused(harness: ArchiveHarness) -> None:
    """It would let a database from before the removal pass."""
    older = (harness.root / "archive.json").read_bytes()
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    (harness.root / "archive.json").write_bytes(older)
    with pytest.raises(MarkerMismatch, match="from before"):
        harness.night(OTHER)
