"""Exports into folders: what is placed, how (link or copy), and what the tree looks like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from archiver.blobs.store import BlobLinks
from archiver.catalog import record
from archiver.errors import ArchiveLocked, DiskFull, StorageError, UsageError
from archiver.export import open_export
from archiver.export.export_entry import CompanionText, ExportEntry, StagedFile, pack_entry, unpack_entry
from archiver.export.link_methods import LinkMethod
from archiver.export.manifest import Manifest
from archiver.model.identity import Digest, Role
from tests.support.catalog_samples import LATER, NATGEO, tray, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.export_archive import ExportHarness, directories, tree

_AT = "2026-03-31 23-30-00"
_GUIDE, _TRAVEL = "natgeo/Gift_ Guide (1)", "natgeo/Travel 🦋 (2)"
_WHOLE = {
    "natgeo/avatar.jpg": b"avatar",
    f"{_GUIDE}/cover.jpg": b"cover",
    f"{_GUIDE}/{_AT} Cphoto.jpg": b"photo",
    f"{_GUIDE}/{_AT} C11.jpg": b"poster",
    f"{_GUIDE}/{_AT} C11.mp4": b"video",
    f"{_TRAVEL}/{_AT} C11.jpg": b"poster",
    f"{_TRAVEL}/{_AT} C11.mp4": b"video",
}


@SQLITE_EVERYDAY
def test_items_stand_under_names_for_people(tmp_path: Path, database: str | Path) -> None:
    """Each item in each highlight that shows it, both files of a video, covers and
    avatars; nothing else.
    """
    harness = ExportHarness.make(tmp_path, database)
    harness.fill()
    tally = harness.export()
    assert tree(harness.out) == _WHOLE
    assert (tally.files, tally.new, tally.failed) == (7, 7, 0)
    times = {name: datetime.fromtimestamp((harness.out / name).stat().st_mtime, UTC) for name in _WHOLE}
    assert set(times.values()) == {NOW}
    again = harness.export()
    assert (again.files, again.new, again.moved, again.bytes) == (7, 0, 0, 0)


def test_a_rename_moves_files_and_leaves_no_second_copy(harness: ExportHarness) -> None:
    """An account and a highlight with new names: the same files under new ones, empty directories gone, a
    stranger's file where it was.
    """
    harness.export(way=LinkMethod.COPY)
    inodes = {path.stat().st_ino for path in harness.out.rglob("*.*") if path.is_file()}
    (harness.out / _TRAVEL / "mine.txt").write_text("mine")
    harness.show({"1": "Best", "2": "best"}, {}, LATER)
    harness.rename("natgeo.travel", LATER)
    tally = harness.export(way=LinkMethod.COPY)
    assert (tally.moved, tally.new, tally.others) == (7, 0, 0)
    renamed = {
        name.replace("natgeo", "natgeo.travel")
        .replace("Gift_ Guide", "Best")
        .replace("Travel 🦋", "best"): content
        for name, content in _WHOLE.items()
    }
    assert tree(harness.out) == renamed | {f"{_TRAVEL}/mine.txt": b"mine"}
    assert directories(harness.out) == {
        "natgeo",
        _TRAVEL,
        "natgeo.travel",
        "natgeo.travel/Best (1)",
        "natgeo.travel/best (2)",
    }
    assert {
        path.stat().st_ino for path in harness.out.rglob("*.*") if path.suffix != ".txt" and path.is_file()
    } >= inodes


def test_files_change_places(harness: ExportHarness) -> None:
    """Where two items swap their names, each gets the other's, and none a mark."""
    template = "{title}/{position}.{ext}"
    harness.show({"1": "A"}, {"1": (video("10", media_type=1), video("11"))})
    harness.export(template)
    harness.show({"1": "A"}, {"1": (video("11"), video("10", media_type=1))}, LATER)
    harness.export(template)
    there = tree(harness.out)
    assert (there["A/001.jpg"], there["A/001.mp4"], there["A/002.jpg"]) == (b"poster", b"video", b"photo")
    assert not [name for name in there if "[" in name]


def test_fault_x6_twins_get_a_mark(harness: ExportHarness) -> None:
    """Titles that differ in case or composition share a directory, and items of one name are told apart by
    their pk, the same each time.
    """
    harness.show({"1": "Cafe\u0301", "2": "CAFÉ"}, {})
    template = "{title}/{date}.{ext}"
    harness.export(template)
    names = sorted(tree(harness.out))
    assert names == [
        "Café/2026-03-31 [11 2].jpg",
        "Café/2026-03-31 [11].jpg",
        "Café/2026-03-31 [11].mp4",
        "Café/2026-03-31.jpg",
        "Café/2026-03-31.mp4",
        "Café/cover.jpg",
        "avatar.jpg",
    ]
    harness.export(template)
    assert sorted(tree(harness.out)) == names


def test_fault_x14_an_address_gives_no_extension(harness: ExportHarness) -> None:
    """The files' addresses end in .php."""
    harness.export()
    assert {
        path.suffix
        for path in harness.out.rglob("*")
        if path.is_file() and ".archiver-export" not in path.parts
    } == {".jpg", ".mp4"}


def test_foreign_files_are_never_touched(harness: ExportHarness) -> None:
    """What stands where an item belongs stays, be it a file, a link or a directory; the item is beside it."""
    target = harness.home / "secret"
    target.write_text("not yours")
    guide = harness.out / _GUIDE
    guide.mkdir(parents=True)
    (guide / f"{_AT} Cphoto.jpg").write_text("mine")
    (guide / f"{_AT} C11.mp4").symlink_to(target)
    (guide / f"{_AT} C11.jpg").mkdir()
    tally = harness.export()
    assert (tally.avoided, tally.failed, tally.files) == (3, 0, 7)
    assert target.read_text() == "not yours"
    assert (guide / f"{_AT} C11.mp4").is_symlink()
    there = tree(harness.out)
    assert there[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"mine"
    assert there[f"{_GUIDE}/{_AT} Cphoto [10].jpg"] == b"photo"
    assert there[f"{_GUIDE}/{_AT} C11 [11].mp4"] == b"video"
    (guide / f"{_AT} Cphoto.jpg").unlink()
    assert harness.export().moved == 1
    assert tree(harness.out)[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"photo"


def test_a_link_in_the_place_of_a_directory_leads_nowhere(harness: ExportHarness) -> None:
    """Nothing is written through it: told, and code 3's to come."""
    away = harness.home / "away"
    away.mkdir()
    harness.out.mkdir()
    (harness.out / "natgeo").symlink_to(away)
    tally = harness.export()
    assert (tally.failed, tally.files) == (7, 0)
    assert list(away.iterdir()) == []


def test_a_file_that_somebody_changed_is_theirs(harness: ExportHarness) -> None:
    """It stays as they made it, in a rename and with --prune too; the item comes anew, beside it."""
    harness.export(way=LinkMethod.COPY)
    changed = harness.out / _GUIDE / f"{_AT} Cphoto.jpg"
    changed.write_text("painted over")
    tally = harness.export(way=LinkMethod.COPY)
    assert (tally.new, tally.avoided) == (1, 1)
    assert changed.read_text() == "painted over"
    assert tree(harness.out)[f"{_GUIDE}/{_AT} Cphoto [10].jpg"] == b"photo"
    harness.export(way=LinkMethod.COPY, titles="Travel*", prune=True)
    assert tree(harness.out)[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"painted over"


def test_a_file_that_was_deleted_comes_again(harness: ExportHarness) -> None:
    """And one that lost its list is found by its bytes: nothing is there twice."""
    harness.export()
    (harness.out / "natgeo/avatar.jpg").unlink()
    assert harness.export().new == 1
    shutil.rmtree(harness.out / ".archiver-export")
    tally = harness.export()
    assert (tally.new, tally.files) == (0, 7)
    assert tree(harness.out) == _WHOLE


def test_a_new_cover_replaces_the_old_one(harness: ExportHarness) -> None:
    """In its place; what shares the old bytes is untouched."""
    old = harness.keep("1", Role.COVER, b"cover")
    harness.export()
    harness.keep("1", Role.COVER, b"another cover", LATER)
    tally = harness.export()
    assert (tally.replaced, tally.new) == (1, 0)
    assert tree(harness.out) == _WHOLE | {f"{_GUIDE}/cover.jpg": b"another cover"}
    assert harness.blob(old).read_bytes() == b"cover"


def test_what_is_not_selected_stays_unless_it_is_pruned(harness: ExportHarness) -> None:
    """Filters narrow what an export brings, not what an earlier one brought; --prune removes that, and
    directories that are empty then.
    """
    harness.export()
    tally = harness.export(titles="Travel*", media_types=2)
    assert (tally.files, tally.others, tally.removed) == (3, 4, 0)
    assert tree(harness.out) == _WHOLE
    tally = harness.export(titles="Travel*", media_types=2, prune=True)
    assert (tally.files, tally.others, tally.removed) == (3, 0, 4)
    assert tree(harness.out).keys() == {
        "natgeo/avatar.jpg",
        f"{_TRAVEL}/{_AT} C11.jpg",
        f"{_TRAVEL}/{_AT} C11.mp4",
    }
    assert directories(harness.out) == {"natgeo", _TRAVEL}


def test_an_archive_in_the_export_is_never_entered(harness: ExportHarness) -> None:
    """An archive that has the name of an account: what belongs there is told, and nothing is written into
    it.
    """
    (harness.out / "natgeo").mkdir(parents=True)
    (harness.out / "natgeo" / "archive.json").touch()
    tally = harness.export()
    assert (tally.files, tally.failed) == (0, 7)
    assert tree(harness.out) == {"natgeo/archive.json": b""}


def test_no_name_makes_a_directory_an_archive(harness: ExportHarness) -> None:
    """The sidecar of a highlight with the title «Archive» would be called as the marker, and no export would
    enter there again.
    """
    harness.show({"1": "archive", "2": "Archive"}, {"1": ("10",), "2": ("11",)}, LATER)
    first = harness.export("{username}/{title}.{ext}", sidecars=True)
    assert not [path for path in tree(harness.out) if path.lower().endswith("/archive.json")]
    again = harness.export("{username}/{title}.{ext}", sidecars=True)
    assert (again.files, again.new, again.failed) == (first.files, 0, 0)


def test_an_account_is_chosen_by_its_name(harness: ExportHarness) -> None:
    """One that is not stored is a usage error."""
    assert harness.export(accounts="natgeo").files == 7
    with pytest.raises(UsageError):
        harness.export(accounts="nobody")


def test_what_is_gone_upstream_is_exported_unless_it_is_left_out(harness: ExportHarness) -> None:
    """A highlight that is not listed any more."""
    with harness.catalog() as rows:
        rows.write(record.record_tray, harness.run_id, NATGEO.pk, tray("1"), LATER, gone=("2",))
    assert harness.export().files == 7
    assert harness.export(to=harness.home / "shown", gone=False).files == 5


def test_a_template_without_highlights_has_each_item_once(harness: ExportHarness) -> None:
    """Though two highlights show it."""
    harness.export("{username}/{code}.{ext}")
    assert sorted(tree(harness.out)) == [
        "natgeo/C11.jpg",
        "natgeo/C11.mp4",
        "natgeo/Cphoto.jpg",
        "natgeo/avatar.jpg",
        "natgeo/cover.jpg",
    ]


def test_sidecars_tell_what_the_rows_tell(harness: ExportHarness) -> None:
    """One beside each item, highlight and account; rewritten when a row changes, and only then; no address
    has a query.
    """
    harness.export(sidecars=True)
    there = tree(harness.out)
    assert [name for name in there if name.endswith(".json")] == [
        f"{_GUIDE}/{_AT} C11.json",
        f"{_GUIDE}/{_AT} Cphoto.json",
        f"{_GUIDE}/highlight.json",
        f"{_TRAVEL}/{_AT} C11.json",
        f"{_TRAVEL}/highlight.json",
        "natgeo/account.json",
    ]
    told = json.loads(there[f"{_GUIDE}/{_AT} C11.json"])
    assert told["item"]["pk"] == "11"
    assert told["item"]["taken_at"] == "2026-03-31T23:30:00.250000Z"
    assert told["highlight"] == {"pk": "1", "title": "Gift: Guide"}
    assert list(told) == sorted(told)
    harness.show({"1": "Gift: Guide", "2": "Travel 🦋"}, {}, LATER)
    tally = harness.export(sidecars=True)
    assert (tally.replaced, tally.new) == (3, 0)  # the account and its highlights were seen again


def test_a_link_says_the_earliest_time_that_its_bytes_have(harness: ExportHarness) -> None:
    """Two items of the same bytes share an inode, and so its date; a copy has its own."""
    harness.show({"1": "Gift: Guide"}, {"1": ("10", "11", video("12", taken_at=NOW - timedelta(days=9)))})
    harness.keep("12", Role.VIDEO, b"video")
    harness.export(way=LinkMethod.HARDLINK)
    times = {path.stat().st_mtime for path in harness.out.rglob("*.mp4")}
    assert times == {(NOW - timedelta(days=9)).timestamp()}
    assert harness.export(way=LinkMethod.HARDLINK).new == 0
    harness.export(to=harness.home / "copies", way=LinkMethod.COPY)
    times = {path.stat().st_mtime for path in (harness.home / "copies").rglob("*.mp4")}
    assert times == {NOW.timestamp(), (NOW - timedelta(days=9)).timestamp()}


def test_a_link_is_the_blob_and_a_copy_is_not(harness: ExportHarness) -> None:
    """The blob stays write-protected; a copy may be written by its owner."""
    digest = harness.keep("11", Role.VIDEO, b"video")
    assert harness.export(way=LinkMethod.HARDLINK).methods["hardlink"] == 7
    assert (harness.out / _GUIDE / f"{_AT} C11.mp4").samefile(harness.blob(digest))
    assert harness.blob(digest).stat().st_mode & 0o777 == 0o444
    assert harness.export(to=harness.home / "copies", way=LinkMethod.COPY).methods["copy"] == 7
    copy = harness.home / "copies" / _GUIDE / f"{_AT} C11.mp4"
    assert not copy.samefile(harness.blob(digest))
    assert copy.stat().st_mode & 0o200


def test_a_damaged_blob_is_told_and_the_rest_exported(harness: ExportHarness) -> None:
    """Missing or too short, and where its bytes are read, of other bytes too; what stood there before
    stays.
    """
    missing, short, rotten = (
        harness.keep("10", Role.THUMBNAIL, b"photo"),
        harness.keep("11", Role.THUMBNAIL, b"poster"),
        harness.keep("11", Role.VIDEO, b"video"),
    )
    harness.export(way=LinkMethod.COPY, titles="Gift*")
    harness.blob(missing).unlink()
    for digest, content in ((short, b""), (rotten, b"VIDEO")):
        harness.blob(digest).chmod(0o644)
        harness.blob(digest).write_bytes(content)
    tally = harness.export(way=LinkMethod.COPY)
    assert (tally.failed, tally.files) == (2, 5)
    assert {trouble.path for trouble in tally.failures} == {
        f"{_TRAVEL}/{_AT} C11.jpg",
        f"{_TRAVEL}/{_AT} C11.mp4",
    }
    assert tree(harness.out).keys() == _WHOLE.keys() - {
        f"{_TRAVEL}/{_AT} C11.jpg",
        f"{_TRAVEL}/{_AT} C11.mp4",
    }


def test_an_archive_or_another_export_is_refused(harness: ExportHarness) -> None:
    """Inside an archive, where another archive was exported, where a file stands; and nothing is written
    there.
    """
    for inside in (harness.root, harness.root / "blobs" / "export"):
        with pytest.raises(UsageError, match="belongs to the archive"):
            harness.export(to=inside)
    assert not (harness.root / "blobs" / "export").exists()
    with closing(Manifest(_own(harness.home / "other") / "files.db")) as other:
        other.claim("another", "folder")
    with pytest.raises(UsageError, match="another archive"):
        harness.export(to=harness.home / "other")
    (harness.home / "file").touch()
    with pytest.raises(UsageError, match="is not a directory"):
        harness.export(to=harness.home / "file")


def _own(directory: Path) -> Path:
    own = directory / ".archiver-export"
    own.mkdir(parents=True)
    return own


def test_two_exports_at_once_into_one_directory_are_refused(harness: ExportHarness) -> None:
    """The second one is told that the first is on."""
    with (
        BlobLinks(harness.root) as blobs,
        open_export.open_export(harness.out, form="folder", archive="x", root=harness.root, blobs=blobs),
        pytest.raises(ArchiveLocked),
    ):
        harness.export()


def test_a_disk_without_a_single_blob_is_not_exported(harness: ExportHarness) -> None:
    """It is not mounted."""
    for path in (harness.root / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(StorageError):
        harness.export()


DIGEST = Digest("ab" * 32)


@pytest.mark.parametrize(
    "entry",
    [
        ExportEntry("item 1 2 video", ("a", "b.mp4"), DIGEST, 7, 5, ("x",)),
        ExportEntry("staged", ("c",), StagedFile("name", DIGEST), 3),
        ExportEntry.of_text("text", ("d",), b"\x00\xff"),
        ExportEntry.of_text("empty", ("e",), b""),
        CompanionText("id", "beside", ".xmp", b"<x/>", 9),
    ],
    ids=lambda entry: entry.id,
)
def test_an_entry_is_the_same_after_packing(entry: ExportEntry | CompanionText) -> None:
    """Also its kind, and that of its content."""
    again = unpack_entry(pack_entry(entry))
    assert (type(again), again) == (type(entry), entry)


_MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the archive's: in memory, or on the disk of the checkout."""
    here = tmp_path.stat().st_dev
    places = [
        p for p in (_MEMORY, Path("/tmp"), Path(__file__).parent) if p.is_dir() and p.stat().st_dev != here
    ]
    if not places:
        pytest.skip("there is one file system only")
    with TemporaryDirectory(dir=places[0], prefix="archiver-test-") as made:
        yield Path(made)


def test_another_disk_gets_copies(harness: ExportHarness, elsewhere: Path) -> None:
    """EXDEV: auto copies, a link that was asked for is told to be none here, and nothing half-made is
    left.
    """
    assert harness.export(to=elsewhere / "out").methods["copy"] == 7
    assert len(tree(elsewhere / "out")) == 7
    with pytest.raises(StorageError, match="cannot create a hardlink") as caught:
        harness.export(to=elsewhere / "links", way=LinkMethod.HARDLINK)
    assert "--link copy" in caught.value.hint
    assert not list((elsewhere / "links" / ".archiver-export" / "tmp").iterdir())


def test_a_blob_that_can_have_no_more_names_is_copied(harness: ExportHarness, whole: bool) -> None:
    """EMLINK, on ext4 after 65,000: auto copies that one blob, a link that was asked for is told to be none
    here.
    """
    most = os.pathconf(harness.root, "PC_LINK_MAX")
    if not whole or most > 70_000:
        pytest.skip("it takes a second, and a file system that has such a limit: --whole")
    blob = harness.blob(Digest(sha256(b"photo").hexdigest()))
    names = harness.home / "names"
    names.mkdir()
    harness.export(way=LinkMethod.HARDLINK)
    next(path for path in harness.out.rglob("*.jpg") if path.samefile(blob)).unlink()
    for n in range(blob.stat().st_nlink, most):
        os.link(blob, names / str(n))
    with suppress(OSError):
        os.link(blob, names / "one more")
        pytest.skip("a disk in memory has no limit, whatever it states")
    assert harness.export().methods["copy"] == 1
    with pytest.raises(StorageError, match="Too many links") as caught:
        harness.export(to=harness.home / "links", way=LinkMethod.HARDLINK)
    assert "--link copy" in caught.value.hint


def test_a_file_system_without_clones_gets_copies(tmp_path: Path, sqlite_template: Path) -> None:
    """EOPNOTSUPP of FICLONE on a disk in memory: a new folder has copies, and one that was made with links
    goes on with them; a clone that was asked for is refused.
    """
    if not _MEMORY.is_dir():
        pytest.skip("there is no disk in memory")
    with TemporaryDirectory(dir=_MEMORY, prefix="archiver-test-") as made:
        harness = ExportHarness.make(
            Path(made), Path(shutil.copy(sqlite_template, Path(made) / "archive.db"))
        )
        harness.fill()
        assert harness.export().methods["copy"] == 7
        links = harness.home / "links"
        harness.export(to=links, way=LinkMethod.HARDLINK)
        next(path for path in links.rglob("*.jpg")).unlink()
        assert harness.export(to=links).methods == {"reflink": 0, "hardlink": 1, "copy": 0, "written": 0}
        with pytest.raises(StorageError, match="cannot create a reflink"):
            harness.export(to=harness.home / "clones", way=LinkMethod.REFLINK)


def test_a_new_folder_that_does_not_fit_is_refused(
    harness: ExportHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies that need more space than is free: code 8 with both sizes and the option that takes none, and
    nothing is made; a dry run says so too. Links are not refused.
    """
    monkeypatch.setattr(open_export, "free_bytes", lambda path: 1)
    for dry_run in (False, True):
        with pytest.raises(DiskFull, match=r"takes \d+ B, and .* 1 B of free space") as caught:
            harness.export(way=LinkMethod.COPY, dry_run=dry_run)
        assert "--link hardlink" in caught.value.hint
        assert not harness.out.exists()
    assert harness.export(way=LinkMethod.HARDLINK).new == 7


def test_a_file_system_with_clones_gets_clones(sqlite_template: Path, tmp_path: Path) -> None:
    """On a loopback disk of btrfs or XFS: own inodes, own dates, writable."""
    image, mounted = tmp_path / "disk", tmp_path / "mounted"
    mounted.mkdir()
    if os.geteuid() != 0 or not any(map(shutil.which, ("mkfs.xfs", "mkfs.btrfs"))):
        pytest.skip("needs root, and mkfs.xfs or mkfs.btrfs")
    with image.open("wb") as file:
        file.truncate(400 << 20)
    make = ["mkfs.xfs", "-q"] if shutil.which("mkfs.xfs") else ["mkfs.btrfs", "-q"]
    subprocess.run([*make, str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False).returncode:
        pytest.skip("no loopback disk can be mounted here")
    try:
        harness = ExportHarness.make(mounted, Path(shutil.copy(sqlite_template, mounted / "archive.db")))
        harness.fill()
        assert harness.export().methods["reflink"] == 7
        assert all(path.stat().st_nlink == 1 for path in harness.out.rglob("*.mp4"))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_leaves_what_a_rerun_completes(harness: ExportHarness, tmp_path: Path) -> None:
    """A disk of 256 kB: code 8, nothing half-written under a name; with the room that was missing the same
    command does the rest.
    """
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        (small / "ballast").write_bytes(bytes(140_000))
        harness.keep("11", Role.VIDEO, os.urandom(60_000))
        with pytest.raises(DiskFull):
            harness.export(to=small / "out", way=LinkMethod.COPY)
        assert all(len(content) in (5, 6, 60_000) for content in tree(small / "out").values())
        (small / "ballast").unlink()
        assert harness.export(to=small / "out", way=LinkMethod.COPY).files == 7
        assert len(tree(small / "out")) == 7
    finally:
        subprocess.run(["umount", str(small)], check=True)
