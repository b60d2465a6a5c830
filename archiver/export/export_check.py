"""``--check``: every file of an export against the list of its files, and that against the archive's rows.

Nothing is changed. Whether the export is up to date is not checked: ``--dry-run`` says that.

Of a WACZ, every file is compared with the datapackage, and every record with its digests. A damaged record
does not hide those after it: the end of its gzip member is found although its checksum is wrong.
"""

from __future__ import annotations

import errno
import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct, field

from archiver.durable import is_lost_on_disk, storage_errors
from archiver.errors import NoArchive
from archiver.export.export_entry import ExportStats, is_media
from archiver.export.export_scan import ExportScan
from archiver.export.manifest import Manifest, ManifestRow
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest

_BATCH = 500
_OWNER = re.compile(r"(?:waits for )?(?:user|highlight|item) (\w+) (\w+)")
_UNKNOWN = "the archive has no such file"
_PACKAGE, _PACKAGE_DIGEST = "datapackage.json", "datapackage-digest.json"
_CHUNK_SIZE = 1 << 20
_LARGEST_HEAD = 1 << 20
_LARGEST_LIST = 64 << 20
_GZIP_HEAD = b"\x1f\x8b\x08\x00"
_GZIP_HEAD_SIZE, _GZIP_END_SIZE, _ZIP_HEAD_SIZE = 10, 8, 30


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


class _Resource(Struct):
    path: str
    hash: str
    bytes: int


class _Package(Struct):
    resources: list[_Resource]


class _PackageDigest(Struct):
    hash: str


class _Unreadable(Exception):
    """Bytes that are not what an export writes: nothing after them can be read."""


def check_wacz(path: Path, progress: Callable[[ExportStats], None]) -> ExportStats:
    """Check a WACZ that ``export wacz`` made.

    Return the counts: ``files`` are the right records, ``failures`` what is wrong or missing, ``bytes`` were
    read. ``progress`` gets them after each part, and may raise to stop. Raises NoArchive if there is no file,
    StorageError if it cannot be read.
    """
    with storage_errors(f"{path} cannot be read"):
        if not path.is_file():  # a FIFO would be waited for
            raise NoArchive(f"there is no WACZ at {path}", "archiver export wacz makes one")
        with path.open("rb") as file:
            check = _WaczCheck(file, progress)
            try:
                with zipfile.ZipFile(file) as opened:
                    check.check_files(opened)
            except (*_ERRORS, OSError) as exc:
                is_seek = isinstance(exc, OSError) and exc.errno == errno.EINVAL  # to before the beginning
                if isinstance(exc, OSError) and not (is_seek or is_lost_on_disk(exc)):
                    raise
                check.fail(path.name, f"not a whole WACZ: {str(exc) or type(exc).__name__}")
            return check.stats


_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    msgspec.MsgspecError,
    _Unreadable,
)
"""What reading a file raises that is no WACZ, or a damaged one. zipfile raises several of them."""


class _WaczCheck:
    def __init__(self, file: BinaryIO, progress: Callable[[ExportStats], None]) -> None:
        self.stats = ExportStats()
        self._file, self._progress = file, progress

    def fail(self, name: str, why: object) -> None:
        """Count something that is wrong."""
        self.stats.add_failure(name, str(why) or type(why).__name__)
        self._progress(self.stats)

    def check_files(self, opened: zipfile.ZipFile) -> None:
        """Check the datapackage, then each file that it lists."""
        package = _read_list(opened, _PACKAGE)
        stated = msgspec.json.decode(_read_list(opened, _PACKAGE_DIGEST), type=_PackageDigest).hash
        if stated != _sha256(package):
            self.fail(_PACKAGE, "its bytes do not match their SHA-256")
        resources = msgspec.json.decode(package, type=_Package).resources
        names = opened.namelist()
        for name in sorted(
            {*names} - {resource.path for resource in resources} - {_PACKAGE, _PACKAGE_DIGEST}
        ):
            self.fail(name, "the datapackage does not list it")
        for resource in resources:
            if resource.path in names:
                self._check_file(opened, resource)
            else:
                self.fail(resource.path, "missing")

    def _check_file(self, opened: zipfile.ZipFile, resource: _Resource) -> None:
        """Check a file of the ZIP, and its records if it is a WARC."""
        before = self.stats.failed
        try:
            read = _Reading(self._chunks(opened, resource.path))
            if resource.path.endswith(".warc.gz"):
                self._check_records(resource.path, read)
            read.skip_rest()
            is_right = (read.digest, read.size) == (resource.hash, resource.bytes)
            is_right = is_right and read.checksum == opened.getinfo(resource.path).CRC
        except _ERRORS as exc:
            self.fail(resource.path, exc)
        else:
            if not is_right and self.stats.failed == before:  # else a record says it better
                self.fail(resource.path, "its bytes do not match their SHA-256")

    def _check_records(self, path: str, read: _Reading) -> None:
        while read.has_more():
            offset = read.at
            record = _Record()
            try:
                is_whole = read.member(record.add)
            except (zlib.error, _Unreadable) as exc:
                name = record.uri or f"the record at {offset:,}"
                self.fail(path, f"{name} and what follows cannot be read ({exc})")
                return
            if is_whole and record.is_right():
                self.stats.files += 1
                self._progress(self.stats)
            else:
                self.fail(path, f"{record.uri or f'the record at {offset:,}'} does not match its digest")

    def _chunks(self, opened: zipfile.ZipFile, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file. One that is not compressed is read without the checksum of the ZIP: it
        would hide the bytes before it.
        """
        info = opened.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            yield _read_list(opened, name)
            return
        opened.open(info).close()  # zipfile compares the two heads of a file in part
        self._file.seek(info.header_offset)
        head = self._file.read(_ZIP_HEAD_SIZE)
        if len(head) < _ZIP_HEAD_SIZE:
            raise _Unreadable("its end is missing")
        is_same = struct.unpack_from("<HH", head, 6) == (info.flag_bits, info.compress_type)
        if not is_same or info.compress_size != info.file_size:
            raise _Unreadable("its head is not that of the ZIP's directory")
        at = info.header_offset + _ZIP_HEAD_SIZE + sum(struct.unpack("<HH", head[26:]))
        end = at + info.file_size
        while at < end:
            self._file.seek(at)
            chunk = self._file.read(min(_CHUNK_SIZE, end - at))
            if not chunk:
                raise _Unreadable("its end is missing")
            at += len(chunk)
            self.stats.bytes += len(chunk)
            self._progress(self.stats)
            yield chunk


def _read_list(opened: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of the ZIP that an export compresses: a list, which is small."""
    info = opened.getinfo(name)
    if info.file_size > _LARGEST_LIST or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Unreadable(f"{name} is too large, or compressed as no export does it")
    return opened.read(name)


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Reading:
    """The bytes of a file, read from the beginning to the end: their hash, and the gzip members in them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""
        self._hashed = hashlib.sha256()
        self.size = self.checksum = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hashed.hexdigest()}"

    @property
    def at(self) -> int:
        """Return how many bytes were used."""
        return self.size - len(self._rest)

    def has_more(self) -> bool:
        return bool(self._rest) or self._fill()

    def _fill(self) -> bool:
        chunk = next(self._chunks, b"")
        self._hashed.update(chunk)
        self.checksum = zlib.crc32(chunk, self.checksum)
        self.size += len(chunk)
        self._rest += chunk
        return bool(chunk)

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            if not self._fill():
                raise _Unreadable("its end is missing")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def member(self, add: Callable[[bytes], None]) -> bool:
        """Unpack a gzip member, and return whether it matches its checksum."""
        if not self._take(_GZIP_HEAD_SIZE).startswith(_GZIP_HEAD):
            raise _Unreadable("it is not compressed as an export does it")
        unpacker, checksum = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not unpacker.eof:
            if not self._rest and not self._fill():
                raise _Unreadable("its end is missing")
            plain = unpacker.decompress(self._rest, _CHUNK_SIZE)
            self._rest = unpacker.unconsumed_tail or unpacker.unused_data
            checksum = zlib.crc32(plain, checksum)
            add(plain)
        return int.from_bytes(self._take(_GZIP_END_SIZE)[:4], "little") == checksum

    def skip_rest(self) -> None:
        """Read to the end."""
        self._rest = b""
        while self._fill():
            self._rest = b""


class _Record(Struct):
    """A WARC record while it is read: its fields, and the hashes of its block and of its payload."""

    head: bytes = b""
    fields: dict[str, str] | None = None
    block: hashlib._Hash = field(default_factory=hashlib.sha256)
    payload: hashlib._Hash = field(default_factory=hashlib.sha256)
    http_head: bytes | None = None
    left: int = 0
    after: bytes = b""

    @property
    def uri(self) -> str:
        """Return what the record is of, "" if unknown."""
        return (self.fields or {}).get("warc-target-uri", "")

    def add(self, plain: bytes) -> None:
        """Add bytes of the record. Raises _Unreadable."""
        if self.fields is None:
            self.head += plain
            head, end, plain = self.head.partition(b"\r\n\r\n")
            if not end:
                if len(head) > _LARGEST_HEAD:
                    raise _Unreadable("it is not a record")
                return
            self._begin(head.decode(errors="replace"))
        block, after = plain[: self.left], plain[self.left :]
        self.left -= len(block)
        self.after = (self.after + after)[:5]
        self.block.update(block)
        if self.http_head is not None:
            self.http_head += block
            _, end, block = self.http_head.partition(b"\r\n\r\n")
            if not end:
                if len(self.http_head) > _LARGEST_HEAD:
                    raise _Unreadable("it is not an answer of a server")
                return
            self.http_head = None
        self.payload.update(block)

    def _begin(self, head: str) -> None:
        version, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.fields = {name.lower(): value.strip() for name, _, value in pairs}
        length = self.fields.get("content-length", "")
        if not version.startswith("WARC/") or not (length.isascii() and length.isdigit()):
            raise _Unreadable("it is not a record")
        self.left = int(length)
        is_http = self.fields.get("content-type", "").startswith("application/http")
        self.http_head = b"" if is_http else None

    def is_right(self) -> bool:
        """Return whether the record is whole and matches its digests."""
        fields = self.fields
        if fields is None or self.left or self.after != b"\r\n\r\n":
            return False
        digests = {"warc-block-digest": self.block, "warc-payload-digest": self.payload}
        return all(
            fields.get(name, "") in ("", f"sha256:{hashed.hexdigest()}") for name, hashed in digests.items()
        )
