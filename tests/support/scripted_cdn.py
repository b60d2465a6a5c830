"""A CDN that fails as it is told: real loopback sockets, one scripted reply for each request."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from archiver.errors import DownloadFailed, StorageError
from archiver.media.checked_writer import DownloadedFile
from archiver.media.direct_transport import Dialer
from archiver.media.downloader import Downloader
from archiver.model.identity import Role
from archiver.model.upstream import Link
from archiver.work import StopFlag
from tests.support.media_samples import jpeg

BODY = jpeg(200_000)


class AfterReply(Enum):
    """What the server does with the connection after a reply."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    HOLD = auto()


@dataclass(frozen=True)
class Reply:
    """Bytes sent in order, ``gap`` seconds apart, over and over if ``endless``."""

    parts: tuple[bytes, ...]
    then: AfterReply = AfterReply.KEEP
    gap: float = 0.0
    endless: bool = False


def head(line: str = "200 OK", /, **headers: str | int) -> bytes:
    """Return the head of an answer; underscores in names are hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {line}\r\n{lines}\r\n".encode("latin-1")


def ok(body: bytes, then: AfterReply = AfterReply.KEEP, /, **headers: str | int) -> Reply:
    """Return a 200 with its length."""
    return Reply((head("200 OK", content_length=len(body), **headers) + body,), then)


def status(line: str, body: bytes = b"", /, **headers: str | int) -> Reply:
    """Return any status with its length."""
    return Reply((head(line, content_length=len(body), **headers) + body,))


class ScriptedCdn:
    """``requests``: the heads as they came.

    ``connections``: how many were accepted. Each request takes the next reply.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.requests: list[str] = []
        self.connections = 0
        self._replies = list(replies)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str = "/p/photo.jpg?oh=SIGNED&oe=7FFFFFFF") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def header(self, request: int, name: str) -> str | None:
        """Return a header of a request by its number, or None."""
        for line in self.requests[request].split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name:
                return value
        return None

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(0.05)
        with peer, suppress(OSError):
            while (request := self._request(peer)) is not None:
                with self._lock:
                    self.requests.append(request)
                    reply = self._replies.pop(0)
                if not self._send(peer, reply):
                    return

    def _request(self, peer: socket.socket) -> str | None:
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            if self._over.is_set():
                return None
            with suppress(TimeoutError):
                more = peer.recv(65536)
                if not more:
                    return None
                got += more
        return got.decode("latin-1")

    def _send(self, peer: socket.socket, reply: Reply) -> bool:
        peer.settimeout(5)
        while True:
            for part in reply.parts:
                peer.sendall(part)
                if reply.gap and self._over.wait(reply.gap):
                    return False
            if not reply.endless:
                break
        if reply.then is AfterReply.HOLD:
            self._over.wait()
        if reply.then is AfterReply.RESET:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.settimeout(0.05)
        return reply.then is AfterReply.KEEP


@contextmanager
def scripted_cdn(*replies: Reply) -> Iterator[ScriptedCdn]:
    """Yield a running ScriptedCdn."""
    server = ScriptedCdn(replies)
    try:
        yield server
    finally:
        server.close()


class MemoryWriter:
    """A Sink in memory; ``full_at`` bytes it refuses more, as a disk does."""

    def __init__(self, full_at: int | None = None) -> None:
        self.bytes = b""
        self.restarts = 0
        self._full_at = full_at

    @property
    def size(self) -> int:
        return len(self.bytes)

    def write(self, chunk: bytes) -> None:
        if self._full_at is not None and self.size + len(chunk) > self._full_at:
            raise StorageError("the sink is full")
        self.bytes += chunk

    def restart(self) -> None:
        self.bytes = b""
        self.restarts += 1


class Waits(StopFlag):
    """Records the seconds that were to be slept."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)


class CallingFlag(Waits):
    """Calls a function, which may raise, at each check."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._call = check

    def check(self) -> None:
        self._call()


def downloader(
    *,
    allowed_hosts: Sequence[str] = ("127.0.0.1",),
    max_file_size: int = 10_000_000,
    timeout: float = 5.0,
    min_speed: int = 1000,
    speed_window: float = 30.0,
    total_deadline: float = 60.0,
    limit_rate: int | None = None,
    proxy: str | None = None,
    concurrency: int = 8,
    dialer: Dialer | None = None,
) -> Downloader:
    """Yield a Downloader for a ScriptedCdn."""
    return Downloader(
        allowed_hosts=allowed_hosts,
        max_file_size=max_file_size,
        timeout=timeout,
        min_speed=min_speed,
        speed_window=speed_window,
        total_deadline=total_deadline,
        limit_rate=limit_rate,
        proxy=proxy,
        concurrency=concurrency,
        dialer=dialer,
        jitter=lambda: 0.0,
    )


def picture(url: str) -> Link:
    """Return a thumbnail's Link without an expiry."""
    return Link(Role.THUMBNAIL, url)


def failure(
    *replies: Reply, role: Role = Role.THUMBNAIL, requests: int = 1, max_file_size: int = 10_000_000
) -> DownloadFailed:
    """Return the failure that these replies lead to, after this many requests."""
    with scripted_cdn(*replies) as server, downloader(max_file_size=max_file_size) as cdn_downloader:
        with pytest.raises(DownloadFailed) as caught:
            cdn_downloader.download(Link(role, server.url()), MemoryWriter(), Waits())
        assert len(server.requests) == requests
    assert "SIGNED" not in str(caught.value)
    return caught.value


def fetch_body(
    *replies: Reply, body: bytes = BODY, requests: int = 1, role: Role = Role.THUMBNAIL
) -> DownloadedFile:
    """What comes of these replies: exactly ``body``, after so many requests."""
    sink = MemoryWriter()
    with scripted_cdn(*replies) as server, downloader() as cdn_downloader:
        got = cdn_downloader.download(Link(role, server.url()), sink, Waits())
        assert len(server.requests) == requests
    assert sink.bytes == body
    assert got.size == len(body)
    return got
