"""``--check``: what is wrong with an export is found and named, and nothing is changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.archive import Archive
from archiver.errors import ArchiveLocked, NoArchive, UsageError
from archiver.export.export_entry import ExportStats
from archiver.export.link_methods import LinkMethod
from archiver.export.open_export import open_export
from archiver.model.identity import Role
from tests.support.catalog_samples import LATER
from tests.support.command_line import CommandLineUser
from tests.support.databases import SQLITE_EVERYDAY
from tests.support.export_archive import ExportHarness, tree

_STAGED = ".archiver-export/tmp/0.part"
FORMS = ["folder", "site", "bagit"]
_BLOB_DAMAGE = "its blob is damaged: archiver verify --read-data --repair, then export again"
_COPY_DAMAGE = "damaged: remove it, and export again"
_CHANGED = "changed since it was exported: move it elsewhere, and export again"
_UNKNOWN = "the archive has no such file: export with --prune, or remove it"


@pytest.fixture
def person(harness: ExportHarness) -> CommandLineUser:
    """Whose archive it is."""
    return CommandLineUser(harness.home, None, harness.environ).in_process


def _check(harness: ExportHarness, form: str = "folder") -> ExportStats:
    """Check an export, of which nothing may change."""
    before = _state(harness.out)
    with Archive(harness.config) as archive:
        stats = archive.check_export(harness.out, form=form)
    assert _state(harness.out) == before
    return stats


def _state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time and bytes of everything in an export, with its own files."""
    return {
        str(path): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (root, *sorted(root.rglob("*")))
    }


def _faults(stats: ExportStats) -> dict[str, str]:
    return {failure.path: failure.why for failure in stats.failures}


def _change_unseen(path: Path, content: bytes) -> None:
    """Write other bytes under the same time."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _lose_blobs(harness: ExportHarness) -> None:
    """Record all blobs as lost."""
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("UPDATE blobs SET lost_at = stored_at")


@SQLITE_EVERYDAY
@pytest.mark.parametrize("form", FORMS)
def test_a_right_export_has_no_fault(tmp_path: Path, database: str | Path, form: str) -> None:
    """Every file is read, whatever it was made with; also after a cover changed in the archive."""
    harness = ExportHarness.make(tmp_path, database)
    harness.fill()
    for link in (LinkMethod.COPY, LinkMethod.HARDLINK):
        harness.export_as(form, link)
        stats = _check(harness, form)
        files = tree(harness.out)
        assert (stats.files, stats.failed, stats.others) == (len(files), 0, 0)
        assert stats.bytes == sum(map(len, files.values()))
        shutil.rmtree(harness.out)
    harness.export_as(form, LinkMethod.COPY)
    harness.keep("1", Role.COVER, b"another cover", LATER)
    assert _check(harness, form).failed == 0


def test_fault_e34_every_damage_of_an_export_is_found(harness: ExportHarness) -> None:
    """A file that is missing, damaged, changed, or no file, each with what to do; then all is right."""
    harness.export_as("folder", LinkMethod.COPY)
    files = sorted(path for path in harness.out.rglob("*.*") if path.suffix in (".jpg", ".mp4"))
    missing, rotten, cut, changed, directory, *right = files
    missing.unlink()
    _change_unseen(rotten, rotten.read_bytes()[::-1])
    _change_unseen(cut, cut.read_bytes()[:-1])
    changed.write_bytes(b"painted over")
    directory.unlink()
    directory.mkdir()
    stats = _check(harness)
    assert stats.files == len(right)
    assert _faults(stats) == {
        str(path.relative_to(harness.out)): why
        for path, why in {
            missing: "missing: export again",
            rotten: _COPY_DAMAGE,
            cut: _COPY_DAMAGE,
            changed: _CHANGED,
            directory: "not a file: move it elsewhere, and export again",
        }.items()
    }
    for path in (rotten, cut, changed):
        path.unlink()
    directory.rmdir()
    harness.export_as("folder", LinkMethod.COPY)
    assert _check(harness).failed == 0


def test_fault_e34_a_file_whose_row_was_deleted_from_the_list_counts_as_yours(harness: ExportHarness) -> None:
    """It is not checked; the next export lists it again, and leaves it if its bytes are others by then."""
    harness.export_as("folder", LinkMethod.COPY)
    files = tree(harness.out)
    intact, damaged = sorted(path for path in files if path.endswith(".jpg"))[:2]
    with closing(sqlite3.connect(next((harness.out / ".archiver-export").glob("*.db")))) as rows, rows:
        assert rows.execute("DELETE FROM files WHERE path IN (?, ?)", (intact, damaged)).rowcount == 2
    (harness.out / damaged).write_bytes(b"others")
    stats = _check(harness)
    assert (stats.files, stats.failed) == (len(files) - 2, 0)
    harness.export_as("folder", LinkMethod.COPY)
    assert _check(harness).files == len(files)
    after = tree(harness.out)
    assert after.items() >= {**files, damaged: b"others"}.items()
    assert len(after) == len(files) + 1


def test_fault_e34_damage_of_the_archive_shows_in_its_links(harness: ExportHarness) -> None:
    """First the blob is named, and after its repair the export, which then replaces its link."""
    digest = harness.keep("11", Role.VIDEO, b"video")
    harness.export_as("site", LinkMethod.HARDLINK)
    path = f"media/{digest[:2]}/{digest}.mp4"
    _change_unseen(harness.blob(digest), b"vXdeo")
    assert _faults(_check(harness, "site")) == {path: _BLOB_DAMAGE}
    harness.blob(digest).rename(harness.home / "aside")
    harness.keep("11", Role.VIDEO, b"video")
    assert _faults(_check(harness, "site")) == {path: "damaged: export again"}
    _lose_blobs(harness)
    assert _faults(_check(harness, "site")) == {path: "damaged: export with --prune, since its blob is lost"}
    with Archive(harness.config) as archive:
        archive.export_site(harness.out, prune=True)
    assert _check(harness, "site").failed == 0


def test_fault_e34_a_file_that_the_archive_does_not_have_is_found(harness: ExportHarness) -> None:
    """The list and the file agree, and the rows do not: other bytes, or the bytes of another item."""
    harness.export_as("folder", LinkMethod.COPY)
    foreign, swapped = sorted(harness.out.rglob("*.mp4"))
    photo = next(path for path in harness.out.rglob("*Cphoto.jpg"))
    foreign.write_bytes(b"other")
    shutil.copyfile(photo, swapped)
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        for path in (foreign, swapped):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.execute(
                "UPDATE files SET sha256 = ?, size = ?, mtime_ns = ? WHERE path = ?",
                (digest, path.stat().st_size, path.stat().st_mtime_ns, str(path.relative_to(harness.out))),
            )
    assert _faults(_check(harness)) == {
        str(path.relative_to(harness.out)): _UNKNOWN for path in (foreign, swapped)
    }


def test_a_lost_file_and_a_changed_sidecar_are_no_fault(harness: ExportHarness) -> None:
    """The archive says that it is lost; photo programs write into sidecars."""
    with Archive(harness.config) as archive:
        archive.export_folder(harness.out, xmp=True, link="copy")
    sidecar = next(harness.out.rglob("*.xmp"))
    sidecar.write_text("rated")
    next(harness.out.rglob("*.mp4")).unlink()
    _lose_blobs(harness)
    stats = _check(harness)
    assert (stats.failed, stats.others) == (0, 2)


def test_fault_e34_a_bag_that_is_not_valid_is_found(harness: ExportHarness) -> None:
    """A file too many, a tag file too few, and a manifest that is not that of the files."""
    harness.export_as("bagit", LinkMethod.COPY)
    (harness.out / "data" / "notes.txt").write_text("mine")
    assert list(_faults(_check(harness, "bagit"))) == ["data/notes.txt"]
    (harness.out / "data" / "notes.txt").unlink()
    video = next(harness.out.rglob("*.mp4"))
    video.unlink()
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("DELETE FROM files WHERE path = ?", (str(video.relative_to(harness.out)),))
    assert list(_faults(_check(harness, "bagit"))) == ["manifest-sha256.txt"]
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("DELETE FROM files WHERE id = 'bagit'")
    assert list(_faults(_check(harness, "bagit"))) == ["bagit.txt"]
    harness.export_as("bagit", LinkMethod.COPY)
    assert _check(harness, "bagit").failed == 0


def test_fault_e35_every_damaged_record_of_a_wacz_is_named(harness: ExportHarness) -> None:
    """Those after it too; and a file of the WACZ that is not a WARC, or that nobody lists."""
    harness.out.mkdir()
    wacz = harness.out / "site.wacz"
    with Archive(harness.config) as archive:
        archive.export_wacz(wacz)
        whole = archive.check_export(wacz, form="wacz")
        content = wacz.read_bytes()
        for damage in (b"video", b"poster"):
            content = content.replace(damage, damage[::-1], 1)
        wacz.write_bytes(content)
        stats = archive.check_export(wacz, form="wacz")
        assert (whole.failed, whole.files) == (0, 1 + len(_site_files(harness)))  # and the warcinfo
        assert (stats.failed, stats.files) == (2, whole.files - 2)
        assert all(
            failure.path == "archive/site.warc.gz" and "/media/" in failure.why for failure in stats.failures
        )
        with zipfile.ZipFile(wacz) as opened:
            head = opened.getinfo("archive/site.warc.gz").header_offset
        intact = wacz.read_bytes()
        for place in (0, 6, 8, 30):  # signature, flags, method and name, as every reader compares them
            wacz.write_bytes(intact[: head + place] + b"\xff" + intact[head + place + 1 :])
            assert "archive/site.warc.gz" in _faults(archive.check_export(wacz, form="wacz"))
        wacz.write_bytes(intact)
        with zipfile.ZipFile(wacz, "a") as opened:
            opened.writestr("more.txt", "more")
        assert "more.txt" in _faults(archive.check_export(wacz, form="wacz"))
        wacz.write_bytes(content[:1000])
        assert archive.check_export(wacz, form="wacz").failed == 1


def test_fault_e35_what_is_no_wacz_is_named_as_damaged(harness: ExportHarness) -> None:
    """A file of any other kind, and a ZIP with other lists: one fault at least, and no other error."""
    file = harness.home / "x.wacz"
    package = json.dumps({"resources": [{"path": "archive/a.warc.gz", "hash": "sha256:0", "bytes": 1}]})
    record = b"WARC/1.1\r\nContent-Type: application/http\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (
        2 << 20
    )
    with Archive(harness.config) as archive:
        for content in (b"", b"PK\x05\x06", b"no ZIP at all"):
            file.write_bytes(content)
            assert archive.check_export(file, form="wacz").failed == 1
        for lists, way, warc in (
            ({}, zipfile.ZIP_STORED, b""),
            ({"datapackage.json": "[" * 10**5, "datapackage-digest.json": "{}"}, zipfile.ZIP_STORED, b""),
            ({"datapackage.json": package, "datapackage-digest.json": "{}"}, zipfile.ZIP_LZMA, b""),
            (
                {"datapackage.json": package, "datapackage-digest.json": '{"hash": ""}'},
                zipfile.ZIP_STORED,
                b"x",
            ),
            (
                {"datapackage.json": package, "datapackage-digest.json": '{"hash": ""}'},
                zipfile.ZIP_STORED,
                gzip.compress(record),
            ),
        ):
            with zipfile.ZipFile(file, "w", way) as opened:
                for name, text in lists.items():
                    opened.writestr(name, text)
                opened.writestr("archive/a.warc.gz", warc)
            assert archive.check_export(file, form="wacz").failed


def _site_files(harness: ExportHarness) -> dict[str, bytes]:
    with Archive(harness.config) as archive:
        archive.export_site(harness.home / "site")
    return tree(harness.home / "site")


def test_a_check_needs_an_export_of_its_form(harness: ExportHarness) -> None:
    """Nothing there is 10, another form 2, and one that is just made 11."""
    os.mkfifo(harness.home / "fifo")
    with Archive(harness.config) as archive:
        for form in (*FORMS, "wacz"):
            for nothing in (harness.out, harness.home / "fifo"):
                with pytest.raises(NoArchive):
                    archive.check_export(nothing, form=form)
        (harness.home / "empty").mkdir()
        with pytest.raises(NoArchive):
            archive.check_export(harness.home / "empty", form="folder")
        with pytest.raises(UsageError, match="form: 'csv' is invalid"):
            archive.check_export(harness.out, form="csv")
        archive.export_folder(harness.out)
        with pytest.raises(UsageError, match="of the form folder"):
            archive.check_export(harness.out, form="site")
        with archive._open().storage.blob_source(archive._open().store) as blobs:
            opened = open_export(
                harness.out, form="folder", archive=archive.id, root=harness.root, blobs=blobs
            )
            with opened, pytest.raises(ArchiveLocked):
                archive.check_export(harness.out, form="folder")


def test_a_check_is_told(person: CommandLineUser, harness: ExportHarness) -> None:
    """A line off a terminal too, a table on stdout if something is wrong (12), one object with --json."""
    person.run("export", "folder", "out", "--link", "copy")
    right = person.run("export", "folder", "out", "--check")
    assert (right.code, right.out, right.err) == (0, "", "7 files checked, 38 B read: 0 wrong or missing\n")
    assert person.run("-q", "export", "folder", "out", "--check").err == ""
    (harness.out / "natgeo" / "avatar.jpg").unlink()
    wrong = person.run("export", "folder", "out", "--check")
    assert wrong.code == 12
    assert wrong.out.splitlines()[-1].split(maxsplit=1) == ["natgeo/avatar.jpg", "missing: export again"]
    assert wrong.err == "7 files checked, 32 B read: 1 wrong or missing\n"
    view = person.run("export", "folder", "out", "--check", "--json").object
    assert (view["exit_code"], view["outcome"], view["check"]) == (12, "damaged", True)
    assert (view["files"], view["failed"], view["bytes"], view["new"]) == (6, 1, 32, 0)
    assert view["troubles"] == [{"path": "natgeo/avatar.jpg", "why": "missing: export again"}]
    assert person.run("export", "site", "nothing", "--check").code == 10
    assert person.run("export", "wacz", "nothing.wacz", "--check").code == 10


def test_a_check_stands_alone(person: CommandLineUser) -> None:
    """An option that would narrow or change the export is refused (2), and so are the forms of tables."""
    for words, named in (
        (("folder", "--prune"), "--prune"),
        (("folder", "--account", "natgeo"), "--account"),
        (("site", "-n"), "--dry-run"),
        (("bagit", "--no-gone"), "--no-gone"),
        (("wacz", "--force"), "--force"),
        (("csv",), "--check"),
        (("jsonl",), "--check"),
    ):
        ended = person.run("export", *words, "out", "--check")
        assert (ended.code, named in ended.err) == (2, True), words


def test_fault_e34_a_forgotten_account_is_found_in_an_export(
    person: CommandLineUser, harness: ExportHarness
) -> None:
    """By its pictures and videos, which are hard links here."""
    person.run("export", "site", "out", "--link", "hardlink")
    assert person.run("forget", "natgeo", "--yes").code == 0
    checked = person.run("export", "site", "out", "--check")
    assert (checked.code, checked.out.count(_UNKNOWN)) == (12, 5)


@pytest.mark.parametrize("form", FORMS)
def test_fault_e34_a_forgotten_account_is_found_in_an_export_that_was_killed(
    person: CommandLineUser, harness: ExportHarness, form: str
) -> None:
    """Rows that were not completed count too, and pictures that have not moved yet. Whatever the list says
    of how a file was made, its id says what it is.
    """
    harness.export_as(form, LinkMethod.COPY)
    paths = [path for path in tree(harness.out) if path.endswith((".jpg", ".mp4"))]
    written, moved, missing, *others = paths
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("UPDATE files SET how = NULL, mtime_ns = NULL")
        rows.execute("UPDATE files SET how = 'written' WHERE path = ?", (written,))
        rows.execute("UPDATE files SET old = path, path = 'data/new.mp4' WHERE path = ?", (moved,))
    (harness.out / missing).unlink()
    (harness.out / _STAGED).write_bytes(b"half a pic")
    person.run("forget", "natgeo", "--yes")
    faults = _faults(_check(harness, form))
    assert {path: why for path, why in faults.items() if path != moved} == {
        **dict.fromkeys((written, *others), _UNKNOWN),
        missing: "missing, and the archive has no such file: export with --prune",
        _STAGED: "left by an export that was killed: export again",
        "data/new.mp4": f"still at {moved}, and the archive has no such file: export with --prune",
    }


def test_fault_e34_bytes_that_another_owner_has_are_found_too(harness: ExportHarness) -> None:
    """A picture that was replaced is looked for among those of its owner, not by its hash alone."""
    harness.export_as("bagit", LinkMethod.COPY)
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("UPDATE files SET id = 'highlight 9 replaced ' || sha256 WHERE id = 'highlight 1 cover'")
    assert list(_faults(_check(harness, "bagit")).values()) == [_UNKNOWN]
