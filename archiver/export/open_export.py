"""Open the directory of an export, to update or to check it, or the file of one; for one process at a time.

A directory must not belong to another export or to an archive. ``<directory>/.archiver-export/`` holds the
manifest, a lock, and the staging directory, which is empty between exports unless one was killed. A file gets
its name only when it is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from archiver.blobs.marker import EXPORT_DIRECTORY
from archiver.blobs.store import BlobSource
from archiver.durable import (
    destination_errors,
    free_bytes,
    open_directory,
    open_root,
    real_path,
    require_permission,
    storage_errors,
    sync,
    sync_directory,
)
from archiver.errors import ArchiveLocked, DiskFull, NoArchive, StorageError, UsageError
from archiver.export.dry_run import DryRun
from archiver.export.export_check import ExportCheck, StoredBlobs
from archiver.export.export_entry import ExportEntry, ExportStats
from archiver.export.export_scan import ExportScan, OpenDirectories, stat_entry
from archiver.export.export_sync import ExportSync
from archiver.export.link_methods import LinkMethod, MethodForecast, folder_methods, methods_to_try
from archiver.export.manifest import Manifest, require_own_list
from archiver.export.placement import NameInDirectory, Placement, rename_exclusive
from archiver.model.identity import Digest
from archiver.store.objects import MARKER
from archiver.text_format import format_size

_MANIFEST = "files.db"
_STAGING = "tmp"
_DRAFT = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def open_export(
    directory: Path,
    *,
    form: str,
    archive: str,
    root: Path,
    blobs: BlobSource,
    method: LinkMethod = LinkMethod.AUTO,
    verify: bool = False,
    dry_run: bool = False,
    progress: Callable[[ExportStats], None] = lambda stats: None,
) -> Iterator[ExportSync]:
    """Open the directory of an export, and create it if it is missing.

    ``archive`` is the id of the archive, ``root`` its directory. With ``verify`` each blob that is placed is
    read and compared with its SHA-256. With ``dry_run`` the export only counts what it would do, and writes
    nothing outside a temporary directory. Raises UsageError if the directory belongs to another export or an
    archive, or contains this archive; ArchiveLocked while another process exports into it; StorageError,
    DiskFull.
    """
    _require_usable(directory, root)
    export: ExportSync
    with ExitStack() as stack:
        if dry_run:
            export = _open_dry_run(stack, directory, form, archive, blobs, method, progress)
        else:
            with destination_errors(directory):
                directory.mkdir(parents=True, exist_ok=True)
                top = open_root(directory)
                stack.callback(os.close, top)
                own = _open_own(stack, directory, top, make=True)
                staging = _make_and_open(_STAGING, own)
                stack.callback(os.close, staging)
                for name in _leftovers(staging):
                    os.unlink(name, dir_fd=staging)
            manifest = _open_manifest(stack, directory / EXPORT_DIRECTORY, directory, form, archive)
            placement = Placement(blobs, staging, methods_to_try(method, form, manifest), verify=verify)
            export = ExportSync(ExportScan(OpenDirectories(top), placement), placement, manifest, progress)
        yield stack.enter_context(closing(export))


@contextmanager
def open_check(
    directory: Path,
    *,
    form: str,
    archive: str,
    blobs: BlobSource,
    stored_blobs: StoredBlobs,
    progress: Callable[[ExportStats], None],
) -> Iterator[ExportCheck]:
    """Open an export to check it. Nothing is written outside a temporary directory.

    ``stored_blobs`` reads the archive's rows. Raises NoArchive if there is no export, and the errors of
    ``open_export``.
    """
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(TemporaryDirectory(prefix="archiver-")))
        with storage_errors(f"{directory} cannot be read"):
            try:
                top = open_root(directory)
                stack.callback(os.close, top)
                own = _open_own(stack, directory, top)
                os.stat(_MANIFEST, dir_fd=own, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError) as exc:
                hint = f"archiver export {form} makes one"
                raise NoArchive(f"there is no export in {directory}", hint) from exc
            _copy_manifest(directory, temporary)
            leftovers: list[str] = []
            with suppress(FileNotFoundError):
                staging = open_directory(_STAGING, within=own)
                stack.callback(os.close, staging)
                leftovers = _leftovers(staging)
        manifest = _open_manifest(stack, temporary, directory, form, archive)
        scan = ExportScan(OpenDirectories(top), Placement(blobs, top, ()))
        stack.callback(scan.directories.close)
        check = ExportCheck(scan, manifest, stored_blobs, progress)
        for name in leftovers:
            path = f"{EXPORT_DIRECTORY}/{_STAGING}/{name}"
            check.stats.add_failure(path, "left by an export that was killed: export again")
        yield check


def _open_dry_run(
    stack: ExitStack,
    directory: Path,
    form: str,
    archive: str,
    blobs: BlobSource,
    method: LinkMethod,
    progress: Callable[[ExportStats], None],
) -> DryRun:
    temporary = Path(stack.enter_context(TemporaryDirectory(prefix="archiver-")))
    (temporary / "empty").mkdir()
    top = empty = open_root(temporary / "empty")
    stack.callback(os.close, empty)
    existing = nearest_existing(directory)
    with destination_errors(directory):
        if existing == directory:
            top = open_root(directory)
            stack.callback(os.close, top)
            with suppress(FileNotFoundError), ExitStack() as inner_stack:
                _open_own(inner_stack, directory, top)
                _copy_manifest(directory, temporary)
    manifest = _open_manifest(stack, temporary, directory, form, archive)
    return DryRun(top, empty, manifest, blobs, methods_to_try(method, form, manifest), existing, progress)


def nearest_existing(directory: Path) -> Path:
    """Return the directory, or its nearest parent that exists.

    Raises StorageError if nothing can be written there: a link leads nowhere, or this user may not.
    """
    with destination_errors(directory):
        require_permission(directory)
        paths = (directory, *directory.absolute().parents)
        nearest = next(path for path in paths if os.path.lexists(path))
        nearest.stat()
        return nearest


def is_new(directory: Path) -> bool:
    """Return whether no export was made in a directory yet."""
    return not os.path.lexists(directory / EXPORT_DIRECTORY / _MANIFEST)


def require_space(
    directory: Path, method: LinkMethod, blobs: BlobSource, entries: Callable[[], Iterable[ExportEntry]]
) -> int | None:
    """Raise DiskFull if the files of a new folder do not fit on its disk, and would be copies.

    ``entries`` returns the files. Return their number; None if they were not counted. Raises StorageError.
    """
    methods = folder_methods(method)
    if LinkMethod.COPY not in methods:
        return None
    existing = nearest_existing(directory)
    forecast, needed = MethodForecast(blobs, existing, methods), 0
    count = 0
    for entry in entries():
        if not isinstance(entry.content, Digest):
            continue
        # A copy needs no look at a blob, which may be in a bucket while the rows are read.
        blob = blobs.stat(entry.content) if not needed and method is not LinkMethod.COPY else None
        if blob is not None and forecast.method_for(entry.content, blob) is not LinkMethod.COPY:
            return None
        needed += entry.size
        count += 1
    free = free_bytes(existing)
    if needed > free:
        raise DiskFull(
            f"the export takes {format_size(needed)}, and the disk of {directory} has {format_size(free)} of"
            " free space",
            "export a part of the archive, or name another disk; on the disk of the archive, --link hardlink"
            " takes no space, but then whoever changes a file changes the archive",
        )
    return count


def _copy_manifest(directory: Path, to: Path) -> None:
    """Copy the manifest, if there is one, with the journal that an interrupted export left beside it."""
    require_own_list(directory / EXPORT_DIRECTORY / _MANIFEST)
    for name in (_MANIFEST, f"{_MANIFEST}-journal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(directory / EXPORT_DIRECTORY / name, to / name)


def _open_manifest(stack: ExitStack, folder: Path, directory: Path, form: str, archive: str) -> Manifest:
    manifest = stack.enter_context(
        closing(Manifest(folder / _MANIFEST, shown_as=directory / EXPORT_DIRECTORY / _MANIFEST))
    )
    other = manifest.claim(archive, form)
    if other is not None:
        what = f"of the form {other[1]}" if other[0] == archive else f"of another archive ({other[0]})"
        raise UsageError(f"{directory} holds an export {what}", "name another directory")
    return manifest


def _make_and_open(name: str, within: int) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=within)
    return open_directory(name, within=within)


def _leftovers(staging: int) -> list[str]:
    """Return what a killed export left in the staging directory. No export makes a directory there."""
    with os.scandir(staging) as entries:
        return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]


def _open_own(stack: ExitStack, directory: Path, top: int, *, make: bool = False) -> int:
    """Open and lock the directory of the list, until ``stack`` or the process ends.

    Raises ArchiveLocked, OSError, and StorageError if the staging directory is something else.
    """
    own = _make_and_open(EXPORT_DIRECTORY, top) if make else open_directory(EXPORT_DIRECTORY, within=top)
    stack.callback(os.close, own)
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise ArchiveLocked(f"another export into {directory} is running", "wait until it ends") from exc
    staging = stat_entry(_STAGING, own)
    if staging is not None and not stat.S_ISDIR(staging.st_mode):
        raise StorageError(
            f"{directory / EXPORT_DIRECTORY / _STAGING} is not a directory", "remove it, and run again"
        )
    return own


def _require_usable(directory: Path, root: Path) -> None:
    refuse_archives(directory)
    refuse_exports(directory, itself=False)
    with destination_errors(directory):
        # A username in the export could be the name of a directory on the way to the archive.
        if real_path(directory) in real_path(root).parents:
            raise UsageError(
                f"{directory} contains the archive, at {root}",
                "name a directory for the export alone, beside the archive",
            )


def refuse_archives(directory: Path) -> None:
    """Raise UsageError for a file, and for a directory, existing or not, that is an archive or inside one."""
    with destination_errors(directory):
        resolved = real_path(directory)
        if resolved.exists() and not resolved.is_dir():
            raise UsageError(f"{directory} is not a directory", "choose another path")
        for parent in (resolved, *resolved.parents):
            if (parent / MARKER).exists():
                raise UsageError(
                    f"{directory} belongs to the archive at {parent}",
                    "name a directory outside of every archive",
                )


def refuse_exports(directory: Path, *, itself: bool = True) -> None:
    """Raise UsageError for a directory, existing or not, inside an export.

    With ``itself`` also for one that is an export.
    """
    with destination_errors(directory):
        resolved = real_path(directory)
        for parent in (resolved, *resolved.parents) if itself else resolved.parents:
            if (parent / EXPORT_DIRECTORY).exists():
                raise UsageError(
                    f"{directory} belongs to the export in {parent}", "name a directory outside of it"
                )


def require_new(path: Path, *, force: bool) -> None:
    """Raise UsageError if the file cannot be made: it exists, or is in an archive or an export.

    With ``force`` a regular file may exist. Raises StorageError if this user may not enter the directory.
    """
    if path.name in ("", ".."):
        raise UsageError(f"{path} is a directory", "name a file")
    refuse_archives(path.parent)
    refuse_exports(path.parent)
    with destination_errors(path.parent):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{path} is {what}", "name another file")
    if not force:
        raise UsageError(f"{path} exists already", "name another file, or replace it with --force")


@contextmanager
def open_new_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write. If the block ends without an exception, it is durable and gets its name.

    Until then it is called ``.<name>.part``. An exception removes it; if a kill leaves it, the next call
    overwrites it. Missing directories are created. ``force``: replace an existing file, in one step. Raises
    the errors of ``require_new``, ArchiveLocked while another process writes the same file, StorageError,
    DiskFull.
    """
    require_new(path, force=force)
    name, draft = os.fsencode(path.name), os.fsencode(f".{path.name}.part")
    with destination_errors(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = open_root(path.parent)
        stack.callback(os.close, directory)
        descriptor = _open_draft(draft, directory, path)
        with os.fdopen(descriptor, "w+b") as file:  # its lock ends when it is closed
            try:
                yield file
                file.flush()
                sync(descriptor)
                if force:
                    os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
                else:
                    rename_exclusive(NameInDirectory(directory, draft), NameInDirectory(directory, name))
            except FileExistsError as exc:
                os.unlink(draft, dir_fd=directory)
                raise UsageError(f"{path} exists now: another program made it", "name another file") from exc
            except BaseException:
                os.unlink(draft, dir_fd=directory)
                raise
            sync_directory(directory)


def _open_draft(name: bytes, directory: int, path: Path) -> int:
    """Open, lock and empty the draft. Raises ArchiveLocked, OSError."""
    while True:
        descriptor = os.open(name, _DRAFT, 0o666, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{os.fsdecode(name)} is not a regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 1:  # it is somebody's file under another name
                os.unlink(name, dir_fd=directory)
            elif _is_named(descriptor, name, directory):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BlockingIOError as exc:
            os.close(descriptor)
            raise ArchiveLocked(f"another export to {path} is running", "wait until it ends") from exc
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process has renamed or removed it meanwhile


def _is_named(descriptor: int, name: bytes, directory: int) -> bool:
    """Return whether an open file still has this name."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))
