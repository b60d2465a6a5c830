"""Adoption: each file of another tool is matched to its item, copied into the store, and recorded.

As in a run, the bytes are durable before the row is written. The other tool's files are only read.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from archiver.adopt.foreign_directory import ForeignDirectory, MetadataFile, walk_foreign
from archiver.adopt.foreign_layouts import RECOGNIZERS, Candidate
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state, adoptions
from archiver.durable import open_regular
from archiver.errors import ArchiverError, DownloadFailed
from archiver.exit_codes import PARTIAL, outcome
from archiver.media.checked_writer import CheckedWriter, DownloadedFile
from archiver.media.formats import HEAD_SIZE, MediaKind, detect_format
from archiver.model.archived import Blob
from archiver.model.foreign_files import (
    AdoptionReport,
    AdoptionResult,
    Fate,
    ForeignFile,
    ForeignTool,
    RefusedFile,
)
from archiver.model.identity import Digest, Pk, Role
from archiver.model.values import replace
from archiver.store.spool import COPY_CHUNK
from archiver.work import Work

COMMAND = "adopt"

_BESIDE = re.compile(
    r".*\.(json|json\.xz|jsonl|txt|ini|log|db|sqlite3)|\.DS_Store|Thumbs\.db|desktop\.ini", re.DOTALL
)
"""Files that the tools or the operating system put beside pictures and videos. They are skipped."""
_UNFINISHED = re.compile(r".*\.(part|tmp|temp|ytdl|download|crdownload)", re.DOTALL)
_JSON, _PACKED = "application/json", "application/x-xz"
_MAX_PENDING = 64
_LONGEST_TEXT = 1000
_FIRST = datetime(2010, 10, 6, tzinfo=UTC)
"""The day on which Instagram began."""
_ONE_DAY = timedelta(days=1)


class _Refusal(Exception):
    """A file is refused. The message is the reason."""


class _Metadata(NamedTuple):
    """A metadata file: what it belongs to, and its bytes."""

    file: ForeignFile
    blob: Blob
    data: bytes


class AdoptionOptions(Struct, frozen=True):
    """What to adopt, and whether to store it.

    ``tool``: the tool whose files are adopted, None for any. ``account``: the username of the account whose
    files these are, None if the folders say so. ``dry_run``: store nothing; the rows are those of a copy.
    """

    tool: ForeignTool | None = None
    account: str | None = None
    dry_run: bool = False


class Adoption:
    """Adopts the files of some directories."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        options: AdoptionOptions,
        work: Work,
        *,
        require_space: Callable[[], None],
    ) -> None:
        """``work.stop`` ends it within a file; ``work.progress`` gets the number of files looked at.

        ``require_space`` is called before each copy, and may raise.
        """
        self._catalog = catalog
        self._store = store
        self._options = options
        self._work, self._check, self._clock = work, work.stop.check, work.clock
        self._require_space = require_space
        self._run_id: int | None = None
        self._pending: list[tuple[str, int, Future[AdoptionResult]]] = []
        self._counts = dict.fromkeys(Fate, 0)
        self._refused: list[RefusedFile] = []
        self._bytes = self._seen = self._metadata = 0
        tools = RECOGNIZERS if options.tool is None else (options.tool,)
        self._recognizers = [RECOGNIZERS[tool] for tool in tools]

    def adopt(self, directories: Sequence[Path]) -> AdoptionReport:
        """Adopt all files below these directories, which are absolute; return what became of them.

        A run is recorded as soon as something is stored. Adopting the same files again changes nothing.
        Raises StorageError, DiskFull, DatabaseError, the cause of the stop, and what ``require_space``
        raises; what was adopted before the error stays.
        """
        try:
            for directory in directories:
                for found in walk_foreign(directory):
                    self._check()
                    if isinstance(found, RefusedFile):
                        self._refused.append(found)
                    else:
                        self._adopt_directory(found)
            self._wait()
        except BaseException as error:
            with suppress(ArchiverError):  # the first error is the one to raise
                self._wait()
                self._finish(error.exit_code if isinstance(error, ArchiverError) else ArchiverError.exit_code)
            raise
        self._finish(PARTIAL if self._refused else 0)
        counts = self._counts
        return AdoptionReport(
            counts[Fate.ADOPTED],
            counts[Fate.WAITING],
            counts[Fate.KNOWN],
            tuple(sorted(self._refused, key=lambda refused: refused.path)),
            self._bytes,
            self._metadata,
        )

    def _adopt_directory(self, directory: ForeignDirectory) -> None:
        for name in sorted(directory.names):
            if _BESIDE.fullmatch(name):
                continue
            self._check()
            path = str(directory.path / name)
            try:
                self._adopt_file(directory, name, self._recognize(directory, name), path)
            except _Refusal as refusal:
                self._refused.append(RefusedFile(path, str(refusal)))
            self._seen += 1
            self._work.progress(self._seen)

    def _recognize(self, directory: ForeignDirectory, name: str) -> Candidate:
        if _UNFINISHED.fullmatch(name):
            raise _Refusal("an unfinished download")
        for recognize in self._recognizers:
            found = recognize(directory, name)
            if isinstance(found, str):
                raise _Refusal(found)
            if found is not None:
                username = self._options.account or found.username
                return replace(
                    found,
                    username=_printable(username),
                    title=_printable(found.title),
                    taken_at=self._plausible(found.taken_at),
                )
        tools = [self._options.tool] if self._options.tool is not None else list(ForeignTool)
        raise _Refusal(f"not a name that {' or '.join(tools)} gives to an item")

    def _adopt_file(self, directory: ForeignDirectory, name: str, candidate: Candidate, path: str) -> None:
        item_pk = candidate.item_pk or self._find_item(candidate)
        try:
            source = open_regular(name, within=directory.fd)
        except OSError as exc:
            raise _Refusal(f"it cannot be opened: {exc.strerror}") from exc
        try:
            kind = _detect_kind(source)
            if candidate.is_picture and kind is not MediaKind.PICTURE:
                raise _Refusal("a video, but its name or metadata says that it is a picture")
            role = Role.VIDEO if kind is MediaKind.VIDEO else Role.THUMBNAIL
            file = ForeignFile(
                candidate.source,
                item_pk,
                role,
                candidate.highlight_pk,
                candidate.username,
                candidate.user_pk,
                candidate.title,
                candidate.taken_at,
                candidate.is_poster,
            )
            metadata = self._new_metadata(candidate.metadata, file)
            self._adopt_media(source, kind, file, path, metadata)
        except (OSError, DownloadFailed) as exc:
            reason = str(exc) if isinstance(exc, DownloadFailed) else f"it cannot be read: {exc.strerror}"
            raise _Refusal(reason) from exc
        finally:
            os.close(source)

    def _plausible(self, at: datetime | None) -> datetime | None:
        """Return a time at which an item can have been taken; None for any other."""
        return at if at is not None and _FIRST <= at <= self._clock() + _ONE_DAY else None

    def _find_item(self, candidate: Candidate) -> Pk:
        """Return the only item of an account that was taken in the second that the name gives."""
        name, taken_at = candidate.username or "", candidate.taken_at
        self._wait()
        accounts = self._catalog.read(account_state.former_pks, name)
        if len(accounts) != 1:
            how_many = "several accounts in the archive have" if accounts else "no account in the archive has"
            raise _Refusal(f"it has no metadata, and {how_many} or had the name {name}")
        items = self._catalog.read(adoptions.items_taken_at, accounts[0], taken_at) if taken_at else ()
        if len(items) != 1:
            how_many = f"{len(items)} items" if items else "no item"
            raise _Refusal(f"it has no metadata, and the archive has {how_many} taken in that second")
        return items[0]

    def _new_metadata(self, found: MetadataFile | None, file: ForeignFile) -> _Metadata | None:
        """Return the metadata file of an item; None if there is none, or the archive has it."""
        if found is None:
            return None
        digest = Digest(hashlib.sha256(found.data).hexdigest())
        if self._catalog.read(adoptions.has_metadata, file.item_pk, digest):
            return None
        blob = Blob(digest, len(found.data), _PACKED if found.name.endswith(".xz") else _JSON)
        beside = replace(file, role=Role.METADATA, file_name=_printable(found.name))
        return _Metadata(beside, blob, found.data)

    def _adopt_media(
        self, source: int, kind: MediaKind, file: ForeignFile, path: str, metadata: _Metadata | None
    ) -> None:
        place = self._catalog.read(adoptions.place, file)
        before = os.fstat(source)
        blob = self._read_media(source, kind, before) if place.may_hold(before.st_size) else None
        result = place.judge("" if blob is None else blob.sha256)
        if result.fate in (Fate.REFUSED, Fate.KNOWN) and self._pending:
            self._wait()  # then judge again: the rows of the files before may make a difference
            self._adopt_media(source, kind, file, path, metadata)
            return
        if result.fate is Fate.REFUSED:
            raise _Refusal(result.reason)
        if blob is None or result.fate is not Fate.KNOWN:
            blob = self._store_media(source, kind, before)
        elif blob.sha256 not in place.incomplete and metadata is None:
            self._counts[Fate.KNOWN] += 1
            return
        self._store_metadata(metadata)
        self._submit(file, blob, path, metadata)

    def _read_media(self, source: int, kind: MediaKind, before: os.stat_result) -> Blob:
        """Check the file where it is, without copying it."""
        os.lseek(source, 0, os.SEEK_SET)
        hashed = hashlib.sha256()

        def chunks() -> Iterator[bytes]:
            while chunk := os.read(source, COPY_CHUNK):
                self._check()
                hashed.update(chunk)
                yield chunk

        media = _check_media(chunks(), kind)
        _require_unchanged(source, before, media.size)
        return Blob(Digest(hashed.hexdigest()), media.size, media.mime, media.width, media.height)

    def _store_media(self, source: int, kind: MediaKind, before: os.stat_result) -> Blob:
        """Copy the file into the store, check the copy, and make it durable. A dry run only reads it."""
        if self._options.dry_run:
            return self._read_media(source, kind, before)
        self._require_space()
        os.lseek(source, 0, os.SEEK_SET)
        with self._store.draft() as draft:

            def chunks() -> Iterator[bytes]:
                for chunk in draft.copy(source):
                    self._check()
                    yield chunk

            media = _check_media(chunks(), kind)
            _require_unchanged(source, before, media.size)
            digest, size = self._store.put(draft)
        return Blob(digest, size, media.mime, media.width, media.height)

    def _store_metadata(self, metadata: _Metadata | None) -> None:
        if metadata is None or self._options.dry_run:
            return
        self._require_space()
        with self._store.draft() as draft:
            draft.write(metadata.data)
            self._store.put(draft)

    def _submit(self, file: ForeignFile, blob: Blob, path: str, metadata: _Metadata | None) -> None:
        """Queue the rows of a file and its metadata, whose bytes are durable; they are those of a run."""
        if self._run_id is None:
            self._run_id = self._catalog.write(record.start_run, COMMAND, self._clock())
        beside = None if metadata is None else (metadata.file, metadata.blob)
        row = self._catalog.submit(record.adopt, self._run_id, file, blob, self._clock(), beside)
        self._pending.append((path, blob.size, row))
        if len(self._pending) >= _MAX_PENDING:
            self._wait()

    def _wait(self) -> None:
        """Wait until the queued rows are written, and count what became of their files."""
        pending, self._pending = self._pending, []
        for path, size, row in pending:
            result = row.result()
            if result.fate is Fate.REFUSED:
                self._refused.append(RefusedFile(path, result.reason))
                continue
            self._counts[result.fate] += 1
            self._metadata += result.has_new_metadata
            if result.fate is not Fate.KNOWN:
                self._bytes += size

    def _finish(self, code: int) -> None:
        if self._run_id is not None:
            self._catalog.write(record.finish_run, self._run_id, self._clock(), outcome(code), code)


def _require_unchanged(source: int, before: os.stat_result, size: int) -> None:
    after = os.fstat(source)
    if _state(after) != _state(before) or size != before.st_size:
        raise _Refusal("it changed while it was read")


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _printable(text: str | None) -> str | None:
    """Return a name of a folder or a text of metadata as text that a database can store; None if empty."""
    data = (text or "")[:_LONGEST_TEXT].encode(errors="surrogateescape")
    return data.decode(errors="backslashreplace").replace("\0", "") or None


def _detect_kind(source: int) -> MediaKind:
    """Return the kind of an open file, by its first bytes."""
    media = detect_format(os.pread(source, HEAD_SIZE, 0))
    if media is None:
        raise _Refusal("the bytes are neither a picture nor a video")
    return media.kind


def _check_media(chunks: Iterable[bytes], kind: MediaKind) -> DownloadedFile:
    """Return the size, type and dimensions of these bytes.

    Raises DownloadFailed if they are not a whole file of this kind. Only the structure of the file shows
    whether it is whole: unlike a download, it has no stated length.
    """
    writer = CheckedWriter(_Nowhere(), kind, sys.maxsize)
    for chunk in chunks:
        writer.write(chunk)
    return writer.finish()


class _Nowhere:
    """A sink that discards the bytes: they are stored already, or need not be."""

    size = 0

    def write(self, chunk: bytes) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Do nothing."""
