"""What is wrong with a disk or a host is found when a run begins, before a unit is spent."""

from __future__ import annotations

import errno
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive.creation import create_archive
from archiver.cli.main import main
from archiver.durable import free_bytes, open_root
from archiver.errors import StorageError
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import empty_database
from tests.support.disk_limits import another_user
from tests.support.failing_disk import FailingDisk
from tests.support.host_faults import assert_sound, blobs, outside, run
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def standing(place: Path) -> Iterator[ArchiveHarness]:
    """An archive of one account, carried from test to test: each sets right what it broke."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(place / "archive", upstream)
        assert harness.night(ACCOUNT).exit_code == 0
        yield harness


@pytest.fixture
def harness(standing: ArchiveHarness) -> ArchiveHarness:
    """That archive, and a highlight that has changed since."""
    world = standing.upstream.world
    world.add_item(next(iter(world.account(ACCOUNT).highlights)).pk)
    standing.environ.clear()
    return standing


def assert_refused(harness: ArchiveHarness, *, code: int, says: str) -> None:
    """The run ends with this code and these words; the API was not asked anything."""
    ended, why = run(harness, ACCOUNT)
    assert (ended, says in why) == (code, True), why
    assert list(harness.upstream.requests) == []


def assert_recovers(harness: ArchiveHarness) -> None:
    """Once it is set right the next run keeps what is new, and only that."""
    assert run(harness, ACCOUNT)[0] == 0
    assert harness.upstream.requests.units == 2
    assert len(harness.upstream.requests.cdn_requests()) == 1
    assert_sound(harness)


@pytest.mark.parametrize(
    "closed",
    [
        "answers",
        "archive.db",
        *(pytest.param(place, marks=pytest.mark.whole) for place in (".", "tmp", "blobs/7f", "lock")),
    ],
)
def test_fault_h14_what_this_user_cannot_write_is_found_before_anything_is_paid(
    harness: ArchiveHarness, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory or file that another user made: code 8 (9 where SQLite says so), no call; and then all goes
    on.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(harness.root.parent))
    for path in (harness.root, *harness.root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    shut = harness.root / closed
    for path in (shut, *shut.rglob("*")) if closed == "answers" else (shut,):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with another_user():
        assert_refused(harness, code=9 if closed in (".", "archive.db") else 8, says=Path(closed).name)
    for path in (shut, *shut.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    assert_recovers(harness)


def test_an_archive_that_cannot_be_read_is_a_matter_of_the_disk(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named with --archive too: code 8 as for any other path, and not one of usage."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(harness.root.parent))
    home = harness.root.parent / "home"
    home.mkdir()
    home.chmod(0o777)
    init = ["init", "--archive", str(home / "new"), "--config", str(home / "new.toml")]
    assert main(init) == 0  # all is imported: another user may not be able to
    harness.root.chmod(0)
    with another_user():
        assert main(["status", "--archive", str(harness.root)]) == 8
        assert "Permission denied" in capsys.readouterr().err
        config = home / "config.toml"
        assert main(["init", "--archive", str(harness.root), "--config", str(config)]) == 8
        said = capsys.readouterr().err
        assert ("Permission denied" in said, str(harness.root) in said, config.exists()) == (
            True,
            True,
            False,
        )
    harness.root.chmod(0o700)
    assert_recovers(harness)


def test_fault_h15_an_unmounted_disk_is_no_archive(harness: ArchiveHarness) -> None:
    """An empty mount point: code 10, nothing is made there, and nothing is paid for."""
    mounted = harness.root.rename(harness.root.with_name("mounted"))
    harness.root.mkdir()
    assert_refused(harness, code=10, says="mount its disk")
    assert list(harness.root.iterdir()) == []
    harness.root.rmdir()
    mounted.rename(harness.root)
    assert_recovers(harness)


@pytest.mark.parametrize(
    "left",
    [
        "an empty directory",
        *(pytest.param(left, marks=pytest.mark.whole) for left in ("nothing", "empty directories")),
    ],
)
def test_fault_h15_missing_blobs_stop_the_run_instead_of_fetching_all_again(
    harness: ArchiveHarness, left: str
) -> None:
    """``blobs`` is a disk of its own and not mounted, or was left out of a copy: code 8, 0 units, and where
    to look.
    """
    blobs = harness.root / "blobs"
    aside = shutil.move(blobs, harness.root.with_name("aside"))
    if left != "nothing":
        blobs.mkdir()
    if left == "empty directories":
        for n in range(256):
            (blobs / f"{n:02x}").mkdir()
    assert_refused(harness, code=8, says="blobs")
    shutil.rmtree(blobs, ignore_errors=True)
    shutil.move(aside, blobs)
    assert_recovers(harness)


def test_fault_h15_a_database_of_another_archive_is_refused(harness: ArchiveHarness, place: Path) -> None:
    """The marker names another archive than the database: code 8, neither is touched."""
    other = ArchiveHarness(place / "other", harness.upstream)
    create_archive(other.config)
    own = (harness.root / "archive.json").read_bytes()
    shutil.copy(other.root / "archive.json", harness.root / "archive.json")
    before = (harness.root / "archive.db").read_bytes()
    assert_refused(harness, code=8, says="different archives")
    assert (harness.root / "archive.db").read_bytes() == before
    (harness.root / "archive.json").write_bytes(own)
    assert_recovers(harness)


def test_fault_h19_an_archive_that_somebody_else_makes_meanwhile_is_used(
    place: Path, standing: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another ``backup`` makes the archive between our look and our lock: nothing is made twice, and it is no
    error.
    """
    late = ArchiveHarness(place / "late", standing.upstream)
    real = open_root

    def overtaken(path: Path, mode: int | None = None) -> int:
        monkeypatch.undo()
        assert create_archive(late.config)
        return real(path, mode)

    monkeypatch.setattr("archiver.archive.creation.open_root", overtaken)
    assert not create_archive(late.config)
    assert run(late, ACCOUNT)[0] == 0


def test_fault_h17_blobs_and_database_may_lie_on_different_disks(place: Path, postgres_archive: str) -> None:
    """Rows in PostgreSQL, bytes here: bytes that were not made durable have no row there.

    Without the disk (H15) nothing is begun.
    """
    empty_database(postgres_archive)
    with FaultyStandIn(EditableWorld.generate(1, 1, 1)) as upstream:
        harness = ArchiveHarness(place / "half", upstream, postgres_archive)
        assert harness.night(ACCOUNT).exit_code == 0
        upstream.world.add_item(next(iter(upstream.world.account(ACCOUNT).highlights)).pk)
        with pytest.MonkeyPatch.context() as patch:
            disk = FailingDisk(harness.root)
            disk.plant(patch)
            disk.refuse("replace", 1, errno.EIO)
            assert run(harness, ACCOUNT)[0] == 8
        assert harness.one("select count(*) from files") == len(blobs(harness))
        mounted = harness.root.rename(place / "mounted")
        harness.root.mkdir()
        assert_refused(harness, code=10, says="no archive")
        with pytest.raises(StorageError, match="in use"):
            harness.night(ACCOUNT)  # as ``backup``, which makes an archive in an empty directory
        assert list(upstream.requests) == []
        shutil.rmtree(harness.root)
        mounted.rename(harness.root)
        assert run(harness, ACCOUNT)[0] == 0
        assert harness.one("select count(*) from files") == len(blobs(harness))


@pytest.mark.whole
def test_fault_h38_a_disk_below_its_reserve_is_left_alone(harness: ArchiveHarness) -> None:
    """Less is free than ``archive.reserve``: code 8, 0 units.

    The free space is read anew before every file.
    """
    harness.environ["ARCHIVER_ARCHIVE_RESERVE"] = str(free_bytes(harness.root) * 2)
    assert_refused(harness, code=8, says="less than the reserve")
    harness.environ.clear()
    assert_recovers(harness)


def test_fault_h12_too_few_descriptors_are_told_before_anything_is_paid(harness: ArchiveHarness) -> None:
    """A limit below what the downloads need would look like a network that fails: code 8 instead, with the
    way out.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    harness.environ["ARCHIVER_DOWNLOAD_CONCURRENCY"] = "64"
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, allowed[1]))
    try:
        assert_refused(harness, code=8, says="ulimit -n 256, or lower download.concurrency")
        harness.environ.clear()
        assert_recovers(harness)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)


def test_fault_h31_links_planted_in_the_archive_lead_nowhere(harness: ArchiveHarness, place: Path) -> None:
    """A link in place of the lock, the marker or a directory: code 8, no call, and what it points to is
    untouched.
    """
    aside = place / "precious"
    for name in ("lock", "archive.json", "tmp", "blobs", "blobs/7f", "answers"):
        spot = harness.root / name
        shutil.move(spot, aside)
        before = outside(aside)
        spot.symlink_to(aside)
        assert_refused(harness, code=8, says=name)
        assert outside(aside) == before
        spot.unlink()
        shutil.move(aside, spot)
    assert_recovers(harness)


def test_fault_h38_a_disk_that_fills_in_mid_run_stops_it_at_the_reserve(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else fills the disk between the tray and the files: no file is begun any more, code 8."""
    free = free_bytes

    def filled(_: object) -> None:
        monkeypatch.setattr("archiver.archive.nightly_run.free_bytes", lambda path: free(path) % 1000)

    harness.upstream.faults.add(path="/v1/highlight/by/url", before=filled)
    code, why = run(harness, ACCOUNT)
    assert (code, "less than the reserve" in why) == (8, True)
    assert harness.upstream.requests.cdn_requests() == []
    monkeypatch.undo()
    assert run(harness, ACCOUNT)[0] == 0
    assert len(harness.upstream.requests.cdn_requests()) == 1
