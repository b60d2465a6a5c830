"""Where foreign files are looked for and go, what is refused of them, and the folders of real tools."""

from __future__ import annotations

import lzma
import os
import shutil
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.adopt.foreign_directory import ForeignDirectory, MetadataUnreadable, walk_foreign
from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.catalog import Catalog, record
from archiver.catalog.query.adoptions import HAS_DOWNLOAD, OTHER_KIND, SAME_SECOND, UNKNOWN_ITEM
from archiver.catalog.query.holdings import stored_roles
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import DiskFull, Reason, UsageError
from archiver.model.archived import Blob, Failure, File, Owner
from archiver.model.identity import Digest, Role, Subject
from archiver.model.values import replace
from archiver.work import StopFlag
from tests.support.adopting_archive import (
    FOLDER,
    HIGHLIGHT,
    ITEM,
    OTHER_ITEM,
    PHOTO,
    STAMP,
    VIDEO,
    AdoptingArchive,
    gallery_dl_metadata,
    insta_dl_name,
    instaloader_metadata,
    of_nobody,
    put,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import LATER, page, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.foreign_tools import TOOLS
from tests.support.media_samples import REAL_JPEG, jpeg
from tests.support.standin.faulty_standin import FaultyStandIn

SMALL, LARGE = REAL_JPEG, jpeg(9000, seed=2)
"""Pictures of 180 x 320 and 640 x 480 pixels."""


@pytest.fixture
def archive(tmp_path: Path, database: str | Path) -> AdoptingArchive:
    """An empty archive."""
    return AdoptingArchive(tmp_path / "archive", database)


def download(archive: AdoptingArchive, content: bytes, *, role: Role = Role.THUMBNAIL) -> None:
    """Store a file of the item as a run does that has downloaded it."""
    with Archive(archive.config) as opened, Catalog.open(archive.database, write=True) as catalog:
        store = opened._open().store
        store.prepare()
        with store.draft() as draft:
            draft.write(content)
            sha256, size = store.put(draft)
        file = File(Owner(Subject.ITEM, ITEM), role, Blob(sha256, size, "image/jpeg"), "https://cdn/a.jpg")
        run_id = catalog.write(record.start_run, "run", NOW)
        catalog.write(record.record_files, [StoredFile(file, 7, LATER)], run_id=run_id)


@SQLITE_EVERYDAY
def test_an_answer_with_the_item_ends_the_waiting(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Its row, and those of other items that the page shows, come in the transaction of the page.

    They count as held, name their tool and no URL, and belong to the run. A second adoption changes nothing.
    """
    put(tmp_path / "in", {insta_dl_name(): PHOTO, insta_dl_name(OTHER_ITEM, ".mp4"): VIDEO})
    assert archive.counts(tmp_path / "in") == (0, 2, 0, 0)
    assert archive.counts(tmp_path / "in") == (0, 0, 2, 0)
    archive.answer(page("5", "6"))
    assert len(archive.waiting()) == 2
    archive.answer(page(HIGHLIGHT, ITEM))
    assert archive.rows("SELECT item_pk, role, source, source_url, run_id, answer_id FROM files") == [
        (ITEM, "thumbnail", "insta-dl", "", 3, None)
    ]
    assert [file.item_pk for file in archive.waiting()] == [OTHER_ITEM]
    archive.answer(page(HIGHLIGHT, ITEM, OTHER_ITEM))
    with Catalog.open(archive.database, write=False) as catalog:
        assert catalog.read(stored_roles, [ITEM, OTHER_ITEM]) == {
            (ITEM, Role.THUMBNAIL),
            (OTHER_ITEM, Role.VIDEO),
        }
        assert catalog.read(stored_roles, [ITEM, OTHER_ITEM], with_adopted=False) == frozenset()
    before = archive.rows("SELECT count(*) FROM runs")
    assert archive.counts(tmp_path / "in") == (0, 0, 2, 0)
    assert (archive.rows("SELECT count(*) FROM runs"), archive.waiting()) == (before, [])


@SQLITE_EVERYDAY
def test_a_file_of_a_known_item_is_recorded_at_once(archive: AdoptingArchive, tmp_path: Path) -> None:
    """An open failure of its place is resolved; the run of the adoption is recorded, and costs nothing."""
    archive.answer(page(HIGHLIGHT, ITEM))
    failure = Failure(Subject.ITEM, ITEM, Role.VIDEO, Reason.EXPIRED, "expired")
    with Catalog.open(archive.database, write=True) as catalog:
        catalog.write(record.record_failure, failure, NOW)
    assert archive.counts(put(tmp_path / "in", {insta_dl_name(): VIDEO})) == (1, 0, 0, 0)
    assert archive.files() == [(ITEM, "video", "insta-dl")]
    for view in ("current_files", "account_files"):
        assert archive.rows(f"SELECT role, source FROM {view}") == [("video", "insta-dl")]
    assert archive.rows("SELECT count(*) FROM failures WHERE resolved_at IS NULL") == [(0,)]
    assert archive.rows("SELECT command, outcome, exit_code, units FROM runs ORDER BY id DESC LIMIT 1") == [
        ("adopt", "ok", 0, 0)
    ]


@SQLITE_EVERYDAY
def test_a_dry_run_says_the_same_and_stores_nothing(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Also of two files with the same bytes for one place."""
    archive.answer(page(HIGHLIGHT, ITEM))
    folder = put(
        tmp_path / "in",
        (
            insta_dl_name(),
            insta_dl_name().replace(HIGHLIGHT, "5"),
            of_nobody(),
            f"natgeo/stories/{STAMP}_7.jpg",
        ),
    )
    expected = (1, 1, 1, 1)
    assert archive.counts(folder, dry_run=True) == expected
    assert (archive.files(), archive.waiting(), list((archive.root / "blobs").glob("*/*"))) == ([], [], [])
    assert archive.counts(folder) == expected


@SQLITE_EVERYDAY
def test_a_dry_run_counts_what_the_files_before_make_known(archive: AdoptingArchive, tmp_path: Path) -> None:
    """A file with the pk of its account makes it known for files that only name it; two items of a second
    make the name of instaloader ambiguous, also within one tree.
    """
    stem = f"somebody/Trip/{STAMP}_UTC"
    metadata = instaloader_metadata("3", owner={"id": "9", "username": "somebody"})
    at = f"{NOW:%Y-%m-%d %H:%M:%S}"
    folder = put(
        tmp_path / "in",
        {
            f"a/{ITEM}.jpg": PHOTO,
            f"a/{ITEM}.jpg.json": gallery_dl_metadata(ITEM, username="somebody", owner_id="9", date=at),
            of_nobody("1"): PHOTO,
            of_nobody("2"): PHOTO,
            f"{stem}.jpg": PHOTO,
            f"{stem}.json.xz": metadata,
        },
    )
    foreseen = archive.adopt(folder, dry_run=True)
    assert archive.files() == []
    assert archive.adopt(folder) == foreseen
    assert (foreseen.adopted, foreseen.waiting, len(foreseen.refused), foreseen.metadata) == (3, 0, 1, 1)


@SQLITE_EVERYDAY
def test_the_largest_of_several_pictures_is_current(archive: AdoptingArchive, tmp_path: Path) -> None:
    """In whichever order they come: waiting together, or one after the other."""
    name = f"instagram/natgeo/{ITEM}.jpg"
    put(tmp_path / "a", {insta_dl_name(): LARGE})
    put(tmp_path / "b", {insta_dl_name(): SMALL})
    assert archive.counts(tmp_path / "a", tmp_path / "b") == (0, 2, 0, 0)
    archive.answer(page(HIGHLIGHT, ITEM))
    assert archive.current(ITEM) == [("thumbnail", len(LARGE))]
    larger, smaller = jpeg(20_000, seed=3), jpeg(5000, seed=4)
    assert archive.counts(put(tmp_path / "c", {name: larger})) == (1, 0, 0, 0)
    assert archive.current(ITEM) == [("thumbnail", len(larger))]
    assert archive.counts(put(tmp_path / "d", {name: smaller})) == (1, 0, 0, 0)
    assert archive.current(ITEM) == [("thumbnail", len(larger))]
    archive.answer(page(HIGHLIGHT, ITEM), LATER)
    assert archive.current(ITEM) == [("thumbnail", len(larger))]


@SQLITE_EVERYDAY
def test_fault_x22_a_download_keeps_its_place(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Other bytes are refused without being stored; the same bytes are known."""
    archive.answer(page(HIGHLIGHT, ITEM))
    download(archive, PHOTO)
    folder = put(tmp_path / "in", {insta_dl_name(): SMALL})
    assert list(archive.refusals(folder).values()) == [HAS_DOWNLOAD]
    assert archive.rows("SELECT count(*) FROM blobs") == [(1,)]
    put(folder, {insta_dl_name(): jpeg(len(PHOTO), seed=9)})
    assert list(archive.refusals(folder).values()) == [HAS_DOWNLOAD]
    assert archive.counts(put(folder, (insta_dl_name(),))) == (0, 0, 1, 0)


@SQLITE_EVERYDAY
def test_what_waits_for_a_place_with_a_download_keeps_waiting(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """With the reason, recorded once; the same bytes stop waiting."""
    put(tmp_path / "a", {insta_dl_name(): SMALL})
    put(tmp_path / "b", {insta_dl_name(): PHOTO})
    archive.adopt(tmp_path / "a", tmp_path / "b")
    with Catalog.open(archive.database, write=True) as catalog:
        # As a program does that records items in another way.
        catalog.write(lambda connection: connection.exec_driver_sql(_INSERT_ITEM).rowcount)
    download(archive, PHOTO)
    archive.answer(page(HIGHLIGHT, ITEM))
    assert [(file.blob.size, file.reason) for file in archive.waiting()] == [(len(SMALL), HAS_DOWNLOAD)]
    assert archive.files() == [(ITEM, "thumbnail", None)]


_INSERT_ITEM = (
    "INSERT INTO items (pk, user_pk, first_seen_at)"
    f" VALUES ('{ITEM}', '787132', '2026-01-01T00:00:00.000000Z')"
)


@SQLITE_EVERYDAY
def test_fault_x22_a_video_never_becomes_the_file_of_a_photo(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """It keeps waiting, with the reason, until an answer says otherwise; of a known item it is refused."""
    put(tmp_path / "in", {insta_dl_name(suffix=".mp4"): VIDEO})
    archive.adopt(tmp_path / "in")
    archive.answer(page(HIGHLIGHT, video(ITEM, media_type=1)))
    assert ([file.reason for file in archive.waiting()], archive.files()) == ([OTHER_KIND], [])
    assert archive.counts(tmp_path / "in") == (0, 0, 1, 0)
    archive.answer(page(HIGHLIGHT, video(OTHER_ITEM, media_type=1)))
    put(tmp_path / "other", {insta_dl_name(OTHER_ITEM, ".mp4"): VIDEO})
    assert list(archive.refusals(tmp_path / "other").values()) == [OTHER_KIND]
    archive.answer(page(HIGHLIGHT, video(ITEM, media_type=2)))
    assert archive.files() == [(ITEM, "video", "insta-dl")]


@SQLITE_EVERYDAY
@pytest.mark.parametrize("second", [NOW, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_fault_x22_instaloader_gives_one_name_to_two_items_of_a_second(
    archive: AdoptingArchive, tmp_path: Path, second: datetime
) -> None:
    """The file may be the other item's: it does not stay a file of the item, and later ones are refused. An
    answer may state the last second that there is.
    """
    stem = f"natgeo/Gifts/{STAMP}_UTC"
    put(tmp_path / "in", {f"{stem}.jpg": PHOTO, f"{stem}.json.xz": instaloader_metadata()})
    assert archive.counts(tmp_path / "in") == (1, 0, 0, 0)
    archive.answer(page(HIGHLIGHT, *(video(pk, taken_at=second) for pk in (ITEM, OTHER_ITEM))))
    assert ([file.reason for file in archive.waiting()], archive.files()) == ([SAME_SECOND], [])
    put(tmp_path / "in", {f"{stem}.jpg": SMALL})
    assert list(archive.refusals(tmp_path / "in").values()) == [SAME_SECOND]


@SQLITE_EVERYDAY
def test_a_download_of_adopted_bytes_shows_where_they_come_from(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """They are the same file, and Instagram's own; other bytes are a second file, which is current."""
    archive.answer(page(HIGHLIGHT, ITEM))
    archive.adopt(put(tmp_path / "in", {insta_dl_name(): PHOTO}))
    download(archive, PHOTO)
    assert archive.rows("SELECT source, source_url, answer_id FROM files") == [(None, "https://cdn/a.jpg", 7)]
    archive.adopt(put(tmp_path / "video", {insta_dl_name(): VIDEO}))
    download(archive, SMALL, role=Role.VIDEO)
    assert archive.files()[1:] == [(ITEM, "video", "insta-dl"), (ITEM, "video", None)]
    assert archive.current(ITEM)[1] == ("video", len(SMALL))


@SQLITE_EVERYDAY
def test_adopting_again_brings_lost_bytes_back(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Those of an item, and those of a file that waits: a lost file is not known."""
    archive.answer(page(HIGHLIGHT, ITEM))
    folder = put(tmp_path / "in", {insta_dl_name(): PHOTO, of_nobody(): SMALL})
    archive.adopt(folder)
    lost = [Digest(str(sha256)) for (sha256,) in archive.rows("SELECT sha256 FROM blobs")]
    with Catalog.open(archive.database, write=True) as catalog:
        catalog.write(record.record_lost_blobs, lost, NOW)
    assert [file.lost_at is not None for file in archive.waiting()] == [True]
    archive.answer(page(HIGHLIGHT, ITEM, OTHER_ITEM))
    assert archive.files() == [(ITEM, "thumbnail", "insta-dl")]
    assert archive.counts(folder) == (2, 0, 0, 0)
    assert archive.rows("SELECT count(*) FROM blobs WHERE lost_at IS NOT NULL") == [(0,)]
    assert (len(archive.files()), archive.waiting()) == (2, [])


@pytest.fixture
def lite(tmp_path: Path, sqlite_template: Path) -> AdoptingArchive:
    """An empty archive."""
    return AdoptingArchive(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "new.db")))


def blobs(lite: AdoptingArchive) -> list[Path]:
    return [*(lite.root / "blobs").glob("*/*"), *(lite.root / "tmp").iterdir()]


def test_fault_x21_what_is_no_whole_file_is_refused(lite: AdoptingArchive, tmp_path: Path) -> None:
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
    assert lite.refusals(tmp_path / "in") == {
        f"{STAMP}_1.mp4": "the bytes are neither a picture nor a video",
        f"{STAMP}_2.mp4": f"the video/mp4 is cut at byte {len(VIDEO) - 100}",
        f"{STAMP}_3.jpg": f"the image/jpeg is cut at byte {len(PHOTO) - 2}",
        f"{STAMP}_4.jpg": "the bytes are neither a picture nor a video",
        f"{STAMP}_5.jpg": "50 bytes are neither a picture nor a video",
        f"{STAMP}_6.jpg": "a symbolic link",
        "linked": "a symbolic link",
        f"{STAMP}_7.jpg": "not a regular file",
    }
    assert blobs(lite) == []


def test_fault_x21_metadata_is_read_from_regular_files_only(lite: AdoptingArchive, tmp_path: Path) -> None:
    """A link or a pipe beside a picture is listed, and not opened; the picture then has no metadata."""
    folder = tmp_path / "in/natgeo/Gifts"
    put(folder, (f"{STAMP}_UTC.jpg", f"{ITEM}.jpg"))
    put(tmp_path, {"elsewhere": instaloader_metadata()})
    (folder / f"{STAMP}_UTC.json.xz").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / f"{ITEM}.jpg.json")
    assert lite.refusals(tmp_path / "in") == {
        f"{STAMP}_UTC.json.xz": "a symbolic link",
        f"{STAMP}_UTC.jpg": "it has no metadata, and no account in the archive has or had the name natgeo",
        f"{ITEM}.jpg.json": "not a regular file",
        f"{ITEM}.jpg": UNKNOWN_ITEM,
    }
    assert blobs(lite) == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_fault_x21_a_file_that_changes_while_it_is_read_is_refused(
    lite: AdoptingArchive, tmp_path: Path, dry_run: bool
) -> None:
    """Whether it is copied or only read; what was read of it is discarded."""
    path = put(tmp_path / "in", (insta_dl_name(),)) / insta_dl_name()

    class Meddling(StopFlag):
        def check(self) -> None:
            with path.open("r+b") as file:
                file.write(PHOTO[:1])

    refused = lite.refusals(tmp_path / "in", stop=Meddling(), dry_run=dry_run)
    assert refused == {path.name: "it changed while it was read"}
    assert blobs(lite) == []
    assert lite.counts(tmp_path / "in") == (0, 1, 0, 0)
    assert path.read_bytes() == PHOTO


def test_fault_x21_names_in_other_encodings_are_stored_as_text(lite: AdoptingArchive, tmp_path: Path) -> None:
    """The name of the account is text that every database takes; a path in the report is the path itself."""
    folder = os.fsencode(tmp_path / "in") + b"/caf\xe9/highlights/17_\xff\n"
    os.makedirs(folder)  # noqa: PTH103
    for name in (f"{STAMP}_{ITEM}.jpg".encode(), b"bad\xfe.jpg"):
        with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(PHOTO)
    report = lite.adopt(tmp_path / "in")
    assert [(file.username, file.highlight_pk) for file in lite.waiting()] == [("caf\\xe9", "17")]
    assert [os.fsencode(one.path) for one in report.refused] == [folder + b"/bad\xfe.jpg"]


def test_fault_x21_a_folder_in_another_encoding_is_looked_up_as_text(
    lite: AdoptingArchive, tmp_path: Path
) -> None:
    """Where only the folder names the account, its file is refused, and the files after it are adopted."""
    odd = os.fsencode(tmp_path / "in") + b"/Caf\xe9/Title"
    os.makedirs(odd)  # noqa: PTH103
    with open(odd + f"/{STAMP}_UTC.jpg".encode(), "wb") as file:  # noqa: PTH123
        file.write(PHOTO)
    put(tmp_path / "in" / FOLDER, (f"{STAMP}_{ITEM}.jpg",))
    report = lite.adopt(tmp_path / "in")
    assert [one.reason for one in report.refused] == [
        "it has no metadata, and no account in the archive has or had the name Caf\\xe9"
    ]
    assert len(lite.waiting()) == 1


def test_fault_x21_a_name_with_an_impossible_time_is_refused(lite: AdoptingArchive, tmp_path: Path) -> None:
    """Where only the name says when, no item is of a time at which none can be; the others are adopted."""
    lite.answer(page(HIGHLIGHT, OTHER_ITEM))
    put(tmp_path / "in/natgeo/Title", ("9999-12-31_23-59-59_UTC.jpg", "1999-01-01_00-00-00_UTC.jpg"))
    put(tmp_path / "in" / FOLDER, (f"{STAMP}_{ITEM}.jpg",))
    report = lite.adopt(tmp_path / "in")
    assert [one.reason for one in report.refused] == [
        "it has no metadata, and the archive has no item taken in that second"
    ] * 2
    assert [item for item, *_ in lite.files()] == [ITEM]


@pytest.mark.parametrize("sign", ["archive.json", ".archiver-export"])
def test_fault_x21_archives_and_exports_are_not_adopted(
    lite: AdoptingArchive, tmp_path: Path, sign: str
) -> None:
    """A folder inside one is refused as a whole, before anything is read; one below another is left alone."""
    put(tmp_path / "in", (insta_dl_name(), f"own/{insta_dl_name('9')}", f"own/{sign}"))
    for inside in (tmp_path / "in/own", tmp_path / "in/own" / FOLDER):
        with pytest.raises(UsageError, match="inside an archive or an export"):
            lite.adopt(tmp_path / "in", inside)
    assert lite.waiting() == []
    assert lite.refusals(tmp_path / "in") == {"own": "an archive or an export of this program"}
    assert [file.item_pk for file in lite.waiting()] == [ITEM]
    with pytest.raises(UsageError, match="inside an archive or an export"):
        lite.adopt(lite.root / "blobs")


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


def test_a_folder_that_is_none_is_an_error_of_usage(lite: AdoptingArchive, tmp_path: Path) -> None:
    """Also if only one of several is missing, or is a file; then nothing is adopted."""
    put(tmp_path / "in", (insta_dl_name(),))
    for wrong in (tmp_path / "missing", tmp_path / "in" / insta_dl_name()):
        with pytest.raises(UsageError, match=r"cannot be opened|not a directory"):
            lite.adopt(tmp_path / "in", wrong)
    with pytest.raises(UsageError, match="no directory"):
        lite.adopt()
    assert lite.waiting() == []


def test_a_full_disk_ends_it_and_the_next_one_goes_on(lite: AdoptingArchive, tmp_path: Path) -> None:
    """What was adopted before stays; the run has the outcome."""
    put(tmp_path / "in", (insta_dl_name("1"), insta_dl_name("2")))

    class Filling(StopFlag):
        pieces = 0

        def check(self) -> None:
            self.pieces += 1
            if self.pieces == 8:  # four directories, the first file and its bytes, the second one
                raise DiskFull("the disk is full")

    with pytest.raises(DiskFull):
        lite.adopt(tmp_path / "in", stop=Filling())
    assert [file.item_pk for file in lite.waiting()] == ["1"]
    assert lite.rows("SELECT command, outcome, exit_code FROM runs") == [("adopt", "storage", 8)]
    assert lite.counts(tmp_path / "in") == (0, 1, 1, 0)


def test_fault_x21_the_files_of_the_other_tool_stay_as_they_are(
    lite: AdoptingArchive, tmp_path: Path
) -> None:
    """Bytes, times and modes; and the archive has files of its own."""
    path = put(tmp_path / "in", (insta_dl_name(),)) / insta_dl_name()
    path.chmod(0o444)
    os.utime(path, (1, 2))
    before = path.stat()
    lite.adopt(tmp_path / "in")
    after = path.stat()
    (file,) = lite.waiting()
    with Archive(lite.config) as opened:
        own = opened.path(file)
    assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (before.st_mtime_ns, before.st_mode, 1)
    assert own.read_bytes() == PHOTO == path.read_bytes()
    assert own.stat().st_ino != after.st_ino


SAVED = {
    "insta-dl": [("thumbnail", 21), ("video", 12)],
    "gallery-dl": [("thumbnail", 33), ("video", 12)],
    "instaloader": [("thumbnail", 33), ("video", 12)],
}
"""Files by role. insta-dl saves no posters; one item is in two highlights."""


@pytest.mark.whole
@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_saved_is_not_downloaded_again(tool: str, tmp_path: Path) -> None:
    """All of it goes into an empty archive; the next run fetches posters, covers and the avatar."""
    with FaultyStandIn() as upstream:
        folder = tmp_path / "theirs"
        TOOLS[tool](upstream, folder, "natgeo")
        harness = ArchiveHarness(tmp_path / "ours", upstream)
        create_for_run(harness.config)
        with Archive(harness.config) as archive:
            first = archive.adopt(folder)
            again = archive.adopt(folder)
        saved = sum(count for _, count in SAVED[tool])
        by_tool = (0, saved) if tool == "insta-dl" else (saved, 0)  # it does not say whose items these are
        assert ((first.adopted, first.waiting), first.refused) == (by_tool, ())
        assert (again.waiting, again.known, again.refused) == (0, saved + first.known, ())
        summary = harness.night("natgeo")
        assert (summary.exit_code, summary.files_new) == (0, 33 + 12 + 3 + 1 - saved)
        rows = harness.rows(
            "SELECT role, count(*) FROM files WHERE source = ? GROUP BY role ORDER BY role", tool
        )
        assert rows == SAVED[tool]
        assert harness.one("SELECT count(*) FROM highlights WHERE completed_at IS NULL") == 0
        assert harness.one("SELECT count(*) FROM adopted WHERE role <> 'metadata'") == 0
        harness.sleep(days=1)
        quiet = harness.night("natgeo")
        assert (quiet.units, quiet.files_new) == (1, 0)
