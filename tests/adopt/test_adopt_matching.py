"""Which item a foreign file shows, and what later nights make of it."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.archive.creation import create_for_run
from archiver.catalog.query.adoptions import UNKNOWN_ITEM
from archiver.model.foreign_files import ForeignTool
from archiver.model.identity import Role
from archiver.sandbox.world_objects import SandboxItem
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
    saved_by_insta_dl,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.catalog_samples import page, video
from tests.support.databases import NOW
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.table_dumps import execute


@pytest.fixture
def archive(tmp_path: Path, sqlite_template: Path) -> AdoptingArchive:
    """An empty archive."""
    return AdoptingArchive(tmp_path / "archive", Path(shutil.copy(sqlite_template, tmp_path / "new.db")))


def identities(archive: AdoptingArchive) -> list[tuple[object, ...]]:
    """What is known of the waiting files."""
    return [
        (file.item_pk, file.highlight_pk, file.role.value, file.username, file.source)
        for file in archive.waiting()
    ]


def test_insta_dl_names_highlight_and_item(archive: AdoptingArchive, tmp_path: Path) -> None:
    """The pk in the folder is the highlight, and the bytes say what the file is, not its extension."""
    put(tmp_path / "in", {insta_dl_name(suffix=".jpg"): VIDEO, insta_dl_name(OTHER_ITEM, ".mp4"): PHOTO})
    assert archive.counts(tmp_path / "in") == (0, 2, 0, 0)
    assert identities(archive) == [
        (ITEM, HIGHLIGHT, "video", "natgeo", "insta-dl"),
        (OTHER_ITEM, HIGHLIGHT, "thumbnail", "natgeo", "insta-dl"),
    ]


def test_other_files_of_insta_dl_are_left_alone(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Another resource of an item, a post, and a story that no highlight is known to show."""
    folder = put(
        tmp_path / "in",
        (
            insta_dl_name(suffix="_1.jpg"),
            f"natgeo/{STAMP}_DC2wZsRM1aB.jpg",
            f"natgeo/stories/{STAMP}_{ITEM}.jpg",
            f"{FOLDER}/{STAMP}_{OTHER_ITEM}.jpg.0af3.part",
            f"{FOLDER}/holiday.jpg",
        ),
    )
    put(folder, {f"natgeo/{STAMP}_DC2wZsRM1aB.json": b"{}"})
    assert archive.refusals(folder) == {
        f"{STAMP}_{ITEM}_1.jpg": "a second file of the same item (insta-dl adds _1)",
        f"{STAMP}_DC2wZsRM1aB.jpg": "a file of a post, not of a highlight",
        f"{STAMP}_{ITEM}.jpg": UNKNOWN_ITEM,
        f"{STAMP}_{OTHER_ITEM}.jpg.0af3.part": "an unfinished download",
        "holiday.jpg": "not a name that insta-dl or gallery-dl or instaloader gives to an item",
    }
    assert archive.rows("SELECT count(*) FROM runs") == [(0,)]
    assert not list((archive.root / "blobs").glob("*/*"))


def test_a_story_of_a_known_item_is_adopted(archive: AdoptingArchive, tmp_path: Path) -> None:
    """A story that became an item of a highlight keeps its pk."""
    archive.answer(page(HIGHLIGHT, ITEM))
    put(tmp_path / "in", (f"natgeo/stories/{STAMP}_{ITEM}.jpg", f"instagram/natgeo/{ITEM}.jpg"))
    assert archive.counts(tmp_path / "in") == (1, 0, 1, 0)


def test_gallery_dl_needs_metadata_that_names_a_highlight(archive: AdoptingArchive, tmp_path: Path) -> None:
    """It keeps posts in the same folder. A preview is the picture of a video."""
    put(
        tmp_path / "in/instagram/natgeo",
        {
            f"{ITEM}.mp4": VIDEO,
            f"{ITEM}.mp4.json": gallery_dl_metadata(),
            f"{ITEM}p.jpg": PHOTO,
            f"{ITEM}p.jpg.json": gallery_dl_metadata(f"{ITEM}p"),
            f"{OTHER_ITEM}.jpg": PHOTO,
        },
    )
    assert archive.refusals(tmp_path / "in") == {f"{OTHER_ITEM}.jpg": UNKNOWN_ITEM}
    assert identities(archive) == [
        (ITEM, HIGHLIGHT, "thumbnail", "natgeo", "gallery-dl"),
        (ITEM, HIGHLIGHT, "video", "natgeo", "gallery-dl"),
    ]


def refused(archive: AdoptingArchive, folder: Path) -> list[str]:
    """Adopt a folder of numbered folders; return the reason in each, and check that nothing is stored."""
    report = archive.adopt(folder)
    reasons = {int(Path(one.path).relative_to(folder).parts[0]): one.reason for one in report.refused}
    assert not list((archive.root / "blobs").glob("*/*"))
    return [reason for _, reason in sorted(reasons.items())]


def test_fault_x21_what_gallery_dl_leaves_unclear_is_refused(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """With the reason; nothing is stored."""
    cases = (
        (f"{ITEM}.jpg", gallery_dl_metadata(type="post"), PHOTO, "a file of a post"),
        (f"{ITEM}.jpg", gallery_dl_metadata(OTHER_ITEM), PHOTO, "its name and its metadata name different"),
        (f"{ITEM}.jpg", gallery_dl_metadata(type="story"), PHOTO, "the archive does not know the item"),
        (f"{ITEM}.jpg", gallery_dl_metadata(post_id="../x"), PHOTO, "the archive does not know the item"),
        (f"{ITEM}.jpg", b'{"category": "instagram"', PHOTO, f"its metadata: {ITEM}.jpg.json is not JSON"),
        (f"{ITEM}.jpg", b"[" * 100_000, PHOTO, f"its metadata: {ITEM}.jpg.json is not JSON"),
        (f"{ITEM}.jpg", b'{"media_id": NaN}', PHOTO, f"its metadata: {ITEM}.jpg.json is not JSON"),
        (f"{OTHER_ITEM}_{ITEM}.jpg", gallery_dl_metadata(), PHOTO, "one of several files"),
        (f"{HIGHLIGHT}_cover.jpg", gallery_dl_metadata(f"{HIGHLIGHT}_cover"), PHOTO, "a cover"),
        (
            f"{ITEM}p.jpg",
            gallery_dl_metadata(f"{ITEM}p"),
            VIDEO,
            "a video, but its name or metadata says that it is a picture",
        ),
    )
    for number, (name, metadata, content, _) in enumerate(cases):
        put(tmp_path / f"in/{number}/natgeo", {name: content, f"{name}.json": metadata})
    for reason, (*_, expected) in zip(refused(archive, tmp_path / "in"), cases, strict=True):
        assert reason.startswith(expected)


def test_instaloader_names_the_item_in_its_metadata(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Nothing names the highlight's pk. The picture of a video is its poster."""
    put(
        tmp_path / "in/natgeo/17",
        {
            f"{STAMP}_UTC.jpg": PHOTO,
            f"{STAMP}_UTC.mp4": VIDEO,
            f"{STAMP}_UTC.json.xz": instaloader_metadata(is_video=True, owner={"username": "natgeo"}),
        },
    )
    assert archive.counts(tmp_path / "in") == (0, 2, 0, 0)
    assert identities(archive) == [
        (ITEM, None, "thumbnail", "natgeo", "instaloader"),
        (ITEM, None, "video", "natgeo", "instaloader"),
    ]


def test_instaloader_without_metadata_counts_if_the_second_is_unique(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """Within the account that the folder names, also by a former name, or --account; else it is refused."""
    later = NOW + timedelta(seconds=1)
    archive.answer(page(HIGHLIGHT, ITEM, video("1", taken_at=later), video("2", taken_at=later)))
    stamp = later.strftime("%Y-%m-%d_%H-%M-%S")
    folder = tmp_path / "in"
    put(folder / "natgeo/Gifts", {f"{STAMP}_UTC.mp4": VIDEO, f"{stamp}_UTC.jpg": PHOTO})
    put(folder / "somebody/Gifts", (f"{STAMP}_UTC.jpg",))
    put(folder / "natgeo/Gifts", ("2000-01-01_00-00-00_UTC.jpg", "2000-13-01_00-00-00_UTC.jpg"))
    report = archive.adopt(folder)
    assert archive.files() == [(ITEM, "video", "instaloader")]
    reasons = {str(Path(one.path).relative_to(folder)): one.reason for one in report.refused}
    assert reasons == {
        f"natgeo/Gifts/{stamp}_UTC.jpg": (
            "it has no metadata, and the archive has 2 items taken in that second"
        ),
        "natgeo/Gifts/2000-01-01_00-00-00_UTC.jpg": (
            "it has no metadata, and the archive has no item taken in that second"
        ),
        "natgeo/Gifts/2000-13-01_00-00-00_UTC.jpg": (
            "not a name that insta-dl or gallery-dl or instaloader gives to an item"
        ),
        f"somebody/Gifts/{STAMP}_UTC.jpg": (
            "it has no metadata, and no account in the archive has or had the name somebody"
        ),
    }
    assert archive.counts(folder / "somebody", account="@natgeo") == (1, 0, 0, 0)
    assert (ITEM, "thumbnail", "instaloader") in archive.files()


def test_fault_x21_what_instaloader_leaves_unclear_is_refused(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """With the reason; nothing is stored."""
    metadata = f"its metadata: {STAMP}_UTC.json.xz"
    cases = (
        ("jpg", instaloader_metadata(node_type="Post"), "a file of a post"),
        ("jpg", instaloader_metadata("x"), "its metadata names no item"),
        (
            "mp4",
            instaloader_metadata(is_video=False),
            "a video, but its name or metadata says that it is a picture",
        ),
        ("jpg", instaloader_metadata()[:-20], f"{metadata} ends too early"),
        ("jpg", b"this is not xz at all", f"{metadata} cannot be unpacked"),
        ("jpg", lzma.compress(bytes(17_000_000), preset=0), f"{metadata} unpacks to more than 16 MiB"),
        ("jpg", bytes(5_000_000), f"{metadata} is larger than 4 MiB"),
    )
    for number, (extension, packed, _) in enumerate(cases):
        content = VIDEO if extension == "mp4" else PHOTO
        stem = f"in/{number}/natgeo/Gifts/{STAMP}_UTC"
        put(tmp_path, {f"{stem}.{extension}": content, f"{stem}.json.xz": packed})
    for reason, (*_, expected) in zip(refused(archive, tmp_path / "in"), cases, strict=True):
        assert reason.startswith(expected)


def test_pictures_of_instaloader_that_are_no_items_are_refused(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """Covers, profile pictures, and parts of a post with several media."""
    names = [f"{STAMP}_UTC{suffix}.jpg" for suffix in ("_1", "_cover", "_profile_pic")]
    for number, name in enumerate(names):
        put(tmp_path / f"in/{number}/natgeo/Gifts", (name,))
    assert refused(archive, tmp_path / "in") == [
        "one of several files of a post",
        "a cover: a run downloads it, while Instagram shows it",
        "a profile picture: a run downloads it, while Instagram shows it",
    ]


def test_only_the_named_tool_is_recognized(archive: AdoptingArchive, tmp_path: Path) -> None:
    """With --from, names of the other tools are not names of an item."""
    put(tmp_path / "in", (insta_dl_name(),))
    refused = archive.refusals(tmp_path / "in", tool=ForeignTool.GALLERY_DL)
    assert list(refused.values()) == ["not a name that gallery-dl gives to an item"]
    assert archive.counts(tmp_path / "in", tool="insta-dl") == (0, 1, 0, 0)


def test_the_account_of_the_item_does_not_matter(archive: AdoptingArchive, tmp_path: Path) -> None:
    """The pk decides: a folder under another name, after a rename, holds the same items."""
    archive.answer(page(HIGHLIGHT, ITEM))
    put(tmp_path / "in", (insta_dl_name().replace("natgeo", "natgeo_old"),))
    assert archive.counts(tmp_path / "in") == (1, 0, 0, 0)
    assert archive.files() == [(ITEM, Role.THUMBNAIL, "insta-dl")]


def test_the_id_of_a_file_that_waited_is_not_given_again(archive: AdoptingArchive, tmp_path: Path) -> None:
    """On neither database: in the journal an id means one thing."""
    archive.counts(put(tmp_path / "in", (insta_dl_name(),)))
    ((first,),) = archive.rows("SELECT id FROM adopted")
    archive.answer(page(HIGHLIGHT, ITEM))
    archive.counts(put(tmp_path / "in", (of_nobody(),)))
    assert archive.rows("SELECT id FROM adopted") == [(int(str(first)) + 1,)]


NAME = "account0000"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ArchiveHarness]:
    """An empty archive, and an account with a highlight of four items."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 4)) as upstream:
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        create_for_run(harness.config)
        yield harness


def items(harness: ArchiveHarness) -> list[SandboxItem]:
    return list(harness.upstream.world.accounts[0].highlights[0].items)


def adopt(harness: ArchiveHarness, folder: Path, *, own_bytes: bool) -> int:
    """Adopt the items as insta-dl saves them: with Instagram's bytes, or other ones. Return how many."""
    files = saved_by_insta_dl(harness.upstream.world.accounts[0], own_bytes=own_bytes)
    with Archive(harness.config) as archive:
        report = archive.adopt(put(folder, files), clock=lambda: harness.now)
    assert report.refused == ()
    return report.adopted + report.waiting


def videos(harness: ArchiveHarness) -> int:
    return sum(item.video is not None for item in items(harness))


def test_a_night_downloads_only_what_was_not_adopted(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Posters, the cover and the avatar; then the archive is complete, and the journal has all of it.

    ``run --full`` downloads the adopted files too. The same bytes become this program's own file.
    """
    assert adopt(harness, tmp_path / "theirs", own_bytes=True) == 4
    summary = harness.night(NAME)
    assert (summary.exit_code, summary.files_new) == (0, videos(harness) + 2)
    assert summary.notes == ("adopted files that have found their items: 4",)
    assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
    assert harness.gaps() == []
    require_equal_after_rebuild(harness)
    quiet = harness.night(NAME)
    assert (quiet.exit_code, quiet.units, quiet.files_new, quiet.notes) == (0, 1, 0, ())
    assert harness.night(NAME, full=True).files_new == 0
    assert harness.one("SELECT count(*) FROM files WHERE source IS NOT NULL OR source_url = ''") == 0


def test_fault_j24_a_night_finds_places_for_what_is_no_longer_shown(tmp_path: Path) -> None:
    """They cost nothing, then and later, are no change, and come back with the journal.

    If the highlight is shown again, it appears, and nothing of it is downloaded that was adopted.
    """
    with FaultyStandIn(EditableWorld.generate(1, 2, 2)) as upstream:
        gone, _ = upstream.world.accounts[0].highlights
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        create_for_run(harness.config)
        adopt(harness, tmp_path / "theirs", own_bytes=True)
        upstream.world.remove_highlight(gone.pk)
        first = harness.night(NAME)
        assert (first.exit_code, first.units) == (0, 1 + 1 + 1)
        assert first.notes == (
            "adopted files that have found their items: 2",
            "adopted files of items that Instagram no longer shows: 2",
        )
        assert harness.rows("SELECT pk, title FROM highlights WHERE source IS NOT NULL") == [
            (gone.pk, "Trip")
        ]
        assert harness.one("SELECT count(*) FROM items WHERE source IS NOT NULL") == 2
        quiet = harness.night(NAME)
        assert (quiet.exit_code, quiet.units, quiet.files_new, quiet.notes) == (0, 1, 0, ())
        assert (harness.one("SELECT count(*) FROM changes"), harness.gaps()) == (0, [])
        require_equal_after_rebuild(harness)
        upstream.world.restore_highlight(gone.pk)
        back = harness.night(NAME)
        posters = sum(item.video is not None for item in gone.items)
        assert (back.exit_code, back.units, back.files_new) == (0, 2, posters + 1)
        assert harness.rows("SELECT subject_pk, field, new FROM changes") == [
            (gone.pk, "presence", "appeared")
        ]
        assert harness.one("SELECT count(*) FROM highlights WHERE completed_at IS NULL OR source <> ''") == 0
        assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
        require_equal_after_rebuild(harness)


@pytest.mark.whole
def test_a_full_run_keeps_both(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Other bytes are a second file, which is current; the next full run downloads nothing again."""
    adopt(harness, tmp_path / "theirs", own_bytes=False)
    harness.night(NAME)
    assert harness.night(NAME, full=True).files_new == 4
    assert harness.one("SELECT count(*) FROM files WHERE item_pk IS NOT NULL") == 4 + 4 + videos(harness)
    with Archive(harness.config) as archive:
        assert [file.source for item in archive.items() for file in item.held if file.source] == []
    assert harness.night(NAME, full=True).files_new == 0


@pytest.mark.whole
def test_a_repair_gets_the_download_and_the_adopted_bytes_stay_lost(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """A lost adopted file is fetched like any other."""
    adopt(harness, tmp_path / "theirs", own_bytes=False)
    harness.night(NAME)
    lost = str(harness.one("SELECT min(sha256) FROM files WHERE source IS NOT NULL"))
    (harness.root / "blobs" / lost[:2] / lost).unlink()
    with Archive(harness.config) as archive:
        report = archive.repair()
        summary = archive.run(report.targets, options=report.run_options, clock=lambda: harness.now)
    assert (summary.exit_code, summary.files_new) == (0, 1)
    assert harness.rows("SELECT sha256 FROM blobs WHERE lost_at IS NOT NULL") == [(lost,)]
    place = "(SELECT item_pk FROM files WHERE sha256 = ?)"
    role = "(SELECT role FROM files WHERE sha256 = ?)"
    rows = harness.rows(
        f"SELECT source FROM files WHERE item_pk = {place} AND role = {role} ORDER BY id", lost, lost
    )
    assert rows == [("insta-dl",), (None,)]
    assert harness.gaps() == []


@pytest.mark.whole
def test_reread_ends_the_waiting_too(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Items that come back from stored answers take their files."""
    harness.night(NAME)
    execute(
        harness,
        *(f"DELETE FROM {table}" for table in ("mentions", "links", "hashtags", "locations", "stickers")),
        *(f"DELETE FROM {table}" for table in ("reshares", "sponsors", "highlight_items")),
        "DELETE FROM files WHERE item_pk IS NOT NULL",
        "DELETE FROM items",
    )
    assert adopt(harness, tmp_path / "theirs", own_bytes=True) == 4
    harness.reread()
    assert harness.one("SELECT count(*) FROM adopted") == 0
    assert harness.one("SELECT count(*) FROM files WHERE source = 'insta-dl'") == 4
