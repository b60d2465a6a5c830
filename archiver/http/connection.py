"""Connections that speak HTTP/1.1, and a pool of idle ones.

httpx's own transport keeps bytes that follow an answer and reads them as the next answer. Here a connection
serves another request only if nothing followed the last answer. This also needs less processor time than
httpx's transport, whose pool polls every idle connection for each request: 1.4 s instead of 2.1 s for 1,000
files (682 MB, loopback, 16 threads on 2 cores, hashed and written to memory).

h11 reads any head but that of a plain answer, and every body of unknown length. ``read_plain_head`` reads
only heads of HTTP/1.1 with one Content-Length, no transfer coding, and printable ASCII; it accepts less than
h11 (a test compares the two). For a small file, h11's objects cost more than its bytes. A body with a
Content-Length goes from the socket to the caller without h11, which would copy it three times.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import h11
from msgspec import Struct

from archiver.http.sockets import ProtocolViolated, TimeLimit, is_quiet, receive, receive_much, send_all

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\x20-\x7e]*)")
_FIELD = re.compile(rb"(%s): ?(%s)" % (_TOKEN, _VALUE))
_METHOD, _TARGET, _NAME = re.compile(rb"[A-Z]+"), re.compile(rb"[\x21-\x7e]+"), re.compile(_TOKEN)
_FIELD_VALUE = re.compile(rb"(?:%s)?" % _VALUE)
_LENGTH = re.compile(rb"[0-9]{1,15}")
_BODILESS = frozenset({204, 304})

_MAX_HEAD = 64 * 1024
_HEAD_READ = 16 * 1024
BODY_READ = 128 * 1024
"""Bytes of a body that are read at once. Measured: 64 kB cost more processor time; each thread holds one."""


class ResponseHead(Struct, frozen=True):
    """The head of an answer. The names of ``headers`` are in lower case."""

    status_code: int
    reason: bytes
    headers: Headers
    is_http_1_1: bool

    def stated_length(self) -> int | None:
        """Return the stated length of the body (RFC 9112, 6.3); None if only its end shows it.

        Contradictory headers were refused when the head was read.
        """
        if self.status_code in _BODILESS:
            return 0
        names = dict(self.headers)
        if b"transfer-encoding" in names or b"content-length" not in names:
            return None
        return int(names[b"content-length"])

    def keeps_alive(self) -> bool:
        """Return whether the connection may serve another request."""
        options = (value.lower() for name, value in self.headers if name == b"connection")
        return self.is_http_1_1 and not any(b"close" in option for option in options)


def encode_request(method: str, target: bytes, headers: Headers) -> bytes:
    """Return a request without a body. Raises ProtocolViolated if any part of it violates HTTP."""
    is_valid = (
        _METHOD.fullmatch(method.encode("ascii", "replace"))
        and _TARGET.fullmatch(target)
        and all(_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value) for name, value in headers)
        and sum(name.lower() == b"host" for name, _ in headers) == 1
    )
    if not is_valid:
        raise ProtocolViolated("the request violates HTTP")  # without the headers, which hold the key
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target)]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join([*lines, b"", b""])


def read_plain_head(received: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return the usual head of an answer, and what follows it; None for any other bytes."""
    head, end, rest = received.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    if not end or status is None:
        return None
    headers: Headers = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        headers.append((field[1].lower(), field[2]))
    lengths = [value for name, value in headers if name == b"content-length"]
    is_plain = (
        len(lengths) == 1
        and _LENGTH.fullmatch(lengths[0])
        and int(status[1]) not in _BODILESS
        and all(name != b"transfer-encoding" for name, _ in headers)
    )
    return (ResponseHead(int(status[1]), status[2], headers, True), rest) if is_plain else None


class HttpConnection:
    """One connection to one origin, for one request and one thread at a time. Owns ``sock``.

    ``body_read``: bytes of a body that are read at once. ``has_answered``: whether any byte of an answer to
    the current request has arrived.
    """

    def __init__(self, sock: socket.socket, body_read: int = BODY_READ) -> None:
        self.sock = sock
        self._body_read = body_read
        self.has_answered = False
        self._machine: h11.Connection | None = None
        self._start = b""  # what came with the head
        self._is_finished = False
        self._idle_since = time.monotonic()

    def send_request(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        limit: TimeLimit,
        note_sent: Callable[[], None] = lambda: None,
    ) -> ResponseHead:
        """Send a request without a body and return the head of its answer. Raises HttpFailure."""
        self._is_finished = self.has_answered = False
        self._machine = None
        message = encode_request(method, target, headers)
        limit.begin_part()
        send_all(self.sock, message, limit, note_sent)
        received = receive(self.sock, _HEAD_READ, limit)
        self.has_answered = bool(received)
        plain = read_plain_head(received) if method == "GET" else None
        if plain is not None:
            head, self._start = plain
            return head
        return self._read_any_head(method, target, headers, received, limit)

    def body(self, head: ResponseHead, limit: TimeLimit) -> Iterator[bytes]:
        """Yield the body without its transfer coding. Raises HttpFailure, also if it ends too early."""
        length = head.stated_length()
        if length is None:
            yield from self._coded_body(limit)
            is_exact = self._h11.their_state is h11.DONE and self.is_exact()
        else:
            start = self._start
            if start and length:
                yield start[:length]
            yield from self._plain_body(length - min(len(start), length), limit)
            is_exact = len(start) <= length
        self._is_finished = is_exact and head.keeps_alive()
        self._idle_since = time.monotonic()

    def is_exact(self) -> bool:
        """Return whether nothing followed the head or the coded body that h11 read."""
        return self._h11.trailing_data == (b"", False) and is_quiet(self.sock)

    def is_reusable(self, max_idle_seconds: float) -> bool:
        """Return whether another request may be sent.

        This requires that the last answer permits it, was read to its end recently, and was followed by
        nothing.
        """
        is_recent = time.monotonic() - self._idle_since < max_idle_seconds
        return self._is_finished and is_recent and is_quiet(self.sock)

    def close(self) -> None:
        self.sock.close()

    def _plain_body(self, left: int, limit: TimeLimit) -> Iterator[bytes]:
        while left:
            limit.begin_part()
            chunk = receive_much(self.sock, min(left, self._body_read), limit)
            if not chunk:
                raise ProtocolViolated(f"the connection ended {left} bytes too early")
            left -= len(chunk)
            yield chunk

    @property
    def _h11(self) -> h11.Connection:
        """What reads an answer that is not a plain one."""
        assert self._machine is not None
        return self._machine

    def _read_any_head(
        self, method: str, target: bytes, headers: Headers, received: bytes, limit: TimeLimit
    ) -> ResponseHead:
        """Return the head that begins with the bytes ``received``, the answer to this request."""
        if not received:
            raise ProtocolViolated("the server closed the connection without an answer")
        machine = self._machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        try:
            machine.send(h11.Request(method=method, target=target, headers=headers))  # it was sent already
            machine.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            raise ProtocolViolated("the request violates HTTP") from None  # the error quotes a header
        machine.receive_data(received)
        while not isinstance(event := self._next_event(_HEAD_READ, limit), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ProtocolViolated("no answer to the request")
        self._start = machine.trailing_data[0]
        return ResponseHead(
            event.status_code, event.reason, list(event.headers), event.http_version == b"1.1"
        )

    def _coded_body(self, limit: TimeLimit) -> Iterator[bytes]:
        limit.begin_part()
        while isinstance(event := self._next_event(self._body_read, limit), h11.Data):
            yield bytes(event.data)
            limit.begin_part()
        if not isinstance(event, h11.EndOfMessage):
            raise ProtocolViolated("the body has no proper end")

    def _next_event(self, size: int, limit: TimeLimit) -> object:
        """Return the next h11 event. ``limit`` keeps running, so an answer that trickles in gains no time."""
        try:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                received = receive(self.sock, size, limit)
                if not received and self._h11.their_state is h11.SEND_RESPONSE:
                    raise ProtocolViolated("the server closed the connection without an answer")
                self.has_answered = self.has_answered or bool(received)
                self._h11.receive_data(received)
        except h11.RemoteProtocolError as error:
            raise ProtocolViolated(str(error)) from error
        return event


class ConnectionPool:
    """Connections that are idle between two requests, for many threads.

    ``keep``: how many stay open, over all origins. ``keep_for``: seconds for which one stays usable.
    """

    def __init__(self, *, keep: int, keep_for: float) -> None:
        self._keep = keep
        self._keep_for = keep_for
        self._idle: list[tuple[str, HttpConnection]] = []  # the most recently used ones last
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, origin: str) -> HttpConnection | None:
        """Return an idle connection to an origin that may serve a request now; None if there is none."""
        while (connection := self._take_last(origin)) is not None:
            if connection.is_reusable(self._keep_for):
                return connection
            connection.close()
        return None

    def respond(
        self, origin: str, connection: HttpConnection, head: ResponseHead, limit: TimeLimit
    ) -> HttpResponse:
        """Return an answer whose body is still to be read. When it is closed, its connection becomes idle."""
        return HttpResponse(head, connection.body(head, limit), lambda: self._release(origin, connection))

    def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take_last(self, origin: str) -> HttpConnection | None:
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][0] == origin:
                    return self._idle.pop(index)[1]
        return None

    def _release(self, origin: str, connection: HttpConnection) -> None:
        is_reusable = connection.is_reusable(self._keep_for)
        with self._lock:
            if is_reusable and not self._is_closed:
                self._idle.append((origin, connection))
                surplus = max(0, len(self._idle) - self._keep)
                unused = [old for _, old in self._idle[:surplus]]
                del self._idle[:surplus]
            else:
                unused = [connection]
        for old in unused:
            old.close()


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class HttpResponse:
    """An answer. Closing it releases its connection, whether or not its body was read to the end."""

    def __init__(self, head: ResponseHead, chunks: Iterator[bytes], release: Callable[[], None]) -> None:
        self.status_code = head.status_code
        self.raw_headers = head.headers
        self._chunks = chunks
        self._release: Callable[[], None] | None = release

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers, with names in lower case. Several of one name are joined with commas."""
        joined: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            name, value = raw_name.decode("ascii"), _decode(raw_value)
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    def iter_raw(self) -> Iterator[bytes]:
        """Return the body, piece by piece. Reading it raises HttpFailure."""
        return self._chunks

    def close(self) -> None:
        """Release the connection. A second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()
