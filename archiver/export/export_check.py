"""``--check``: every file of an export against the list of its files, and that against the archive's rows.

Nothing is changed. Whether the export is up to date is not checked: ``--dry-run`` says that.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice

from archiver.durable import storage_errors
from archiver.export.export_entry import ExportStats, is_media
from archiver.export.export_scan import ExportScan
from archiver.export.manifest import Manifest, ManifestRow
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest

_BATCH = 500
_OWNER = re.compile(r"(?:waits for )?(?:user|highlight|item) (\w+) (\w+)")
_UNKNOWN = "the archive has no such file"


class CheckedForm(StrEnum):
    """The forms of export that can be checked."""

    FOLDER = "folder"
    SITE = "site"
    BAGIT = "bagit"
    WACZ = "wacz"


StoredBlobs = Callable[[Sequence[Digest]], Mapping[Digest, StoredBlob]]
"""Returns the blobs that the archive has or had, of those with these digests."""


class ExportCheck:
    """A check of the export that ``open_check`` opened.

    In ``stats``, ``files`` are right, ``failed`` are wrong or missing, ``bytes`` were read. ``others`` cannot
    be right: their bytes are lost, or a photo program changed a sidecar. ``progress`` gets them after each
    part of a file, and may raise to stop.
    """

    def __init__(
        self,
        scan: ExportScan,
        manifest: Manifest,
        stored_blobs: StoredBlobs,
        progress: Callable[[ExportStats], None],
    ) -> None:
        self.stats = ExportStats(expected=manifest.count())
        self.manifest = manifest
        self.root = scan.directories.root
        self._scan, self._stored_blobs, self._progress = scan, stored_blobs, progress

    def right_files(self) -> Iterator[ManifestRow]:
        """Check all files, and yield the rows of those that are right, in the order of their paths."""
        rows = self.manifest.rows()
        while batch := list(islice(rows, _BATCH)):
            digests = [Digest(row.sha256) for row in batch if is_media(row.id)]
            blobs = self._stored_blobs(digests)
            for row in batch:
                with storage_errors(f"{row.path} cannot be read"):
                    why = self._find_fault(row, blobs.get(Digest(row.sha256)))
                if why is None:
                    self.stats.files += 1
                    yield row
                elif why:
                    self.stats.add_failure(row.path, why)
                else:
                    self.stats.others += 1
                self._progress(self.stats)

    def files(self, name: str) -> Iterator[str]:
        """Yield the paths of all files below a directory of the export, including foreign ones."""
        return self._scan.files(name)

    def _find_fault(self, row: ManifestRow, blob: StoredBlob | None) -> str | None:
        """Return what is wrong with a file, for people; "" if it cannot be right, None if it is right."""
        found = self._scan.stat(row.path)
        is_lost = blob is not None and blob.lost_at is not None
        is_unknown = is_media(row.id) and not _is_stored(row, blob)
        if found is None and is_unknown:
            is_left = row.old_path is not None and self._scan.stat(row.old_path) is not None
            place = f"still at {row.old_path}" if is_left else "missing"
            return f"{place}, and {_UNKNOWN}: export with --prune"
        if found is None:
            return "" if is_lost else "missing: export again"
        if not stat.S_ISREG(found.st_mode):
            return "not a file: move it elsewhere, and export again"
        if found.st_size != row.size or self._scan.digest(row.path, self._count) != row.sha256:
            if self._scan.is_blob(row, found):
                return "its blob is damaged: archiver verify --read-data --repair, then export again"
            if self._scan.is_own(row, row.path, found) and not self._scan.is_proven(row, found):
                return f"damaged: export {'with --prune, since its blob is lost' if is_lost else 'again'}"
            if row.mtime_ns == found.st_mtime_ns:  # the next export would trust it, or take it for foreign
                return "damaged: remove it, and export again"
            if row.id.endswith(" xmp"):
                return ""
            return "changed since it was exported: move it elsewhere, and export again"
        return f"{_UNKNOWN}: export with --prune, or remove it" if is_unknown else None

    def _count(self, size: int) -> None:
        self.stats.bytes += size
        self._progress(self.stats)


def _is_stored(row: ManifestRow, blob: StoredBlob | None) -> bool:
    """Return whether the archive's rows say that a file has these bytes, now or before."""
    if blob is None or blob.size != row.size:
        return False
    words = row.id.split()
    if words == ["media", row.sha256]:  # of a site, which has the bytes of all owners once
        return True
    owners = filter(None, map(_OWNER.match, blob.owners))
    return any(owner[1] in words and (owner[2] in words or row.sha256 in words) for owner in owners)
