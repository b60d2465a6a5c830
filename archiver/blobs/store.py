"""Blobs: ``blobs/ab/<sha256>``, each stored under the SHA-256 of its bytes, completely or not at all.

A store never deletes or changes a blob. On a disk, blobs have the mode 0444; the directories decide who can
read them. An export reads them as a ``BlobSource``: on a disk hard links, or files to copy from; in a bucket
only the latter. That changes nothing in the archive but one time stamp; see ``BlobSource.set_mtime``.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_IFREG, S_ISREG
from typing import BinaryIO, Protocol

from archiver.closeable import Closeable
from archiver.durable import list_names, open_directory, open_levels, open_regular, open_root, storage_errors
from archiver.model.identity import Digest
from archiver.store.objects import Folder, Objects, Upload, printable
from archiver.store.spool import Draft

BLOB_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
"""The name of a blob below ``blobs/``."""
BLOBS = Folder("blobs", (re.compile("[0-9a-f]{2}"),), BLOB_NAME)
_DIRECTORIES = tuple(f"{n:02x}" for n in range(256))


def make_blob_store(objects: Objects) -> None:
    """Make what blobs need in an archive, durably. What exists is left unchanged. Raises StorageError."""
    objects.make(BLOBS, _DIRECTORIES)


class BlobStore(Closeable):
    """The blobs among the ``objects`` of an archive. Opening it writes nothing. Closed by ``with``.

    Raises StorageError if the directory has no blobs. ``choose_upload`` is called for each blob that is
    written to a bucket, once its bytes are known, in the thread that writes it. Only the caller knows which
    bytes are in doubt: the store states the checksum of what was once uploaded. Methods may be called from
    several threads at once. An error of the store is raised as StorageError, a full one as DiskFull.
    """

    def __init__(
        self, objects: Objects, choose_upload: Callable[[Digest], Upload] = lambda _: Upload.IF_DIFFERENT
    ) -> None:
        objects.hold(BLOBS)
        self._objects, self._choose_upload = objects, choose_upload

    @property
    def is_remote(self) -> bool:
        """Whether reading waits for a network."""
        return self._objects.is_remote

    def prepare(self) -> None:
        """Prepare for writing; the caller holds the archive's lock. Required by ``draft``, not for reading.

        Removes unfinished files of killed runs. Raises StorageError if the store cannot be written, so that a
        run finds out before it pays for anything.
        """
        self._objects.prepare(_DIRECTORIES)

    def draft(self) -> Draft:
        """Return an empty draft of one blob, which the caller closes by ``with``.

        Raises DiskFull or StorageError.
        """
        return self._objects.draft()

    def put(self, draft: Draft) -> tuple[Digest, int]:
        """Store a draft as a blob, and return its digest and size. The bytes then survive a power loss.

        If the blob is stored already, it is replaced, which repairs a damaged copy. Raises DiskFull or
        StorageError, and ValueError if the draft is closed.
        """
        digest = draft.digest()
        self._objects.put_draft(object_name(digest), draft, lambda: self._choose_upload(digest))
        return digest, draft.size

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is there. Its bytes are not read."""
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes; None if there is none.

        On a disk, only a regular file is a blob. In a bucket, what a quarantine left under the name is none.
        """
        return self._objects.size(object_name(digest))

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; the caller closes it.

        Raises StorageError if there is none. Reading raises OSError or StorageError.
        """
        return self._objects.open(object_name(digest))

    def open_range(self, digest: Digest, start: int, length: int) -> BinaryIO:
        """Open the blob at ``start``, to read at most ``length`` bytes, at least one; the caller closes it.

        From a bucket only these bytes are asked for. Raises what ``open`` raises.
        """
        return self._objects.open_range(object_name(digest), start, length)

    def list_blobs(
        self, on_foreign: Callable[[str], None] = lambda _: None
    ) -> Iterator[tuple[Digest, int | None]]:
        """Yield the names of all blobs in ascending order, whatever is stored under them, and their sizes.

        A size is None if the listing does not state it, as on a disk: see ``size``.

        ``on_foreign`` is called with each other name, in printable form and relative to ``blobs/``. What has
        one is never touched.
        """
        for each in self._objects.list(BLOBS):
            match = BLOB_NAME.fullmatch(each.name)
            if match is None:
                on_foreign(printable(each.name))
            else:
                yield Digest(match[2]), each.size

    def location(self, digest: Digest) -> str:
        """Return where the blob is, for people: a path or an ``s3://`` name, whether it exists or not.

        It ends in ``blobs/ab/<sha256>``.
        """
        return self._objects.location(object_name(digest))

    def quarantine(self, digest: Digest) -> str:
        """Move what is stored under this name to ``quarantine/`` and return its new location.

        Raises StorageError.
        """
        return self._objects.set_aside(object_name(digest), f"quarantine/{digest}-{secrets.token_hex(4)}")

    def close(self) -> None:
        """Close the store. It must not be used afterwards."""
        self._objects.close()


def object_name(digest: Digest) -> str:
    """Return the name of a blob in an archive."""
    return f"blobs/{digest[:2]}/{digest}"


class BlobSource(Protocol):
    """The blobs of an archive, for an export.

    Methods raise OSError unchanged; an export then places the file in another way. They raise StorageError if
    the store fails.
    """

    def stat(self, digest: Digest) -> os.stat_result | None:
        """Return the blob's file status; None if there is no blob under its name."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; the caller closes it."""

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        """Hard-link the blob as ``name`` in the open directory ``into``. Raises FileExistsError."""

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        """Set the modification time of the blob and thus of its links. The archive does not use it."""

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        """Return the statuses of what was this blob until ``verify --repair`` moved it to ``quarantine/``."""


class BlobLinks(Closeable):
    """The ``BlobSource`` below ``root``, an archive's directory. Closed by ``with`` or ``close``."""

    def __init__(self, root: Path) -> None:
        with storage_errors(f"the blobs of the archive at {root} cannot be opened"):
            root_fd = open_root(root)
            try:
                self._fd = open_directory("blobs", within=root_fd)
            finally:
                os.close(root_fd)
        self._root = root
        self._quarantined: defaultdict[str, list[os.stat_result]] | None = None
        self._checked: set[str] = set()

    def stat(self, digest: Digest) -> os.stat_result | None:
        try:
            status = os.stat(self._name(digest), dir_fd=self._fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status if S_ISREG(status.st_mode) else None

    def open(self, digest: Digest) -> BinaryIO:
        return os.fdopen(open_regular(self._name(digest), within=self._fd), "rb", buffering=0)

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        os.link(self._name(digest), name, src_dir_fd=self._fd, dst_dir_fd=into, follow_symlinks=False)

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        os.utime(self._name(digest), ns=(mtime_ns, mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        if self._quarantined is None:
            self._quarantined = defaultdict(list)
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                open_levels(self._root, ["quarantine"]) as opened,
            ):
                for name in list_names(".", within=opened[-1]):
                    status = os.stat(name, dir_fd=opened[-1], follow_symlinks=False)
                    self._quarantined[name.partition("-")[0]].append(status)
        return self._quarantined.get(digest, [])

    def _name(self, digest: Digest) -> str:
        """Return the path below ``blobs/``. A directory is checked once: it must not be a symbolic link."""
        directory = digest[:2]
        if directory not in self._checked:
            os.close(open_directory(directory, within=self._fd))
            self._checked.add(directory)
        return f"{directory}/{digest}"

    def close(self) -> None:
        """Close the directory."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class BucketSource:
    """The ``BlobSource`` in a bucket, whose blobs can only be copied."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def stat(self, digest: Digest) -> os.stat_result | None:
        size = self._store.size(digest)
        if size is None:
            return None
        return os.stat_result((S_IFREG | 0o444, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def open(self, digest: Digest) -> BinaryIO:
        return self._store.open(digest)

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        raise OSError(errno.EXDEV, "it is in a bucket")

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        raise PermissionError(errno.EPERM, "it is in a bucket")

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        return []  # no file of an export is, or shares blocks with, an object
