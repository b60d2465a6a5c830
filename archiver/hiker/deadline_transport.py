"""An httpx transport for the API, with h11 over the sockets of the current attempt.

Use it in ``begin_attempt``.

httpx's own transport keeps bytes that come after an answer and reads them as the answer to the next call.
Here a connection serves another call only if nothing but the answer came on it.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import h11
import httpx

from archiver.hiker.attempt import ExchangeBroken, connect, is_quiet, receive, send_all, start_tls

_KEEP_FOR = 4.0  # seconds that an idle connection is kept: the API closes them early (HIKERAPI.md)

_MAX_HEAD = 64 * 1024
_READ = 64 * 1024


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests to one origin, for many threads.

    Raises ExchangeBroken, which never holds a request or its key.

    ``context``: for an origin that is reached by https. ``proxy``: provides a tunnel to it.
    """

    def __init__(
        self, origin: httpx.URL, *, context: ssl.SSLContext | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        self._host = origin.raw_host.decode("ascii")
        self._port = origin.port or (443 if context is not None else 80)
        self._context = context
        self._proxy = proxy
        self._idle: list[_ApiConnection] = []  # the most recently used ones last
        self._lock = threading.Lock()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer to a request. No retry, no redirect."""
        connection = self._idle_connection() or self._new_connection()
        try:
            head = connection.ask(request.method, request.url.raw_path, request.headers.raw)
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            head.status_code, headers=head.headers.raw_items(), stream=_Stream(self, connection)
        )

    def release(self, connection: _ApiConnection) -> None:
        """Take a connection back after its answer. Keep it if it can serve another call."""
        with self._lock:
            is_kept = not self._closed and connection.is_reusable()
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _idle_connection(self) -> _ApiConnection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()

    def _new_connection(self) -> _ApiConnection:
        if self._proxy is not None:
            sock = _tunnel(self._proxy, self._host, self._port)
        else:
            sock = connect(self._host, self._port)
        if self._context is not None:
            sock = start_tls(sock, self._context, self._host)
        return _ApiConnection(sock)


class _ApiConnection:
    """Owns ``sock``. One exchange at a time, for one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._machine = h11.Connection(h11.CLIENT)
        self._idle_since = 0.0

    def ask(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], *, is_request: bool = True
    ) -> h11.Response:
        """Send a request without a body and return the head of its answer. Raises ExchangeBroken.

        ``is_request``: it goes to the API, and is not a CONNECT to a proxy.
        """
        self._machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        try:
            request = h11.Request(method=method, target=target, headers=headers)
        except h11.LocalProtocolError:
            raise ExchangeBroken("the request violates HTTP") from None  # the error quotes a header
        message = (self._machine.send(request) or b"") + (self._machine.send(h11.EndOfMessage()) or b"")
        send_all(self.sock, message, is_request=is_request)
        while not isinstance(event := self._next_event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ExchangeBroken("no answer to the request")
        return event

    def body(self) -> Iterator[bytes]:
        """Yield the body without its transfer coding. Raises ExchangeBroken if it ends too early."""
        while isinstance(event := self._next_event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise ExchangeBroken("the body does not end as it should")

    def is_exact(self) -> bool:
        """Return whether nothing came beyond what was read."""
        return self._machine.trailing_data == (b"", False) and is_quiet(self.sock)

    def is_reusable(self) -> bool:
        """Return whether the answer was read to its end, allows another request, and nothing else came."""
        self._idle_since = time.monotonic()
        ours, theirs = self._machine.our_state, self._machine.their_state
        return ours is h11.DONE and theirs is h11.DONE and self.is_exact()

    def is_fresh(self) -> bool:
        """Return whether an idle connection may serve again: it is recent, and nothing came on it."""
        return time.monotonic() - self._idle_since < _KEEP_FOR and self.is_exact()

    def close(self) -> None:
        self.sock.close()

    def _next_event(self) -> object:
        try:
            while (event := self._machine.next_event()) is h11.NEED_DATA:
                received = receive(self.sock, _READ)
                if not received and self._machine.their_state is h11.SEND_RESPONSE:
                    raise ExchangeBroken("the server closed the connection without an answer")
                self._machine.receive_data(received)
        except h11.RemoteProtocolError as error:
            raise ExchangeBroken(str(error)) from error
        return event


def _tunnel(proxy: httpx.Proxy, host: str, port: int) -> socket.socket:
    """Return a connection through a proxy, which sees nothing of it but the host. Raises ExchangeBroken."""
    connection = _ApiConnection(connect(proxy.url.raw_host.decode("ascii"), proxy.url.port or 80))
    target = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")
    headers = [(b"host", target), (b"accept", b"*/*")]
    if proxy.raw_auth is not None:
        headers.append((b"proxy-authorization", b"Basic " + base64.b64encode(b":".join(proxy.raw_auth))))
    try:
        head = connection.ask("CONNECT", target, headers, is_request=False)
        if not 200 <= head.status_code < 300:
            reason = head.reason.decode("ascii", "replace")
            raise ExchangeBroken(f"the proxy refused a tunnel: {head.status_code} {reason}")
        if not connection.is_exact():
            raise ExchangeBroken("the proxy sent more than its answer")
    except BaseException:
        connection.close()
        raise
    return connection.sock


class _Stream(httpx.SyncByteStream):
    """A body that returns its connection when it is closed, whether or not it was read to the end."""

    def __init__(self, transport: DeadlineTransport, connection: _ApiConnection) -> None:
        self._transport = transport
        self._connection: _ApiConnection | None = connection
        self._parts = connection.body()

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.release(connection)
