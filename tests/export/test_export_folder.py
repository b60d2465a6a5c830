"""The tree for people: what stands where, and what a rerun makes of renames, foreign files and other selections."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.blobs.blob_links import BlobLinks
from archiver.catalog import record
from archiver.errors import ArchiveLocked, StorageError, UsageError
from archiver.export import opening
from archiver.export.manifest import Manifest
from archiver.export.wanted import Way
from archiver.model.archived import Selection
from archiver.model.identity import Role
from archiver.model.target import Target
from tests.support.catalog_samples import LATER, NATGEO, tray, video
from tests.support.databases import NOW
from tests.support.export_archive import Shelf, directories, tree

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


@pytest.fixture
def shelf(tmp_path: Path, sqlite_template: Path) -> Shelf:
    """A filled archive on SQLite."""
    made = Shelf.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    made.fill()
    return made


def test_items_stand_under_names_for_people(tmp_path: Path, database: str | Path) -> None:
    """On both databases: each item in each highlight that shows it, both files of a video, covers and avatars; nothing else."""
    shelf = Shelf.make(tmp_path, database)
    shelf.fill()
    tally = shelf.export()
    assert tree(shelf.out) == _WHOLE
    assert (tally.files, tally.new, tally.failed) == (7, 7, 0)
    times = {name: datetime.fromtimestamp((shelf.out / name).stat().st_mtime, UTC) for name in _WHOLE}
    assert set(times.values()) == {NOW}
    again = shelf.export()
    assert (again.files, again.new, again.moved, again.bytes) == (7, 0, 0, 0)


def test_a_rename_moves_files_and_leaves_no_second_copy(shelf: Shelf) -> None:
    """An account and a highlight with new names: the same files under new ones, empty directories gone, a stranger's file where it was."""
    shelf.export(way=Way.COPY)
    inodes = {path.stat().st_ino for path in shelf.out.rglob("*.*") if path.is_file()}
    (shelf.out / _TRAVEL / "mine.txt").write_text("mine")
    shelf.show({"1": "Best", "2": "best"}, {}, LATER)
    shelf.rename("natgeo.travel", LATER)
    tally = shelf.export(way=Way.COPY)
    assert (tally.moved, tally.new, tally.others) == (7, 0, 0)
    renamed = {
        name.replace("natgeo", "natgeo.travel")
        .replace("Gift_ Guide", "Best")
        .replace("Travel 🦋", "best"): content
        for name, content in _WHOLE.items()
    }
    assert tree(shelf.out) == renamed | {f"{_TRAVEL}/mine.txt": b"mine"}
    assert directories(shelf.out) == {
        "natgeo",
        _TRAVEL,
        "natgeo.travel",
        "natgeo.travel/Best (1)",
        "natgeo.travel/best (2)",
    }
    assert {
        path.stat().st_ino for path in shelf.out.rglob("*.*") if path.suffix != ".txt" and path.is_file()
    } >= inodes


def test_files_change_places(shelf: Shelf) -> None:
    """Where two items swap their names, each gets the other's, and none a mark."""
    template = "{title}/{position}.{ext}"
    shelf.show({"1": "A"}, {"1": (video("10", media_type=1), video("11"))})
    shelf.export(template)
    shelf.show({"1": "A"}, {"1": (video("11"), video("10", media_type=1))}, LATER)
    shelf.export(template)
    there = tree(shelf.out)
    assert (there["A/001.jpg"], there["A/001.mp4"], there["A/002.jpg"]) == (b"poster", b"video", b"photo")
    assert not [name for name in there if "[" in name]


def test_fault_x6_twins_get_a_mark(shelf: Shelf) -> None:
    """Titles that differ in case or composition share a directory, and items of one name are told apart by their pk, the same each time."""
    shelf.show({"1": "Cafe\u0301", "2": "CAFÉ"}, {})
    template = "{title}/{date}.{ext}"
    shelf.export(template)
    names = sorted(tree(shelf.out))
    assert names == [
        "Café/2026-03-31 [11 2].jpg",
        "Café/2026-03-31 [11].jpg",
        "Café/2026-03-31 [11].mp4",
        "Café/2026-03-31.jpg",
        "Café/2026-03-31.mp4",
        "Café/cover.jpg",
        "avatar.jpg",
    ]
    shelf.export(template)
    assert sorted(tree(shelf.out)) == names


def test_fault_x14_an_address_gives_no_extension(shelf: Shelf) -> None:
    """The files' addresses end in .php."""
    shelf.export()
    assert {
        path.suffix
        for path in shelf.out.rglob("*")
        if path.is_file() and ".archiver-export" not in path.parts
    } == {".jpg", ".mp4"}


def test_foreign_files_are_never_touched(shelf: Shelf) -> None:
    """What stands where an item belongs stays, be it a file, a link or a directory; the item is beside it."""
    target = shelf.home / "secret"
    target.write_text("not yours")
    guide = shelf.out / _GUIDE
    guide.mkdir(parents=True)
    (guide / f"{_AT} Cphoto.jpg").write_text("mine")
    (guide / f"{_AT} C11.mp4").symlink_to(target)
    (guide / f"{_AT} C11.jpg").mkdir()
    tally = shelf.export()
    assert (tally.avoided, tally.failed, tally.files) == (3, 0, 7)
    assert target.read_text() == "not yours"
    assert (guide / f"{_AT} C11.mp4").is_symlink()
    there = tree(shelf.out)
    assert there[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"mine"
    assert there[f"{_GUIDE}/{_AT} Cphoto [10].jpg"] == b"photo"
    assert there[f"{_GUIDE}/{_AT} C11 [11].mp4"] == b"video"
    (guide / f"{_AT} Cphoto.jpg").unlink()
    assert shelf.export().moved == 1
    assert tree(shelf.out)[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"photo"


def test_a_link_in_the_place_of_a_directory_leads_nowhere(shelf: Shelf) -> None:
    """Nothing is written through it: told, and code 3's to come."""
    away = shelf.home / "away"
    away.mkdir()
    shelf.out.mkdir()
    (shelf.out / "natgeo").symlink_to(away)
    tally = shelf.export()
    assert (tally.failed, tally.files) == (7, 0)
    assert list(away.iterdir()) == []


def test_a_file_that_somebody_changed_is_theirs(shelf: Shelf) -> None:
    """It stays as they made it, in a rename and with --prune too; the item comes anew, beside it."""
    shelf.export(way=Way.COPY)
    changed = shelf.out / _GUIDE / f"{_AT} Cphoto.jpg"
    changed.write_text("painted over")
    tally = shelf.export(way=Way.COPY)
    assert (tally.new, tally.avoided) == (1, 1)
    assert changed.read_text() == "painted over"
    assert tree(shelf.out)[f"{_GUIDE}/{_AT} Cphoto [10].jpg"] == b"photo"
    shelf.export(way=Way.COPY, narrowed=Selection(titles=("Travel*",)), prune=True)
    assert tree(shelf.out)[f"{_GUIDE}/{_AT} Cphoto.jpg"] == b"painted over"


def test_a_file_that_was_deleted_comes_again(shelf: Shelf) -> None:
    """And one that lost its list is found by its bytes: nothing is there twice."""
    shelf.export()
    (shelf.out / "natgeo/avatar.jpg").unlink()
    assert shelf.export().new == 1
    shutil.rmtree(shelf.out / ".archiver-export")
    tally = shelf.export()
    assert (tally.new, tally.files) == (0, 7)
    assert tree(shelf.out) == _WHOLE


def test_a_new_cover_replaces_the_old_one(shelf: Shelf) -> None:
    """In its place; what shares the old bytes is untouched."""
    old = shelf.keep("1", Role.COVER, b"cover")
    shelf.export()
    shelf.keep("1", Role.COVER, b"another cover", LATER)
    tally = shelf.export()
    assert (tally.replaced, tally.new) == (1, 0)
    assert tree(shelf.out) == _WHOLE | {f"{_GUIDE}/cover.jpg": b"another cover"}
    assert shelf.blob(old).read_bytes() == b"cover"


def test_what_is_not_selected_stays_unless_it_is_pruned(shelf: Shelf) -> None:
    """Filters narrow what an export brings, not what an earlier one brought; --prune removes that, and directories that are empty then."""
    shelf.export()
    narrowed = Selection(titles=("Travel*",), media_types=frozenset({2}))
    tally = shelf.export(narrowed=narrowed)
    assert (tally.files, tally.others, tally.removed) == (3, 4, 0)
    assert tree(shelf.out) == _WHOLE
    tally = shelf.export(narrowed=narrowed, prune=True)
    assert (tally.files, tally.others, tally.removed) == (3, 0, 4)
    assert tree(shelf.out).keys() == {
        "natgeo/avatar.jpg",
        f"{_TRAVEL}/{_AT} C11.jpg",
        f"{_TRAVEL}/{_AT} C11.mp4",
    }
    assert directories(shelf.out) == {"natgeo", _TRAVEL}


def test_an_archive_in_the_export_is_never_entered(shelf: Shelf) -> None:
    """An archive that has the name of an account: what belongs there is told, and nothing is written into it."""
    (shelf.out / "natgeo").mkdir(parents=True)
    (shelf.out / "natgeo" / "archive.json").touch()
    tally = shelf.export()
    assert (tally.files, tally.failed) == (0, 7)
    assert tree(shelf.out) == {"natgeo/archive.json": b""}


def test_no_name_makes_a_directory_an_archive(shelf: Shelf) -> None:
    """The sidecar of a highlight with the title «Archive» would be called as the marker, and no export would enter there again."""
    shelf.show({"1": "archive", "2": "Archive"}, {"1": ("10",), "2": ("11",)}, LATER)
    first = shelf.export("{username}/{title}.{ext}", sidecars=True)
    assert not [path for path in tree(shelf.out) if path.lower().endswith("/archive.json")]
    again = shelf.export("{username}/{title}.{ext}", sidecars=True)
    assert (again.files, again.new, again.failed) == (first.files, 0, 0)


def test_an_account_is_chosen_by_its_name(shelf: Shelf) -> None:
    """One that is not stored is a usage error."""
    assert shelf.export(accounts=(Target("natgeo", username="natgeo"),)).files == 7
    with pytest.raises(UsageError):
        shelf.export(accounts=(Target("nobody", username="nobody"),))


def test_what_is_gone_upstream_is_exported_unless_it_is_left_out(shelf: Shelf) -> None:
    """A highlight that is not listed any more."""
    with shelf.catalog() as rows:
        rows.write(record.tray, shelf.run_id, NATGEO.pk, tray("1"), LATER, gone=("2",))
    assert shelf.export().files == 7
    assert shelf.export(to=shelf.home / "shown", gone=False).files == 5


def test_a_template_without_highlights_has_each_item_once(shelf: Shelf) -> None:
    """Though two highlights show it."""
    shelf.export("{username}/{code}.{ext}")
    assert sorted(tree(shelf.out)) == [
        "natgeo/C11.jpg",
        "natgeo/C11.mp4",
        "natgeo/Cphoto.jpg",
        "natgeo/avatar.jpg",
        "natgeo/cover.jpg",
    ]


def test_sidecars_tell_what_the_rows_tell(shelf: Shelf) -> None:
    """One beside each item, highlight and account; rewritten when a row changes, and only then; no address has a query."""
    shelf.export(sidecars=True)
    there = tree(shelf.out)
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
    shelf.show({"1": "Gift: Guide", "2": "Travel 🦋"}, {}, LATER)
    tally = shelf.export(sidecars=True)
    assert (tally.replaced, tally.new) == (3, 0)  # the account and its highlights were seen again


def test_a_link_says_the_earliest_time_that_its_bytes_have(shelf: Shelf) -> None:
    """Two items of the same bytes share an inode, and so its date; a copy has its own."""
    shelf.show({"1": "Gift: Guide"}, {"1": ("10", "11", video("12", taken_at=NOW - timedelta(days=9)))})
    shelf.keep("12", Role.VIDEO, b"video")
    shelf.export(way=Way.HARDLINK)
    times = {path.stat().st_mtime for path in shelf.out.rglob("*.mp4")}
    assert times == {(NOW - timedelta(days=9)).timestamp()}
    assert shelf.export(way=Way.HARDLINK).new == 0
    shelf.export(to=shelf.home / "copies", way=Way.COPY)
    times = {path.stat().st_mtime for path in (shelf.home / "copies").rglob("*.mp4")}
    assert times == {NOW.timestamp(), (NOW - timedelta(days=9)).timestamp()}


def test_a_link_is_the_blob_and_a_copy_is_not(shelf: Shelf) -> None:
    """The blob stays write-protected; a copy may be written by its owner."""
    digest = shelf.keep("11", Role.VIDEO, b"video")
    assert shelf.export(way=Way.HARDLINK).ways["hardlink"] == 7
    assert (shelf.out / _GUIDE / f"{_AT} C11.mp4").samefile(shelf.blob(digest))
    assert shelf.blob(digest).stat().st_mode & 0o777 == 0o444
    assert shelf.export(to=shelf.home / "copies", way=Way.COPY).ways["copy"] == 7
    copy = shelf.home / "copies" / _GUIDE / f"{_AT} C11.mp4"
    assert not copy.samefile(shelf.blob(digest))
    assert copy.stat().st_mode & 0o200


def test_a_damaged_blob_is_told_and_the_rest_exported(shelf: Shelf) -> None:
    """Missing or too short, and where its bytes are read, of other bytes too; what stood there before stays."""
    missing, short, rotten = (
        shelf.keep("10", Role.THUMBNAIL, b"photo"),
        shelf.keep("11", Role.THUMBNAIL, b"poster"),
        shelf.keep("11", Role.VIDEO, b"video"),
    )
    shelf.export(way=Way.COPY, narrowed=Selection(titles=("Gift*",)))
    shelf.blob(missing).unlink()
    for digest, content in ((short, b""), (rotten, b"VIDEO")):
        shelf.blob(digest).chmod(0o644)
        shelf.blob(digest).write_bytes(content)
    tally = shelf.export(way=Way.COPY)
    assert (tally.failed, tally.files) == (2, 5)
    assert {trouble.path for trouble in tally.troubles} == {
        f"{_TRAVEL}/{_AT} C11.jpg",
        f"{_TRAVEL}/{_AT} C11.mp4",
    }
    assert tree(shelf.out).keys() == _WHOLE.keys() - {f"{_TRAVEL}/{_AT} C11.jpg", f"{_TRAVEL}/{_AT} C11.mp4"}


def test_an_archive_or_another_export_is_refused(shelf: Shelf) -> None:
    """Inside an archive, where another archive was exported, where a file stands; and nothing is written there."""
    for inside in (shelf.root, shelf.root / "blobs" / "export"):
        with pytest.raises(UsageError, match="belongs to the archive"):
            shelf.export(to=inside)
    assert not (shelf.root / "blobs" / "export").exists()
    with closing(Manifest(_own(shelf.home / "other") / "files.db")) as other:
        other.claim("another", "folder")
    with pytest.raises(UsageError, match="another archive"):
        shelf.export(to=shelf.home / "other")
    (shelf.home / "file").touch()
    with pytest.raises(UsageError, match="no directory"):
        shelf.export(to=shelf.home / "file")


def _own(directory: Path) -> Path:
    own = directory / ".archiver-export"
    own.mkdir(parents=True)
    return own


def test_two_exports_at_once_into_one_directory_are_refused(shelf: Shelf) -> None:
    """The second one is told that the first is on."""
    with (
        BlobLinks(shelf.root) as blobs,
        opening.opened(shelf.out, form="folder", archive="x", root=shelf.root, blobs=blobs),
        pytest.raises(ArchiveLocked),
    ):
        shelf.export()


def test_a_disk_without_a_single_blob_is_not_exported(shelf: Shelf) -> None:
    """It is not mounted."""
    for path in (shelf.root / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(StorageError):
        shelf.export()
