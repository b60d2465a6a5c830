"""Sync an export directory: create, move and repair the files of the export; never touch others.

Files are handled in batches. The manifest rows of a batch are committed first, then its files are moved and
placed, then the rows are completed. So if an export is killed at any point, the next one knows each file by
its row and does what is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from msgspec import Struct

from archiver.durable import storage_errors, sync_file_system
from archiver.export import file_names
from archiver.export.export_entry import CompanionText, ExportEntry, ExportStats, StagedFile
from archiver.export.export_paths import PathAllocator
from archiver.export.export_scan import ExportScan, digest_of, is_named_by, split_path, stat_entry
from archiver.export.link_methods import LinkMethod
from archiver.export.manifest import Manifest, ManifestRow
from archiver.export.placement import (
    DamagedBlob,
    NameInDirectory,
    Placement,
    PlacementResult,
    rename_exclusive,
)
from archiver.model.identity import Digest

BATCH_SIZE = 10_000
_FIRST_BATCH_SIZE = 4
"""The first files show how blobs can be placed here, before many are handled at once."""
_LINKS_PER_REPORT = 100


class SyncStep(Struct):
    """A file that still has to be created, moved or repaired.

    ``path`` is where the file is now (None: nowhere), and ``sha256`` that of its content there ("" if
    unknown). ``keeps_path``: it stays where it is. ``is_evading``: a foreign file has its path. ``draft`` is
    its name in the staging directory while it waits for its new path to become free. ``row`` is its row in
    the manifest: first the old one, then the new one.
    """

    entry: ExportEntry
    row: ManifestRow | None
    path: str | None = None
    sha256: str = ""
    keeps_path: bool = False
    is_evading: bool = False
    draft: str | None = None

    @property
    def has_content(self) -> bool:
        """Return whether the file exists with the right bytes."""
        return self.sha256 == self.entry.digest

    @property
    def label(self) -> str:
        """Return the wanted path, for messages."""
        return "/".join(self.entry.path)


class ExportSync:
    """An export that ``open_export`` opened for this process alone.

    ``put`` all files that it should contain, each id once, then ``finish``. ``progress`` gets the counts so
    far, and may raise an exception to stop. Methods raise StorageError and DiskFull.
    """

    def __init__(
        self,
        scan: ExportScan,
        placement: Placement,
        manifest: Manifest,
        progress: Callable[[ExportStats], None],
    ) -> None:
        self.stats = ExportStats(expected=manifest.count() or None)
        self.manifest = manifest
        self.root = scan.directories.root
        self.before_change: Callable[[], None] = lambda: None
        """Called once, before the first file is placed, moved or removed."""
        self._scan, self._placement, self._progress = scan, placement, progress
        self._directories = scan.directories
        self._paths = PathAllocator(manifest)
        self._is_first_export = manifest.is_empty()
        self._has_changed = False
        self._batch_size = _FIRST_BATCH_SIZE if self._is_first_export else BATCH_SIZE
        self._waiting: list[ExportEntry] = []
        self._companions: list[CompanionText] = []
        self._placed: list[tuple[str, int, str, str]] = []
        self._seen_ids: set[str] = set()

    def put(self, entry: ExportEntry | CompanionText) -> None:
        """Add a file to the export. It is in place after ``flush`` at the latest."""
        if isinstance(entry, CompanionText):
            self._companions.append(entry)
            return
        self._waiting.append(entry)
        if len(self._waiting) >= self._batch_size:
            self.flush()
            if self._placement.knows_method:
                self._batch_size = BATCH_SIZE

    def flush(self) -> None:
        """Handle all files that were put so far."""
        batch, self._waiting = self._waiting, []
        self._handle(batch)
        companions, self._companions = self._companions, []
        if companions:
            self._handle(self._name_companions(companions))

    def _handle(self, batch: list[ExportEntry]) -> None:
        self._progress(self.stats)
        ids = [entry.id for entry in batch]
        self._seen_ids.update(ids)
        rows = self.manifest.rows_by_id(ids) if not self._is_first_export else {}
        if not rows and self._placement.uses_links:
            batch = self._link_new_files(batch)
        steps = self._plan(batch, rows)
        if steps and not self._has_changed:
            self._start_changing()
            # This may have withdrawn some of these files.
            batch = [step.entry for step in steps]
            steps = self._plan(batch, self.manifest.rows_by_id([entry.id for entry in batch]))
        try:
            while steps:
                steps = self._perform(self._assign_paths(steps))
        finally:
            self._complete_rows()

    def finish(self, *, prune: bool = False) -> ExportStats:
        """Handle the remaining files and return the counts.

        ``prune`` removes the files that were not put or kept.
        """
        self.flush()
        if not self._is_first_export:
            unused = self.manifest.rows_except(self._seen_ids)
            if prune:
                self._remove_all(sorted(unused, key=attrgetter("path")))
            else:
                self.stats.others = sum(1 for _ in unused)
        return self.stats

    def keep(self, *ids: str) -> None:
        """Do not prune these files: they will be put later."""
        self._seen_ids.update(ids)

    def withdraw(self, id_: str) -> None:
        """Remove a file of the export. It may be put again."""
        for row in self.manifest.rows_by_id([id_]).values():
            self._remove(row)
            self.manifest.update([], [id_])

    def stage_text(self, pieces: Iterable[str]) -> tuple[StagedFile, int]:
        """Write a long text in bounded memory, so that it can be put. Return it and its size in bytes."""
        return self._placement.staging.write_text(pieces)

    def is_in_place(self, row: ManifestRow) -> bool:
        """Return whether the file of this row is in its place, with the right bytes."""
        with storage_errors(f"{row.path} cannot be read"):
            state = self._scan.locate(row)
        return (state.path, state.sha256) == (row.path, row.sha256)

    def files(self, name: str) -> Iterator[str]:
        """Yield the paths of all files below a directory of the export, including foreign ones."""
        return self._scan.files(name)

    def close(self) -> None:
        """Close the directories."""
        self._directories.close()

    # Companions

    def _name_companions(self, companions: Sequence[CompanionText]) -> list[ExportEntry]:
        """Return the companions with their paths, except those whose names foreign files have."""
        files = self.manifest.rows_by_id([companion.beside for companion in companions])
        entries = []
        for companion in companions:
            self._seen_ids.add(companion.id)
            file = files.get(companion.beside)
            if file is not None and file.mtime_ns is not None:  # otherwise that file failed
                path = tuple(f"{file.path}{companion.ending}".split("/"))
                entries.append(ExportEntry.of_text(companion.id, path, companion.text, companion.at_ns))
        holders = self._free_names(entries)
        rows = self.manifest.rows_by_id([entry.id for entry in entries])
        with storage_errors("the export cannot be read"):
            return [entry for entry in entries if self._can_have_name(entry, rows, holders)]

    def _free_names(self, entries: Sequence[ExportEntry]) -> dict[str, str]:
        """Remove companions of other files that still have one of these names: their files have moved.

        Return the ids of those of these companions that have such a name already, by its collision key.
        """
        ids = {entry.id for entry in entries}
        holders = self.manifest.holders([file_names.collision_key("/".join(entry.path)) for entry in entries])
        for id_ in holders.values():
            if id_ not in ids:
                self.withdraw(id_)
        return {key: id_ for key, id_ in holders.items() if id_ in ids}

    def _can_have_name(
        self, entry: ExportEntry, rows: Mapping[str, ManifestRow], holders: Mapping[str, str]
    ) -> bool:
        """Return whether nothing has the name of a companion, or only the export's own."""
        path = "/".join(entry.path)
        if self._scan.stat(path) is None:
            return True
        holder = holders.get(file_names.collision_key(path))
        own = (rows[id_] for id_ in (entry.id, holder) if id_ is not None and id_ in rows)
        return any(self._scan.locate(row).path == path for row in own)

    # Hard links to new files: nearly all that a first export does

    def _link_new_files(self, batch: Sequence[ExportEntry]) -> list[ExportEntry]:
        """Link the new files for which that works at once. Return the others, in their order.

        The time of a blob is set first, so that its row is complete before the link exists. The next export
        does not rely on such a row: it looks for the file.
        """
        paths = self._paths.allocate(batch)
        rows: list[tuple[ManifestRow, Digest]] = []
        others = set()
        for entry in batch:
            id_, names, content, size, at_ns, _ = entry
            placed = None
            if isinstance(content, Digest) and id_ in paths:
                placed = self._placement.prepare_link(content, size, at_ns)
            if placed is None or not isinstance(content, Digest):
                others.add(id_)
                continue
            path, key = paths[id_]
            wanted, (method, mtime_ns, inode) = "/".join(names), placed
            row = ManifestRow(id_, path, key, wanted, content, size, at_ns, method, mtime_ns, inode=inode)
            rows.append((row, content))
        self.manifest.update([row for row, _ in rows])
        others |= self._link_rows(rows)
        return [entry for entry in batch if entry.id in others]

    def _link_rows(self, rows: Iterable[tuple[ManifestRow, Digest]]) -> set[str]:
        """Link the files of these rows. Return the ids of those that failed for any reason."""
        failed_ids = set()
        current: tuple[bytes, ...] | None = None
        fd, files, size = -1, 0, 0
        for row, digest in rows:
            directory, name = split_path(row.path)
            try:
                if directory != current:
                    current = None  # if this fails, fd may be closed or reused
                    fd = self._directories.enter(directory)
                    current = directory
                self._placement.link(digest, NameInDirectory(fd, name))
            except OSError:
                failed_ids.add(row.id)
                continue
            files, size = files + 1, size + row.size
            if files == _LINKS_PER_REPORT:
                self._count_links(files, size)
                files = size = 0
        self._count_links(files, size)
        return failed_ids

    def _count_links(self, files: int, size: int) -> None:
        self.stats.files += files
        self.stats.new += files
        self.stats.bytes += size
        self.stats.methods[LinkMethod.HARDLINK] += files
        self._progress(self.stats)

    # Planning

    def _start_changing(self) -> None:
        if not self._has_changed:
            self._has_changed = True
            self.before_change()

    def _plan(self, batch: Sequence[ExportEntry], rows: Mapping[str, ManifestRow]) -> list[SyncStep]:
        with storage_errors("the export cannot be read"):
            steps = [self._plan_file(entry, rows.get(entry.id)) for entry in batch]
        return [step for step in steps if step is not None]

    def _plan_file(self, entry: ExportEntry, row: ManifestRow | None) -> SyncStep | None:
        """Return what must be done for a file; if nothing, count it and return None."""
        if row is None:
            return SyncStep(entry, None)
        path, sha256, is_path_free, is_proven = self._scan.locate(row)
        if is_proven and path is not None and isinstance(entry.content, StagedFile):
            sha256 = self._scan.digest(path) or ""  # of tables, no --check finds damage
        keeps_path = (
            is_path_free and row.wanted_path == "/".join(entry.path) and not self._can_drop_suffix(row, entry)
        )
        is_complete = is_proven and row.mtime_ns is not None and row.at_ns == entry.at_ns
        if keeps_path and is_complete and path == row.path and sha256 == entry.digest:
            self._count_file(entry)
            return None
        return SyncStep(entry, row, path, sha256, keeps_path)

    def _can_drop_suffix(self, row: ManifestRow, entry: ExportEntry) -> bool:
        """Return whether a file that got a suffix can now have its own name."""
        if row.path.rpartition("/")[2] == entry.path[-1]:
            return False
        preferred = self._paths.preferred_path(entry)
        found = self._scan.stat(preferred) if preferred is not None else None
        return preferred is not None and (found is None or self._placement.is_own_link(entry.digest, found))

    def _assign_paths(self, steps: Sequence[SyncStep]) -> list[SyncStep]:
        """Return the steps with their new rows. A file for which no path is left counts as a failure."""
        paths = self._paths.allocate([step.entry for step in steps if not step.keeps_path])
        assigned = []
        for step in steps:
            before, entry = step.row, step.entry
            if step.keeps_path and before is not None:
                path, key, old_path = before.path, before.key, before.old_path
            elif entry.id in paths:
                path, key = paths[entry.id]
                old_path = step.path if step.path is not None or before is None else before.path
                self.stats.avoided += step.is_evading
            else:
                self.stats.add_failure(step.label, "its name and all its alternative names are in use")
                continue
            old_sha256 = before.old_sha256 if before is not None else None
            if step.sha256 and not step.has_content:
                old_sha256 = step.sha256
            step.row = ManifestRow(
                entry.id,
                path,
                key,
                step.label,
                entry.digest,
                entry.size,
                entry.at_ns,
                method=before.method if before is not None else None,
                old_sha256=old_sha256,
                old_path=old_path if old_path != path else None,
                inode=before.inode if before is not None else None,
            )
            assigned.append(step)
        return assigned

    # Moving and placing

    def _perform(self, steps: Sequence[SyncStep]) -> list[SyncStep]:
        """Commit the rows, then move and place the files. Return the steps that need another path."""
        planned = [(step, step.row) for step in steps if step.row is not None]
        self.manifest.update([row for _, row in planned])
        new_paths = {row.path for _, row in planned}
        with storage_errors("the export cannot be written"):
            for step, row in planned:
                if row.old_path is not None:
                    self._leave_old_path(step, row, row.old_path, new_paths)
        retries = []
        for step, row in planned:
            with storage_errors(f"{row.path} cannot be written"):
                if not self._settle(step, row):
                    retries.append(step)
            self._progress(self.stats)
        return retries

    def _leave_old_path(self, step: SyncStep, row: ManifestRow, old_path: str, new_paths: set[str]) -> None:
        """Free the path that a file leaves before another file takes it: files may exchange their paths."""
        directory, name = split_path(old_path)
        if step.path == old_path and (old_path in new_paths or self._scan.stat(row.path) is not None):
            draft = self._placement.staging.new_name()
            staging = self._placement.staging.directory
            os.rename(name, draft, src_dir_fd=self._directories.enter(directory), dst_dir_fd=staging)
            step.path, step.draft = None, draft
        elif step.path == row.path and self._is_leftover(row, old_path):
            os.unlink(name, dir_fd=self._directories.enter(directory))
        if step.path != old_path:
            self._directories.remove_empty(directory)

    def _is_leftover(self, row: ManifestRow, old_path: str) -> bool:
        """Return whether an interrupted export left its file at the old path."""
        found, old = self._scan.stat(row.path), self._scan.stat(old_path)
        if found is None or old is None or self.manifest.holders([file_names.collision_key(old_path)]):
            return False
        if (found.st_dev, found.st_ino) == (old.st_dev, old.st_ino):
            return True
        sha256 = self._scan.digest(old_path)  # None if it is not a regular file
        return sha256 is not None and sha256 in (row.sha256, row.old_sha256)

    def _settle(self, step: SyncStep, row: ManifestRow) -> bool:
        """Bring a file to its path, or count the failure. Return False if a foreign file is there."""
        try:
            result = self._bring_or_take_over(step, row)
        except DamagedBlob as exc:
            self.stats.add_failure(step.label, str(exc))
            return True
        except NotADirectoryError:
            self.stats.add_failure(
                step.label, "its directory cannot be created: something else has that name"
            )
            return True
        if result is None:
            self._paths.avoid(row.key)
            step.keeps_path, step.is_evading = False, True
            return False
        self._placed.append((*result, row.id))
        self._count_file(step.entry)
        return True

    def _bring(self, step: SyncStep, row: ManifestRow) -> PlacementResult:
        """Move a file, set its time, or place it. Raises FileExistsError if something else has its path."""
        to = self._destination(row.path)
        method = row.method or step.entry.default_method
        if step.has_content and step.draft is not None:
            result = self._placement.place_staged(step.draft, row.at_ns, to, method)
            step.draft = None
            self.stats.moved += 1
            return result
        if step.has_content and step.path is not None:
            if step.path != row.path:
                directory, name = split_path(step.path)
                rename_exclusive(NameInDirectory(self._directories.enter(directory), name), to)
                self._directories.remove_empty(directory)
                self.stats.moved += 1
            return self._placement.set_date(step.entry.digest, row.at_ns, method, to)
        is_over = step.path == row.path
        result = self._placement.place(step.entry, to, over=is_over)
        self.stats.add_placed(result.method, row.size, is_new=not step.sha256)
        if step.draft is not None:
            self._placement.staging.discard(step.draft)
        elif step.path is not None and not is_over:
            self._unlink(step.path)
            self._directories.remove_empty(split_path(step.path)[0])
        return result

    def _bring_or_take_over(self, step: SyncStep, row: ManifestRow) -> PlacementResult | None:
        """Bring a file to its path, or take over the one that is there. Return None if that is foreign."""
        try:
            return self._bring(step, row)
        except FileExistsError:
            to = self._destination(row.path)
            found, digest = stat_entry(to.name, to.directory), step.entry.digest
            if found is None:
                return None
            is_own = is_named_by(row.path, digest) or self._placement.is_own_link(digest, found)
            if not (is_own or found.st_size == step.entry.size):
                return None
            sha256 = digest_of(to)
            if sha256 == digest:
                return self._adopt(step, found)
            if sha256 is None or not is_own:
                return None
            step.path, step.sha256 = row.path, sha256
            return self._bring(step, row)

    def _adopt(self, step: SyncStep, found: os.stat_result) -> PlacementResult:
        """Return how a file that is already there, with the right bytes, was placed."""
        is_link = self._placement.blob_of(step.entry.digest, found) is not None
        method = LinkMethod.HARDLINK if is_link else step.entry.default_method
        return PlacementResult(method, found.st_mtime_ns, str(found.st_ino))

    def _destination(self, path: str) -> NameInDirectory:
        directory, name = split_path(path)
        return NameInDirectory(self._directories.enter(directory), name)

    def _count_file(self, entry: ExportEntry) -> None:
        self.stats.files += 1
        if isinstance(entry.content, StagedFile):
            self._placement.staging.discard(entry.content.name)

    def _complete_rows(self) -> None:
        """Commit which files are in place, once they are safe on the disk.

        Hard links need no sync: if a power failure loses one, the next export finds it missing and creates
        it.
        """
        placed, self._placed = self._placed, []
        if any(method in ("copy", "written") for method, *_ in placed):
            self._sync_disk()
        self.manifest.complete(placed)

    def _sync_disk(self) -> None:
        with storage_errors("the export cannot be written"):
            sync_file_system(self.root)

    # Removing

    def remove_damaged(self, prefix: str) -> None:
        """Remove the export's own files that have wrong bytes, if their paths begin with ``prefix``."""
        self._remove_all([row for row in self.manifest.rows(prefix) if self._is_damaged(row)])

    def _is_damaged(self, row: ManifestRow) -> bool:
        with storage_errors(f"{row.path} cannot be read"):
            state = self._scan.locate(row)
        return state.path == row.path and state.sha256 != row.sha256

    def _remove_all(self, rows: Sequence[ManifestRow]) -> None:
        for start in range(0, len(rows), BATCH_SIZE):
            self._progress(self.stats)
            self._start_changing()
            batch = rows[start : start + BATCH_SIZE]
            self.stats.removed += sum([self._remove(row) for row in batch])
            self.manifest.update([], [row.id for row in batch])

    def _remove(self, row: ManifestRow) -> bool:
        """Remove a file, unless somebody changed it. Return whether it was there unchanged."""
        with storage_errors(f"{row.path} cannot be removed"):
            found = self._scan.locate(row).path
            for path in {row.path, row.old_path or row.path}:
                if path == found:
                    self._unlink(path)
                self._directories.remove_empty(split_path(path)[0])
        return found is not None

    def _unlink(self, path: str) -> None:
        directory, name = split_path(path)
        os.unlink(name, dir_fd=self._directories.enter(directory))
