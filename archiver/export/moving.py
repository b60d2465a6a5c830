"""How one file of an export comes from where it stands, if anywhere, to where it belongs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from archiver.export import directories, names
from archiver.export.directories import Directories
from archiver.export.ground import Ground, split
from archiver.export.manifest import Manifest, Row
from archiver.export.placing import Placer, Stands
from archiver.export.wanted import Tally, Wanted
from archiver.model.identity import Digest


@dataclass(slots=True)
class Step:
    """A file that does not stand as it is wanted: where it stands now, if anywhere, and the SHA-256 that it has there."""

    wanted: Wanted
    row: Row | None
    found: str | None = None
    held: str = ""
    stays: bool = False
    draft: str | None = None
    """Its name in the scratch directory, while its old path is left and its new one not yet free."""

    @property
    def path(self) -> str:
        """As it was wanted, for a person."""
        return "/".join(self.wanted.path)


class Moving:
    """Moves, dates and places the files of one export, and counts them in ``tally``. Raises OSError as it comes, and what ``Placer`` raises."""

    def __init__(
        self,
        directories: Directories,
        ground: Ground,
        placer: Placer,
        manifest: Manifest,
        scratch: int,
        tally: Tally,
    ) -> None:
        self._directories, self._ground, self._placer = directories, ground, placer
        self._manifest, self._scratch, self._tally = manifest, scratch, tally

    def leave(self, step: Step, row: Row, old: str, targets: set[str]) -> None:
        """What moves leaves its old path before anything takes its new one, where files change places."""
        directory, name = split(old)
        if step.found == old and (old in targets or self._ground.look(row.path) is not None):
            draft = self._placer.drafts.name()
            os.rename(name, draft, src_dir_fd=self._directories.enter(directory), dst_dir_fd=self._scratch)
            step.found, step.draft = None, draft
        elif step.found == row.path and self._is_left(row, old):
            os.unlink(name, dir_fd=self._directories.enter(directory))
        if step.found != old:
            self._directories.leave_empty(directory)

    def remove(self, path: str) -> None:
        """Remove a file."""
        directory, name = split(path)
        os.unlink(name, dir_fd=self._directories.enter(directory))

    def _is_left(self, row: Row, old: str) -> bool:
        """Whether what stands under the old path is what an export that was cut short had not yet taken away from there."""
        one, other = self._ground.look(row.path), self._ground.look(old)
        if one is None or other is None or self._manifest.taken([names.key(old)]):
            return False
        same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
        held = self._ground.digest(old)  # None of what is no file, and nobody's but theirs who put it there
        return same or (held is not None and held in (row.sha256, row.before))

    def stands(self, step: Step, row: Row, name: bytes, into: int) -> Stands:
        """Move, date or place one file. Raises FileExistsError where something else stands under its name."""
        how = row.how or usual(step)
        if step.held == step.wanted.digest and step.draft is not None:
            stands = self._placer.named(step.draft, row.at_ns, name, into, how)
            step.draft = None
            self._tally.moved += 1
            return stands
        if step.held == step.wanted.digest and step.found is not None:
            if step.found != row.path:
                directory, old = split(step.found)
                directories.rename(old, self._directories.enter(directory), name, into)
                self._directories.leave_empty(directory)
                self._tally.moved += 1
            return self._placer.dated(step.wanted.digest, row.at_ns, how, name, into)
        over = step.found == row.path
        stands = self._placer.place(step.wanted.content, row.size, row.at_ns, name, into, over=over)
        self._tally.placed(stands.how, row.size, new=not step.held)
        if step.draft is not None:
            self._placer.drafts.discard(step.draft)
        elif step.found is not None and not over:
            directory, old = split(step.found)
            os.unlink(old, dir_fd=self._directories.enter(directory))
            self._directories.leave_empty(directory)
        return stands

    def adopted(self, step: Step, name: bytes, into: int) -> Stands | None:
        """A file that stands there already with these very bytes is taken as it is."""
        there = directories.look(name, into)
        if (
            there is None
            or there.st_size != step.wanted.size
            or directories.digest_of(name, into) != step.wanted.digest
        ):
            return None
        how = "hardlink" if self._placer.is_blob(step.wanted.digest, there) is not None else usual(step)
        return Stands(how, there.st_mtime_ns)


def usual(step: Step) -> str:
    """How a file came there that nobody has noted."""
    return "copy" if isinstance(step.wanted.content, Digest) else "written"
