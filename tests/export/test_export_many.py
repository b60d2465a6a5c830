"""Many files at once: what is linked in batches stands as what is copied one by one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import DEFAULT_TEMPLATE
from archiver.export.link_methods import LinkMethod
from archiver.model.identity import Digest, Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import video
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness, tree

_ITEMS = 12


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """One highlight of photos, two of each day."""
    return ExportHarness.copied(tmp_path, archive_copies, "photos", _show_photos)


def _show_photos(harness: ExportHarness) -> None:
    items = [video(str(10 + n), media_type=1, taken_at=NOW - timedelta(days=n // 2)) for n in range(_ITEMS)]
    harness.show({"1": "Gift"}, {"1": tuple(items)})
    harness.keep_all((item.pk, Role.THUMBNAIL, f"photo {item.pk}".encode()) for item in items)


def both(
    harness: ExportHarness, before: Callable[[Path], None], template: str = DEFAULT_TEMPLATE
) -> tuple[ExportStats, ExportStats]:
    """The export by links and by copies into directories that ``before`` has seen: the same names, bytes and
    list, but for how and when.
    """
    told, found = [], []
    for way in (LinkMethod.COPY, LinkMethod.HARDLINK):  # in this order: a link dates the blob
        out = harness.home / way
        out.mkdir()
        before(out)
        told.append(harness.export(template, to=out, way=way))
        assert not list((out / ".archiver-export" / "tmp").iterdir())
        with closing(sqlite3.connect(out / ".archiver-export" / "files.db")) as rows:
            listed = rows.execute(
                "SELECT id, path, key, wished, sha256, size, at_ns, mtime_ns, before, old FROM "
                "files ORDER BY id"
            ).fetchall()
        dates = {path: (out / path).lstat().st_mtime_ns for _, path, *_ in listed if (out / path).exists()}
        found.append((tree(out), listed, dates))
    assert found[0] == found[1]
    copied, linked = told
    for tally in told:
        assert (tally.files, tally.new, tally.bytes) == (copied.files, copied.new, copied.bytes)
        assert (tally.failed, tally.avoided, tally.failures) == (
            copied.failed,
            copied.avoided,
            copied.failures,
        )
    assert (copied.methods["copy"], linked.methods["hardlink"]) == (copied.new, copied.new)
    return copied, linked


def test_links_stand_as_copies_do(harness: ExportHarness) -> None:
    """All of them new, dated and listed; a rerun finds each in its place."""
    _, linked = both(harness, lambda out: None)
    assert (linked.files, linked.new) == (_ITEMS, _ITEMS)
    again = harness.export(to=harness.home / LinkMethod.HARDLINK, way=LinkMethod.HARDLINK)
    assert (again.files, again.new, again.moved, again.replaced, again.others) == (_ITEMS, 0, 0, 0, 0)


def test_links_that_want_one_name_get_marks(harness: ExportHarness) -> None:
    """Of a template that names twelve files alike, and of one that names each two alike."""
    for n, template in enumerate(("{username}/{title}.{ext}", "{username}/{date}.{ext}")):
        some = ExportHarness(harness.home / str(n), harness.database, harness.run_id)
        shutil.copytree(harness.root, some.root)
        copied, _ = both(some, lambda out: None, template)
        assert copied.files == _ITEMS


def test_links_leave_foreign_files_alone(harness: ExportHarness) -> None:
    """Where a link belongs stands somebody's file, or a file that has these very bytes; where its directory
    belongs, another one.
    """
    harness.export(to=harness.home / "model", way=LinkMethod.COPY)
    names = sorted(name for name in tree(harness.home / "model") if name.startswith("natgeo"))

    def before(out: Path) -> None:
        (out / names[0]).parent.mkdir(parents=True)
        (out / names[3]).write_bytes(b"mine")
        (out / names[7]).symlink_to("elsewhere")

    copied, _ = both(harness, before)
    assert copied.avoided == 2
    assert (harness.home / "hardlink" / names[3]).read_bytes() == b"mine"


@pytest.mark.parametrize("template", [DEFAULT_TEMPLATE, "{username}/{date}.{ext}"])
def test_a_blob_that_is_not_whole_is_told_amid_links(harness: ExportHarness, template: str) -> None:
    """One is missing, one too short; the others stand, and none has a name that another was to have, which
    would hang on where an export was cut short.
    """
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows:
        digests = [Digest(sha256) for (sha256,) in rows.execute("SELECT sha256 FROM files ORDER BY id")]
    harness.blob(digests[5]).unlink()
    short = harness.blob(digests[8])
    short.chmod(0o644)
    short.write_bytes(b"ph")
    copied, _ = both(harness, lambda out: None, template)
    assert (copied.files, copied.failed) == (_ITEMS - 2, 2)


def test_an_export_goes_on_by_links_where_it_was_cut_short(harness: ExportHarness) -> None:
    """Rows of files that never came to stand, and files that nobody has rows of: each comes once."""
    out = harness.home / "cut"
    harness.export(to=out, way=LinkMethod.HARDLINK)
    whole = tree(out)
    for name in sorted(whole)[2:9]:
        (out / name).unlink()
    with closing(sqlite3.connect(out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("DELETE FROM files WHERE id IN (SELECT id FROM files ORDER BY path DESC LIMIT 6)")
    harness.export(to=out, way=LinkMethod.HARDLINK)
    assert tree(out) == whole


def test_an_export_that_was_cut_short_beside_foreign_things_leaves_them(harness: ExportHarness) -> None:
    """It was killed when files stood beside a link, a pipe and a directory that have their names, and its
    list did not say so yet.
    """
    harness.export(to=harness.home / "model", way=LinkMethod.COPY)
    wished = sorted(name for name in tree(harness.home / "model") if name.startswith("natgeo"))[:3]
    places = [harness.out / name for name in wished]
    places[0].parent.mkdir(parents=True)
    places[0].symlink_to("elsewhere")
    os.mkfifo(places[1])
    places[2].mkdir()
    harness.export()
    whole = tree(harness.out)
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute(
            "UPDATE files SET old = wished, how = NULL, mtime_ns = NULL, before = NULL WHERE wished != ''"
        )
        assert rows.execute("SELECT count(*) FROM files WHERE old IS NOT NULL").fetchone() == (3,)
    tally = harness.export()
    assert (tally.files, tally.failed) == (_ITEMS, 0)
    assert tree(harness.out) == whole
    assert (places[0].is_symlink(), places[1].is_fifo(), places[2].is_dir()) == (True, True, True)


def test_links_go_where_they_belong_though_many_directories_were_opened_in_vain(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Between two highlights of one title are others whose directories, far down, somebody's file has the
    place of.
    """
    harness = ExportHarness.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    titles = ["Gift", "a", "b", "c", "d", "e", "Gift"]
    inside = {str(n): tuple(video(f"{n}{m}", media_type=1) for m in range(6)) for n in range(len(titles))}
    harness.show({str(n): title for n, title in enumerate(titles)}, inside)
    harness.keep_all(
        (item.pk, Role.THUMBNAIL, f"photo {item.pk}".encode()) for items in inside.values() for item in items
    )
    deep = "/".join("abcdefghijkl")
    for title in titles[1:-1]:
        (harness.out / title / deep).parent.mkdir(parents=True)
        (harness.out / title / deep).touch()
    tally = harness.export(f"{{title}}/{deep}/{{item_pk}}.{{ext}}", way=LinkMethod.HARDLINK)
    assert (tally.files, tally.failed) == (12, 30)
    found = sorted(name for name, content in tree(harness.out).items() if content)
    assert found == sorted(f"Gift/{deep}/{n}{m}.jpg" for n in (0, 6) for m in range(6))
