"""How a blob becomes a file: by a clone, a hard link or a copy, and what happens where the file system has no
such thing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from archiver.errors import DiskFull, StorageError
from archiver.export import open_export
from archiver.export.link_methods import LinkMethod
from archiver.model.identity import Digest, Role
from tests.support.export_archive import ExportHarness, tree

_MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the archive's: in memory, or on the disk of the checkout."""
    here = tmp_path.stat().st_dev
    places = [
        p for p in (_MEMORY, Path("/tmp"), Path(__file__).parent) if p.is_dir() and p.stat().st_dev != here
    ]
    if not places:
        pytest.skip("there is one file system only")
    with TemporaryDirectory(dir=places[0], prefix="archiver-test-") as made:
        yield Path(made)


def test_another_disk_gets_copies(harness: ExportHarness, elsewhere: Path) -> None:
    """EXDEV: auto copies, a link that was asked for is told to be none here, and nothing half-made is
    left.
    """
    assert harness.export(to=elsewhere / "out").methods["copy"] == 7
    assert len(tree(elsewhere / "out")) == 7
    with pytest.raises(StorageError, match="cannot create a hardlink") as caught:
        harness.export(to=elsewhere / "links", way=LinkMethod.HARDLINK)
    assert "--link copy" in caught.value.hint
    assert not list((elsewhere / "links" / ".archiver-export" / "tmp").iterdir())


def test_a_blob_that_can_have_no_more_names_is_copied(harness: ExportHarness, whole: bool) -> None:
    """EMLINK, on ext4 after 65,000: auto copies that one blob, a link that was asked for is told to be none
    here.
    """
    most = os.pathconf(harness.root, "PC_LINK_MAX")
    if not whole or most > 70_000:
        pytest.skip("it takes a second, and a file system that has such a limit: --whole")
    blob = harness.blob(Digest(sha256(b"photo").hexdigest()))
    names = harness.home / "names"
    names.mkdir()
    harness.export(way=LinkMethod.HARDLINK)
    next(path for path in harness.out.rglob("*.jpg") if path.samefile(blob)).unlink()
    for n in range(blob.stat().st_nlink, most):
        os.link(blob, names / str(n))
    with suppress(OSError):
        os.link(blob, names / "one more")
        pytest.skip("a disk in memory has no limit, whatever it states")
    assert harness.export().methods["copy"] == 1
    with pytest.raises(StorageError, match="Too many links") as caught:
        harness.export(to=harness.home / "links", way=LinkMethod.HARDLINK)
    assert "--link copy" in caught.value.hint


def test_a_file_system_without_clones_gets_copies(tmp_path: Path, sqlite_template: Path) -> None:
    """EOPNOTSUPP of FICLONE on a disk in memory: a new folder has copies, and one that was made with links
    goes on with them; a clone that was asked for is refused.
    """
    if not _MEMORY.is_dir():
        pytest.skip("there is no disk in memory")
    with TemporaryDirectory(dir=_MEMORY, prefix="archiver-test-") as made:
        harness = ExportHarness.make(
            Path(made), Path(shutil.copy(sqlite_template, Path(made) / "archive.db"))
        )
        harness.fill()
        assert harness.export().methods["copy"] == 7
        links = harness.home / "links"
        harness.export(to=links, way=LinkMethod.HARDLINK)
        next(path for path in links.rglob("*.jpg")).unlink()
        assert harness.export(to=links).methods == {"reflink": 0, "hardlink": 1, "copy": 0, "written": 0}
        with pytest.raises(StorageError, match="cannot create a reflink"):
            harness.export(to=harness.home / "clones", way=LinkMethod.REFLINK)


def test_a_new_folder_that_does_not_fit_is_refused(
    harness: ExportHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies that need more space than is free: code 8 with both sizes and the option that takes none, and
    nothing is made; a dry run says so too. Links are not refused.
    """
    monkeypatch.setattr(open_export, "free_bytes", lambda path: 1)
    for dry_run in (False, True):
        with pytest.raises(DiskFull, match=r"takes \d+ B, and .* 1 B of free space") as caught:
            harness.export(way=LinkMethod.COPY, dry_run=dry_run)
        assert "--link hardlink" in caught.value.hint
        assert not harness.out.exists()
    assert harness.export(way=LinkMethod.HARDLINK).new == 7


def test_a_file_system_with_clones_gets_clones(sqlite_template: Path, tmp_path: Path) -> None:
    """On a loopback disk of btrfs or XFS: own inodes, own dates, writable."""
    image, mounted = tmp_path / "disk", tmp_path / "mounted"
    mounted.mkdir()
    if os.geteuid() != 0 or not any(map(shutil.which, ("mkfs.xfs", "mkfs.btrfs"))):
        pytest.skip("needs root, and mkfs.xfs or mkfs.btrfs")
    with image.open("wb") as file:
        file.truncate(400 << 20)
    make = ["mkfs.xfs", "-q"] if shutil.which("mkfs.xfs") else ["mkfs.btrfs", "-q"]
    subprocess.run([*make, str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False).returncode:
        pytest.skip("no loopback disk can be mounted here")
    try:
        harness = ExportHarness.make(mounted, Path(shutil.copy(sqlite_template, mounted / "archive.db")))
        harness.fill()
        assert harness.export().methods["reflink"] == 7
        assert all(path.stat().st_nlink == 1 for path in harness.out.rglob("*.mp4"))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_leaves_what_a_rerun_completes(harness: ExportHarness, tmp_path: Path) -> None:
    """A disk of 256 kB: code 8, nothing half-written under a name; with the room that was missing the same
    command does the rest.
    """
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        (small / "ballast").write_bytes(bytes(140_000))
        harness.keep("11", Role.VIDEO, os.urandom(60_000))
        with pytest.raises(DiskFull):
            harness.export(to=small / "out", way=LinkMethod.COPY)
        assert all(len(content) in (5, 6, 60_000) for content in tree(small / "out").values())
        (small / "ballast").unlink()
        assert harness.export(to=small / "out", way=LinkMethod.COPY).files == 7
        assert len(tree(small / "out")) == 7
    finally:
        subprocess.run(["umount", str(small)], check=True)
