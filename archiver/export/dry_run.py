"""``--dry-run``: what an export would do, decided by ``ExportSync`` itself. Nothing is changed.

The manifest is a copy. Paths that would become free and files that would be created are remembered;
everything else is looked up on the disk. Blobs are not read: only a real export finds damage within a blob.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from archiver.blobs.store import BlobSource
from archiver.export.export_entry import ExportStats, StagedFile
from archiver.export.export_scan import ExportScan, FileState, OpenDirectories
from archiver.export.export_sync import BATCH_SIZE, ExportSync, SyncStep
from archiver.export.link_methods import LinkMethod, MethodForecast
from archiver.export.manifest import Manifest, ManifestRow
from archiver.export.placement import Placement, PlacementResult, hash_text
from archiver.model.identity import Digest


class DryRun(ExportSync):
    """Counts what an ExportSync would do. Changes only ``manifest``, which is a copy."""

    def __init__(
        self,
        root: int,
        empty: int,
        manifest: Manifest,
        blobs: BlobSource,
        methods: Sequence[LinkMethod],
        nearby: Path,
        progress: Callable[[ExportStats], None],
    ) -> None:
        """Take descriptors of the directory of the export (``root``) and of an ``empty`` one.

        ``nearby`` is a path on the disk of the export.
        """
        placement = Placement(blobs, empty, methods)
        self._disk = _PlannedDisk(_ExistingDirectories(root, empty), placement)
        self._methods = MethodForecast(blobs, nearby, methods)
        super().__init__(self._disk, placement, manifest, progress)
        self._batch_size = BATCH_SIZE

    def stage_text(self, pieces: Iterable[str]) -> tuple[StagedFile, int]:
        """Return the digest and the size of a text, without writing it."""
        digest, size = hash_text(pieces)
        return StagedFile("", digest), size

    def _leave_old_path(self, step: SyncStep, row: ManifestRow, old_path: str, new_paths: set[str]) -> None:
        if step.path == old_path or (step.path == row.path and self._is_leftover(row, old_path)):
            self._disk.free(old_path)

    def _bring(self, step: SyncStep, row: ManifestRow) -> PlacementResult:
        self._destination(row.path)  # raises NotADirectoryError as in an export
        is_move = step.path is not None and step.has_content
        method = (row.method or step.entry.default_method) if is_move else self._method(step)
        if step.path != row.path and self._disk.stat(row.path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if not is_move:
            self.stats.add_placed(method, row.size, is_new=not step.sha256)
        elif step.path != row.path or self._disk.is_freed(row.path):  # or it returns to its old path
            self.stats.moved += 1
        self._disk.occupy(row.path)
        return PlacementResult(method, row.at_ns or 0, "")

    def _method(self, step: SyncStep) -> str:
        content = step.entry.content
        if not isinstance(content, Digest):
            return step.entry.default_method
        return self._methods.method_for(content, self._placement.stat_blob(content, step.entry.size))

    def _sync_disk(self) -> None:
        pass

    def _unlink(self, path: str) -> None:
        self._disk.free(path)


class _ExistingDirectories(OpenDirectories):
    """Opens the empty directory in place of a directory that would be created."""

    def __init__(self, root: int, empty: int) -> None:
        super().__init__(root)
        self._empty = empty

    def enter(self, path: tuple[bytes, ...], *, make: bool = True) -> int:
        try:
            return super().enter(path, make=False)
        except FileNotFoundError:
            if not make:
                raise
            return self._empty

    def remove_empty(self, path: tuple[bytes, ...]) -> None:
        pass


class _PlannedDisk(ExportScan):
    """The disk as the export would leave it."""

    def __init__(self, directories: OpenDirectories, placement: Placement) -> None:
        super().__init__(directories, placement)
        self._freed: set[str] = set()
        self._occupied: set[str] = set()

    def free(self, path: str) -> None:
        """Remember that the export's file would leave this path."""
        self._freed.add(path)
        self._occupied.discard(path)

    def occupy(self, path: str) -> None:
        """Remember that a file of the export would be at this path."""
        self._occupied.add(path)
        self._freed.discard(path)

    def is_freed(self, path: str) -> bool:
        """Return whether a file of the export would have left this path."""
        return path in self._freed

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status on the disk; None for a path that would be free."""
        return None if path in self._freed else super().stat(path)

    def locate(self, row: ManifestRow) -> FileState:
        """Find the file of a row, even if it would only be created."""
        if row.path in self._occupied:
            return FileState(row.path, row.sha256, True, is_proven=True)
        return super().locate(row)

    def files(self, name: str) -> Iterator[str]:
        """Yield the paths of all files that would be below a directory."""
        with suppress(FileNotFoundError):
            changed = self._freed | self._occupied
            yield from (path for path in super().files(name) if path not in changed)
        yield from (path for path in self._occupied if path.startswith(f"{name}/"))
