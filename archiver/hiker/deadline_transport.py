"""An httpx transport for the API, and the time limit of one attempt at a call, in which it is used.

httpx's ``timeout`` starts again at every read, so an answer that trickles in never times out. Here every
connect, handshake, write and read blocks for a short part of the remaining time, and then checks for a stop.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

from archiver.http import sockets
from archiver.http.connection import ConnectionPool, HttpConnection, HttpResponse
from archiver.http.sockets import Address, ConnectionBroken, HttpFailure

GRACE = 0.4
"""Seconds that a pending answer may still take after a stop. It is paid for, and most take under a second."""

_MAX_BLOCK = 0.1  # seconds between two checks for a stop

_current: ContextVar[Attempt] = ContextVar("attempt")
_KEEP = 100  # idle connections: more than the number of threads of a run that call the API
_KEEP_FOR = 4.0  # seconds that an idle connection is kept: the API closes them early (HIKERAPI.md)


class DeadlinePassed(HttpFailure):
    """The time for the attempt is over."""


class AttemptInterrupted(HttpFailure):
    """The caller stopped waiting for the answer."""


class Attempt:
    """The TimeLimit of one attempt. Belongs to the thread that makes it.

    ``is_stopped``: whether the answer is no longer wanted. ``was_sent``: whether a byte of the request may
    have reached the API.
    """

    __slots__ = ("_deadline", "_is_stopped", "was_sent")

    def __init__(self, seconds: float, is_stopped: Callable[[], bool]) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_stopped = is_stopped
        self.was_sent = False

    def note_sent(self) -> None:
        """Note that a byte of the request was sent."""
        self.was_sent = True

    def begin_part(self) -> None:
        """Do nothing: the deadline is for all parts of the answer together."""

    def seconds_left(self) -> float:
        """Return the seconds left, more than 0. Raises DeadlinePassed, or Interrupted after a stop."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AttemptInterrupted if self._is_stopped() else DeadlinePassed
        return left

    def next_timeout(self) -> float:
        """Return the seconds that the next operation may block, more than 0.

        Raises DeadlinePassed. After a stop raises Interrupted: at once if nothing was sent, else after GRACE.
        """
        if self._is_stopped():
            if not self.was_sent:
                raise AttemptInterrupted
            self._deadline = min(self._deadline, time.monotonic() + GRACE)
        return min(_MAX_BLOCK, self.seconds_left())

    def acquire(self, lock: threading.Lock) -> None:
        """Acquire a lock. The wait does not count against the deadline. Raises as ``next_timeout`` does."""
        while True:
            started = time.monotonic()
            if lock.acquire(timeout=self.next_timeout()):
                return
            if not self._is_stopped():
                self._deadline += time.monotonic() - started


def current_attempt() -> Attempt:
    """Return the attempt that this thread is making. Raises LookupError if there is none."""
    return _current.get()


@contextmanager
def begin_attempt(seconds: float, is_stopped: Callable[[], bool]) -> Iterator[Attempt]:
    """Begin an attempt of ``seconds``.

    Everything that this thread sends and reads in the block belongs to it.
    """
    token = _current.set(Attempt(seconds, is_stopped))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests to one origin, for many threads. Raises HttpFailure, which never holds the key.

    ``context``: for an https origin. ``proxy``: provides a tunnel to the origin.
    """

    def __init__(
        self, origin: httpx.URL, *, context: ssl.SSLContext | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        self._host = origin.raw_host.decode("ascii")
        self._port = origin.port or (443 if context is not None else 80)
        self._context = context
        self._proxy = proxy
        self._pool = ConnectionPool(keep=_KEEP, keep_for=_KEEP_FOR)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer to a request. No retry, no redirect."""
        attempt = current_attempt()
        connection = self._pool.take(self._host) or self._new_connection()
        try:
            head = connection.send_request(
                request.method, request.url.raw_path, request.headers.raw, attempt, attempt.note_sent
            )
        except BaseException:
            connection.close()
            raise
        response = self._pool.respond(self._host, connection, head, attempt)
        return httpx.Response(
            response.status_code, headers=response.raw_headers, stream=_BodyStream(response)
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _new_connection(self) -> HttpConnection:
        if self._proxy is not None:
            sock = _tunnel(self._proxy, self._host, self._port)
        else:
            sock = _connect(self._host, self._port)
        if self._context is not None:
            sock = sockets.start_tls(sock, self._context, self._host, current_attempt())
        return HttpConnection(sock)


class _BodyStream(httpx.SyncByteStream):
    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_raw()

    def close(self) -> None:
        self._response.close()


def _connect(host: str, port: int) -> socket.socket:
    """Return a TCP connection to the first address of a host that accepts one.

    Raises ConnectionBroken, DeadlinePassed.
    """
    addresses, attempt = _resolve(host, port), current_attempt()
    error: OSError | None = None
    for index, (family, address) in enumerate(addresses):
        # Each address gets an equal share of the time: one that never answers must not use it up.
        seconds = attempt.seconds_left() / (len(addresses) - index)
        try:
            return sockets.connect(family, address, seconds, attempt)
        except OSError as exc:
            error = exc
    if isinstance(error, TimeoutError):
        raise DeadlinePassed from error
    raise ConnectionBroken(str(error or f"{host} has no address")) from error


def _resolve(host: str, port: int) -> list[tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionBroken(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys((family, address) for family, *_, address in found))


def _tunnel(proxy: httpx.Proxy, host: str, port: int) -> socket.socket:
    """Return a connection through a proxy, which sees only the host and port. Raises HttpFailure."""
    connection = HttpConnection(_connect(proxy.url.raw_host.decode("ascii"), proxy.url.port or 80))
    target = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")
    headers = [(b"host", target), (b"accept", b"*/*")]
    if proxy.raw_auth is not None:
        headers.append((b"proxy-authorization", b"Basic " + base64.b64encode(b":".join(proxy.raw_auth))))
    try:
        head = connection.send_request(
            "CONNECT", target, headers, current_attempt()
        )  # does not count as a request sent to the API
        if not 200 <= head.status_code < 300:
            reason = head.reason.decode("ascii", "replace")
            raise ConnectionBroken(f"the proxy refused a tunnel: {head.status_code} {reason}")
        if not connection.is_exact():
            raise ConnectionBroken("the proxy sent more than its answer")
    except BaseException:
        connection.close()
        raise
    return connection.sock
