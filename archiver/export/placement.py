"""Place files in an export: completely or not at all, and never over a file that is already there.

All paths are relative to open directories, and no symbolic link is followed. A hard link is the blob itself.
A reflink shares its blocks with the blob (FICLONE, ioctl_ficlone(2): btrfs, XFS, bcachefs and others).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

from archiver.blobs.store import BlobSource
from archiver.durable import clone, is_lost_on_disk, storage_errors, sync, write_all
from archiver.export.export_entry import ExportEntry, GeneratedText, StagedFile
from archiver.export.link_methods import UNSUPPORTED, LinkMethod, method_unsupported
from archiver.model.identity import Digest
from archiver.store.objects import ObjectMissing

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_CHUNK_SIZE = 1 << 20

_MISSING = "its blob is missing (archiver verify --repair)"

_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
)


class DamagedBlob(Exception):
    """A blob is missing, or its bytes do not match its name. The message says what is wrong, for people."""


class NameInDirectory(NamedTuple):
    """A name in an open directory."""

    directory: int
    name: bytes


class PlacementResult(NamedTuple):
    """A file that was placed: the method, its modification time in nanoseconds, and its inode number."""

    method: str
    mtime_ns: int
    inode: str


class Staging:
    """Creates files in ``directory`` (a descriptor, on the export's disk) before they get their final names.

    A method that creates a file returns its name there. A file that could not be completed is removed.
    """

    def __init__(self, blobs: BlobSource, directory: int) -> None:
        self._blobs = blobs
        self.directory = directory

    def new_name(self) -> str:
        """Return a name that no staged file has."""
        return f"{secrets.token_hex(12)}.part"

    def discard(self, name: str) -> None:
        """Remove a staged file, if it is there."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self.directory)

    def clone(self, digest: Digest) -> str:
        """Create a reflink of a blob. Raises OSError if that is not possible here."""
        with self._blobs.open(digest) as source, self._create() as (name, fd):
            clone(source.fileno(), fd)
        return name

    def copy(self, digest: Digest) -> str:
        """Create a durable copy of a blob. Raises DamagedBlob."""
        with self._create() as (name, fd):
            self.check_blob(digest, copy_to=fd)
            sync(fd)
        return name

    def write(self, content: bytes) -> str:
        """Create a file of these bytes."""
        with self._create() as (name, fd):
            write_all(fd, content)
        return name

    def write_text(self, pieces: Iterable[str]) -> tuple[StagedFile, int]:
        """Write a long text durably, in bounded memory. Return the file and its size in bytes.

        Raises DiskFull, StorageError.
        """
        with storage_errors("the export cannot be written"), self._create() as (name, fd):
            digest, size = hash_text(pieces, lambda chunk: write_all(fd, chunk))
            sync(fd)
        return StagedFile(name, digest), size

    @contextmanager
    def _create(self) -> Iterator[tuple[str, int]]:
        name = self.new_name()
        fd = os.open(name, _NEW, 0o666, dir_fd=self.directory)
        try:
            yield name, fd
        except BaseException:
            self.discard(name)
            raise
        finally:
            os.close(fd)

    def check_blob(self, digest: Digest, copy_to: int | None = None) -> None:
        """Read a blob and compare its SHA-256; also copy it to the descriptor ``copy_to``, if given.

        Raises DamagedBlob.
        """
        with open_blob(self._blobs, digest) as source:
            for chunk in read_blob(source, digest):
                if copy_to is not None:
                    write_all(copy_to, chunk)


def hash_text(
    pieces: Iterable[str], write: Callable[[bytes], None] = lambda chunk: None
) -> tuple[Digest, int]:
    """Return the SHA-256 of a long text and its size in bytes, and hand it to ``write``, piece by piece."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        chunk = piece.encode(errors="replace")
        hashed.update(chunk)
        size += len(chunk)
        write(chunk)
    return Digest(hashed.hexdigest()), size


def require_blob(blobs: BlobSource, digest: Digest, size: int) -> os.stat_result:
    """Return the status of a blob. Raises DamagedBlob if it is missing or has another size."""
    blob = blobs.stat(digest)
    if blob is None:
        raise DamagedBlob(_MISSING)
    if blob.st_size != size:
        raise DamagedBlob(
            f"its blob has {blob.st_size:,} bytes instead of {size:,} (archiver verify --repair)"
        )
    return blob


def open_blob(blobs: BlobSource, digest: Digest) -> BinaryIO:
    """Open a blob; the caller closes it. Raises DamagedBlob if it is missing: ``forget`` may delete it."""
    try:
        return blobs.open(digest)
    except (FileNotFoundError, ObjectMissing) as exc:
        raise DamagedBlob(_MISSING) from exc


def read_blob(source: BinaryIO, digest: Digest) -> Iterator[bytes]:
    """Yield the bytes of an open blob, in pieces. Raises DamagedBlob, at the end, if its SHA-256 differs."""
    hashed = hashlib.sha256()
    while chunk := _read_chunk(source):
        hashed.update(chunk)
        yield chunk
    if hashed.hexdigest() != digest:
        raise DamagedBlob("its blob is damaged (archiver verify --read-data --repair)")


def _read_chunk(source: BinaryIO) -> bytes:
    try:
        return source.read(_CHUNK_SIZE)
    except OSError as exc:
        if is_lost_on_disk(exc):
            raise DamagedBlob(
                f"its blob cannot be read: {exc.strerror} (archiver verify --read-data --repair)"
            ) from exc
        raise


class Placement:
    """Places the files of one export.

    ``staging`` is an open directory on the export's disk. ``methods`` are tried in this order. With
    ``verify`` each blob that is placed is read and compared with its SHA-256.
    """

    def __init__(
        self, blobs: BlobSource, staging: int, methods: Sequence[LinkMethod], *, verify: bool = False
    ) -> None:
        self.staging = Staging(blobs, staging)
        self._blobs, self._verify = blobs, verify
        self._methods = list(methods)
        self.knows_method = False
        """Whether a blob has been placed, so that the method that works here is known."""

    @property
    def uses_links(self) -> bool:
        """Return whether blobs are placed as hard links, and need not be read."""
        return self.knows_method and self._methods[0] is LinkMethod.HARDLINK and not self._verify

    def place(self, entry: ExportEntry, to: NameInDirectory, *, over: bool) -> PlacementResult:
        """Place the content of an entry; if it is copied, the copy is durable afterwards.

        Raises FileExistsError if the name exists, unless ``over``: then it is replaced in one step. Raises
        DamagedBlob, StorageError if the method does not work here, and other errors of the disk as OSError.
        """
        content = entry.content
        if isinstance(content, GeneratedText):
            return self._place_draft(self.staging.write(content.bytes), entry, to, "written", over)
        if isinstance(content, StagedFile):
            return self.place_staged(content.name, entry.at_ns, to, "written", over=over)
        blob = self.stat_blob(content, entry.size)
        if self._verify:
            self.staging.check_blob(content)
        while True:
            method = self._methods[0]
            try:
                result = self._place_blob(method, content, blob, entry, to, over)
                self.knows_method = True
                return result
            except OSError as exc:
                if exc.errno == errno.ENOENT:
                    self.stat_blob(content, entry.size)  # raises, if it was deleted just now
                if exc.errno == errno.EMLINK and len(self._methods) > 1:  # of this blob only
                    return self._place_blob(LinkMethod.COPY, content, blob, entry, to, over)
                if exc.errno not in UNSUPPORTED or method is LinkMethod.COPY:
                    raise
                if len(self._methods) == 1:
                    raise method_unsupported(method, exc.strerror or str(exc)) from exc
                del self._methods[0]

    def stat_blob(self, digest: Digest, size: int) -> os.stat_result:
        """Return the status of a blob. Raises DamagedBlob if it is missing or has another size."""
        return require_blob(self._blobs, digest, size)

    def _place_blob(
        self,
        method: LinkMethod,
        digest: Digest,
        blob: os.stat_result,
        entry: ExportEntry,
        to: NameInDirectory,
        over: bool,
    ) -> PlacementResult:
        if method is LinkMethod.HARDLINK:
            self.link(digest, to, over=over)
            return self._date_link(digest, blob, entry.at_ns)
        draft = self.staging.clone(digest) if method is LinkMethod.REFLINK else self.staging.copy(digest)
        return self._place_draft(draft, entry, to, method, over)

    def _date_link(self, digest: Digest, blob: os.stat_result, at_ns: int | None) -> PlacementResult:
        """Set the time of a hard link. All names of a blob share one time: the earliest of those wanted."""
        if at_ns is not None and at_ns < blob.st_mtime_ns:
            with suppress(PermissionError):  # the blob belongs to another user
                self._blobs.set_mtime(digest, at_ns)
                return PlacementResult(LinkMethod.HARDLINK, at_ns, str(blob.st_ino))
        return PlacementResult(LinkMethod.HARDLINK, blob.st_mtime_ns, str(blob.st_ino))

    def prepare_link(self, digest: Digest, size: int, at_ns: int | None) -> PlacementResult | None:
        """Set the time of a blob before ``link`` places it. Return the result; None if it is damaged."""
        try:
            blob = self._blobs.stat(digest)
            if blob is None or blob.st_size != size:
                return None
            mtime_ns = blob.st_mtime_ns
            if at_ns is not None and at_ns < mtime_ns:
                self._blobs.set_mtime(digest, at_ns)
                mtime_ns = at_ns
        except OSError:
            return None
        return PlacementResult(LinkMethod.HARDLINK, mtime_ns, str(blob.st_ino))

    def link(self, digest: Digest, to: NameInDirectory, *, over: bool = False) -> None:
        """Place a blob as a hard link, without setting its time. Raises OSError."""
        if not over:
            self._blobs.link(digest, to.name, into=to.directory)
            return
        draft = self.staging.new_name()
        self._blobs.link(digest, draft, into=self.staging.directory)
        os.replace(draft, to.name, src_dir_fd=self.staging.directory, dst_dir_fd=to.directory)
        with suppress(FileNotFoundError):  # rename(2) does nothing if both are names of one file
            os.unlink(draft, dir_fd=self.staging.directory)

    def set_date(
        self, digest: Digest, at_ns: int | None, method: str, to: NameInDirectory
    ) -> PlacementResult:
        """Set the time of a file of the export that is in its place, if it differs."""
        found = os.stat(to.name, dir_fd=to.directory, follow_symlinks=False)
        blob = self.blob_of(digest, found)
        if blob is not None:
            return self._date_link(digest, blob, at_ns)
        if method == LinkMethod.HARDLINK:  # its blob is another file now, with the same bytes
            return PlacementResult(LinkMethod.COPY, found.st_mtime_ns, str(found.st_ino))
        if method == LinkMethod.REFLINK and self.was_damaged(digest):  # the bytes were read just now
            method = LinkMethod.COPY
        return PlacementResult(method, _set_mtime(to, found, at_ns), str(found.st_ino))

    def blob_of(self, digest: str, status: os.stat_result) -> os.stat_result | None:
        """Return the status of a blob if ``status`` is that of a hard link to it; None otherwise."""
        blob = self._blobs.stat(Digest(digest))
        is_same = blob is not None and (blob.st_ino, blob.st_dev) == (status.st_ino, status.st_dev)
        return blob if is_same else None

    def is_own_link(self, digest: str, status: os.stat_result) -> bool:
        """Return whether a file is a hard link to a blob, or to what was that blob until it was repaired."""
        if self.blob_of(digest, status) is not None:
            return True
        return any(os.path.samestat(status, other) for other in self._blobs.quarantine_copies(Digest(digest)))

    def was_damaged(self, digest: str) -> bool:
        """Return whether ``verify --repair`` found a blob damaged. A clone may share its damaged blocks."""
        return bool(self._blobs.quarantine_copies(Digest(digest)))

    def _place_draft(
        self, draft: str, entry: ExportEntry, to: NameInDirectory, method: str, over: bool
    ) -> PlacementResult:
        """Place a staged file. Discard it if its name turns out to be in use: it can be created again."""
        try:
            return self.place_staged(draft, entry.at_ns, to, method, over=over)
        except FileExistsError:
            self.staging.discard(draft)
            raise

    def place_staged(
        self, draft: str, at_ns: int | None, to: NameInDirectory, method: str, *, over: bool = False
    ) -> PlacementResult:
        """Set the time of a staged file, then move it to its place.

        After an error the staged file is removed. After FileExistsError it stays: there may be another name
        for it.
        """
        staged = NameInDirectory(self.staging.directory, os.fsencode(draft))
        try:
            found = os.stat(draft, dir_fd=staged.directory, follow_symlinks=False)
            mtime_ns = _set_mtime(staged, found, None if method == LinkMethod.HARDLINK else at_ns)
            if over:
                os.replace(draft, to.name, src_dir_fd=staged.directory, dst_dir_fd=to.directory)
            else:
                rename_exclusive(staged, to)
        except FileExistsError:
            raise
        except BaseException:
            self.staging.discard(draft)
            raise
        return PlacementResult(method, mtime_ns, str(found.st_ino))


def _set_mtime(file: NameInDirectory, status: os.stat_result, at_ns: int | None) -> int:
    """Set the modification time if it differs; return it as the file system stored it."""
    if at_ns is None or status.st_mtime_ns == at_ns:
        return status.st_mtime_ns
    os.utime(file.name, ns=(at_ns, at_ns), dir_fd=file.directory, follow_symlinks=False)
    return os.stat(file.name, dir_fd=file.directory, follow_symlinks=False).st_mtime_ns


def rename_exclusive(source: NameInDirectory, to: NameInDirectory) -> None:
    """Rename a file without replacing another one. Raises FileExistsError.

    On a file system without hard links there is a short gap between the check and the rename.
    """
    try:
        os.link(
            source.name,
            to.name,
            src_dir_fd=source.directory,
            dst_dir_fd=to.directory,
            follow_symlinks=False,
        )
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        with suppress(FileNotFoundError):
            os.stat(to.name, dir_fd=to.directory, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
        os.rename(source.name, to.name, src_dir_fd=source.directory, dst_dir_fd=to.directory)
    else:
        os.unlink(source.name, dir_fd=source.directory)
