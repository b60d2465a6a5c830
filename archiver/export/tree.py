"""A directory that holds one export: what is wanted comes to stand there, what is ours moves and is mended, all else stays as it is.

Files are decided and placed in batches. Of each batch the rows are committed first, then files are moved and placed, then the rows are
completed. So a rerun after any end knows each file of ours by its row, and does what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from archiver.durable import storage_errors, sync_file_system
from archiver.export.directories import Directories
from archiver.export.drafts import Damaged
from archiver.export.ground import Ground, split
from archiver.export.linking import Linking
from archiver.export.manifest import Manifest, Row
from archiver.export.moving import Moving, Step
from archiver.export.paths import Paths
from archiver.export.placing import Placer
from archiver.export.wanted import Scratch, Tally, Wanted

_AT_FIRST, AT_ONCE = 4, 10_000
"""Files of a batch; small ones find out first how blobs can be placed here."""


class Tree:
    """The export, open for this process alone: see ``opening``. ``put`` all that is wanted, each id once, then ``finish``."""

    def __init__(
        self,
        root: int,
        scratch: int,
        manifest: Manifest,
        placer: Placer,
        progress: Callable[[Tally], None],
    ) -> None:
        """``root`` and ``scratch`` are open directories. ``progress`` gets what was done so far, and may raise to stop."""
        self.tally = Tally()
        self.manifest = manifest
        self.scratch: int | None = scratch
        """Where files are made first; None where none are made."""
        self.before_change: Callable[[], None] = lambda: None
        """Called once, before the first file is placed, moved or removed."""
        self.root = root
        self._placer, self._progress = placer, progress
        self._directories = Directories(root)
        self._ground = Ground(self._directories, placer)
        self._paths = Paths(manifest)
        self._moving = Moving(self._directories, self._ground, placer, manifest, scratch, self.tally)
        self._linking = Linking(self._directories, placer, manifest, self._paths, self.tally, progress)
        self._is_first = manifest.is_empty()
        self._changed = False
        self._at_once = _AT_FIRST if self._is_first else AT_ONCE
        self._waiting: list[Wanted] = []
        self._done: list[tuple[str, int, str]] = []
        self._met: set[str] = set()

    def put(self, wanted: Wanted) -> None:
        """Have this file, at the latest with ``flush``. Raises StorageError, DiskFull."""
        self._waiting.append(wanted)
        if len(self._waiting) >= self._at_once:
            self.flush()
            if self._placer.knows_how:
                self._at_once = AT_ONCE

    def flush(self) -> None:
        """Have all that was put so far."""
        batch, self._waiting = self._waiting, []
        self._progress(self.tally)
        ids = [wanted.id for wanted in batch]
        self._met.update(ids)
        rows = self.manifest.by_id(ids) if not self._is_first else {}
        if not rows and self._placer.links:
            batch = self._linking.put(batch)
        steps = self._steps(batch, rows)
        if steps and not self._changed:
            self._change()
            batch = [step.wanted for step in steps]  # what was withdrawn is among them
            steps = self._steps(batch, self.manifest.by_id([wanted.id for wanted in batch]))
        try:
            while steps:
                steps = self._come(self._with_paths(steps))
        finally:
            self._complete()

    def finish(self, *, prune: bool = False) -> Tally:
        """Have the rest; ``prune`` removes what earlier exports placed and this one does not want. Returns what was done."""
        self.flush()
        if prune:
            self._prune()
        if not self._is_first:
            self.tally.others = sum(id_ not in self._met for id_ in self.manifest.ids())
        return self.tally

    def keep(self, *ids: str) -> None:
        """These will be put later: ``finish`` does not prune them."""
        self._met.update(ids)

    def withdraw(self, id_: str) -> None:
        """Remove a file of ours, to be put again."""
        for row in self.manifest.by_id([id_]).values():
            self._remove(row)
            self.manifest.change([], [id_])

    def stands(self, row: Row) -> bool:
        """Whether the file of this row is in its place, and is ours."""
        with storage_errors(f"{row.path} cannot be looked at"):
            return self._ground.found(row)[0] == row.path

    def files(self, name: str) -> Iterator[str]:
        """Return the paths of all files below the directory ``name``, ours and others."""
        return self._ground.files(self.root, name)

    def close(self) -> None:
        """Close what it opened."""
        self._directories.close()

    # What is to be done

    def _change(self) -> None:
        self._changed = True
        self.before_change()

    def _steps(self, batch: Sequence[Wanted], rows: Mapping[str, Row]) -> list[Step]:
        with storage_errors("the export cannot be read"):
            steps = [self._step(wanted, rows.get(wanted.id)) for wanted in batch]
        return [step for step in steps if step is not None]

    def _step(self, wanted: Wanted, row: Row | None) -> Step | None:
        """What is to be done for this file; None if it stands as it is wanted."""
        if row is None:
            return Step(wanted, None)
        found, held, is_free = self._ground.found(row)
        stays = is_free and row.wished == "/".join(wanted.path) and not self._may_improve(row, wanted)
        step = Step(wanted, row, found, held, stays)
        settled = row.mtime_ns is not None and row.at_ns == wanted.at_ns
        if stays and settled and found == row.path and held == wanted.digest:
            self._stands(wanted)
            return None
        return step

    def _may_improve(self, row: Row, wanted: Wanted) -> bool:
        """Whether a file that had to take another name can have the one that it wished for now."""
        if row.path.rpartition("/")[2] == wanted.path[-1]:
            return False
        wish = self._paths.wish(wanted)
        return wish is not None and self._ground.look(wish) is None

    def _with_paths(self, steps: Sequence[Step]) -> list[Step]:
        """The steps, with the rows that they are to have. Those for which there is no path are told, and left out."""
        paths = self._paths.allocate([step.wanted for step in steps if not step.stays])
        found = []
        for step in steps:
            before = step.row
            if step.stays and before is not None:
                path, key, old = before.path, before.key, before.old
            elif step.wanted.id in paths:
                path, key = paths[step.wanted.id]
                old = step.found if step.found is not None or before is None else before.path
            else:
                self.tally.fail(step.path, "its name, and every other that it might have, is taken")
                continue
            step.row = Row(
                step.wanted.id,
                path,
                key,
                step.path,
                step.wanted.digest,
                step.wanted.size,
                step.wanted.at_ns,
                how=before.how if before is not None else None,
                before=self._before(step, before),
                old=old if old != path else None,
            )
            found.append(step)
        return found

    def _before(self, step: Step, row: Row | None) -> str | None:
        """What is to be replaced, or was to be when an export was cut short."""
        if step.held and step.held != step.wanted.digest:
            return step.held
        return row.before if row is not None else None

    # Moving and placing

    def _come(self, steps: Sequence[Step]) -> list[Step]:
        """Commit the rows, then let every file come to stand. Returns those whose path turned out to be somebody else's."""
        self.manifest.change([step.row for step in steps if step.row is not None])
        targets = {step.row.path for step in steps if step.row is not None}
        with storage_errors("the export cannot be written"):
            for step in steps:
                if step.row is not None and step.row.old is not None:
                    self._moving.leave(step, step.row, step.row.old, targets)
        again = []
        for step in steps:
            assert step.row is not None
            with storage_errors(f"{step.row.path} cannot be placed"):
                if not self._comes(step, step.row):
                    again.append(step)
            self._progress(self.tally)
        return again

    def _comes(self, step: Step, row: Row) -> bool:
        """Let one file come to stand. Returns whether that is settled; if not, its path is somebody else's."""
        directory, name = split(row.path)
        into = -1
        try:
            into = self._directories.enter(directory)
            stands = self._moving.stands(step, row, name, into)
        except Damaged as exc:
            self.tally.fail(step.path, str(exc))
            return True
        except NotADirectoryError:
            self.tally.fail(step.path, "where its directory must be stands something else")
            return True
        except FileExistsError:
            there = self._moving.adopted(step, name, into)
            if there is None:
                self._paths.avoid(row.key)
                self.tally.avoided += 1
                step.stays = False
                return False
            stands = there
        self._done.append((stands.how, stands.mtime_ns, row.id))
        self._stands(step.wanted)
        return True

    def _stands(self, wanted: Wanted) -> None:
        self.tally.files += 1
        if isinstance(wanted.content, Scratch):
            self._placer.drafts.discard(wanted.content.name)

    def _complete(self) -> None:
        """Commit what was placed, once it is safe on the disk. A link that a power loss takes is missed, and made, by the next export."""
        done, self._done = self._done, []
        if any(how in ("copy", "written") for how, _, _ in done):
            with storage_errors("the export cannot be written"):
                sync_file_system(self.root)
        self.manifest.complete(done)

    # Removing

    def _prune(self) -> None:
        stale = [row for row in self.manifest.rows() if row.id not in self._met]
        for start in range(0, len(stale), AT_ONCE):
            self._progress(self.tally)
            if not self._changed:
                self._change()
            some = stale[start : start + AT_ONCE]
            self.tally.removed += sum([self._remove(row) for row in some])
            self.manifest.change([], [row.id for row in some])

    def _remove(self, row: Row) -> bool:
        """Remove the file if it is ours still, and say whether it was; what somebody has changed is theirs."""
        with storage_errors(f"{row.path} cannot be removed"):
            found, _, _ = self._ground.found(row)
            for path in {row.path, row.old or row.path}:
                if path == found:
                    self._moving.remove(path)
                self._directories.leave_empty(split(path)[0])
        return found is not None
