"""A CDN that fails as it is told: real loopback sockets, one scripted reply for each request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from archiver.errors import DownloadFailed, StorageError
from archiver.http.sockets import TimeLimit
from archiver.media.checked_writer import DownloadedFile
from archiver.media.direct_transport import Dialer
from archiver.media.downloader import Downloader
from archiver.model.identity import Role
from archiver.model.upstream import Link
from archiver.work import StopFlag
from tests.support.media_samples import jpeg
from tests.support.scripted_server import Authority, Connection, ScriptedServer, scripted_server

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


@contextmanager
def scripted_cdn(*replies: Reply) -> Iterator[ScriptedServer]:
    """Yield a server each of whose requests takes the next reply."""
    left, lock = list(replies), threading.Lock()

    def act(connection: Connection) -> None:
        is_kept = True
        while is_kept and connection.request():
            with lock:
                reply = left.pop(0)
            is_kept = send(connection, reply)

    with scripted_server(act) as server:
        yield server


def send(connection: Connection, reply: Reply) -> bool:
    """Send a reply; return whether the connection is kept."""
    while True:
        for part in reply.parts:
            connection.sock.sendall(part)
            if reply.gap and connection.over.wait(reply.gap):
                return False
        if not reply.endless:
            break
    if reply.then is AfterReply.HOLD:
        connection.over.wait()
    if reply.then is AfterReply.RESET:
        connection.reset()
    return reply.then is AfterReply.KEEP


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
    """Return a Downloader for a scripted CDN."""
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
            cdn_downloader.download(Link(role, server.link()), MemoryWriter(), Waits())
        assert len(server.requests) == requests
    assert "SIGNED" not in str(caught.value)
    return caught.value


def fetch_body(
    *replies: Reply, body: bytes = BODY, requests: int = 1, role: Role = Role.THUMBNAIL
) -> DownloadedFile:
    """What comes of these replies: exactly ``body``, after so many requests."""
    sink = MemoryWriter()
    with scripted_cdn(*replies) as server, downloader() as cdn_downloader:
        got = cdn_downloader.download(Link(role, server.link()), sink, Waits())
        assert len(server.requests) == requests
    assert sink.bytes == body
    assert got.size == len(body)
    return got


def moved(location: str, **more: str) -> bytes:
    """Return a redirect without a body."""
    return head("302 Found", location=location, content_length=0, **more)


A, B = "157.240.27.63", "2a03:2880:f2ff:c3:face:b00c:0:43fe"
"""Public addresses."""


class Connections:
    """A connector that records where it is sent and goes to ``port`` of this machine instead; 0: nobody
    listens.
    """

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, int]] = []
        self._port = port

    def __call__(self, address: str, port: int, seconds: float, _limit: TimeLimit) -> socket.socket:
        self.asked.append((address, port))
        if not self._port:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self._port), seconds)


class Names:
    """A name server: for each host, known by its first label, one answer after another, and then the last one
    for ever.
    """

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.asked: list[str] = []
        self._left = {label: list(each) for label, each in answers.items()}

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._left[host.partition(".")[0]]
        return answers.pop(0) if len(answers) > 1 else answers[0]


class TlsHosts:
    """Hosts of a CDN with TLS, on this machine, for a dialer that believes they are elsewhere.

    ``names``: the server names asked for by TLS. ``requests``: the heads as they came. ``connections``: where
    the dialer went.
    """

    def __init__(self, server: ScriptedServer, authority: Authority, names: list[str | None]) -> None:
        self.names = names
        self.requests = server.requests
        self.connections = Connections(server.port)
        self._authority = authority

    def dialer(self, names: Names) -> Dialer:
        """A dialer for which every address is this server."""
        return Dialer(timeout=5, tls=self._authority.client(), resolver=names, connector=self.connections)


@contextmanager
def tls_hosts(authority: Authority, **answers: bytes) -> Iterator[TlsHosts]:
    """Yield a server for a.fbcdn.net and b.fbcdn.net: ``a_x`` is the raw answer to a.fbcdn.net/x.jpg, and one
    that says so ends its connection.
    """
    names: list[str | None] = []
    context = authority.server()
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    def act(connection: Connection) -> None:
        while request := connection.request().decode("latin-1"):
            path = request.split(" ")[1].partition("?")[0]
            host = request.lower().partition("host: ")[2].partition("\r\n")[0]
            answer = answers[f"{host[0]}_{path[1:].removesuffix('.jpg')}"]
            connection.sock.sendall(answer)
            if b"connection: close" in answer.partition(b"\r\n\r\n")[0]:
                return

    with scripted_server(act, context=context) as server:
        yield TlsHosts(server, authority, names)
