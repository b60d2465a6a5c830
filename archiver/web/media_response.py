"""The bytes of blobs: by their hash, whole or in part (RFC 9110, 14). No video is in memory as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.errors import StorageError
from archiver.media_types import EXTENSIONS, extension_for
from archiver.model.identity import Digest
from archiver.web.connection_limits import IS_GONE

_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.([a-z0-9]+)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_FIRST_PIECE = 65_536
_PIECE = 262_144


class _Part(Struct, frozen=True):
    """What to send: bytes from ``start`` to before ``end``."""

    status: int
    start: int
    end: int


class _OpenPart(Struct, frozen=True):
    part: _Part
    size: int
    file: BinaryIO | None
    first_piece: bytes


async def answer_media(request: Request, catalog: Catalog, store: BlobStore) -> Response | None:
    """Return a picture or a video; None if the archive does not have it, or its bytes are lost.

    Anything that is not a raster picture or a video is a download. Raises DatabaseError, StorageError.
    """
    match = _NAME.fullmatch(request.path_params["name"])
    if match is None:
        return None
    digest = Digest(match[2])
    facts = await to_thread.run_sync(catalog.read, page_contents.blob_facts, digest)
    if facts is None or facts.is_lost or extension_for(facts.mime) != match[3]:
        return None
    headers = _headers(digest, facts.mime)
    if headers["etag"] in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range") if request.method == "GET" else None
    if request.headers.get("if-range", headers["etag"]) != headers["etag"]:
        asked = None
    opened = await to_thread.run_sync(_open, store, digest, asked, request.method == "GET")
    if opened is None:
        return None
    part = opened.part
    if part.status == 416:
        return Response(status_code=416, headers={"content-range": f"bytes */{opened.size}"})
    if part.status == 206:
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{opened.size}"
    headers["content-length"] = str(part.end - part.start)
    if opened.file is None:
        return Response(status_code=part.status, headers=headers)
    return _BlobResponse(opened, opened.file, headers)


class _BlobResponse(Response):
    """A part of a blob, read while it is sent, until the client is gone. Closes the file.

    Starlette's own way leaves a cycle behind for each download that is broken off, with its last piece in it.
    """

    def __init__(self, opened: _OpenPart, file: BinaryIO, headers: dict[str, str]) -> None:
        super().__init__(status_code=opened.part.status, headers=headers)
        self._opened, self._file = opened, file

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
                piece = await to_thread.run_sync(file.read, min(left, _PIECE)) if left else b""
        if left and not is_gone():
            raise StorageError("a blob is shorter than its store says", "run archiver verify")


def _headers(digest: Digest, mime: str) -> dict[str, str]:
    headers = {
        "etag": f'"{digest}"',
        "cache-control": "private, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "content-type": mime,
    }
    if mime not in EXTENSIONS:
        name = f"{digest}.{extension_for(mime)}"
        headers["content-type"] = "application/octet-stream"
        headers["content-disposition"] = f'attachment; filename="{name}"'
    return headers


def _open(store: BlobStore, digest: Digest, asked: str | None, is_read: bool) -> _OpenPart | None:
    """Open the part of a blob that is asked for, and read its beginning; None if there is no such blob."""
    size = store.size(digest)
    if size is None:
        return None
    part = _requested_part(asked, size)
    length = part.end - part.start
    if not is_read or length == 0:
        return _OpenPart(part, size, None, b"")
    file = store.open_range(digest, part.start, length)
    try:
        return _OpenPart(part, size, file, file.read(min(length, _FIRST_PIECE)))
    except BaseException:
        file.close()
        raise


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
