"""The bytes of blobs: by their hash, whole or in part (RFC 9110, 14). No video is in memory as a whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.catalog.query.page_contents import BlobFacts
from archiver.errors import StorageError
from archiver.media.formats import EXTENSIONS, extension_for
from archiver.model.identity import Digest
from archiver.web.request_guard import IS_GONE

_PATH = re.compile(r"/media/([0-9a-f]{2})/(\1[0-9a-f]{62})\.([a-z0-9]+)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_FIRST_PIECE = 65_536
_PIECE = 262_144
_DISK_THREADS, _BUCKET_THREADS = 8, 32
"""How many threads read blobs; each keeps memory that it has used once. Pages have threads of their own."""
_KNOWN_SECONDS = 2.0
_MOST_KNOWN = 10_000


class _Part(Struct, frozen=True):
    """What to send: bytes from ``start`` to before ``end``."""

    status: int
    start: int
    end: int


class _OpenPart(Struct, frozen=True):
    part: _Part
    file: BinaryIO | None
    first_piece: bytes


class MediaFiles:
    """The blobs of an archive, as responses.

    What the database says of a blob is kept for two seconds: a browser that plays a video asks for many parts
    of it. Such a blob is opened without a change of threads if it is on a disk: the disk does not sleep.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        report: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``report`` is called with damage that is found."""
        self._catalog, self._store, self._report, self._clock = catalog, store, report, clock
        self._is_on_disk = not store.is_remote
        self._limiter = CapacityLimiter(_DISK_THREADS if self._is_on_disk else _BUCKET_THREADS)
        self._known: dict[Digest, tuple[float, BlobFacts]] = {}

    async def answer(self, request: Request) -> Response | None:
        """Return a picture or a video; None if the archive does not have it whole.

        Anything that is not a raster picture or a video is a download. Raises DatabaseError, StorageError.
        """
        match = _PATH.fullmatch(request.scope["path"])
        if match is None:
            return None
        digest, asked = Digest(match[2]), request.headers
        etag, is_read = f'"{digest}"', request.method == "GET"
        is_cached = etag in [tag.strip() for tag in asked.get("if-none-match", "").split(",")]
        wanted = asked.get("range") if is_read and asked.get("if-range", etag) == etag else None
        open_part = None if is_cached else partial(self._open, digest, wanted, is_read)
        known = self._known_facts(digest)
        is_gone: Callable[[], bool] = request.scope["state"][IS_GONE]
        find = partial(self._find, digest, match[3], known, open_part, is_gone)
        is_quick = known is not None and self._is_on_disk
        facts, opened = find() if is_quick else await to_thread.run_sync(find, limiter=self._limiter)
        if facts is None:
            return None
        headers = _headers(etag, digest, facts.mime)
        if is_cached:
            return Response(status_code=304, headers=headers)
        if opened is None:
            return None
        part = opened.part
        if part.status == 416:
            return Response(status_code=416, headers={"content-range": f"bytes */{facts.size}"})
        if part.status == 206:
            headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{facts.size}"
        headers["content-length"] = str(part.end - part.start)
        if opened.file is None:
            return Response(status_code=part.status, headers=headers)
        return _BlobResponse(opened, opened.file, headers, self._limiter)

    def _find(
        self,
        digest: Digest,
        extension: str,
        facts: BlobFacts | None,
        open_part: Callable[[int], _OpenPart | None] | None,
        is_gone: Callable[[], bool],
    ) -> tuple[BlobFacts | None, _OpenPart | None]:
        """Return the facts and the open part; no facts if there is no such blob with this extension, or if
        the client has left while this waited for a thread.
        """
        if is_gone():
            return None, None
        facts = facts or self._read_facts(digest)
        if facts is None or extension_for(facts.mime) != extension:
            return None, None
        return facts, open_part(facts.size) if open_part is not None else None

    def _known_facts(self, digest: Digest) -> BlobFacts | None:
        until, facts = self._known.get(digest, (0.0, None))
        return facts if self._clock() < until else None

    def _read_facts(self, digest: Digest) -> BlobFacts | None:
        """Return what the database says of a blob; None if it has none of that name, or says it is lost."""
        now = self._clock()
        facts = self._catalog.read(page_contents.blob_facts, digest)
        if facts is None or facts.is_lost:
            self._known.pop(digest, None)
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[digest] = now + _KNOWN_SECONDS, facts
        return facts

    def _open(self, digest: Digest, asked: str | None, is_read: bool, size: int) -> _OpenPart | None:
        """Open the part of a blob that is asked for, and read its beginning.

        ``size``: that of its row. None if there is no such blob, or it has another size: that is damage.
        """
        stored = self._store.size(digest)
        if stored is None:
            return None
        if stored != size:
            location = self._store.location(digest)
            self._report(StorageError(f"{location} has {stored} bytes, not {size}", "run archiver verify"))
            return None
        part = _requested_part(asked, size)
        length = part.end - part.start
        if not is_read or length == 0:
            return _OpenPart(part, None, b"")
        file = self._store.open_range(digest, part.start, length)
        try:
            return _OpenPart(part, file, file.read(min(length, _FIRST_PIECE)))
        except BaseException:
            file.close()
            raise


class _BlobResponse(Response):
    """A part of a blob, read while it is sent, until the client is gone. Closes the file.

    Starlette's own way leaves a cycle behind for each download that is broken off, with its last piece in it.
    """

    def __init__(
        self, opened: _OpenPart, file: BinaryIO, headers: dict[str, str], limiter: CapacityLimiter
    ) -> None:
        super().__init__(status_code=opened.part.status, headers=headers)
        self._opened, self._file, self._limiter = opened, file, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises StorageError if the file ends too early."""
        is_gone: Callable[[], bool] = scope["state"][IS_GONE]
        left = self._opened.part.end - self._opened.part.start
        piece = self._opened.first_piece
        with self._file as file:
            begin = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(begin)
            while piece and not is_gone():
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
                read = partial(_read_for, is_gone, file, min(left, _PIECE))
                piece = await to_thread.run_sync(read, limiter=self._limiter) if left else b""
        if left and not is_gone():
            raise StorageError("a blob is shorter than its store says", "run archiver verify")


def _read_for(is_gone: Callable[[], bool], file: BinaryIO, size: int) -> bytes:
    """Read a piece, unless the client has left while this waited for a thread."""
    return b"" if is_gone() else file.read(size)


def _headers(etag: str, digest: Digest, mime: str) -> dict[str, str]:
    headers = {
        "etag": etag,
        "cache-control": "private, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "content-type": mime,
    }
    if mime not in EXTENSIONS:
        name = f"{digest}.{extension_for(mime)}"
        headers["content-type"] = "application/octet-stream"
        headers["content-disposition"] = f'attachment; filename="{name}"'
    return headers


def _requested_part(asked: str | None, size: int) -> _Part:
    """Return the part that a Range header asks for.

    A header that is malformed, or asks for several parts, is ignored: the whole is sent, as RFC 9110 allows.
    """
    whole = _Part(200, 0, size)
    match = _RANGE.fullmatch(asked.strip()) if asked is not None else None
    if match is None or match.groups() == ("", ""):
        return whole
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < start:
        return whole
    return _Part(206, start, end) if start < end else _Part(416, 0, 0)
