"""The index of a WACZ: which WARC has each URL, and where in it. CDXJ lines (IIPC, CDXJ 1.0), sorted by SURT.

It is compressed in blocks of 1,024 lines (ZipNum), so that a player reads only the block that it needs.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote_to_bytes, urlsplit

from msgspec import Struct

from archiver.errors import DiskFull, StorageError

INDEX_NAME = "index.cdx.gz"
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


class CaptureIndex:
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
                place = {"offset": offset, "length": len(block), "digest": digest, "filename": INDEX_NAME}
                yield block, f"{key} {json.dumps(place)}\n"
                offset += len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        message = f"the index cannot be sorted in the temporary directory: {exc}"
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull(message, "free space there, or set TMPDIR, and run again") from exc
        raise StorageError(message, "set TMPDIR to a directory that can be written") from exc
