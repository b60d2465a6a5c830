"""Opens blobs, answers and journal of an archive where its configuration says: in a directory or a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from archiver.blobs import bucket_marker, marker
from archiver.blobs.marker import Marker
from archiver.config import Config
from archiver.durable import storage_errors
from archiver.errors import ArchiveDamaged, MarkerMismatch, StorageError
from archiver.journal.journal_files import JOURNAL, JournalFiles
from archiver.model.journal_entries import JournalEnd, JournalHead
from archiver.model.values import replace
from archiver.signed_url import excerpt
from archiver.store import disk
from archiver.store.objects import MARKER, MOST_IN_MEMORY, Folder, Objects, Upload
from archiver.store.spool import list_parts, part_of, remove_part, worker_of
from archiver.temporary import make_temporary_place

if TYPE_CHECKING:
    from archiver.answers.answer_store import AnswerStore
    from archiver.blobs.store import BlobSource, BlobStore
    from archiver.catalog import Catalog
    from archiver.model.identity import Digest
    from archiver.store.bucket_client import Bucket, TimeLimits


IN_DIRECTORY = "./"
"""The beginning of the name of a file that is in the archive's directory, wherever the rest is."""
_PROBE = "quarantine/probe"


class ArchiveStorage:
    """The storage of the archive of a configuration. Nothing is opened, and no request is sent, before use.

    Each method raises ConfigError or StorageError if the bucket's settings cannot be used.
    """

    def __init__(
        self, config: Config, *, worker_id: str | None = None, check: Callable[[], None] = lambda: None
    ) -> None:
        """``worker_id``: the worker of a shared run, which has a part of ``tmp/`` of its own.

        ``check``: see ``Bucket``.
        """
        self._config, self._check = config, check
        self._part = None if worker_id is None else part_of(worker_id)
        self._root = config.archive.directory
        self._group_readable = config.archive.group_readable

    @property
    def location(self) -> str:
        """Where the archive is stored, for people."""
        return self._config.archive.storage or str(self._root)

    @property
    def is_remote(self) -> bool:
        """Whether it is in a bucket."""
        return self._config.archive.storage is not None

    @property
    def remedy(self) -> str:
        """What to do if no blob is there."""
        return "look at the bucket" if self.is_remote else "mount its disk"

    def require(self, recorded: str | None, own: Marker) -> None:
        """Raise StorageError unless the archive is stored here: this is where the whole program decides that.

        ``recorded``: what the database says. ``own``: the marker in the directory of the archive. Both must
        name the storage of the configuration. Raises MarkerMismatch if one of them is an older copy, and
        StorageError if a move is about to end.
        """
        own.require_no_move()
        root, chosen = self._root, self._config.archive.storage
        if own.storage != chosen:
            found = bucket_marker.read(self.objects())
            if found is not None and (found.id, found.storage) == (own.id, chosen):
                raise MarkerMismatch(
                    f"the archive is stored in {chosen}, and {root / MARKER} is older than that",
                    f"put {self.objects().location(MARKER)} in its place, then archiver db rebuild",
                )
        if own.storage != recorded:
            raise MarkerMismatch(
                f"archive.json says that the archive is in {own.storage or 'its directory'}, and the database"
                f" says that it is in {recorded or 'its directory'}",
                "restore the newer database: archiver db rebuild",
            )
        if recorded != chosen:
            raise StorageError(
                f"the archive is stored in {recorded or f'the directory {root}'}, "
                f"and archive.storage is {chosen or 'not set'}",
                f'set archive.storage = "{recorded}"'
                if recorded
                else f"remove archive.storage; or move the archive there: archiver storage move {chosen}",
            )

    def probe(self, own: Marker, *, dry_run: bool = False) -> Marker:
        """If the archive is in a bucket, check that this belongs to it and can be written; make the spool.

        Call it before anything is written there. ``own``: the marker in the directory of the archive. Return
        it, with a later end of the journal that the bucket's marker has. ``dry_run``: only compare the
        markers. Raises MarkerMismatch, StorageError.
        """
        if dry_run:
            return own.with_end(bucket_marker.require(self.objects(), own).journal)
        own = bucket_marker.probe(self.objects(), own)
        if self.is_remote:
            make_temporary_place(self._root, 0o750 if self._group_readable else 0o700)
        return own

    def read_end(self) -> JournalEnd | None:
        """Return where the journal ended according to the markers in the directory and in the bucket.

        None if neither says so. Raises NoArchive, StorageError.
        """
        own, found = marker.read(self._root), bucket_marker.read(self.objects())
        return own.journal if found is None or found.id != own.id else own.with_end(found.journal).journal

    def record_end(self, head: JournalHead, files: JournalFiles) -> None:
        """Record in the markers that the journal ends with ``head``. A later end that they have stays.

        Every line up to there must be durable. Raises NoArchive, MarkerMismatch, DiskFull, StorageError.
        """
        own = marker.read(self._root)
        if own.journal is not None and own.journal.seq >= head.seq:
            return
        end = JournalEnd(head.seq, head.hash, files.before_snapshot(head))
        bucket_marker.record_end(self.objects(), own, end)
        marker.rewrite(self._root, own.with_end(end), group_readable=self._group_readable)

    def mark_removals(self, removals: int) -> None:
        """Write into the markers how many accounts were removed: a database that knows of fewer is refused.

        The journal must have these removals: else a rebuilt database would be refused. Raises DiskFull,
        StorageError.
        """
        own = marker.read(self._root)
        if own.removals < removals:
            own = replace(own, removals=removals)
            marker.rewrite(self._root, own, group_readable=self._group_readable)
            bucket_marker.rewrite(self.objects(), own)  # after a kill before this, the next probe does it

    @cached_property
    def bucket(self) -> Bucket | None:
        """The bucket, if ``archive.storage`` names one."""
        return self._open_bucket()

    def _open_bucket(self, limits: TimeLimits | None = None) -> Bucket | None:
        if self._config.archive.storage is None:
            return None
        from archiver.store.bucket_client import Bucket

        allows = self._config.archive.use_metadata_service
        return Bucket.open(
            self._config.archive.storage,
            allow_metadata_service=allows,
            limits=limits,
            check=lambda: self._check(),
        )

    @contextmanager
    def checking(self, check: Callable[[], None]) -> Iterator[None]:
        """In the block, call ``check`` while a bucket is listed, see ``Bucket``: for a command that reads."""
        before, self._check = self._check, check
        try:
            yield
        finally:
            self._check = before

    def blobs(self, catalog: Catalog) -> BlobStore:
        """Open the blobs."""
        from archiver.blobs.store import BlobStore
        from archiver.catalog.query import holdings

        choices = {None: Upload.IF_ABSENT, False: Upload.IF_DIFFERENT, True: Upload.ALWAYS}

        def choose_upload(digest: Digest) -> Upload:
            return choices[catalog.read(holdings.is_lost, digest)]

        return BlobStore(self._objects(self.bucket, part=self._part), choose_upload)

    @contextmanager
    def blob_source(self, blobs: BlobStore) -> Iterator[BlobSource]:
        """Open the blobs for an export."""
        from archiver.blobs.store import BlobLinks, BucketSource

        if self.is_remote:
            yield BucketSource(blobs)
            return
        with BlobLinks(self._root) as links:
            yield links

    def answers(self, archive_id: str = "") -> AnswerStore:
        """Return the stored answers. ``archive_id``: new segments name it."""
        from archiver.answers.answer_store import AnswerStore

        keeps_trays = self._config.archive.keeps_trays
        return AnswerStore(self._answer_objects(self._part), archive_id=archive_id, keeps_trays=keeps_trays)

    def _answer_objects(self, part: str | None) -> Objects:
        from archiver.answers.answer_store import ANSWERS

        return self._objects(self.bucket, spooled=ANSWERS, part=part)

    def require_deletion(self) -> None:
        """Raise StorageError if the access keys of a bucket lack the right to delete an object."""
        if self.bucket is not None:
            self.bucket.put(_PROBE, b"\n")
            self.bucket.delete(_PROBE)

    def require_names(self, names: Sequence[str], copies: Collection[str] = ()) -> None:
        """Raise ArchiveDamaged if one of these names, which come from rows, is not that of a deletable file.

        That is a blob, a segment of answers, a file of the journal or anything in quarantine/, or one of
        ``copies``: those of the database in the archive's directory. One that was deleted before a kill is no
        error.
        """
        for name in names:
            place = name.removeprefix(IN_DIRECTORY)
            if place == name or "/" in place or "\0" in place:
                is_own = _is_file_of_archive(place)
            else:
                is_own = name in copies or not os.path.lexists(self._root / place)
            if not is_own:
                raise ArchiveDamaged(
                    f"the database says that '{excerpt(name)}' is to be deleted, which archiver forget never"
                    " does: another program has changed this archive; nothing was deleted",
                    "restore a copy that you trust; or, if you trust the rest, remove that row from the table"
                    " deletions",
                )

    def delete(self, names: Sequence[str], check: Callable[[], None], copies: Collection[str] = ()) -> None:
        """Delete files of the archive durably, by their names below it; missing ones are no error.

        Those that begin with ``IN_DIRECTORY`` are in the archive's directory, wherever the rest is. ``check``
        is called in between, and may raise to stop. Raises StorageError, and before anything is deleted the
        error of ``require_names``.
        """
        self.require_names(names, copies)
        local = [name.removeprefix(IN_DIRECTORY) for name in names if name.startswith(IN_DIRECTORY)]
        stored = [name for name in names if not name.startswith(IN_DIRECTORY)]
        self._objects(None).delete(local, check)
        self.objects().delete(stored, check)

    def list_quarantine(self) -> list[str]:
        """Return the names of all files in ``quarantine/``, as ``delete`` takes them. Raises StorageError."""
        place = self._root / "quarantine"
        with storage_errors(f"{place} cannot be listed"):
            names = sorted(
                path.relative_to(self._root).as_posix()
                for path in place.rglob("*")
                if path.is_symlink() or not path.is_dir()
            )
        if self.bucket is None:
            return names

        found = self.bucket.list("quarantine", is_own=_is_file_of_archive, most=MOST_IN_MEMORY)
        return [IN_DIRECTORY + name for name in names] + [each.name for each in found]

    def empty_spool(self) -> None:
        """Put the answers that wait in the spool into the bucket, if the archive is in one."""
        self._answer_objects(self._part).empty_spool()

    def remove_spools(self, find_workers: Callable[[], frozenset[str]]) -> None:
        """Remove the parts of ``tmp/`` whose workers are gone, after answers there were put into the bucket.

        ``find_workers`` returns the ids of those that are not. Raises StorageError.
        """
        parts = list_parts(self._root)  # first: a worker is known before it makes its part
        workers = find_workers() if parts else frozenset()
        for part in parts:
            if worker_of(part) not in workers:
                self._answer_objects(part).empty_spool()
                remove_part(self._root, part)

    def remove_own_spool(self) -> None:
        """Remove the part of ``tmp/`` of this worker, unless answers wait there."""
        if self._part is not None and not any((self._root / "tmp" / self._part).glob("answers/*/*/*")):
            remove_part(self._root, self._part)

    def journal(self, *, for_reader: bool = False) -> JournalFiles:
        """Return the files of the journal.

        ``for_reader``: a command that only compares its end with the database does not wait for a store.
        """
        if for_reader and self.is_remote:
            from archiver.store.bucket_client import AT_ONCE

            return JournalFiles(self._objects(self._open_bucket(AT_ONCE)))
        return JournalFiles(self.objects())

    def objects(self) -> Objects:
        """Return all objects of the archive. What waits in a spool is not among them."""
        return self._objects(self.bucket)

    def _objects(
        self, bucket: Bucket | None, *, spooled: Folder | None = None, part: str | None = None
    ) -> Objects:
        if bucket is None:
            return disk.Objects(self._root, group_readable=self._group_readable, part=part)
        from archiver.store import bucket as in_bucket

        return in_bucket.Objects(
            bucket, self._root, spooled=spooled, part=part, group_readable=self._group_readable
        )


def _is_file_of_archive(name: str) -> bool:
    """Return whether a name below the archive is that of a blob, a segment, a file of the journal, or of
    anything in ``quarantine/``.
    """
    from archiver.answers.answer_store import ANSWERS
    from archiver.blobs.store import BLOBS

    folder, _, rest = name.partition("/")
    if folder == "quarantine":
        return "\0" not in rest and {"", ".", ".."}.isdisjoint(rest.split("/"))
    return any(each.holds(name) for each in (BLOBS, ANSWERS, JOURNAL))
