"""A site as one WACZ file (WACZ 1.1.1, specs.webrecorder.net): a ZIP of WARC files, their index and a list of
pages, which web archives import and replay.

The index says which WARC has each URL, and where in it: CDXJ lines (IIPC, CDXJ 1.0), sorted by SURT. It is
compressed in blocks of 1,024 lines (ZipNum), so that a player reads only the block that it needs.

The site was never on the web. Its files are ``resource`` records below a host that cannot exist there: the
top-level domain ``invalid`` is reserved (RFC 2606).
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import sqlite3
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import IO, BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

from msgspec import Struct, field

from archiver.blobs.store import BlobSource
from archiver.closeable import Closeable
from archiver.durable import storage_errors
from archiver.errors import StorageError
from archiver.export import file_names
from archiver.export.export_entry import ExportEntry, ExportStats, GeneratedText
from archiver.export.manifest import sqlite_errors
from archiver.export.placement import DamagedBlob, open_blob, read_blob, require_blob
from archiver.model.api_calls import Answer
from archiver.model.identity import Digest

WACZ_VERSION = "1.1.1"
_SITE = "site.warc.gz"
_PAGE = "page "
_FIRST_PAGE = "index.html"
_TITLE = re.compile(rb"<title>([^<]*)</title>")
_TEXT_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_IN_MEMORY = 8 << 20
"""The size in bytes up to which a blob is read into memory. A larger one is read twice: the first time only
to check it, so that no part of a damaged blob is written.
"""
_STORED, _PACKED = 0, 6
"""Levels of compression: pictures and videos are compressed already."""
_INDEX = "index.cdx.gz"
_BLOCK = 1024
_LEFT = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Capture(Struct, frozen=True):
    """A record of a WARC: ``length`` bytes at ``offset`` in the file ``filename``.

    ``digest`` is that of its payload, ``status`` the HTTP status if it has one.
    """

    url: str
    at: datetime
    mime: str
    digest: str
    filename: str
    offset: int
    length: int
    status: int | None = None

    @property
    def line(self) -> str:
        """Return its line in the index, without a line break."""
        fields = {"url": self.url, "mime": self.mime}
        if self.status is not None:
            fields["status"] = str(self.status)
        fields |= {
            "digest": self.digest,
            "length": str(self.length),
            "offset": str(self.offset),
            "filename": self.filename,
        }
        return f"{to_surt(self.url)} {self.at.astimezone(UTC):%Y%m%d%H%M%S} {json.dumps(fields)}"


def to_surt(url: str) -> str:
    """Return the key of a URL, the same for every spelling: host reversed, query sorted, lower case.

    The same key as that of the package ``surt`` of the Internet Archive, but session ids stay in it.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    path = _normalize(parts.path)
    path = path.rstrip("/") or "/"
    query = "&".join(sorted(_normalize(parts.query).split("&")))
    return f"{','.join(reversed(host.split('.')))}{port}){path}{f'?{query}' if query else ''}"


def _normalize(part: str) -> str:
    """Return a part of a URL in lower case, escaped only where necessary."""
    plain = part.encode(errors="replace")
    while (unquoted := unquote_to_bytes(plain)) != plain:
        plain = unquoted
    return quote(plain, safe=_LEFT).lower()


class CaptureIndex(Closeable):
    """Collects captures and sorts them in a temporary file. Closed by ``with``.

    Methods raise StorageError or DiskFull if the temporary directory cannot be used.
    """

    def __init__(self) -> None:
        with _sqlite_errors():
            self._db = sqlite3.connect("", isolation_level=None)  # a temporary file, once it is large
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("CREATE TABLE lines (line BLOB NOT NULL)")
            self._db.execute("BEGIN")

    def add(self, capture: Capture) -> None:
        """Add a capture."""
        with _sqlite_errors():
            self._db.execute("INSERT INTO lines VALUES (?)", (f"{capture.line}\n".encode(),))

    def blocks(self) -> Iterator[tuple[bytes, str]]:
        """Yield the compressed blocks of ``index.cdx.gz``, each with its line of ``index.idx``."""
        offset = 0
        with _sqlite_errors():
            rows = self._db.execute("SELECT line FROM lines ORDER BY line")
            while batch := rows.fetchmany(_BLOCK):
                lines = [bytes(line) for (line,) in batch]
                packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
                block = packer.compress(b"".join(lines)) + packer.flush()
                key = " ".join(lines[0].decode().split(" ", 2)[:2])
                digest = f"sha256:{hashlib.sha256(block).hexdigest()}"
                place = {"offset": offset, "length": len(block), "digest": digest, "filename": _INDEX}
                yield block, f"{key} {json.dumps(place)}\n"
                offset += len(block)

    def close(self) -> None:
        """Delete the index."""
        self._db.close()


def _sqlite_errors() -> AbstractContextManager[None]:
    return sqlite_errors(
        "the index cannot be sorted in the temporary directory",
        "set TMPDIR to a directory that can be written",
        if_full="free space there, or set TMPDIR, and run again",
    )


class WaczHead(Struct, frozen=True):
    """What a WACZ says about itself: the id of the archive, when the WACZ was made (aware), and by what."""

    archive_id: str
    made_at: datetime
    software: str

    @property
    def base(self) -> str:
        """Return the address of the site, which does not exist on the web."""
        return f"https://{self.archive_id}.highlight-archiver.invalid/"

    @property
    def stamp(self) -> str:
        """Return the time as it is written in the WARC, the pages and the datapackage."""
        return f"{self.made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class _Part(Struct):
    """A file of the ZIP while it is written: its size and hash so far."""

    sink: IO[bytes]
    size: int = 0
    hashed: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, chunk: bytes) -> None:
        self.sink.write(chunk)
        self.hashed.update(chunk)
        self.size += len(chunk)


class WaczCount:
    """Counts what a ``WaczWriter`` would write. Blobs are not read, only looked for."""

    def __init__(self, blobs: BlobSource, progress: Callable[[ExportStats], None]) -> None:
        self.stats = ExportStats()
        self._blobs, self._progress = blobs, progress

    def put_site(self, entries: Iterable[ExportEntry]) -> None:
        """Put the files of the site. A blob that is missing or damaged counts as a failure."""
        for entry in entries:
            try:
                self._put(entry)
            except DamagedBlob as exc:
                self.stats.add_failure("/".join(entry.path), str(exc))
            else:
                self._count(entry.default_method, entry.size)
            self._progress(self.stats)

    def put_answers(self, segment: str, records: Iterable[tuple[bytes, Answer | None]]) -> None:
        """Put a segment of stored answers: its packed records, each with its answer, if any."""
        sizes = [len(packed) for packed, _ in records]
        if sizes:
            self._count("copy", sum(sizes))
        self._progress(self.stats)

    def finish(self) -> ExportStats:
        """Return the counts."""
        return self.stats

    def _put(self, entry: ExportEntry) -> None:
        if isinstance(entry.content, Digest):
            require_blob(self._blobs, entry.content, entry.size)

    def _count(self, method: str, size: int) -> None:
        self.stats.files += 1
        self.stats.add_placed(method, size, is_new=True)


class WaczWriter(WaczCount):
    """Writes a WACZ into an open file. Call ``put_site`` once, ``put_answers`` for each segment, ``finish``.

    ``progress`` gets the counts after each file, and may raise to stop. Methods raise StorageError, and
    errors of the file as OSError. Closed by ``close``.
    """

    def __init__(
        self, file: BinaryIO, head: WaczHead, blobs: BlobSource, progress: Callable[[ExportStats], None]
    ) -> None:
        super().__init__(blobs, progress)
        self._head = head
        self._zip = zipfile.ZipFile(file, "w")
        self._index = CaptureIndex()
        self._pages: list[dict[str, str]] = []
        self._resources: list[dict[str, object]] = []
        self._group_start = 0
        """Where in ``_pages`` the page of the current account belongs: before those of its highlights."""
        self._part: _Part | None = None

    def put_site(self, entries: Iterable[ExportEntry]) -> None:
        """Write the files of the site. A damaged blob is left out, and counts as a failure."""
        with self._open(f"archive/{_SITE}") as part:
            self._part = part
            facts = {
                "software": self._head.software,
                "format": "WARC File Format 1.1",
                "isPartOf": self._head.archive_id,
            }
            block = "".join(f"{name}: {value}\r\n" for name, value in facts.items()).encode()
            named = {"WARC-Filename": _SITE}
            self._write_record("warcinfo", "application/warc-fields", named, len(block), [block])
            super().put_site(entries)

    def put_answers(self, segment: str, records: Iterable[tuple[bytes, Answer | None]]) -> None:
        """Write a segment of stored answers, unless it has no whole record, and index its responses."""
        remaining = iter(records)
        first = next(remaining, None)  # raises, if the segment cannot be read, before anything is written
        if first is None:
            return
        name = segment.replace("/", "-")
        with self._open(f"archive/{name}") as part:
            for packed, answer in chain((first,), remaining):
                if answer is not None:
                    self._index.add(_capture_of(answer, name, part.size, len(packed)))
                part.write(packed)
                self._progress(self.stats)
        self._count("copy", part.size)

    def finish(self) -> ExportStats:
        """Write the index, the list of pages and the datapackage; return the counts."""
        idx = [f'!meta 0 {{"format": "cdxj-gzip-1.0", "filename": "{_INDEX}"}}\n']
        with self._open(f"indexes/{_INDEX}") as part:
            for block, line in self._index.blocks():
                part.write(block)
                idx.append(line)
        self._write("indexes/index.idx", "".join(idx))
        pages = [{"format": "json-pages-1.0", "id": "pages", "title": "All pages"}, *self._pages]
        self._write("pages/pages.jsonl", "".join(f"{json.dumps(page)}\n" for page in pages))
        package = self._package()
        self._write("datapackage.json", package)
        digest = f"sha256:{hashlib.sha256(package.encode()).hexdigest()}"
        self._write("datapackage-digest.json", json.dumps({"path": "datapackage.json", "hash": digest}))
        self._zip.close()
        return self.stats

    def close(self) -> None:
        """Close what is open. Without ``finish`` the file is not a WACZ."""
        with self._index:
            self._zip.close()

    def _put(self, entry: ExportEntry) -> None:
        super()._put(entry)
        assert self._part is not None
        path, offset = "/".join(entry.path), self._part.size
        url, mime = f"{self._head.base}{path}", _mime(entry.path[-1])
        digest = f"sha256:{entry.digest}"
        fields = {"WARC-Target-URI": url, "WARC-Payload-Digest": digest, "WARC-Block-Digest": digest}
        content_type = f"{mime}; charset=utf-8" if mime.startswith("text/") else mime
        if isinstance(entry.content, GeneratedText):
            self._write_record("resource", content_type, fields, entry.size, [entry.content.bytes])
            if entry.id.startswith(_PAGE):
                self._add_page(entry, url, entry.content.bytes)
        else:
            self._write_blob(content_type, fields, entry)
        length = self._part.size - offset
        self._index.add(Capture(url, self._head.made_at, mime, digest, _SITE, offset, length))

    def _write_blob(self, content_type: str, fields: dict[str, str], entry: ExportEntry) -> None:
        with ExitStack() as stack:
            source = stack.enter_context(self._open_blob(entry))
            pieces: Iterable[bytes] = self._read(source, entry)
            if entry.size <= _IN_MEMORY:
                pieces = [b"".join(pieces)]
            else:
                for _ in pieces:
                    pass
                if source.seekable():  # the same file: its name may be gone
                    source.seek(0)
                else:
                    source = stack.enter_context(self._open_blob(entry))
                pieces = self._read(source, entry)
            try:
                self._write_record("resource", content_type, fields, entry.size, pieces, _STORED)
            except DamagedBlob as exc:
                why = f"the blob {entry.digest} changed while it was read: {exc}"
                raise StorageError(why, "check that disk, and run it again") from exc

    def _open_blob(self, entry: ExportEntry) -> BinaryIO:
        with storage_errors("a blob cannot be read"):
            return open_blob(self._blobs, entry.digest)

    def _read(self, source: BinaryIO, entry: ExportEntry) -> Iterator[bytes]:
        with storage_errors("a blob cannot be read"):
            yield from read_blob(source, entry.digest)

    def _write_record(
        self,
        kind: str,
        content_type: str,
        fields: Mapping[str, str],
        size: int,
        pieces: Iterable[bytes],
        level: int = _PACKED,
    ) -> None:
        """Write a record as one gzip member. Its block is ``pieces``, of ``size`` bytes."""
        assert self._part is not None
        lines = {
            "WARC-Type": kind,
            "WARC-Record-ID": f"<urn:uuid:{uuid.uuid4()}>",
            "WARC-Date": self._head.stamp,
            **fields,
            "Content-Type": content_type,
            "Content-Length": str(size),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        packer = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        for piece in chain((f"WARC/1.1\r\n{head}\r\n".encode(),), pieces, (b"\r\n\r\n",)):
            self._part.write(packer.compress(piece))
        self._part.write(packer.flush())

    def _add_page(self, entry: ExportEntry, url: str, content: bytes) -> None:
        """List a page: the first page on top, an account before its highlights. They arrive the other way."""
        title = _TITLE.search(content)
        name = entry.id.removeprefix(_PAGE)
        page = {
            "id": name.replace(" ", "-"),
            "url": url,
            "ts": self._head.stamp,
            "title": html.unescape(title[1].decode()) if title is not None else url,
        }
        kind = name.partition(" ")[0]
        self._pages.insert({"index": 0, "account": self._group_start}.get(kind, len(self._pages)), page)
        if kind == "account":
            self._group_start = len(self._pages)

    @contextmanager
    def _open(self, path: str, compression: int = zipfile.ZIP_STORED) -> Iterator[_Part]:
        """Open a file of the ZIP for writing, and list it in the datapackage.

        WARCs are not compressed again, so that a player can read a part of them.
        """
        at = self._head.made_at.astimezone(UTC)
        info = zipfile.ZipInfo(path, (at.year, at.month, at.day, at.hour, at.minute, at.second))
        info.compress_type = compression
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w", force_zip64=True) as sink:
            part = _Part(sink)
            yield part
        name = path.rpartition("/")[2].lower()
        digest = f"sha256:{part.hashed.hexdigest()}"
        self._resources.append({"name": name, "path": path, "hash": digest, "bytes": part.size})

    def _write(self, path: str, text: str) -> None:
        with self._open(path, zipfile.ZIP_DEFLATED) as part:
            part.write(text.encode())

    def _package(self) -> str:
        head = self._head
        package = {
            "profile": "data-package",
            "resources": self._resources,
            "wacz_version": WACZ_VERSION,
            "title": "Story highlights",
            "description": f"Instagram story highlights from the archive {head.archive_id}",
            "created": head.stamp,
            "mainPageURL": f"{head.base}{_FIRST_PAGE}",
            "mainPageDate": head.stamp,
            "software": head.software,
        }
        return json.dumps(package, indent=2)


def _capture_of(answer: Answer, filename: str, offset: int, length: int) -> Capture:
    types = (value for name, value in answer.headers if name.lower() == "content-type")
    mime = next(types, "").partition(";")[0].strip().lower() or "application/octet-stream"
    digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    return Capture(answer.url, answer.finished_at, mime, digest, filename, offset, length, answer.status)


def _mime(name: str) -> str:
    extension = name.rpartition(".")[2]
    return _TEXT_TYPES.get(extension) or file_names.mime_for(extension)
