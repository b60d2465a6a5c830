"""What an export believes: the files that it finds, its own list, and blobs that may be damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import struct
import zipfile
from contextlib import closing
from itertools import product
from pathlib import Path

import bagit
import pytest

from archiver.archive.archive import Archive
from archiver.errors import ArchiveLocked, DiskFull, NoArchive, StorageError, UsageError
from archiver.export.export_entry import ExportStats
from archiver.export.link_methods import LinkMethod
from archiver.export.manifest import sqlite_errors
from archiver.export.open_export import open_export
from archiver.model.identity import Digest, Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import LATER
from tests.support.command_line import CommandLineUser
from tests.support.databases import SQLITE_EVERYDAY
from tests.support.disk_limits import disk_blobs, put
from tests.support.export_archive import ExportHarness, tree

_STAGED = ".archiver-export/tmp/0.part"
FORMS = ["folder", "site", "bagit"]
EACH_FORM = pytest.mark.parametrize("form", FORMS)
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
@EACH_FORM
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
    harness.run_on_list("DELETE FROM files WHERE path = ?", (str(video.relative_to(harness.out)),))
    assert list(_faults(_check(harness, "bagit"))) == ["manifest-sha256.txt"]
    harness.run_on_list("DELETE FROM files WHERE id = 'bagit'")
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


@EACH_FORM
def test_fault_e34_a_forgotten_account_is_found_in_an_export_that_was_killed(
    person: CommandLineUser, harness: ExportHarness, form: str
) -> None:
    """Rows that were not completed count too, and pictures that have not moved yet. Whatever the list says
    of how a file was made, its id says what it is.
    """
    harness.export_as(form, LinkMethod.COPY)
    paths = [path for path in tree(harness.out) if path.endswith((".jpg", ".mp4"))]
    written, moved, missing, *others = paths
    harness.run_on_list("UPDATE files SET how = NULL, mtime_ns = NULL")
    harness.run_on_list("UPDATE files SET how = 'written' WHERE path = ?", (written,))
    harness.run_on_list("UPDATE files SET old = path, path = 'data/new.mp4' WHERE path = ?", (moved,))
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
    harness.run_on_list(
        "UPDATE files SET id = 'highlight 9 replaced ' || sha256 WHERE id = 'highlight 1 cover'"
    )
    assert list(_faults(_check(harness, "bagit")).values()) == [_UNKNOWN]


_CONTENT = b"video"
_DIGEST = Digest(hashlib.sha256(_CONTENT).hexdigest())


def _rot(harness: ExportHarness, *, changes_time: bool) -> None:
    """Change bytes of the blob in place, as a disk does, or as a program that may do everything."""
    blob = harness.blob(_DIGEST)
    status = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(b"vXdeo")
    blob.chmod(0o444)
    time = status.st_mtime_ns + changes_time * 10**9
    os.utime(blob, ns=(time, time))


def _set_aside(harness: ExportHarness) -> None:
    """Move the blob to quarantine, as ``verify --repair`` does."""
    with disk_blobs(harness.root) as store:
        store.quarantine(_DIGEST)


def _store(harness: ExportHarness) -> None:
    """Store the right bytes, as the run after a repair does."""
    with disk_blobs(harness.root) as store:
        store.prepare()
        put(store, _CONTENT)


def _lose(harness: ExportHarness) -> None:
    """Record that the blob is lost."""
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("UPDATE blobs SET lost_at = stored_at WHERE sha256 = ?", (_DIGEST,))


def _videos(harness: ExportHarness) -> list[Path]:
    """Return the files that should be that blob."""
    return [path for path in sorted(harness.out.rglob("*.mp4")) if path.is_file()]


def _is_valid_bag(harness: ExportHarness) -> bool:
    """Let two judges decide, one of which knows nothing of BagIt."""
    lines = (harness.out / "manifest-sha256.txt").read_text().splitlines()
    promised = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    there = {
        path: hashlib.sha256(content).hexdigest()
        for path, content in tree(harness.out).items()
        if path.startswith("data/")
    }
    return promised == there and bool(bagit.Bag(str(harness.out)).is_valid())


@EACH_FORM
def test_fault_e2_a_link_to_a_blob_that_was_repaired_is_replaced(harness: ExportHarness, form: str) -> None:
    """Bit rot that no time shows: the export still has the damaged bytes, which are in quarantine now. A dry
    run counts the same.
    """
    harness.export_as(form, LinkMethod.HARDLINK)
    _rot(harness, changes_time=False)
    _set_aside(harness)
    _store(harness)
    foretold = harness.export_as(form, dry_run=True)
    done = harness.export_as(form)
    assert (done.failed, done.avoided, done.methods["hardlink"]) == (0, 0, len(_videos(harness)))
    assert (foretold.replaced, foretold.new) == (done.replaced, done.new)
    assert all(path.samefile(harness.blob(_DIGEST)) for path in _videos(harness))
    assert form != "bagit" or _is_valid_bag(harness)
    quiet = harness.export_as(form)
    assert (quiet.new, quiet.replaced, quiet.failed) == (0, 0, 0)


@EACH_FORM
def test_fault_e36_a_clone_of_a_blob_that_was_repaired_is_read(harness: ExportHarness, form: str) -> None:
    """A clone shares its blocks with the blob: it may have the damaged ones. It is read once, and replaced if
    it has other bytes; from then on its size and time prove it.
    """
    harness.export_as(form, LinkMethod.COPY)
    harness.run_on_list(
        "UPDATE files SET how = 'reflink' WHERE how = 'copy'"
    )  # not every file system has them
    _rot(harness, changes_time=False)
    _set_aside(harness)
    _store(harness)
    damaged, *right = _videos(harness)
    status = damaged.stat()
    damaged.write_bytes(b"vXdeo")
    os.utime(damaged, ns=(status.st_mtime_ns, status.st_mtime_ns))
    foretold = harness.export_as(form, LinkMethod.COPY, dry_run=True)
    done = harness.export_as(form, LinkMethod.COPY)
    assert (done.failed, done.avoided, done.methods["copy"]) == (0, 0, 1)
    assert foretold.replaced == done.replaced
    assert {path.read_bytes() for path in (damaged, *right)} == {_CONTENT}
    assert form != "bagit" or _is_valid_bag(harness)
    quiet = harness.export_as(form, LinkMethod.COPY)
    assert (quiet.new, quiet.replaced, quiet.failed) == (0, 0, 0)


@EACH_FORM
def test_fault_e3_a_link_that_was_damaged_and_repaired_is_replaced_under_its_name(
    harness: ExportHarness, form: str
) -> None:
    """The damage has a new time: the file is still the export's, not a foreign one in its place."""
    harness.export_as(form, LinkMethod.HARDLINK)
    names = tree(harness.out).keys()
    _rot(harness, changes_time=True)
    _set_aside(harness)
    _store(harness)
    foretold = harness.export_as(form, dry_run=True)
    done = harness.export_as(form)
    assert (done.failed, done.avoided, done.methods["hardlink"]) == (0, 0, len(_videos(harness)))
    assert (foretold.replaced, foretold.failed, foretold.avoided) == (done.replaced, 0, 0)
    assert tree(harness.out).keys() == names
    assert {path.read_bytes() for path in _videos(harness)} == {_CONTENT}
    assert form != "bagit" or _is_valid_bag(harness)


@pytest.mark.parametrize("form", ["folder", "bagit"])
def test_fault_e3_a_damaged_link_without_a_row_is_replaced(harness: ExportHarness, form: str) -> None:
    """As versions before left it, with the right file beside it under another name: it is in quarantine, so
    it was the export's.
    """
    harness.export_as(form, LinkMethod.HARDLINK)
    names = tree(harness.out).keys()
    _rot(harness, changes_time=True)
    _set_aside(harness)
    _store(harness)
    harness.run_on_list("UPDATE files SET inode = NULL")
    quarantine = harness.root / "quarantine"
    quarantine.rename(harness.home / "elsewhere")
    assert harness.export_as(form).avoided == 2
    (harness.home / "elsewhere").rename(quarantine)
    foretold = harness.export_as(form, dry_run=True)
    done = harness.export_as(form)
    assert (done.failed, done.avoided, done.methods["hardlink"]) == (0, 0, 2)
    assert (foretold.failed, foretold.methods["hardlink"]) == (0, 2)
    assert tree(harness.out).keys() == names
    assert all(path.samefile(harness.blob(_DIGEST)) for path in _videos(harness))
    assert form != "bagit" or _is_valid_bag(harness)


@EACH_FORM
def test_fault_e37_a_damaged_link_is_replaced_after_its_blob_was_put_back_by_hand(
    harness: ExportHarness, form: str
) -> None:
    """The damaged file is not in quarantine: the list says that it is the one that the export placed. One
    that somebody put in its place is theirs, and stays.
    """
    harness.export_as(form, LinkMethod.HARDLINK)
    names = tree(harness.out).keys()
    _rot(harness, changes_time=True)
    harness.blob(_DIGEST).unlink()
    _store(harness)
    with Archive(harness.config) as archive:
        troubles = archive.check_export(harness.out, form=form).failures
    assert {trouble.why for trouble in troubles} == {"damaged: export again"}
    foretold = harness.export_as(form, dry_run=True)
    done = harness.export_as(form)
    assert (done.failed, done.avoided, done.methods["hardlink"]) == (0, 0, len(_videos(harness)))
    assert (foretold.replaced, foretold.failed, foretold.avoided) == (done.replaced, 0, 0)
    assert tree(harness.out).keys() == names
    assert all(path.samefile(harness.blob(_DIGEST)) for path in _videos(harness))
    assert form != "bagit" or _is_valid_bag(harness)
    if form == "folder":
        (edited, *_) = _videos(harness)
        (harness.home / "edited").write_bytes(b"edited")
        (harness.home / "edited").replace(edited)
        assert harness.export_as(form).avoided == 1
        assert edited.read_bytes() == b"edited"


def test_a_list_of_an_older_version_gets_the_inodes_of_new_links(harness: ExportHarness) -> None:
    """It has no column for them."""
    harness.export_as("folder", LinkMethod.HARDLINK)
    harness.run_on_list("ALTER TABLE files DROP COLUMN inode")
    (removed, *_) = _videos(harness)
    removed.unlink()
    assert harness.export_as("folder", dry_run=True).new == 1
    assert harness.export_as("folder").new == 1
    found = harness.run_on_list("SELECT inode FROM files WHERE inode IS NOT NULL")
    assert found == [(str(removed.stat().st_ino),)]


@pytest.mark.parametrize("has_list", [True, False])
def test_fault_e3_a_file_named_by_its_hash_has_these_bytes(harness: ExportHarness, has_list: bool) -> None:
    """A site's picture with other bytes, whatever changed it, is replaced, with the list or without it; what
    is no file stays, fails, and does not count as renamed.
    """
    harness.export_as("site", LinkMethod.COPY)
    (video,) = _videos(harness)
    video.write_bytes(b"other, and longer")
    (picture,) = (path for path in harness.out.rglob("media/*/*.jpg") if path.read_bytes() == b"photo")
    picture.unlink()
    picture.mkdir()
    if not has_list:
        shutil.rmtree(harness.out / ".archiver-export")
    done = harness.export_as("site", LinkMethod.COPY)
    assert video.read_bytes() == _CONTENT
    assert (done.replaced, done.avoided, done.failed) == (1, 0, 1)
    assert [failure.path for failure in done.failures] == [str(picture.relative_to(harness.out))]


def test_fault_e30_a_page_that_somebody_changed_is_not_counted_as_renamed(harness: ExportHarness) -> None:
    """It stays and is one failure: it has no other name."""
    harness.export_as("site")
    (harness.out / "index.html").write_text("mine")
    done = harness.export_as("site")
    assert (done.failed, done.avoided) == (1, 0)
    assert (harness.out / "index.html").read_text() == "mine"


def test_fault_e31_a_bag_has_no_damaged_file_of_a_lost_blob(harness: ExportHarness) -> None:
    """What could not be fetched again is recorded as lost: its damaged link leaves the bag, which is valid;
    the bytes are in quarantine. Fetched later, it is back.
    """
    harness.export_as("bagit", LinkMethod.HARDLINK)
    before = tree(harness.out)
    _rot(harness, changes_time=False)
    _set_aside(harness)
    _lose(harness)
    done = harness.export_as("bagit")
    assert (done.failed, done.removed) == (0, 2)
    assert _is_valid_bag(harness)
    assert not _videos(harness)
    _store(harness)
    with closing(sqlite3.connect(harness.root / "archive.db")) as rows, rows:
        rows.execute("UPDATE blobs SET lost_at = NULL")
    harness.export_as("bagit")
    assert _is_valid_bag(harness)
    assert tree(harness.out).keys() == before.keys()


def test_fault_e31_a_cut_blob_is_not_in_a_bag_that_links_it(harness: ExportHarness) -> None:
    """One failure, and the rest is a valid bag."""
    harness.export_as("bagit", LinkMethod.HARDLINK)
    harness.blob(_DIGEST).chmod(0o644)
    harness.blob(_DIGEST).write_bytes(b"vid")
    done = harness.export_as("bagit")
    assert done.failed == 2
    assert all("3 bytes instead of 5" in failure.why for failure in done.failures)
    assert _is_valid_bag(harness)


@EACH_FORM
def test_fault_e32_links_are_right_files_after_their_blobs_were_copied(
    harness: ExportHarness, form: str
) -> None:
    """As after a restore of the archive: each is read once, then trusted as a copy; nothing is written. The
    last good bytes of a blob that is missing stay.
    """
    harness.export_as(form, LinkMethod.HARDLINK)
    inodes = {path: path.stat().st_ino for path in _videos(harness)}
    shutil.copytree(harness.root / "blobs", harness.home / "blobs")
    shutil.rmtree(harness.root / "blobs")
    (harness.home / "blobs").rename(harness.root / "blobs")
    harness.blob(_DIGEST).unlink()
    done = harness.export_as(form)
    assert (done.new, done.methods["hardlink"], done.failed) == (form == "bagit", 0, 0)  # bagit.txt
    assert {path: path.stat().st_ino for path in _videos(harness)} == inodes
    assert harness.run_on_list("SELECT count(*) FROM files WHERE how = 'hardlink'") == [(0,)]
    assert harness.run_on_list("SELECT count(*) FROM files WHERE mtime_ns IS NULL") == [(0,)]


def test_fault_e33_prune_removes_a_link_whose_time_another_export_changed(harness: ExportHarness) -> None:
    """The blob is gone, and its name in the export has the time that the other export gave it: the bytes
    prove whose it is.
    """
    harness.export_as("folder", LinkMethod.HARDLINK)
    (kept, *others) = (path for path in harness.out.rglob("*.mp4"))
    os.utime(kept, ns=(1, 1))
    harness.blob(_DIGEST).unlink()
    _lose(harness)
    assert harness.export_as("folder", prune=True).removed == 1 + len(others)
    assert not _videos(harness)


def test_fault_e2_a_bag_is_valid_after_a_repair(harness: ExportHarness) -> None:
    """As a person does it: bit rot, ``verify --read-data --repair``, the blob comes back, and again a bag."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    assert person.run("export", "bagit", "out", "--link", "hardlink").code == 0
    _rot(harness, changes_time=False)
    assert person.run("export", "bagit", "out", "--check").code == 12
    person.run("verify", "--read-data", "--repair", "--max-units", "0")
    assert not harness.blob(_DIGEST).exists()
    assert person.run("export", "bagit", "out").code == 0
    assert _is_valid_bag(harness)
    _store(harness)
    person.run("verify", "--repair", "--max-units", "0")
    assert person.run("export", "bagit", "out").code == 0
    assert _is_valid_bag(harness)
    assert all(path.samefile(harness.blob(_DIGEST)) for path in _videos(harness))
    assert person.run("export", "bagit", "out", "--check").code == 0


_PRECIOUS = b"precious"
_PRECIOUS_DIGEST = hashlib.sha256(_PRECIOUS).hexdigest()


@pytest.fixture
def exported(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """A filled archive on SQLite, exported, and a file of somebody else beside the export."""
    exported = ExportHarness.filled(tmp_path, archive_copies)
    exported.export(way=LinkMethod.COPY)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "precious.txt").write_bytes(_PRECIOUS)
    return exported


def _theirs(exported: ExportHarness) -> Path:
    return exported.home / "theirs" / "precious.txt"


def _list(exported: ExportHarness) -> Path:
    return exported.out / ".archiver-export" / "files.db"


def _add(
    exported: ExportHarness, path: str, *, digest: str = _PRECIOUS_DIGEST, old: str | None = None
) -> None:
    """Add a row that proves the file of somebody else to be the export's."""
    status = _theirs(exported).stat()
    values = ("x", path, "x", "", digest, status.st_size, None, "copy", status.st_mtime_ns, None, old, None)
    with closing(sqlite3.connect(_list(exported))) as rows, rows:
        rows.execute(f"INSERT INTO files VALUES ({', '.join('?' * len(values))})", values)


@pytest.mark.parametrize(
    ("path", "old_path"),
    [
        ("../theirs/precious.txt", None),
        ("natgeo/x.jpg", "../theirs/precious.txt"),
        ("natgeo/../../theirs/precious.txt", None),
        ("/{home}/theirs/precious.txt", None),
        (".Archiver-Export/files.db", None),
        ("natgeo//precious.txt", None),
        ("./precious.txt", None),
        ("natgeo/", None),
        ("a\0b", None),
        ("", None),
        ("/".join("a" * 40), None),
    ],
)
def test_fault_k3_a_list_names_only_files_of_its_export(
    exported: ExportHarness, path: str, old_path: str | None
) -> None:
    """Another name is refused with a sentence, also by a dry run and without ``--prune``: nothing is
    removed.
    """
    _add(exported, path.format(home=exported.home), old=old_path)
    before = tree(exported.out)
    for prune, dry_run in product((True, False), repeat=2):
        with pytest.raises(StorageError, match=r"is damaged: it names .* cannot be a file of this export"):
            exported.export(prune=prune, dry_run=dry_run)
    assert _theirs(exported).read_bytes() == _PRECIOUS
    assert tree(exported.out) == before


def test_fault_k3_a_link_in_the_way_is_not_followed(exported: ExportHarness) -> None:
    """A row inside the export, below a link that leads out: the file there stays, and so does the link."""
    (exported.out / "away").symlink_to(exported.home / "theirs")
    _add(exported, "away/precious.txt")
    exported.export(prune=True)
    assert _theirs(exported).read_bytes() == _PRECIOUS
    assert (exported.out / "away").is_symlink()


def test_fault_k3_a_row_does_not_lead_to_another_blob(exported: ExportHarness) -> None:
    """A digest that is a path is damage too."""
    _add(exported, "natgeo/x.jpg", digest="../../theirs/precious.txt")
    with pytest.raises(StorageError, match="is damaged"):
        exported.export(prune=True)


@pytest.mark.parametrize(
    "change",
    [
        "path = 'a/../../b'",
        pytest.param("how = x'ff'", marks=pytest.mark.whole),
        pytest.param("path = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
        pytest.param("before = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
        pytest.param("old = '../x' WHERE id = 'account 787132 avatar'", marks=pytest.mark.whole),
    ],
)
def test_fault_e38_a_damaged_list_is_one_sentence(exported: ExportHarness, change: str) -> None:
    """Nothing follows it on stderr, such as a traceback of what Python cleans up at the end."""
    with closing(sqlite3.connect(_list(exported))) as rows, rows:
        rows.execute(f"UPDATE files SET {change}")
    user = CommandLineUser(exported.home, None, exported.environ)
    for more in ((), ("--dry-run",), ("--check",)):
        done = user.run("export", "folder", "out", *more)
        assert done.code == 8
        assert len(done.err.splitlines()) == 1
        assert "is damaged: it names '" in done.err


def test_fault_k60_a_journal_of_the_list_removes_no_file_elsewhere(exported: ExportHarness) -> None:
    """SQLite would remove the super-journal that a journal names: such a journal is refused."""
    journal = _list(exported).with_name("files.db-journal")
    journal.write_bytes(_journal_naming(_list(exported).read_bytes(), os.fsencode(_theirs(exported))))
    for dry_run in (True, False):
        with pytest.raises(StorageError, match="names a file elsewhere"):
            exported.export(dry_run=dry_run)
    assert _theirs(exported).read_bytes() == _PRECIOUS


@pytest.mark.parametrize("name", ["files.db", "files.db-journal", "files.db-wal"])
def test_fault_k61_a_list_that_is_a_link_is_not_followed(exported: ExportHarness, name: str) -> None:
    """Nothing is written through it."""
    _theirs(exported).write_bytes(b"")
    _list(exported).with_name(name).unlink(missing_ok=True)
    _list(exported).with_name(name).symlink_to(_theirs(exported))
    for dry_run in (True, False):
        with pytest.raises(StorageError, match="is not a regular file"):
            exported.export(dry_run=dry_run)
    assert _theirs(exported).read_bytes() == b""


@pytest.mark.parametrize("is_link", [True, False])
def test_a_staging_directory_that_is_none_is_refused_alike(exported: ExportHarness, is_link: bool) -> None:
    """By the export, its dry run and ``--check``, with one sentence; nothing is written through a link."""
    staging = exported.out / ".archiver-export" / "tmp"
    staging.rmdir()
    if is_link:
        staging.symlink_to(exported.home / "theirs")
    else:
        staging.touch()
    person, said = CommandLineUser(exported.home, None, exported.environ).in_process, set()
    for more in ((), ("--dry-run",), ("--check",)):
        done = person.run("export", "folder", "out", *more)
        assert done.code == 8
        said.add(done.err)
    (sentence,) = said
    assert "out/.archiver-export/tmp is not a directory (remove it, and run again)" in sentence
    assert [path.name for path in (exported.home / "theirs").iterdir()] == ["precious.txt"]


def test_a_directory_among_the_staged_files_stays(exported: ExportHarness) -> None:
    """No export makes one there, and none needs its name. What a killed export left is removed."""
    staging = exported.out / ".archiver-export" / "tmp"
    (staging / "mine").mkdir()
    (staging / "0.part").touch()
    for dry_run in (True, False):
        assert exported.export(dry_run=dry_run).failed == 0
    assert [path.name for path in staging.iterdir()] == ["mine"]


def _journal_naming(database: bytes, name: bytes) -> bytes:
    """Return a journal that a crash could have left, of a transaction with the super-journal ``name``.

    See "Database File Format", section 3.
    """
    magic, nonce = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 7
    (size,) = struct.unpack(">H", database[16:18])
    page = database[:size]
    check = nonce + sum(page[at] for at in range(size - 200, 0, -200))
    header = magic + struct.pack(">5I", 1, nonce, len(database) // size, 512, size)
    record = struct.pack(">I", 1) + page + struct.pack(">I", check)
    end = struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    return header.ljust(512, b"\0") + record + end


@pytest.mark.parametrize("dry_run", [False, True])
def test_fault_k3_a_list_with_a_view_or_a_trigger_is_refused(exported: ExportHarness, dry_run: bool) -> None:
    """A view in the place of the table may have rows without end, and SQLite does not stop for a signal."""
    with closing(sqlite3.connect(_list(exported))) as rows:
        rows.execute("CREATE TRIGGER more AFTER DELETE ON files BEGIN DELETE FROM files; END")
    with pytest.raises(StorageError, match="has views or triggers"):
        exported.export(dry_run=dry_run)
    with Archive(exported.config) as archive, pytest.raises(StorageError, match="has views or triggers"):
        archive.check_export(exported.out, form="folder")


@pytest.mark.parametrize(
    ("statement", "kind", "said"),
    [
        ("INSERT INTO t VALUES (zeroblob(100000))", DiskFull, ("the list: database or disk is full", "room")),
        ("INSERT INTO none VALUES (1)", StorageError, ("the list: no such table: none", "mend")),
    ],
)
def test_a_full_disk_is_told_from_other_errors_of_sqlite(
    statement: str, kind: type[StorageError], said: tuple[str, str]
) -> None:
    """The error of the list, and of the sorted index of a WACZ: each kind has its own hint."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(StorageError) as caught, sqlite_errors("the list", "mend", if_full="room"):
            db.execute(statement)
    assert (type(caught.value), (str(caught.value), caught.value.hint)) == (kind, said)
