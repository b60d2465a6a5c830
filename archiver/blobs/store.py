"""Blobs: ``blobs/ab/<sha256>``, each stored under the SHA-256 of its bytes, completely or not at all.

A store never deletes or changes a blob. On a disk, blobs have the mode 0444; the directories decide who can
read them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self

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


class BlobStore:
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
        """Prepare for writing; the caller holds the archive's lock. Required by ``writer``, not for reading.

        Removes unfinished files of killed runs. Raises StorageError if the store cannot be written, so that a
        run finds out before it pays for anything.
        """
        self._objects.prepare(_DIRECTORIES)

    def writer(self) -> Draft:
        """Return the draft of one blob, whose ``commit`` stores it and returns its digest and size.

        If the blob is stored already, it is replaced, which repairs a damaged copy. Raises DiskFull or
        StorageError.
        """
        return self._objects.draft(self._put)

    def _put(self, draft: Draft) -> None:
        digest = draft.digest()
        self._objects.put_draft(object_name(digest), draft, lambda: self._choose_upload(digest))

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def object_name(digest: Digest) -> str:
    """Return the name of a blob in an archive."""
    return f"blobs/{digest[:2]}/{digest}"
