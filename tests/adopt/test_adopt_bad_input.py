"""Folders that are not what another tool leaves: a clear line for each, and nothing is taken in partially."""

from __future__ import annotations

import lzma
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from archiver.adopt.foreign_directory import ForeignDirectory, MetadataUnreadable, walk_foreign
from archiver.archive.archive import Archive
from archiver.catalog.query.adoptions import UNKNOWN_ITEM
from archiver.errors import DiskFull, UsageError
from archiver.model.values import replace
from archiver.work import StopFlag
from tests.support.adopting_archive import (
    FOLDER,
    ITEM,
    PHOTO,
    STAMP,
    VIDEO,
    AdoptingArchive,
    insta_dl_name,
    instaloader_metadata,
    put,
)


@pytest.fixture
def archive(tmp_path: Path, sqlite_template: Path) -> AdoptingArchive:
    """An empty archive."""
    return AdoptingArchive(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "new.db")))


def blobs(archive: AdoptingArchive) -> list[Path]:
    return [*(archive.root / "blobs").glob("*/*"), *(archive.root / "tmp").iterdir()]


def test_fault_x21_what_is_no_whole_file_is_refused(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Links, pipes and sockets are not opened; bytes that are cut, or no media, are not stored."""
    folder = tmp_path / "in" / FOLDER
    put(
        folder,
        {
            f"{STAMP}_1.mp4": b"<!DOCTYPE html><title>Not found</title>" + bytes(200),
            f"{STAMP}_2.mp4": VIDEO[:-100],
            f"{STAMP}_3.jpg": PHOTO[:-2],
            f"{STAMP}_4.jpg": b"",
            f"{STAMP}_5.jpg": PHOTO[:50],
        },
    )
    put(tmp_path, {"elsewhere.jpg": PHOTO})
    (folder / f"{STAMP}_6.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / f"{STAMP}_7.jpg")
    assert archive.refusals(tmp_path / "in") == {
        f"{STAMP}_1.mp4": "the bytes are neither a picture nor a video",
        f"{STAMP}_2.mp4": f"the video/mp4 is cut at byte {len(VIDEO) - 100}",
        f"{STAMP}_3.jpg": f"the image/jpeg is cut at byte {len(PHOTO) - 2}",
        f"{STAMP}_4.jpg": "the bytes are neither a picture nor a video",
        f"{STAMP}_5.jpg": "50 bytes are neither a picture nor a video",
        f"{STAMP}_6.jpg": "a symbolic link",
        "linked": "a symbolic link",
        f"{STAMP}_7.jpg": "not a regular file",
    }
    assert blobs(archive) == []


def test_fault_x21_metadata_is_read_from_regular_files_only(archive: AdoptingArchive, tmp_path: Path) -> None:
    """A link or a pipe beside a picture is listed, and not opened; the picture then has no metadata."""
    folder = tmp_path / "in/natgeo/Gifts"
    put(folder, (f"{STAMP}_UTC.jpg", f"{ITEM}.jpg"))
    put(tmp_path, {"elsewhere": instaloader_metadata()})
    (folder / f"{STAMP}_UTC.json.xz").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / f"{ITEM}.jpg.json")
    assert archive.refusals(tmp_path / "in") == {
        f"{STAMP}_UTC.json.xz": "a symbolic link",
        f"{STAMP}_UTC.jpg": "it has no metadata, and no account in the archive has or had the name natgeo",
        f"{ITEM}.jpg.json": "not a regular file",
        f"{ITEM}.jpg": UNKNOWN_ITEM,
    }
    assert blobs(archive) == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_fault_x21_a_file_that_changes_while_it_is_read_is_refused(
    archive: AdoptingArchive, tmp_path: Path, dry_run: bool
) -> None:
    """Whether it is copied or only read; what was read of it is discarded."""
    path = put(tmp_path / "in", (insta_dl_name(),)) / insta_dl_name()

    class Meddling(StopFlag):
        def check(self) -> None:
            with path.open("r+b") as file:
                file.write(PHOTO[:1])

    refused = archive.refusals(tmp_path / "in", stop=Meddling(), dry_run=dry_run)
    assert refused == {path.name: "it changed while it was read"}
    assert blobs(archive) == []
    assert archive.counts(tmp_path / "in") == (0, 1, 0, 0)
    assert path.read_bytes() == PHOTO


def test_fault_x21_names_in_other_encodings_are_stored_as_text(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """The name of the account is text that every database takes; a path in the report is the path itself."""
    folder = os.fsencode(tmp_path / "in") + b"/caf\xe9/highlights/17_\xff\n"
    os.makedirs(folder)  # noqa: PTH103
    for name in (f"{STAMP}_{ITEM}.jpg".encode(), b"bad\xfe.jpg"):
        with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(PHOTO)
    report = archive.adopt(tmp_path / "in")
    assert [(file.username, file.highlight_pk) for file in archive.waiting()] == [("caf\\xe9", "17")]
    assert [os.fsencode(one.path) for one in report.refused] == [folder + b"/bad\xfe.jpg"]


def test_fault_x21_a_folder_in_another_encoding_is_looked_up_as_text(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """Where only the folder names the account, its file is refused, and the files after it are adopted."""
    odd = os.fsencode(tmp_path / "in") + b"/Caf\xe9/Title"
    os.makedirs(odd)  # noqa: PTH103
    with open(odd + f"/{STAMP}_UTC.jpg".encode(), "wb") as file:  # noqa: PTH123
        file.write(PHOTO)
    put(tmp_path / "in" / FOLDER, (f"{STAMP}_{ITEM}.jpg",))
    report = archive.adopt(tmp_path / "in")
    assert [one.reason for one in report.refused] == [
        "it has no metadata, and no account in the archive has or had the name Caf\\xe9"
    ]
    assert len(archive.waiting()) == 1


@pytest.mark.parametrize("sign", ["archive.json", ".archiver-export"])
def test_fault_x21_archives_and_exports_are_not_adopted(
    archive: AdoptingArchive, tmp_path: Path, sign: str
) -> None:
    """A folder inside one is refused as a whole, before anything is read; one below another is left alone."""
    put(tmp_path / "in", (insta_dl_name(), f"own/{insta_dl_name('9')}", f"own/{sign}"))
    for inside in (tmp_path / "in/own", tmp_path / "in/own" / FOLDER):
        with pytest.raises(UsageError, match="inside an archive or an export"):
            archive.adopt(tmp_path / "in", inside)
    assert archive.waiting() == []
    assert archive.refusals(tmp_path / "in") == {"own": "an archive or an export of this program"}
    assert [file.item_pk for file in archive.waiting()] == [ITEM]
    with pytest.raises(UsageError, match="inside an archive or an export"):
        archive.adopt(archive.root / "blobs")


def test_fault_x21_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Reading metadata takes little memory, however much it would unpack to."""
    put(tmp_path, {"bomb.json.xz": lzma.compress(bytes(20_000_000), preset=0)})
    (directory,) = walk_foreign(tmp_path)
    assert isinstance(directory, ForeignDirectory)
    fd = os.open(tmp_path, os.O_RDONLY)
    tracemalloc.start()
    try:
        with pytest.raises(MetadataUnreadable, match="more than 16 MiB"):
            replace(directory, fd=fd).read_metadata("bomb.json.xz")
        assert tracemalloc.get_traced_memory()[1] < 45_000_000
    finally:
        tracemalloc.stop()
        os.close(fd)


def test_a_folder_that_is_none_is_an_error_of_usage(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Also if only one of several is missing, or is a file; then nothing is adopted."""
    put(tmp_path / "in", (insta_dl_name(),))
    for wrong in (tmp_path / "missing", tmp_path / "in" / insta_dl_name()):
        with pytest.raises(UsageError, match=r"cannot be opened|not a directory"):
            archive.adopt(tmp_path / "in", wrong)
    with pytest.raises(UsageError, match="no directory"):
        archive.adopt()
    assert archive.waiting() == []


def test_a_full_disk_ends_it_and_the_next_one_goes_on(archive: AdoptingArchive, tmp_path: Path) -> None:
    """What was adopted before stays; the run has the outcome."""
    put(tmp_path / "in", (insta_dl_name("1"), insta_dl_name("2")))

    class Filling(StopFlag):
        pieces = 0

        def check(self) -> None:
            self.pieces += 1
            if self.pieces == 8:  # four directories, the first file and its bytes, the second one
                raise DiskFull("the disk is full")

    with pytest.raises(DiskFull):
        archive.adopt(tmp_path / "in", stop=Filling())
    assert [file.item_pk for file in archive.waiting()] == ["1"]
    assert archive.rows("SELECT command, outcome, exit_code FROM runs") == [("adopt", "storage", 8)]
    assert archive.counts(tmp_path / "in") == (0, 1, 1, 0)


def test_fault_x21_the_files_of_the_other_tool_stay_as_they_are(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """Bytes, times and modes; and the archive has files of its own."""
    path = put(tmp_path / "in", (insta_dl_name(),)) / insta_dl_name()
    path.chmod(0o444)
    os.utime(path, (1, 2))
    before = path.stat()
    archive.adopt(tmp_path / "in")
    after = path.stat()
    (file,) = archive.waiting()
    with Archive(archive.config) as opened:
        own = opened.path(file)
    assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (before.st_mtime_ns, before.st_mode, 1)
    assert own.read_bytes() == PHOTO == path.read_bytes()
    assert own.stat().st_ino != after.st_ino
