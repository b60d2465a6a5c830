"""Items that Instagram no longer shows: what another tool knows of them is kept, and shown like the rest."""

from __future__ import annotations

import itertools
import json
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import rebuild_database
from archiver.archive.subject_details import HighlightDetails
from archiver.catalog import Catalog, record
from archiver.catalog.merge import merge
from archiver.catalog.query import page_contents
from archiver.catalog.query.adoptions import OTHER_KIND, SAME_SECOND, UNKNOWN_ITEM
from archiver.errors import TargetError
from archiver.model.target import parse_target
from archiver.work import Work
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
from tests.support.catalog_samples import FACTS, LATER, LATEST, NATGEO, highlight, page, tray, video
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY, drop_everything
from tests.support.rebuilt_archive import lose_file, rows_of

TAKEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
NAME = f"{FOLDER}/{TAKEN:%Y-%m-%d_%H-%M-%S}_{ITEM}.jpg"
"""As insta-dl names a picture of a highlight that Instagram no longer shows."""
_FACTS = "SELECT pk, user_pk, taken_at, media_type, source FROM items WHERE source IS NOT NULL ORDER BY pk"
_PLACES = (
    "SELECT m.item_pk, h.pk, h.title, m.source, h.source FROM highlight_items m"
    " JOIN highlights h ON h.pk = m.highlight_pk WHERE m.source IS NOT NULL ORDER BY m.item_pk, h.pk"
)


@pytest.fixture
def archive(tmp_path: Path, database: str | Path) -> AdoptingArchive:
    """An archive that knows the account natgeo, by another highlight."""
    archive = AdoptingArchive(tmp_path / "archive", database)
    archive.answer(page("5", "6"))
    return archive


def gallery_dl(*, preview: bool = False, **fields: object) -> dict[str, bytes]:
    """Return a picture with its metadata, as gallery-dl writes them."""
    item = f"{ITEM}p" if preview else ITEM
    metadata = gallery_dl_metadata(
        item, **{"owner_id": NATGEO.pk, "date": f"{TAKEN:%Y-%m-%d %H:%M:%S}"} | fields
    )
    return {f"natgeo/{item}.jpg": PHOTO, f"natgeo/{item}.jpg.json": metadata}


def instaloader(folder: str = "natgeo/Gifts", **fields: object) -> dict[str, bytes]:
    """Return a picture with its metadata, as instaloader writes them."""
    stem = f"{folder}/{TAKEN:%Y-%m-%d_%H-%M-%S}_UTC"
    known: dict[str, Any] = {"taken_at_timestamp": int(TAKEN.timestamp())}
    return {f"{stem}.jpg": PHOTO, f"{stem}.json.xz": instaloader_metadata(**known | fields)}


def moment(archive: AdoptingArchive, at: datetime) -> object:
    """Return a time as the archive's database gives it."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z" if isinstance(archive.database, Path) else at


def changes(archive: AdoptingArchive) -> list[tuple[object, ...]]:
    return archive.rows("SELECT subject_pk, field, old, new FROM changes ORDER BY id")


@SQLITE_EVERYDAY
def test_fault_j3_it_is_shown_like_any_item(archive: AdoptingArchive, tmp_path: Path) -> None:
    """By search, in Python, on pages, in folder, bag and WACZ: with its tool, and not as news."""
    assert archive.counts(put(tmp_path / "in", (NAME,))) == (1, 0, 0, 0)
    assert [row[2:] for row in archive.rows(_PLACES)] == [("Gift Guide", "insta-dl", "insta-dl")]
    with Archive(archive.config) as opened:
        (hit,) = opened.search("gift guide", kinds=("highlight",), highlights=(HIGHLIGHT,))
        (item,) = opened.items(highlights=HIGHLIGHT)
        opened.export_site(tmp_path / "site")
        opened.export_folder(tmp_path / "folder", sidecars=True)
        opened.export_bagit(tmp_path / "bag")
        opened.export_wacz(tmp_path / "natgeo.wacz")
        assert opened.gaps(accounts="natgeo") is not None
    assert (hit.source, hit.gone, hit.title) == ("insta-dl", True, "Gift Guide")
    assert (item.pk, item.user_pk, item.taken_at, item.source) == (ITEM, NATGEO.pk, TAKEN, "insta-dl")
    (of_highlight,) = (tmp_path / "site/accounts").glob(f"*/{HIGHLIGHT}.html")
    assert "Only insta-dl has seen this highlight; adopted on" in of_highlight.read_text()
    digest = item.held[0].blob.sha256
    assert [path.read_bytes() for path in (tmp_path / "site").rglob(f"{digest}.*")] == [PHOTO]
    for exported in (tmp_path / "folder", tmp_path / "bag"):
        (picture,) = (path for path in exported.rglob("*.jpg") if path.read_bytes() == PHOTO)
        assert picture.stat().st_mtime == TAKEN.timestamp()
    with zipfile.ZipFile(tmp_path / "natgeo.wacz") as wacz:
        assert any(PHOTO in wacz.read(name) for name in wacz.namelist())
    assert (changes(archive), archive.rows("SELECT * FROM gone_upstream")) == ([], [])
    with Catalog.open(archive.database, write=False) as catalog:
        assert ITEM not in {place.pk for place in catalog.read(page_contents.new_items, 10)}


_TREES: dict[str, Callable[[], dict[str, bytes]]] = {
    "insta-dl": lambda: {NAME: PHOTO},
    "gallery-dl": gallery_dl,
    "instaloader": instaloader,
}


@SQLITE_EVERYDAY
@pytest.mark.parametrize("tool", _TREES)
def test_fault_j20_time_and_title_come_from_the_tool(
    archive: AdoptingArchive, tmp_path: Path, tool: str
) -> None:
    """Of name, folder or metadata. A highlight whose pk no tool names gets one that is no pk of Instagram."""
    assert archive.counts(put(tmp_path / "in", _TREES[tool]())) == (1, 0, 0, 0)
    assert archive.rows(_FACTS) == [(ITEM, NATGEO.pk, moment(archive, TAKEN), 1, tool)]
    ((_, pk, title, *sources),) = archive.rows(_PLACES)
    assert (title, sources) == ("Gifts" if tool == "instaloader" else "Gift Guide", [tool, tool])
    assert str(pk).startswith(f"adopted-{NATGEO.pk}-") if tool == "instaloader" else pk == HIGHLIGHT


@SQLITE_EVERYDAY
def test_fault_j20_a_highlight_whose_pk_no_tool_names_is_shown_and_never_asked_for(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """By the pk that other commands print. The API does not know it, so a run refuses it."""
    archive.adopt(put(tmp_path / "in", instaloader()))
    ((_, pk, *_rest),) = archive.rows(_PLACES)
    with Archive(archive.config) as opened:
        assert opened.highlight(str(pk)).pk == pk
        for name in (str(pk), f"highlight:{pk}"):
            details = opened.show(name)
            assert isinstance(details, HighlightDetails)
            assert details.summary.highlight.pk == pk
            with pytest.raises(TargetError):
                parse_target(name)


@SQLITE_EVERYDAY
def test_fault_j21_what_has_no_account_keeps_its_time_and_title(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """It waits under its title; so does an item of which nothing says in which highlight it is."""
    tree = instaloader("somebody/Trip", owner={"username": "somebody"}) | {
        f"natgeo/{STAMP}_UTC.jpg": PHOTO,  # a story, as instaloader saves it
        f"natgeo/{STAMP}_UTC.json.xz": instaloader_metadata(OTHER_ITEM),
    }
    assert archive.counts(put(tmp_path / "in", tree)) == (0, 2, 0, 0)
    found = [(file.username, file.user_pk, file.title, file.taken_at) for file in archive.waiting()]
    assert found == [
        ("natgeo", NATGEO.pk, None, NOW.replace(microsecond=0)),
        ("somebody", None, "Trip", TAKEN),
    ]
    with Archive(archive.config) as opened:
        opened.export_folder(tmp_path / "folder")
    (picture,) = (tmp_path / "folder/adopted/somebody/Trip").iterdir()
    assert picture.stat().st_mtime == TAKEN.timestamp()


@SQLITE_EVERYDAY
def test_fault_j22_metadata_that_changes_meanwhile_is_that_of_its_item(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """What is stored is what was read to find the item, whatever another program puts in its place then."""
    long = {"username": "somebody", "caption": "x" * 100_000}
    versions = {
        f"p{number}.jpg.json": [
            gallery_dl_metadata(f"{number}{owner}", owner_id=owner, **long) for owner in ("1", "2")
        ]
        for number in range(100, 140)
    }
    folder = put(tmp_path / "in", {name: first for name, (first, _) in versions.items()})
    put(folder, [name.removesuffix(".json") for name in versions])
    spares = [put(tmp_path / f"{at}", {name: both[at] for name, both in versions.items()}) for at in (0, 1)]
    has_ended = threading.Event()

    def swap() -> None:
        for at in itertools.cycle((1, 0)):
            for name in versions:
                (tmp_path / "link").hardlink_to(spares[at] / name)
                (tmp_path / "link").replace(folder / name)
            if has_ended.is_set():
                return

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        assert archive.adopt(folder).metadata == len(versions)
    finally:
        has_ended.set()
        swapping.join()
    stored = archive.rows("SELECT item_pk, user_pk, sha256 FROM adopted WHERE role = 'metadata'")
    assert len(stored) == len(versions)
    for item_pk, user_pk, digest in stored:
        said = json.loads((archive.root / "blobs" / str(digest)[:2] / str(digest)).read_bytes())
        assert (said["media_id"], said["owner_id"]) == (item_pk, user_pk)


@SQLITE_EVERYDAY
def test_fault_j22_metadata_is_kept_whole(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Its bytes are a blob, with the name of the file, once; no page shows it; ``forget`` deletes it."""
    folder = put(tmp_path / "in", gallery_dl(caption="only here") | instaloader(folder="natgeo/Gifts"))
    report = archive.adopt(folder)
    assert (report.adopted, report.known, report.metadata) == (1, 1, 2)
    rows = archive.rows("SELECT item_pk, role, file_name, source, sha256 FROM adopted ORDER BY id")
    assert [row[:4] for row in rows] == [
        (ITEM, "metadata", f"{ITEM}.jpg.json", "gallery-dl"),
        (ITEM, "metadata", "2024-05-06_07-08-09_UTC.json.xz", "instaloader"),
    ]
    blob = archive.root / "blobs" / str(rows[0][4])[:2] / str(rows[0][4])
    assert json.loads(blob.read_bytes())["caption"] == "only here"
    assert (archive.adopt(folder).metadata, archive.waiting()) == (0, [])
    with Archive(archive.config) as opened:
        assert opened.status().waiting == 0
        assert not opened.verify(read_data=True).is_damaged
        opened.export_site(tmp_path / "out/site")
        opened.export_folder(tmp_path / "out/folder", sidecars=True)
        exported = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert not any(b"only here" in content for content in exported)
        opened.forget("natgeo")
    assert not blob.exists()
    assert (
        archive.rows("SELECT count(*) FROM adopted") == archive.rows("SELECT count(*) FROM items") == [(0,)]
    )


@SQLITE_EVERYDAY
def test_fault_j23_metadata_can_name_an_account_that_no_run_has_visited(
    database: str | Path, tmp_path: Path
) -> None:
    """It has a former name, but none by which a run would find it: only the API says who has a name now."""
    archive = AdoptingArchive(tmp_path / "archive", database)
    assert archive.counts(put(tmp_path / "in", gallery_dl() | {of_nobody(): PHOTO})) == (1, 1, 0, 0)
    assert archive.rows("SELECT pk, username, listed_at FROM users") == [(NATGEO.pk, None, None)]
    with Archive(archive.config) as opened:
        assert [account.last_username for account in opened.accounts()] == ["natgeo"]
        (hit,) = opened.search("natgeo")
        assert (hit.kind, hit.subject_pk) == ("account", NATGEO.pk)
    other = gallery_dl_metadata(OTHER_ITEM, owner_id="4242", post_id="77")
    tree = {f"natgeo/{OTHER_ITEM}.jpg": PHOTO, f"natgeo/{OTHER_ITEM}.jpg.json": other}
    assert archive.counts(put(tmp_path / "forged", tree)) == (1, 0, 0, 0)
    assert archive.rows("SELECT user_pk, username FROM usernames") == [(NATGEO.pk, "natgeo")]


@SQLITE_EVERYDAY
def test_fault_j24_what_waited_finds_its_place_once_the_account_is_known(
    database: str | Path, tmp_path: Path
) -> None:
    """At the end of a run, with the title and the time of the adoption before it."""
    archive = AdoptingArchive(tmp_path / "archive", database)
    video_name = NAME.replace(".jpg", ".mp4")
    assert archive.counts(put(tmp_path / "in", {NAME: PHOTO, video_name: VIDEO})) == (0, 2, 0, 0)
    with Catalog.open(archive.database, write=True) as catalog:
        run_id = catalog.write(record.start_run, "run", NOW)
        assert catalog.write(record.settle_all_waiting, run_id, NOW) == 0
        catalog.write(record.record_tray, run_id, NATGEO.pk, tray("5"), NOW)
        assert catalog.write(record.settle_all_waiting, run_id, NOW) == 2
        assert catalog.write(record.settle_all_waiting, run_id, NOW) == 0
    assert archive.waiting() == []
    assert archive.rows(_FACTS) == [(ITEM, NATGEO.pk, moment(archive, TAKEN), 2, "insta-dl")]
    assert archive.current(ITEM) == [("thumbnail", len(PHOTO)), ("video", len(VIDEO))]


@SQLITE_EVERYDAY
@pytest.mark.parametrize("is_placed", [False, True], ids=["waiting", "placed"])
def test_fault_j25_adopting_again_completes_what_was_adopted_before(
    archive: AdoptingArchive, tmp_path: Path, is_placed: bool
) -> None:
    """Rows of an older version lack time, title, owner and metadata; what has a place gets what it lacks."""
    folder = put(tmp_path / "in", gallery_dl())
    archive.adopt(folder)
    with Catalog.open(archive.database, write=True) as catalog:
        for table in ("files", "highlight_items", "items", "highlights", "adopted"):
            where = {"files": "item_pk", "items": "pk", "highlights": "pk"}.get(table, "item_pk")
            of = HIGHLIGHT if table == "highlights" else ITEM
            sql = f"DELETE FROM {table} WHERE {where} = '{of}'"
            catalog.write(_execute, sql)
        catalog.write(_execute, _WAITS)
        if is_placed:  # as the next run does
            assert catalog.write(record.settle_all_waiting, 1, NOW) == 1
    assert [(file.title, file.taken_at) for file in archive.waiting()] == [(None, None)] * (not is_placed)
    report = archive.adopt(folder)
    assert (report.adopted, report.known, report.metadata) == (not is_placed, is_placed, 1)
    assert archive.rows(_PLACES) == [(ITEM, HIGHLIGHT, "Gift Guide", "gallery-dl", "gallery-dl")]
    assert archive.rows(_FACTS) == [(ITEM, NATGEO.pk, moment(archive, TAKEN), 1, "gallery-dl")]
    assert archive.waiting() == []
    before = archive.rows("SELECT count(*) FROM runs")
    assert archive.counts(folder) == (0, 0, 1, 0)
    assert archive.rows("SELECT count(*) FROM runs") == before


@SQLITE_EVERYDAY
def test_a_tool_that_names_the_highlight_adds_it(archive: AdoptingArchive, tmp_path: Path) -> None:
    """The item leaves the highlight of which only the title was known; adopted again, nothing changes."""
    archive.adopt(put(tmp_path / "a", instaloader()))
    assert archive.counts(put(tmp_path / "b", (NAME,))) == (0, 0, 1, 0)
    assert archive.rows(_PLACES) == [(ITEM, HIGHLIGHT, "Gift Guide", "insta-dl", "insta-dl")]
    before = archive.rows("SELECT count(*) FROM runs")
    assert archive.counts(tmp_path / "a", tmp_path / "b") == (0, 0, 2, 0)
    assert archive.rows("SELECT count(*) FROM runs") == before
    assert archive.rows("SELECT count(*) FROM highlights WHERE pk LIKE 'adopted-%'") == [(0,)]


def _execute(connection: Connection, sql: str) -> int:
    return connection.exec_driver_sql(sql).rowcount


_WAITS = (
    "INSERT INTO adopted (item_pk, highlight_pk, role, sha256, username, source, adopted_at)"
    f" SELECT '{ITEM}', '{HIGHLIGHT}', 'thumbnail', sha256, 'natgeo', 'gallery-dl', stored_at FROM blobs"
    " WHERE mime = 'image/jpeg'"
)


@SQLITE_EVERYDAY
@pytest.mark.parametrize("tool", _TREES)
def test_fault_j26_if_it_is_shown_again_the_answers_values_win(
    archive: AdoptingArchive, tmp_path: Path, tool: str
) -> None:
    """The file keeps its tool. No title, owner or return is reported as a change; nothing is downloaded."""
    archive.adopt(put(tmp_path / "in", _TREES[tool]()))
    with Catalog.open(archive.database, write=True) as catalog:
        run_id = catalog.write(record.start_run, "run", LATER)
        catalog.write(record.record_tray, run_id, NATGEO.pk, tray("5"), NOW)
        assert changes(archive) == []
        shown = tray("5", highlight(HIGHLIGHT, "Gifts, by Instagram"))
        catalog.write(record.record_tray, run_id, NATGEO.pk, shown, LATER)
    shown_item = video(ITEM, media_type=1, taken_at=LATER)
    archive.answer(page(HIGHLIGHT, shown_item, title="Gifts, by Instagram"), LATEST)
    assert changes(archive) == [(HIGHLIGHT, "presence", None, "appeared")]
    assert (archive.rows(_FACTS), archive.rows(_PLACES)) == ([], [])
    assert archive.rows("SELECT pk, title, source, gone_at FROM highlights ORDER BY pk") == [
        (HIGHLIGHT, "Gifts, by Instagram", None, None),
        ("5", "Gift Guide", None, None),
    ]
    assert archive.rows(f"SELECT taken_at, code, first_seen_at FROM items WHERE pk = '{ITEM}'") == [
        (moment(archive, LATER), f"C{ITEM}", moment(archive, LATEST))
    ]
    assert archive.files() == [(ITEM, "thumbnail", tool)]
    with Archive(archive.config) as opened:
        (item,) = opened.items(highlights=HIGHLIGHT)
        assert [file.source for file in item.held] == [tool]


@SQLITE_EVERYDAY
def test_fault_j26_reread_can_show_it_too(archive: AdoptingArchive, tmp_path: Path) -> None:
    """A newer version reads what an older one could not: the item is not gone since its adoption."""
    archive.adopt(put(tmp_path / "in", {NAME: PHOTO}))
    with (
        Catalog.create(tmp_path / "replayed.db", ARCHIVE_ID, NOW) as replayed,
        Catalog.open(archive.database, write=True) as catalog,
    ):
        run_id = replayed.write(record.start_run, "run", LATER)
        replayed.write(
            record.record_page, run_id, None, page(HIGHLIGHT, video(ITEM, media_type=1)), FACTS, LATER
        )
        merge(replayed, catalog, lambda: None)
    for table, key in (("highlights", f"pk = '{HIGHLIGHT}'"), ("highlight_items", f"item_pk = '{ITEM}'")):
        assert archive.rows(f"SELECT source, gone_at FROM {table} WHERE {key}") == [(None, None)]
    assert archive.rows("SELECT subject_pk FROM gone_upstream") == []


@SQLITE_EVERYDAY
def test_fault_x22_an_answer_can_show_that_a_file_is_not_the_items(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """It waits from then on, with the reason, so that the run downloads the right one."""
    archive.adopt(put(tmp_path / "in", {NAME: VIDEO}))
    assert archive.files() == [(ITEM, "video", "insta-dl")]
    archive.answer(page(HIGHLIGHT, video(ITEM, media_type=1)))
    assert ([file.reason for file in archive.waiting()], archive.files()) == ([OTHER_KIND], [])


@SQLITE_EVERYDAY
def test_fault_x21_metadata_can_say_anything(archive: AdoptingArchive, tmp_path: Path) -> None:
    """Values of the wrong type or size count as unknown; texts are cut and printable; nothing is raised."""
    deep: object = "x"
    for _ in range(900):
        deep = [deep]
    strange: dict[str, dict[str, object]] = {
        "1": {"media_id": deep},
        "2": {"media_id": 1 << 80},
        "3": {"media_id": True},
        "4": {"media_id": ITEM, "owner_id": deep, "date": deep, "highlight_title": deep, "username": deep},
        "5": {
            "media_id": ITEM,
            "owner_id": -1,
            "date": "9999-12-31T23:59:59-23:59",
            "highlight_title": "T" * 9999,
        },
        "6": {"media_id": ITEM, "owner_id": "../../etc", "date": "0001-01-01 00:00:00", "username": "../x\0"},
        "7": {"media_id": ITEM, "owner_id": 1.5, "date": f"{NOW + timedelta(days=9)}", "post_id": "../7"},
        "8": {"media_id": OTHER_ITEM, "owner_id": "9" * 41, "post_id": "8", "highlight_title": "\0\u202e"},
    }
    for name, fields in strange.items():
        content = json.dumps(json.loads(gallery_dl_metadata()) | fields).encode()
        put(tmp_path / "in" / name, {"a.jpg": PHOTO, "a.jpg.json": content})
    times = {"10": 1 << 62, "11": -(1 << 62), "12": 1e308, "13": "now", "14": True}
    for name, at in times.items():
        put(tmp_path / "in" / name, instaloader(taken_at_timestamp=at, id=f"77{name}", owner=name))
    report = archive.adopt(tmp_path / "in")
    assert {one.reason for one in report.refused} <= {"its metadata names no item", UNKNOWN_ITEM, SAME_SECOND}
    assert report.adopted + report.waiting + report.known + len(report.refused) == len(strange) + len(times)
    titles = archive.rows("SELECT max(length(title)) FROM highlights")
    assert titles == [(1000,)]
    assert (
        archive.rows("SELECT taken_at FROM items WHERE source = 'gallery-dl' AND taken_at IS NOT NULL") == []
    )
    with Archive(archive.config) as opened:
        opened.export_site(tmp_path / "site")
        opened.export_folder(tmp_path / "folder")


@SQLITE_EVERYDAY
def test_the_journal_has_all_of_it(archive: AdoptingArchive, tmp_path: Path) -> None:
    """A database that is rebuilt has the same rows: made, filled, shown again and removed."""
    archive.adopt(put(tmp_path / "in", gallery_dl() | instaloader(id=OTHER_ITEM)))
    archive.adopt(put(tmp_path / "more", {insta_dl_name("77"): VIDEO, of_nobody("78"): PHOTO}))
    archive.answer(page("9", OTHER_ITEM), LATER)
    archive.adopt(put(tmp_path / "again", {insta_dl_name("79"): PHOTO}))
    before = rows_of(archive.database)
    if isinstance(archive.database, Path):
        lose_file(archive.root)
    else:
        drop_everything(archive.database)
    rebuild_database(archive.config, Work())
    assert rows_of(archive.database) == before


@SQLITE_EVERYDAY
def test_fault_e45_a_tool_alone_does_not_keep_an_item_from_being_forgotten(
    archive: AdoptingArchive, tmp_path: Path
) -> None:
    """The answers show the item of natgeo alone; a tool has put it into a highlight of somebody else. What no
    answer has shown stays with the account that the tool names.
    """
    theirs: dict[str, Any] = {"owner_id": "555", "username": "somebody", "post_id": "17999"}
    archive.adopt(put(tmp_path / "in", gallery_dl(**theirs)))
    other = {name.replace(ITEM, OTHER_ITEM): content for name, content in gallery_dl(**theirs).items()}
    metadata = gallery_dl_metadata(OTHER_ITEM, **{"date": f"{TAKEN:%Y-%m-%d %H:%M:%S}"} | theirs)
    archive.adopt(put(tmp_path / "other", other | {f"natgeo/{OTHER_ITEM}.jpg.json": metadata}))
    assert [row[:2] for row in archive.rows(_PLACES)] == [(ITEM, "17999"), (OTHER_ITEM, "17999")]
    archive.answer(page("5", ITEM), LATER)
    with Archive(archive.config) as opened:
        removed = opened.forget("natgeo")
    assert removed.left.shared_items == 0
    assert archive.rows("SELECT pk, user_pk FROM items") == [(OTHER_ITEM, "555")]
    assert archive.rows("SELECT item_pk FROM files") == [(OTHER_ITEM,)]
