"""HTTP/1.1 on a bare socket, server side: read one request, write one answer, or break off in any way that a fault asks for."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

_HEAD_MAX = 1 << 17
_SLICE = 1 << 16
_TICK = 0.02  # seconds: how often a limited rate sends


class NotHttp(Exception):
    """What a client sent is no HTTP request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. Header names are lower case; ``params`` keeps the first value of each name, decoded."""

    listener: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    params: Mapping[str, str]
    address: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``sized``: state the body's length, unless ``headers`` states one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sized: bool = True

    def head(self) -> bytes:
        """The status line and headers, up to and with the empty line."""
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        if self.sized and "content-length" not in self.headers:
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
    """How slowly an answer leaves: a delay before its first byte (seconds) and a rate (bytes per second, 0 = no limit)."""

    first_byte_delay: float = 0.0
    bytes_per_second: float = 0.0


class Wire:
    """One connection. All methods raise ``OSError`` once the peer is gone; ``stopping`` ends every wait."""

    def __init__(self, sock: socket.socket, listener: str, stopping: threading.Event) -> None:
        self._sock = sock
        self._listener = listener
        self._stopping = stopping
        self._address = "{}:{}".format(*sock.getsockname()[:2])
        self._pending = b""
        self.open = True

    def read(self) -> Request | None:
        """The next request, or None at the peer's end. A body is read and dropped. Raises ``NotHttp``."""
        data = self._pending
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = self._sock.recv(_SLICE)
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
            more = self._sock.recv(_SLICE)
            if not more:
                return None
            data += more
        self._pending = data[length:]
        return request

    def _parse(self, head: str) -> Request:
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
        return Request(self._listener, method, unquote(path), query, headers, params, self._address)

    def send(self, data: bytes, pace: Pace | None = None) -> None:
        """Writes the bytes, in slices if a rate is asked for."""
        if pace is None or not pace.bytes_per_second:
            self._sock.sendall(data)
            return
        started = time.monotonic()
        size = max(1, min(_SLICE, int(pace.bytes_per_second * _TICK)))
        for offset in range(0, len(data), size):
            part = data[offset : offset + size]
            due = started + (offset + len(part)) / pace.bytes_per_second
            self.wait(due - time.monotonic())
            self._sock.sendall(part)

    def wait(self, seconds: float) -> None:
        """Lets time pass; ends at once when the server stops, then as ``ConnectionError``."""
        if seconds > 0 and self._stopping.wait(seconds):
            raise ConnectionAbortedError("the stand-in is closing")

    def hold(self, released: threading.Event, limit: float | None = None) -> None:
        """Keeps the connection silent until it is released or ``limit`` seconds passed. Raises ``ConnectionError`` at its end."""
        end = None if limit is None else time.monotonic() + limit
        while not released.wait(0.02):
            if end is not None and time.monotonic() >= end:
                return
            if self._peer_gone():  # or the server is closing, which shuts the socket down
                raise ConnectionAbortedError("the held connection ended")

    def _peer_gone(self) -> bool:
        self._sock.setblocking(False)
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        finally:
            self._sock.setblocking(True)

    def reset(self) -> None:
        """Ends the connection with RST: what was sent and not yet read may be lost to the peer."""
        self.open = False
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Ends the connection in order."""
        self.open = False
        with contextlib.suppress(OSError):  # the peer was first
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
