"""HTTP/1.1 over plain loopback sockets, server side, one thread for each connection.

It does not use a library, so that a subclass of the stand-in can break HTTP in ways that a library does not
allow. The settings of the stand-in and its log of requests are here too.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qsl, unquote

_HEAD_MAX = 1 << 17
_SLICE = 1 << 16
_TICK = 0.02  # seconds: how often a limited rate sends


class NotHttp(Exception):
    """A client sent something other than an HTTP request."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. Header names are in lower case; ``params`` has the first value of each name, decoded."""

    listener: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    params: Mapping[str, str]
    address: str


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer. ``states_length``: send the body's length, unless ``headers`` has it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    states_length: bool = True

    def head(self) -> bytes:
        """Return the status line and headers, including the empty line."""
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        if self.states_length and "content-length" not in self.headers:
            lines.append(f"content-length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly an answer is sent: seconds before its first byte, and bytes per second (0: no limit)."""

    first_byte_delay: float = 0.0
    bytes_per_second: float = 0.0


class ServerConnection:
    """One connection. All methods raise ``OSError`` once the peer has gone; ``stopping`` ends every wait."""

    def __init__(self, sock: socket.socket, listener: str, stopping: threading.Event) -> None:
        self.sock = sock
        self._listener = listener
        self._stopping = stopping
        self._address = "{}:{}".format(*sock.getsockname()[:2])
        self._pending = b""
        self.is_open = True

    def read(self) -> HttpRequest | None:
        """Return the next request, or None if the peer has closed. Skips the body. Raises ``NotHttp``."""
        data = self._pending
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = self.sock.recv(_SLICE)
            if not more:
                return None
            data += more
            if len(data) > _HEAD_MAX:
                raise NotHttp("the request head is too long")
        try:
            request = self._parse(data[:end].decode("latin-1"))
            length = int(request.headers.get("content-length", "0"))
        except ValueError as exc:
            raise NotHttp(str(exc)) from exc
        data = data[end + 4 :]
        while len(data) < length:
            more = self.sock.recv(_SLICE)
            if not more:
                return None
            data += more
        self._pending = data[length:]
        return request

    def _parse(self, head: str) -> HttpRequest:
        first, *rest = head.split("\r\n")
        method, target, _version = first.split(" ")
        path, _, query = target.partition("?")
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        params: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            params.setdefault(name, value)
        return HttpRequest(self._listener, method, unquote(path), query, headers, params, self._address)

    def send(self, data: bytes, pace: Pace | None = None) -> None:
        """Send the bytes, in slices if there is a rate."""
        if pace is None or not pace.bytes_per_second:
            self.sock.sendall(data)
            return
        started = time.monotonic()
        size = max(1, min(_SLICE, int(pace.bytes_per_second * _TICK)))
        for offset in range(0, len(data), size):
            part = data[offset : offset + size]
            due = started + (offset + len(part)) / pace.bytes_per_second
            self.wait(due - time.monotonic())
            self.sock.sendall(part)

    def wait(self, seconds: float) -> None:
        """Wait. Raises ``ConnectionError`` at once when the server stops."""
        if seconds > 0 and self._stopping.wait(seconds):
            raise ConnectionAbortedError("the stand-in is closing")

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        with contextlib.suppress(OSError):  # the peer has closed it already
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


Serve = Callable[[ServerConnection], None]

HOST = "127.0.0.1"


class LoopbackServer:
    """Listening sockets, and a function for the connections of each. ``close`` ends all threads."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._accepting: threading.Thread | None = None

    def listen(self, port: int = 0) -> tuple[socket.socket, str]:
        """Return a listening socket on loopback and its ``host:port``. Port 0: any. Raises ``OSError``."""
        sock = socket.create_server((HOST, port), backlog=512)
        sock.setblocking(False)
        return sock, f"{HOST}:{sock.getsockname()[1]}"

    def start(self, listeners: dict[socket.socket, tuple[str, Serve]]) -> None:
        """Accept connections from now on, in a thread."""
        for sock, listener in listeners.items():
            self._selector.register(sock, selectors.EVENT_READ, listener)
        self._accepting = threading.Thread(target=self._accept, name="stand-in", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_receiver or not isinstance(key.fileobj, socket.socket):
                    continue
                with contextlib.suppress(OSError):  # the peer went away between select and accept
                    self._open_connection(key.fileobj.accept()[0], *key.data)

    def _open_connection(self, sock: socket.socket, name: str, serve: Serve) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = ServerConnection(sock, name, self.stopping)
        thread = threading.Thread(
            target=self._run, args=(sock, wire, serve), name=f"stand-in {name}", daemon=True
        )
        with self._lock:
            self._open[sock] = thread
        thread.start()

    def _run(self, sock: socket.socket, wire: ServerConnection, serve: Serve) -> None:
        try:
            with contextlib.suppress(OSError, NotHttp):  # the peer went away, or did not send HTTP
                serve(wire)
        finally:
            wire.close()
            with self._lock:
                self._open.pop(sock, None)

    def close(self) -> None:
        """End all connections and threads, and free the ports. May be called twice.

        Waits at most five seconds for each thread.
        """
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._wake_sender.send(b".")
        if self._accepting is not None:
            self._accepting.join()
        with self._lock:
            remaining = dict(self._open)
        for sock in remaining:
            with contextlib.suppress(OSError):  # it was closed by its own thread
                sock.shutdown(socket.SHUT_RDWR)
        for thread in remaining.values():
            thread.join(5)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake_sender.close()


DAY = 86_400.0


@dataclass(slots=True)
class StandInSettings:
    """How the API and the CDN behave.

    ``rate``: API calls per second before 429, None: no limit. ``retry_after``: the value of that header on a
    429. ``latency``: seconds before each API answer. ``funds_status``: the status when no units are left
    (402, or 200, which some have seen). ``image_life``, ``video_life``: seconds until a URL expires, may be
    negative. ``etag``: which kind the CDN sends. ``ranges``: whether it heeds ``Range``. ``digest``: whether
    it sends ``content-digest: adler32=``. ``pace``: of each CDN answer. ``clock``: returns Unix seconds.
    """

    rate: int | None = None
    retry_after: str | None = None
    latency: float = 0.0
    funds_status: Literal[402, 200] = 402
    image_life: float = 5 * DAY
    video_life: float = 2 * DAY
    etag: Literal["strong", "weak", "none"] = "strong"
    ranges: bool = True
    digest: bool = False
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class RequestSubject:
    """What a request is about: pks and the role of a file, '' if the stand-in cannot tell."""

    user: str = ""
    highlight: str = ""
    item: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRequest(HttpRequest):
    """A request and its answer.

    ``status``: 0 if there was no answer. ``units``: billed. ``at``: when the request arrived, in UTC.
    """

    subject: RequestSubject
    status: int
    units: int
    at: datetime


class RequestLog:
    """All requests since the start or the last ``reset``, in the order of their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[LoggedRequest] = []

    def append(self, entry: LoggedRequest) -> None:
        with self._lock:
            self._entries.append(entry)

    def reset(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._entries = []

    def __iter__(self) -> Iterator[LoggedRequest]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def units(self) -> int:
        """The units billed."""
        return sum(entry.units for entry in self)

    def api_calls(self, path: str | None = None) -> list[LoggedRequest]:
        """Return the requests to the API, or those to one endpoint."""
        return [entry for entry in self if entry.listener == "api" and path in (None, entry.path)]

    def cdn_requests(
        self, *, item: str | None = None, role: str | None = None, status: int | None = None
    ) -> list[LoggedRequest]:
        """Return the requests to the CDN, or those for one item, in one role, with one status."""
        return [
            entry
            for entry in self
            if entry.listener == "cdn"
            and item in (None, entry.subject.item)
            and role in (None, entry.subject.role)
            and status in (None, entry.status)
        ]

    def counts(self) -> dict[str, int | dict[str, int]]:
        """Return the units, API calls and CDN requests, and the number of API calls of each path."""
        calls = self.api_calls()
        return {
            "units": self.units,
            "api_calls": len(calls),
            "cdn_requests": len(self.cdn_requests()),
            "paths": dict(sorted(Counter(call.path for call in calls).items())),
        }
