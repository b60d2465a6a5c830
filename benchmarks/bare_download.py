"""Download files with nothing but hash, sync and a row: what Python itself costs without any check.

    python benchmarks/bare_download.py URLS DIRECTORY [CERTIFICATE]

Sixteen threads with plain sockets, which they keep; SHA-256 of each file, its sync and that of its directory,
and a row for each file in SQLite, all waiting rows in one transaction. It trusts everything that it receives:
no limit, no check, no second attempt, no journal, no log.
"""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import sqlite3
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

THREADS = 16
T = TypeVar("T")
CHUNK = 128 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer: its URL, its size, and its first bytes; the others are read into ``buffer``."""

    url: str
    size: int
    start: bytes
    connection: socket.socket
    buffer: memoryview

    def read(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes, piece by piece. A piece is overwritten by the next one."""
        yield self.start
        left = self.size - len(self.start)
        while left:
            filled = 0
            while filled < min(left, CHUNK):
                filled += require(self.connection.recv_into(self.buffer[filled:], min(left, CHUNK) - filled))
            yield self.buffer[:filled]
            left -= filled


def main(urls: Path, directory: Path, certificate: str | None = None) -> None:
    """Download all files of a list into a directory."""
    rows: queue.SimpleQueue[tuple[str, str, int] | None] = queue.SimpleQueue()
    for n in range(256):
        (directory / f"{n:02x}").mkdir()
    trust = ssl.create_default_context(cafile=certificate) if certificate else None
    writer = threading.Thread(target=record, args=(rows, directory / "rows.db"))
    writer.start()
    download_all(
        urls.read_text().splitlines(),
        lambda body: rows.put((body.url, store(body, directory), body.size)),
        trust,
    )
    rows.put(None)
    writer.join()


def download_all(
    urls: Sequence[str], keep: Callable[[Body], None], trust: ssl.SSLContext | None = None
) -> None:
    """Download files in sixteen threads. ``keep`` reads and stores each."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for url in urls:
        waiting.put(url)
    threads = [threading.Thread(target=download, args=(waiting, keep, trust)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def download(
    waiting: queue.SimpleQueue[str], keep: Callable[[Body], None], trust: ssl.SSLContext | None
) -> None:
    """Download files, all over one connection, until none waits."""
    connection: socket.socket | None = None
    buffer = memoryview(bytearray(CHUNK))
    while True:
        try:
            url = waiting.get_nowait()
        except queue.Empty:
            return
        parts = urlsplit(url)
        if connection is None:
            host, port = parts.hostname or "", parts.port or 443
            connection = socket.create_connection((host, port), timeout=60)
            if trust is not None:
                connection = trust.wrap_socket(connection, server_hostname=host)
        connection.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += require(connection.recv(CHUNK))
        head, _, start = received.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        keep(Body(url, size, start, connection, buffer))


def store(body: Body, directory: Path) -> str:
    """Store a body durably; return its SHA-256."""
    temporary = directory / f"{threading.get_ident()}.part"
    digest = hashlib.sha256()
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o444)
    for piece in body.read():
        digest.update(piece)
        os.write(file, piece)
    os.fsync(file)
    os.close(file)
    name = digest.hexdigest()
    folder = directory / name[:2]
    temporary.replace(folder / name)
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)
    return name


def require(received: T) -> T:
    """Return what was received. Raises ConnectionError if that is nothing: the server has closed."""
    if not received:
        raise ConnectionError("the server has closed the connection")
    return received


def record(rows: queue.SimpleQueue[tuple[str, str, int] | None], path: Path) -> None:
    """Write the rows that wait, until there is None."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE files (url TEXT, sha256 TEXT, size INTEGER)")
    is_open = True
    while is_open:
        batch = [rows.get()]
        while not rows.empty():
            batch.append(rows.get())
        is_open = None not in batch
        database.execute("BEGIN")
        database.executemany("INSERT INTO files VALUES (?, ?, ?)", [row for row in batch if row is not None])
        database.execute("COMMIT")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
