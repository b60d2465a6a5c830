"""How bytes come to stand under a name in an export: whole or not at all, and never over anything that stands there.

Everything is relative to open directories and follows no symbolic link. A hard link is the blob itself.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass

from archiver.blobs.blob_links import BlobLinks
from archiver.errors import StorageError
from archiver.export.directories import rename
from archiver.export.drafts import Damaged, Drafts
from archiver.export.wanted import Scratch, Text, Way
from archiver.model.identity import Digest

_CANNOT = frozenset(
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
"""This file system, or this pair of two, has no such way; EPERM and EACCES also where the blobs are somebody else's, EMLINK where one has all the names that
it can have."""


@dataclass(frozen=True, slots=True)
class Stands:
    """A file in its place: how it came there, and what it says when it was changed (nanoseconds)."""

    how: str
    mtime_ns: int


def no_way(way: Way, why: str) -> StorageError:
    """Return the error where ``--link`` asks for a way that there is not."""
    return StorageError(
        f"no {way} can be made from the archive to here: {why}", "leave --link out, or --link copy"
    )


class Placer:
    """Puts bytes under names. ``scratch`` is an open directory on the export's disk where they are made first; ``check`` reads all it places."""

    def __init__(self, blobs: BlobLinks, scratch: int, way: Way, *, check: bool = False) -> None:
        self.drafts = Drafts(blobs, scratch)
        self._blobs, self._scratch, self._check = blobs, scratch, check
        self._ways = [Way.REFLINK, Way.HARDLINK, Way.COPY] if way is Way.AUTO else [way]
        self.knows_how = False
        """Whether a blob was placed: then the way that it came is the one that serves here."""

    @property
    def links(self) -> bool:
        """Whether hard links are how blobs come here, as a first one showed, and nothing is asked of their bytes."""
        return self.knows_how and self._ways[0] is Way.HARDLINK and not self._check

    def place(
        self,
        content: Digest | Text | Scratch,
        size: int,
        at_ns: int | None,
        name: bytes,
        into: int,
        *,
        over: bool,
    ) -> Stands:
        """Let the bytes stand under ``name`` in the open directory ``into``, durably where they were copied.

        Raises FileExistsError where something stands there, unless ``over``: then it is replaced in one step. Raises Damaged for a blob that
        is not whole, StorageError where the chosen way is none here, OSError for what the disk refuses.
        """
        if isinstance(content, Text):
            return self._anew(self.drafts.write(content.bytes), at_ns, name, into, "written", over)
        if isinstance(content, Scratch):
            return self.named(content.name, at_ns, name, into, "written", over=over)
        found = self.whole(content, size)
        if self._check:
            self.drafts.read(content)
        while True:
            way = self._ways[0]
            try:
                stands = self._by(way, content, found, at_ns, name, into, over)
                self.knows_how = True
                return stands
            except OSError as exc:
                if exc.errno == errno.EMLINK and len(self._ways) > 1:  # of this blob only
                    return self._by(Way.COPY, content, found, at_ns, name, into, over)
                if exc.errno not in _CANNOT or way is Way.COPY:
                    raise
                if len(self._ways) == 1:
                    raise no_way(way, exc.strerror or str(exc)) from exc
                del self._ways[0]

    def whole(self, digest: Digest, size: int) -> os.stat_result:
        """Return what the disk says of the blob. Raises Damaged if it is missing or has another size."""
        found = self._blobs.stat(digest)
        if found is None:
            raise Damaged("its blob is missing (archiver verify --repair)")
        if found.st_size != size:
            raise Damaged(
                f"its blob has {found.st_size:,} bytes instead of {size:,} (archiver verify --repair)"
            )
        return found

    def foresee(self, digest: Digest, size: int, at_ns: int | None) -> int | None:
        """Date a blob that ``link`` is to give a name; what it says then. None if it is not as it must be."""
        try:
            blob = self._blobs.stat(digest)
            if blob is None or blob.st_size != size:
                return None
            mtime_ns = blob.st_mtime_ns
            if at_ns is None or at_ns >= mtime_ns:
                return mtime_ns
            self._blobs.set_mtime(digest, at_ns)
        except OSError:
            return None
        return at_ns

    def link(self, digest: Digest, name: bytes, into: int) -> None:
        """Give a blob, which was foreseen, the name in the open directory. Raises OSError as it comes."""
        self._blobs.link(digest, name, into=into)

    def _by(
        self,
        way: Way,
        digest: Digest,
        found: os.stat_result,
        at_ns: int | None,
        name: bytes,
        into: int,
        over: bool,
    ) -> Stands:
        if way is Way.HARDLINK:
            return self._linked(digest, found, at_ns, name, into, over)
        draft = self.drafts.clone(digest) if way is Way.REFLINK else self.drafts.copy(digest)
        return self._anew(draft, at_ns, name, into, way, over)

    def _anew(self, draft: str, at_ns: int | None, name: bytes, into: int, how: str, over: bool) -> Stands:
        """As ``named``, of a file that is made again if there is another name for it."""
        try:
            return self.named(draft, at_ns, name, into, how, over=over)
        except FileExistsError:
            self.drafts.discard(draft)
            raise

    def _linked(
        self, digest: Digest, found: os.stat_result, at_ns: int | None, name: bytes, into: int, over: bool
    ) -> Stands:
        if over:
            draft = self.drafts.name()
            self._blobs.link(digest, draft, into=self._scratch)
            os.replace(draft, name, src_dir_fd=self._scratch, dst_dir_fd=into)
            with suppress(
                FileNotFoundError
            ):  # two names of one file: rename(2) does nothing, and leaves both
                os.unlink(draft, dir_fd=self._scratch)
        else:
            self._blobs.link(digest, name, into=into)
        return self._shared(digest, found, at_ns)

    def dated(self, digest: Digest, at_ns: int | None, how: str | None, name: bytes, into: int) -> Stands:
        """See to the date of a file of ours that stands there."""
        stands = os.stat(name, dir_fd=into, follow_symlinks=False)
        blob = self.is_blob(digest, stands)
        if blob is not None:
            return self._shared(digest, blob, at_ns)
        if at_ns is not None and stands.st_mtime_ns != at_ns:
            os.utime(name, ns=(at_ns, at_ns), dir_fd=into, follow_symlinks=False)
            stands = os.stat(name, dir_fd=into, follow_symlinks=False)
        return Stands(how or Way.COPY, stands.st_mtime_ns)

    def _shared(self, digest: Digest, blob: os.stat_result, at_ns: int | None) -> Stands:
        """A hard link says the earliest time that anybody wants of its bytes, since all names of a file say the same."""
        if at_ns is not None and at_ns < blob.st_mtime_ns:
            with suppress(PermissionError):  # linked, but somebody else's
                self._blobs.set_mtime(digest, at_ns)
                return Stands(Way.HARDLINK, at_ns)
        return Stands(Way.HARDLINK, blob.st_mtime_ns)

    def is_blob(self, digest: str, stands: os.stat_result) -> os.stat_result | None:
        """What the disk says of the blob, if the file that stands somewhere is the blob itself; else None."""
        found = self._blobs.stat(Digest(digest))
        same = found is not None and (found.st_ino, found.st_dev) == (stands.st_ino, stands.st_dev)
        return found if same else None

    def named(
        self, draft: str, at_ns: int | None, name: bytes, into: int, how: str, *, over: bool = False
    ) -> Stands:
        """Date a file of the scratch directory, then give it its name; it is gone from there.

        Also after an error, but not after FileExistsError: there may be another name for it.
        """
        try:
            stands = os.stat(draft, dir_fd=self._scratch, follow_symlinks=False)
            if at_ns is not None and how != Way.HARDLINK and stands.st_mtime_ns != at_ns:
                os.utime(draft, ns=(at_ns, at_ns), dir_fd=self._scratch, follow_symlinks=False)
                stands = os.stat(draft, dir_fd=self._scratch, follow_symlinks=False)
            if over:
                os.replace(draft, name, src_dir_fd=self._scratch, dst_dir_fd=into)
            else:
                rename(draft, self._scratch, name, into)
        except FileExistsError:
            raise
        except BaseException:
            self.drafts.discard(draft)
            raise
        return Stands(how, stands.st_mtime_ns)
