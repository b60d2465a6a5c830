"""One connection to one origin, speaking HTTP/1.1: one request at a time, for one thread at a time.

h11 reads every head and every body of unknown length. A body with a Content-Length goes from the socket to the caller without
passing h11, which would copy it three times. Errors are httpx's, so that callers see one kind from every transport.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import h11
import httpx

from archiver.media.dialer import Dialer
from archiver.media.egress import CheckedUrl

SLICE = 0.5
"""Seconds that a read blocks before the caller's ``tick`` is called: a stop is heard even while nothing comes."""

MAX_HEAD = 64 * 1024

_HEAD_READ = 16 * 1024
_BODY_READ = (
    128 * 1024
)  # by measurement: at 64 kB threads wake each other more often, beyond 128 kB nothing is gained
_BODILESS = frozenset({204, 304})


class Connection:
    """Owns ``sock`` and closes it. ``reusable`` is True only between requests, when every byte that came is accounted for."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(SLICE)
        self._sock = sock
        self._machine = h11.Connection(h11.CLIENT)
        self.reusable = False
        self.answered = False
        self.idle_since = time.monotonic()

    def ask(
        self, target: bytes, headers: list[tuple[bytes, bytes]], *, patience: float, tick: Callable[[], None]
    ) -> h11.Response:
        """Send a GET and return the head of its answer.

        ``patience``: seconds for the whole head. ``tick`` may raise anything. Raises httpx.TransportError; ``answered`` then
        tells whether any byte of an answer had come.
        """
        self.reusable = self.answered = False
        self._machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        request = h11.Request(method="GET", target=target, headers=headers)
        sent = (self._machine.send(request) or b"") + (self._machine.send(h11.EndOfMessage()) or b"")
        try:
            self._sock.sendall(sent)
        except OSError as exc:
            raise httpx.WriteError("the request could not be sent") from exc
        until = time.monotonic() + patience
        while True:
            event = self._next_event(_HEAD_READ, until, tick)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse) or time.monotonic() > until:
                raise httpx.RemoteProtocolError("no answer to the request")

    def body(self, head: h11.Response, *, patience: float, tick: Callable[[], None]) -> Iterator[bytes]:
        """The body as it travels, transfer coding removed. Raises httpx.RemoteProtocolError if it ends too early.

        ``patience``: seconds without a byte. When the iterator has ended, ``reusable`` is set.
        """
        length = _length(head)
        if length is None:
            yield from self._events(patience, tick)
            exact = self._machine.their_state is h11.DONE and not self._machine.trailing_data[0]
        else:
            came = self._machine.trailing_data[0]
            if came and length:
                yield came[:length]
            yield from self._rest(length - min(len(came), length), patience, tick)
            exact = len(came) <= length  # more than was promised would be read as the next answer
        self.reusable = exact and _keeps_alive(head)
        self.idle_since = time.monotonic()

    def close(self) -> None:
        self.reusable = False
        self._sock.close()

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: bytes, or the end, would belong to no request."""
        try:
            if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
                return False
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def _rest(self, left: int, patience: float, tick: Callable[[], None]) -> Iterator[bytes]:
        while left:
            chunk = self._receive(min(left, _BODY_READ), time.monotonic() + patience, tick)
            if not chunk:
                raise httpx.RemoteProtocolError(f"the connection ended {left} bytes too early")
            left -= len(chunk)
            yield chunk

    def _events(self, patience: float, tick: Callable[[], None]) -> Iterator[bytes]:
        while True:
            event = self._next_event(_BODY_READ, time.monotonic() + patience, tick)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise httpx.RemoteProtocolError("the body does not end as it should")

    def _next_event(self, size: int, until: float, tick: Callable[[], None]) -> object:
        """The next h11 event, whatever has to be read for it. All of it must come before ``until``: a drip wins no time."""
        try:
            while (event := self._machine.next_event()) is h11.NEED_DATA:
                self._machine.receive_data(self._receive(size, until, tick))
                tick()
                if time.monotonic() >= until:
                    raise httpx.ReadTimeout("a part of the answer took too long")
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError("the answer breaks HTTP's rules, or broke off") from exc
        return event

    def _receive(self, size: int, until: float, tick: Callable[[], None]) -> bytes:
        while True:
            try:
                chunk = self._sock.recv(size)
            except TimeoutError as exc:
                tick()
                if time.monotonic() >= until:
                    raise httpx.ReadTimeout("nothing came for too long") from exc
            except OSError as exc:
                raise httpx.ReadError("the connection broke") from exc
            else:
                self.answered = self.answered or bool(chunk)
                return chunk


def _length(head: h11.Response) -> int | None:
    """Bytes of the body where the head fixes them (RFC 9112, 6.3); h11 has refused contradictions."""
    if head.status_code in _BODILESS:
        return 0
    names = dict(head.headers)
    if b"transfer-encoding" in names or b"content-length" not in names:
        return None
    return int(names[b"content-length"])


def _keeps_alive(head: h11.Response) -> bool:
    options = (v.lower() for name, v in head.headers if name == b"connection")
    return head.http_version == b"1.1" and not any(b"close" in option for option in options)


KEEP_FOR = 15.0
"""Seconds that an idle connection is kept: servers close theirs early."""


class DirectTransport(httpx.BaseTransport):
    """Answers GET requests; used by many threads at once.

    A request carries extensions: ``place`` (Place), ``tick`` (called about twice a second while nothing comes, may raise) and
    ``patience`` (seconds without a byte). ``keep``: connections kept open between requests, for all origins together.
    Raises httpx.TransportError, and DownloadFailed from the Dialer.
    """

    def __init__(self, dialer: Dialer, *, keep: int) -> None:
        self._dialer = dialer
        self._keep = keep
        self._idle: list[tuple[str, Connection]] = []  # the most lately used ones last
        self._lock = threading.Lock()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        place: CheckedUrl = request.extensions["place"]
        tick: Callable[[], None] = request.extensions["tick"]
        patience: float = request.extensions["patience"]

        def ask(connection: Connection) -> h11.Response:
            try:
                target, headers = place.target.encode("ascii"), request.headers.raw
                return connection.ask(target, headers, patience=patience, tick=tick)
            except BaseException:
                connection.close()
                raise

        connection, head = self._asked(place, ask, tick)
        stream = _Stream(self, place.origin, connection, connection.body(head, patience=patience, tick=tick))
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=stream)

    def _asked(
        self, place: CheckedUrl, ask: Callable[[Connection], h11.Response], tick: Callable[[], None]
    ) -> tuple[Connection, h11.Response]:
        """An answered connection: a kept one, or a new one where the server had closed it (RFC 9112, 9.3.1)."""
        kept = self._idle_connection(place.origin)
        if kept is not None:
            try:
                return kept, ask(kept)
            except (httpx.NetworkError, httpx.ProtocolError):
                if kept.answered:
                    raise
        fresh = Connection(self._dialer.dial(place, tick))
        return fresh, ask(fresh)

    def release(self, origin: str, connection: Connection) -> None:
        """Take a connection back, to keep it if it can serve again."""
        with self._lock:
            kept = connection.reusable and not self._closed
            if kept:
                self._idle.append((origin, connection))
            surplus = self._idle[: max(0, len(self._idle) - self._keep)]
            del self._idle[: len(surplus)]
        for _, old in surplus:
            old.close()
        if not kept:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _idle_connection(self, origin: str) -> Connection | None:
        while (connection := self._last_idle(origin)) is not None:
            if time.monotonic() - connection.idle_since < KEEP_FOR and connection.is_quiet():
                return connection
            connection.close()
        return None

    def _last_idle(self, origin: str) -> Connection | None:
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at][0] == origin:
                    return self._idle.pop(at)[1]
        return None


class _Stream(httpx.SyncByteStream):
    """A body that gives its connection back when it is closed, read to the end or not."""

    def __init__(
        self, transport: DirectTransport, origin: str, connection: Connection, chunks: Iterator[bytes]
    ) -> None:
        self._transport, self._origin, self._connection = transport, origin, connection
        self._chunks = chunks
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        if self._open:
            self._open = False
            self._transport.release(self._origin, self._connection)
