"""How the directory of an export is opened: nobody else's, not inside an archive or another export, and by one process at a time.

``<directory>/.archiver-export/`` is the export's own: the list of its files, a lock, and a scratch directory that is empty between exports.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from archiver.blobs.blob_links import BlobLinks
from archiver.durable import open_directory, open_root, storage_errors
from archiver.errors import ArchiveLocked, UsageError
from archiver.export.dry_run import DryTree, require_writable
from archiver.export.manifest import Manifest
from archiver.export.names import ARCHIVE
from archiver.export.placing import Placer
from archiver.export.tree import Tree
from archiver.export.wanted import Tally, Way

OWN = ".archiver-export"
_LIST = "files.db"


@contextmanager
def opened(
    directory: Path,
    *,
    form: str,
    archive: str,
    root: Path,
    blobs: BlobLinks,
    way: Way = Way.AUTO,
    check: bool = False,
    dry_run: bool = False,
    progress: Callable[[Tally], None] = lambda done: None,
) -> Iterator[Tree]:
    """The export of this form, of the archive with this id at ``root``, in ``directory``, which is made if it is not there.

    ``check``: read every blob that is placed, and compare its bytes with its name. ``dry_run``: a Tree that
    counts what it would do; nothing is made, neither the directory nor the export's own, but a temporary one.
    Raises UsageError where the directory is another export's or in one, belongs to an archive or has this one
    in it, ArchiveLocked while another process exports into it, StorageError, DiskFull.
    """
    _refuse_around(root, directory)
    with ExitStack() as stack:
        if dry_run:
            yield stack.enter_context(_looked_at(directory, form, archive, blobs, way, progress))
            return
        with storage_errors(f"{directory} cannot be opened"):
            directory.mkdir(parents=True, exist_ok=True)
            top = open_root(directory)
            stack.callback(os.close, top)
            own = _entered(OWN, top)
            stack.callback(os.close, own)
            _lock(own, directory)
            scratch = _entered("tmp", own)
            stack.callback(os.close, scratch)
            for name in os.listdir(scratch):  # noqa: PTH208  # of a descriptor, which no Path is
                os.unlink(name, dir_fd=scratch)
        manifest = stack.enter_context(closing(Manifest(directory / OWN / _LIST)))
        _claim(manifest, directory, archive, form)
        placer = Placer(blobs, scratch, way, check=check)
        yield stack.enter_context(closing(Tree(top, scratch, manifest, placer, progress)))


@contextmanager
def _looked_at(
    directory: Path,
    form: str,
    archive: str,
    blobs: BlobLinks,
    way: Way,
    progress: Callable[[Tally], None],
) -> Iterator[Tree]:
    """As ``opened``, for a dry run."""
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(TemporaryDirectory(prefix="archiver-")))
        (temporary / "nothing").mkdir()
        nothing = open_root(temporary / "nothing")
        stack.callback(os.close, nothing)
        top = nothing
        with storage_errors(f"{directory} cannot be opened"):
            near = next(path for path in (directory, *directory.absolute().parents) if path.exists())
            require_writable(near, directory)
            if near == directory:
                top = open_root(directory)
                stack.callback(os.close, top)
                _copy_list(top, directory, temporary)
        manifest = stack.enter_context(closing(Manifest(temporary / _LIST)))
        _claim(manifest, directory, archive, form)
        tree = DryTree(top, nothing, manifest, blobs, way, near, progress)
        yield stack.enter_context(closing(tree))


def _copy_list(top: int, directory: Path, to: Path) -> None:
    """Copy the list of the export's files, if there is one, with what a killed export left beside it."""
    with suppress(FileNotFoundError):
        own = open_directory(OWN, within=top)
        try:
            _lock(own, directory)
            for name in (_LIST, f"{_LIST}-journal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(directory / OWN / name, to / name)
        finally:
            os.close(own)


def _claim(manifest: Manifest, directory: Path, archive: str, form: str) -> None:
    other = manifest.claim(archive, form)
    if other is not None:
        what = f"of the form {other[1]}" if other[0] == archive else f"of another archive ({other[0]})"
        raise UsageError(f"{directory} holds an export {what}", "name another directory")


def _entered(name: str, within: int) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=within)
    return open_directory(name, within=within)


def _lock(own: int, directory: Path) -> None:
    """Held until the descriptor is closed, or the process ends."""
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise ArchiveLocked(f"another export into {directory} is on", "wait for it to end") from exc


def _refuse_around(root: Path, directory: Path) -> None:
    """A name that the archive chose, a username, may be that of a directory in which it lies."""
    refuse_archives(directory)
    refuse_exports(directory, itself=False)
    with storage_errors(f"{directory} cannot be looked at"):
        if directory.resolve() in root.resolve().parents:
            raise UsageError(
                f"{directory} has the archive in it, at {root}",
                "name a directory for the export alone, beside the archive",
            )


def refuse_archives(directory: Path) -> None:
    """Raises UsageError for a directory, there or not, that is an archive's or lies in one, and for what is none; StorageError."""
    with storage_errors(f"{directory} cannot be looked at"):
        place = directory.resolve()
        if place.exists() and not place.is_dir():
            raise UsageError(f"{directory} is no directory", "name another place")
        for above in (place, *place.parents):
            if (above / ARCHIVE).exists():
                raise UsageError(
                    f"{directory} belongs to the archive at {above}",
                    "name a directory outside of every archive",
                )


def refuse_exports(directory: Path, *, itself: bool = True) -> None:
    """Raises UsageError for a directory, there or not, that lies in an export, or ``itself`` is one; StorageError."""
    with storage_errors(f"{directory} cannot be looked at"):
        place = directory.resolve()
        for above in (place, *place.parents) if itself else place.parents:
            if (above / OWN).exists():
                raise UsageError(
                    f"{directory} belongs to the export in {above}", "name a directory outside of it"
                )
