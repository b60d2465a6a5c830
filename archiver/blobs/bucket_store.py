"""Blobs in a bucket of an S3-compatible store: ``blobs/ab/<sha256>`` below its prefix.

A blob is written to the spool, which is ``tmp/`` of the archive's directory, hashed, and uploaded whole. So a
blob is complete or absent, whenever the program, the store or the network fails.

Nothing is deleted here: see ``StoredObject.is_absent``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from stat import S_IFREG
from types import TracebackType
from typing import BinaryIO, Self

from archiver.blobs.store import BLOB_NAME
from archiver.durable import open_root, storage_errors
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.store.bucket_client import SINGLE_PUT, Bucket
from archiver.store.spool import SpoolWriter, enter_spool, remove_unfinished

_EMPTY = Digest(hashlib.sha256().hexdigest())


class Upload(Enum):
    """When the bytes of a blob are sent to the store."""

    IF_ABSENT = "no row has the blob: one conditional request, unless it is large"
    IF_DIFFERENT = "a row has it: unless the store states its size and checksum"
    ALWAYS = "the stored bytes are in doubt: a row says that they are lost, or this is a repair"


def _if_different(_: Digest) -> Upload:
    return Upload.IF_DIFFERENT


class BucketStore:
    """A ``BlobStore`` in a bucket, with its spool in ``root/tmp``. Opening it writes nothing.

    ``choose_upload`` is called for each blob once its bytes are known, in the thread that writes it. Only the
    caller knows which bytes are in doubt: the store states the checksum of what was once uploaded.
    ``group_readable`` makes the spool 0750 instead of 0700. ``part``: as for ``DiskStore``.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        choose_upload: Callable[[Digest], Upload] = _if_different,
        *,
        group_readable: bool = False,
        part: str | None = None,
    ) -> None:
        self._part = part
        self._bucket, self._root, self._choose_upload = bucket, root, choose_upload
        self._mode = 0o750 if group_readable else 0o700
        self._tmp_fd: int | None = None
        with storage_errors(f"the archive at {root} cannot be opened"):
            self._root_fd = open_root(root)

    def prepare(self) -> None:
        """Prepare the spool. Whether the bucket can be written, ``bucket_marker.probe`` has found out."""
        with storage_errors(f"the spool {self._root / 'tmp'} cannot be written"):
            if self._tmp_fd is None:
                self._tmp_fd = enter_spool(self._root_fd, self._part, self._mode)
            remove_unfinished(self._tmp_fd)
            with self.writer() as probe:
                probe.write(b"\n")

    def writer(self) -> BucketWriter:
        if self._tmp_fd is None:
            raise ValueError("the store is not prepared for writing")
        return BucketWriter(self._tmp_fd, self._root / "tmp", self._upload)

    def _upload(self, digest: Digest, file: BinaryIO, size: int) -> None:
        """Make sure that the bucket has these bytes under their name."""
        name, choice = object_name(digest), self._choose_upload(digest)
        if choice is Upload.IF_ABSENT and size <= SINGLE_PUT:
            if self._bucket.put_if_absent(name, file.read()):
                return
        elif choice is not Upload.ALWAYS and self._bucket.holds(name, file):
            return
        self._bucket.put(name, file)

    def has(self, digest: Digest) -> bool:
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        found = self._bucket.head(object_name(digest)) or self._bucket.find_listed(object_name(digest))
        return found.size if found is not None and _is_blob(digest, found.size) else None

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; see ``Bucket.open_object``. Its bytes are not checked."""
        file = self._bucket.open_object(object_name(digest))
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if not _is_blob(digest, size):
            file.close()
            raise StorageError(
                f"{self.location(digest)} cannot be read: it was moved to quarantine/", "run archiver verify"
            )
        return file

    def open_range(self, digest: Digest, start: int, length: int) -> BinaryIO:
        return self._bucket.open_range(object_name(digest), start, length)

    def list_blobs(
        self, on_foreign: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Digest, int | None]]:
        for found in self._bucket.list("blobs", is_own=_has_name_of_blob):
            name = found.name.removeprefix("blobs/")
            match = BLOB_NAME.fullmatch(name)
            if match is None:
                if on_foreign is not None:
                    on_foreign(name)
            elif _is_blob(digest := Digest(match[2]), found.size):
                yield digest, found.size

    def location(self, digest: Digest) -> str:
        return self._bucket.location(object_name(digest))

    def quarantine(self, digest: Digest) -> str:
        """Copy what is stored under this name to ``quarantine/``, empty it, and return the new location.

        Raises StorageError. After a failure in between, the blob is as it was, and there may be a copy.
        """
        size = self.size(digest)
        if size is None:
            raise StorageError(f"{self.location(digest)} cannot be moved to quarantine/: it does not exist")
        new_name = f"quarantine/{digest}-{secrets.token_hex(4)}"
        self._bucket.copy(object_name(digest), new_name, size)
        self._bucket.put(object_name(digest), b"")
        return self._bucket.location(new_name)

    def close(self) -> None:
        for fd in (self._tmp_fd, self._root_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._tmp_fd, self._root_fd = None, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BucketWriter(SpoolWriter):
    """A ``BlobWriter`` into the spool, whose ``commit`` returns once the bytes are in the store.

    ``upload`` is called with the digest, the file, and its size in bytes. The file is removed afterwards.
    """

    def __init__(self, tmp: int, directory: Path, upload: Callable[[Digest, BinaryIO, int], None]) -> None:
        super().__init__(tmp, directory)
        self._upload = upload

    def commit(self) -> tuple[Digest, int]:
        fd, digest = self._open_fd(), self.digest()
        try:
            with (
                storage_errors(f"a file in {self._directory} cannot be read"),
                os.fdopen(os.dup(fd), "rb") as file,
            ):
                file.seek(0)
                self._upload(digest, file, self._size)
        finally:
            self._discard()
        return digest, self._size


class BucketSource:
    """The ``BlobSource`` in a bucket, whose blobs can only be copied."""

    def __init__(self, store: BucketStore) -> None:
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


def object_name(digest: Digest) -> str:
    """Return the name of a blob's object below the prefix of the archive."""
    return f"blobs/{digest[:2]}/{digest}"


def _is_blob(digest: Digest, size: int) -> bool:
    """Return whether an object of this size is a blob, and not what a quarantine left under its name."""
    return size > 0 or digest == _EMPTY


def _has_name_of_blob(name: str) -> bool:
    return BLOB_NAME.fullmatch(name.removeprefix("blobs/")) is not None
