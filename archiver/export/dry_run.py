"""``--dry-run``: what an export would do, by the decisions of the export itself, with nothing made, moved or
removed.

The list of the export's files is a copy. What would have left its path, and what would stand under one, is
remembered in ``_Ground``; all else is looked up on the disk. Bytes of blobs are not read, so damage within a
blob is found by the real export only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from archiver.blobs.blob_links import BlobLinks
from archiver.errors import StorageError
from archiver.export.directories import Directories
from archiver.export.drafts import FICLONE
from archiver.export.ground import Ground
from archiver.export.manifest import Manifest, Row
from archiver.export.moving import Moving, Step, usual
from archiver.export.placing import Placer, Stands, no_way
from archiver.export.tree import AT_ONCE, Tree
from archiver.export.wanted import Tally, Way
from archiver.model.identity import Digest


class DryTree(Tree):
    """A Tree that changes nothing but ``manifest``, which is a copy, and counts what a Tree would do."""

    def __init__(
        self,
        root: int,
        nothing: int,
        manifest: Manifest,
        blobs: BlobLinks,
        way: Way,
        near: Path,
        progress: Callable[[Tally], None],
    ) -> None:
        """``root`` is the export's open directory, ``nothing`` an empty one; ``near`` is a path on the
        export's disk."""
        placer = Placer(blobs, nothing, way)
        super().__init__(root, nothing, manifest, placer, progress)
        self.scratch = None
        self._directories = _Directories(root, nothing)
        self._ground = ground = _Ground(self._directories, placer)
        ways = _Ways(blobs, near, way)
        self._moving = _Moving(self._directories, ground, placer, manifest, nothing, self.tally, ways)
        self._at_once = AT_ONCE

    def _complete(self) -> None:
        done, self._done = self._done, []
        self.manifest.complete(done)


class _Directories(Directories):
    """A directory that would be made is ``nothing``, the empty one."""

    def __init__(self, root: int, nothing: int) -> None:
        super().__init__(root)
        self._nothing = nothing

    def enter(self, path: tuple[bytes, ...], *, make: bool = True) -> int:
        """As that of Directories, but nothing is made."""
        try:
            return super().enter(path, make=False)
        except FileNotFoundError:
            if not make:
                raise
            return self._nothing

    def leave_empty(self, path: tuple[bytes, ...]) -> None:
        """Leave them."""


class _Ground(Ground):
    """The disk as it would be: without the paths ``left``, with the files that are ``made``."""

    def __init__(self, directories: Directories, placer: Placer) -> None:
        super().__init__(directories, placer)
        self.left: set[str] = set()
        self.made: set[str] = set()

    def look(self, path: str) -> os.stat_result | None:
        """As that of Ground; of a file that would be made nothing is known."""
        return None if path in self.left else super().look(path)

    def found(self, row: Row) -> tuple[str | None, str, bool]:
        """As that of Ground."""
        return (row.path, row.sha256, True) if row.path in self.made else super().found(row)

    def files(self, root: int, name: str) -> Iterator[str]:
        """As that of Ground."""
        with suppress(FileNotFoundError):
            there = super().files(root, name)
            yield from (path for path in there if not (path in self.left or path in self.made))
        yield from (path for path in self.made if path.startswith(f"{name}/"))

    def make(self, path: str) -> None:
        """A file of ours would stand there."""
        self.made.add(path)
        self.left.discard(path)

    def leave(self, path: str) -> None:
        """Nothing of ours would stand there any more."""
        self.left.add(path)
        self.made.discard(path)


class _Moving(Moving):
    """Counts what Moving would do."""

    def __init__(
        self,
        directories: Directories,
        ground: _Ground,
        placer: Placer,
        manifest: Manifest,
        scratch: int,
        tally: Tally,
        ways: _Ways,
    ) -> None:
        super().__init__(directories, ground, placer, manifest, scratch, tally)
        self._shown, self._ways = ground, ways

    def leave(self, step: Step, row: Row, old: str, targets: set[str]) -> None:
        """As that of Moving."""
        if step.found == old or (step.found == row.path and self._is_left(row, old)):
            self._shown.leave(old)

    def remove(self, path: str) -> None:
        """As that of Moving."""
        self._shown.leave(path)

    def stands(self, step: Step, row: Row, name: bytes, into: int) -> Stands:
        """As that of Moving."""
        moves = step.found is not None and step.held == step.wanted.digest
        how = (row.how or usual(step)) if moves else self._how(step, row)
        if step.found != row.path and self._shown.look(row.path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if not moves:
            self._tally.placed(how, row.size, new=not step.held)
        elif step.found != row.path or row.path in self._shown.left:  # or it comes back to where it was
            self._tally.moved += 1
        self._shown.make(row.path)
        return Stands(how, row.at_ns or 0)

    def _how(self, step: Step, row: Row) -> str:
        content = step.wanted.content
        if not isinstance(content, Digest):
            return usual(step)
        return self._ways.of(content, self._placer.whole(content, row.size))


class _Ways:
    """By which way a blob would come to a file near ``near``, as far as that can be known before."""

    def __init__(self, blobs: BlobLinks, near: Path, way: Way) -> None:
        self._blobs, self._near, self._way = blobs, near, way
        self._clones: bool | None = None

    def of(self, digest: Digest, blob: os.stat_result) -> Way:
        """Return the way of this blob. Raises StorageError where the one that was asked for is none here."""
        if self._way is Way.COPY:
            return Way.COPY
        if self._way is not Way.HARDLINK:
            if self._clones is None:
                self._clones = self._can_clone(digest)
            if self._clones:
                return Way.REFLINK
            if self._way is Way.REFLINK:
                raise no_way(self._way, os.strerror(errno.EOPNOTSUPP))
        refused = self._link_refused(blob)
        if not refused:
            return Way.HARDLINK
        if self._way is Way.HARDLINK:
            raise no_way(self._way, os.strerror(refused))
        return Way.COPY

    def _can_clone(self, digest: Digest) -> bool:
        """Whether FICLONE works here, tried on a file without a name: it is in no directory, and gone when
        closed."""
        if sys.platform != "linux":
            return False
        try:
            source = self._blobs.open(digest)
        except OSError:
            return False
        try:
            fd = os.open(self._near, os.O_TMPFILE | os.O_WRONLY, 0o600)
        except OSError:
            return False
        else:
            try:
                fcntl.ioctl(fd, FICLONE, source)
            except OSError:
                return False
            finally:
                os.close(fd)
        finally:
            os.close(source)
        return True

    def _link_refused(self, blob: os.stat_result) -> int:
        """The error that link(2) would give, 0 if none; Linux protects the files of others
        (proc_sys_fs(5))."""
        if blob.st_dev != self._near.stat().st_dev:
            return errno.EXDEV
        if sys.platform == "linux" and os.geteuid() not in (0, blob.st_uid):
            return errno.EPERM
        return 0


def require_writable(near: Path, directory: Path) -> None:
    """Raises StorageError where this user cannot make ``directory`` or anything in it; ``near`` is it, or
    what is there of the path to it."""
    if not os.access(near, os.W_OK | os.X_OK):
        raise StorageError(f"{directory} cannot be written", "name another directory, or see who owns it")
