"""How the files of an export are made, as clones, hard links or copies: what is tried, and what works here.

An export asks first what its archive's store allows. ``open_export`` takes the methods to try from here,
``placement`` tries them, and a dry run predicts which one works.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from archiver.blobs.store import BlobSource
from archiver.durable import clone
from archiver.errors import StorageError, UsageError
from archiver.export.manifest import Manifest
from archiver.model.identity import Digest


class LinkMethod(StrEnum):
    """How a blob becomes a file of an export.

    ``AUTO`` takes the first of the others that works; in a new folder of pictures, never a hard link.
    """

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


# These mean that the file system, or this pair of file systems, does not support a method. EPERM and EACCES
# also mean that the blobs belong to another user, EMLINK that a blob has the maximum number of links.
UNSUPPORTED = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EACCES,
        errno.ETXTBSY,
        errno.EMLINK,
    }
)


_IN_ORDER = (LinkMethod.REFLINK, LinkMethod.HARDLINK, LinkMethod.COPY)


def choose_method(method: LinkMethod, *, is_remote: bool) -> LinkMethod:
    """Return the method for the blobs of an archive; ``is_remote``: they are in a bucket, and are copied.

    Raises UsageError for a link to what is there.
    """
    if not is_remote or method is LinkMethod.COPY:
        return method
    if method is not LinkMethod.AUTO:
        raise UsageError(
            f"--link {method} is impossible: the archive is in a bucket",
            "leave --link out: files are copied",
        )
    return LinkMethod.COPY


def methods_to_try(method: LinkMethod, form: str, manifest: Manifest) -> tuple[LinkMethod, ...]:
    """Return the methods to try, in this order.

    Other programs may change the files of a folder. It has links only if they are requested, or if an earlier
    export made some.
    """
    if form == "folder" and not manifest.has_links():
        return folder_methods(method)
    return (method,) if method is not LinkMethod.AUTO else _IN_ORDER


def folder_methods(method: LinkMethod) -> tuple[LinkMethod, ...]:
    """Return the methods to try in a folder without hard links, in this order."""
    return (method,) if method is not LinkMethod.AUTO else (LinkMethod.REFLINK, LinkMethod.COPY)


def method_unsupported(method: LinkMethod, why: str) -> StorageError:
    """Return the error for a method that was requested with ``--link`` and does not work here."""
    return StorageError(
        f"cannot create a {method} of the archive's file in the export: {why}",
        "omit --link, or use --link copy",
    )


class MethodForecast:
    """Predicts how a blob would be placed in a directory, as far as possible without doing it."""

    def __init__(self, blobs: BlobSource, directory: Path, methods: Sequence[LinkMethod]) -> None:
        self._blobs, self._directory, self._methods = blobs, directory, methods
        self._can_clone: bool | None = None

    def method_for(self, digest: Digest, blob: os.stat_result) -> LinkMethod:
        """Return the method for this blob. Raises StorageError if the requested one does not work here."""
        *preferred, last = self._methods
        for method in preferred:
            if not self._refusal(method, digest, blob):
                return method
        if refusal := self._refusal(last, digest, blob):
            raise method_unsupported(last, os.strerror(refusal))
        return last

    def _refusal(self, method: LinkMethod, digest: Digest, blob: os.stat_result) -> int:
        """Return the error that a method would give, 0 if none."""
        if method is LinkMethod.COPY:
            return 0
        if method is LinkMethod.HARDLINK:
            return self._link_refusal(blob)
        if self._can_clone is None:
            self._can_clone = self._try_clone(digest)
        return 0 if self._can_clone else errno.EOPNOTSUPP

    def _try_clone(self, digest: Digest) -> bool:
        """Return whether FICLONE works here, by trying it on an unnamed temporary file."""
        if sys.platform != "linux":
            return False
        with suppress(OSError), self._blobs.open(digest) as source:
            fd = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
            try:
                clone(source.fileno(), fd)
                return True
            finally:
                os.close(fd)
        return False

    def _link_refusal(self, blob: os.stat_result) -> int:
        """Return the error of link(2), 0 if none. Linux protects other users' files: see proc_sys_fs(5)."""
        if blob.st_dev != self._directory.stat().st_dev:
            return errno.EXDEV
        if sys.platform == "linux" and os.geteuid() not in (0, blob.st_uid):
            return errno.EPERM
        return 0
