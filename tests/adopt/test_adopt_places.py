"""Where an adopted file is recorded: under its item, beside others, or waiting until an answer reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.catalog import Catalog, record
from archiver.catalog.query.adoptions import HAS_DOWNLOAD, OTHER_KIND, SAME_SECOND
from archiver.catalog.query.holdings import stored_roles
from archiver.errors import Reason
from archiver.model.archived import Blob, Failure, File, Owner
from archiver.model.identity import Digest, Role, Subject
from tests.support.adopting_archive import (
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
from tests.support.catalog_samples import LATER, page, video
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.media_samples import REAL_JPEG, jpeg

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
        with store.writer() as writer:
            writer.write(content)
            sha256, size = writer.commit()
        file = File(Owner(Subject.ITEM, ITEM), role, Blob(sha256, size, "image/jpeg"), "https://cdn/a.jpg")
        run_id = catalog.write(record.start_run, "run", NOW)
        catalog.write(record.record_file, run_id, file, 7, LATER)


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
def test_fault_x22_instaloader_gives_one_name_to_two_items_of_a_second(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """The file may be the other item's: it does not stay a file of the item, and later ones are refused."""
    stem = f"natgeo/Gifts/{STAMP}_UTC"
    put(tmp_path / "in", {f"{stem}.jpg": PHOTO, f"{stem}.json.xz": instaloader_metadata()})
    assert archive.counts(tmp_path / "in") == (1, 0, 0, 0)
    archive.answer(page(HIGHLIGHT, ITEM, OTHER_ITEM))
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
        catalog.write(record.lost_blobs, lost, NOW)
    assert [file.lost_at is not None for file in archive.waiting()] == [True]
    archive.answer(page(HIGHLIGHT, ITEM, OTHER_ITEM))
    assert archive.files() == [(ITEM, "thumbnail", "insta-dl")]
    assert archive.counts(folder) == (2, 0, 0, 0)
    assert archive.rows("SELECT count(*) FROM blobs WHERE lost_at IS NOT NULL") == [(0,)]
    assert (len(archive.files()), archive.waiting()) == (2, [])
