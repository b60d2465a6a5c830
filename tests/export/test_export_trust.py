"""What an export takes for its own, and for right, after bit rot, repairs and a restore."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import bagit
import pytest

from archiver.archive.archive import Archive
from archiver.export.link_methods import LinkMethod
from archiver.model.identity import Digest
from tests.support.command_line import CommandLineUser
from tests.support.disk_limits import disk_blobs
from tests.support.export_archive import ExportHarness, tree

FORMS = pytest.mark.parametrize("form", ["folder", "site", "bagit"])
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
        with store.writer() as writer:
            writer.write(_CONTENT)
            writer.commit()


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


@FORMS
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


@FORMS
def test_fault_e36_a_clone_of_a_blob_that_was_repaired_is_read(harness: ExportHarness, form: str) -> None:
    """A clone shares its blocks with the blob: it may have the damaged ones. It is read once, and replaced if
    it has other bytes; from then on its size and time prove it.
    """
    harness.export_as(form, LinkMethod.COPY)
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("UPDATE files SET how = 'reflink' WHERE how = 'copy'")  # not every file system has them
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


@FORMS
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
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("UPDATE files SET inode = NULL")
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


@FORMS
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
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("ALTER TABLE files DROP COLUMN inode")
    (removed, *_) = _videos(harness)
    removed.unlink()
    assert harness.export_as("folder", dry_run=True).new == 1
    assert harness.export_as("folder").new == 1
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows:
        found = rows.execute("SELECT inode FROM files WHERE inode IS NOT NULL").fetchall()
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


@FORMS
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
    with closing(sqlite3.connect(harness.out / ".archiver-export" / "files.db")) as rows:
        assert rows.execute("SELECT count(*) FROM files WHERE how = 'hardlink'").fetchone() == (0,)
        assert rows.execute("SELECT count(*) FROM files WHERE mtime_ns IS NULL").fetchone() == (0,)


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
